//! What is old is forgotten, a little at a time, so that no write waits long.

use crate::ControlError;
use headwater_config::Keep;
use rusqlite::{Connection, params};
use std::time::Duration;

/// Rows of one transaction.
const AT_ONCE: usize = 20_000;

/// Forgets what is older than what is kept, and returns how many rows went. A roll-up outlives what it was made from.
pub(super) fn forget(connection: &Connection, keep: &Keep, now: i64) -> Result<usize, ControlError> {
    let mut gone = 0;
    for (table, kept) in [
        ("minute", keep.minutes),
        ("sketch_minute", keep.minutes),
        ("hour", keep.hours),
        ("sketch_hour", keep.hours),
        ("day", keep.days),
        ("sketch_day", keep.days),
        ("event", keep.days),
        ("audit", keep.days),
    ] {
        gone += forget_from(connection, table, kept, now)?;
    }
    Ok(gone)
}

/// What lies before it is not kept. Whole days, so that no hour is made anew from half of its minutes.
pub(super) fn horizon(kept: Duration, now: i64) -> i64 {
    (now - kept.as_secs() as i64).div_euclid(86_400) * 86_400
}

fn forget_from(connection: &Connection, table: &str, kept: Duration, now: i64) -> Result<usize, ControlError> {
    let before = horizon(kept, now);
    if matches!(table, "event" | "audit") {
        return Ok(connection.execute(&format!("DELETE FROM {table} WHERE at < ?"), [before])?);
    }
    let mut gone = 0;
    let series: Vec<i64> = connection
        .prepare_cached("SELECT id FROM series")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for series in series {
        loop {
            let sql = format!(
                "DELETE FROM {table} WHERE series = ?1 AND at <
                 min(?2, coalesce((SELECT at FROM {table} WHERE series = ?1 ORDER BY at LIMIT 1 OFFSET ?3), ?2))"
            );
            let went = connection.prepare_cached(&sql)?.execute(params![series, before, AT_ONCE as i64])?;
            gone += went;
            if went < AT_ONCE {
                break;
            }
        }
    }
    Ok(gone)
}
