//! The one who writes.

use super::batch::{Batch, Key};
use super::retention;
use crate::ControlError;
use crate::figures::Roll;
use crate::sketch::Sketch;
use headwater_config::Keep;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

/// Providers, countries, sources and reasons come from closed sets; this is for whoever forgets that.
const MOST_SERIES: usize = 50_000;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

pub(super) struct Writer {
    connection: Connection,
    keep: Keep,
    /// Row of a series by its figure, provider and label.
    series: HashMap<(&'static str, String, String), i64>,
}

impl Writer {
    pub fn new(connection: Connection, keep: Keep) -> Result<Self, ControlError> {
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self { connection, keep, series: HashMap::new() })
    }

    pub fn write(&mut self, batch: &Batch) -> Result<(), ControlError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        // What is older would be forgotten at once, and its hour be made anew from a part of its minutes.
        let horizon = retention::horizon(self.keep.minutes, now);
        // Another process may write too. A transaction that begins with reading would not wait for it, but fail.
        // Immediate: one that reads first and then writes fails at once where another process has written between.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut made = HashMap::new();
        write_all(&transaction, batch, horizon, &self.series, &mut made)?;
        transaction.commit()?;
        self.series.extend(made);
        Ok(())
    }

    pub fn forget(&mut self, now: i64) -> Result<usize, ControlError> {
        retention::forget(&self.connection, &self.keep, now)
    }
}

type Rows = HashMap<(&'static str, String, String), i64>;

fn write_all(
    transaction: &Transaction<'_>,
    batch: &Batch,
    horizon: i64,
    known: &Rows,
    made: &mut Rows,
) -> Result<(), ControlError> {
    let mut touched = BTreeSet::new();
    for (key, at, value) in batch.set.iter().filter(|(_, at, _)| *at >= horizon) {
        let series = row(transaction, key, known, made)?;
        let at = bucket(*at, key.grain);
        transaction
            .prepare_cached("INSERT INTO minute VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")?
            .execute(params![series, at, value])?;
        touched.insert((series, at.div_euclid(HOUR) * HOUR, key.figure.roll == Roll::Mean));
    }
    for (key, at, more) in batch.add.iter().filter(|(_, at, _)| *at >= horizon) {
        let series = row(transaction, key, known, made)?;
        let at = bucket(*at, key.grain);
        transaction
            .prepare_cached(
                "INSERT INTO minute VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
            )?
            .execute(params![series, at, more])?;
        touched.insert((series, at.div_euclid(HOUR) * HOUR, key.figure.roll == Roll::Mean));
    }
    roll_up(transaction, &touched)?;
    for (key, at, sketch) in batch.sketches.iter().filter(|(_, at, _)| *at >= horizon) {
        let series = row(transaction, key, known, made)?;
        for (table, grain) in [("sketch_minute", i64::from(key.grain)), ("sketch_hour", HOUR), ("sketch_day", DAY)] {
            merge(transaction, table, series, at.div_euclid(grain) * grain, sketch)?;
        }
    }
    for event in &batch.events {
        transaction
            .prepare_cached("INSERT INTO event (at, kind, tag, text, who) VALUES (?, ?, ?, ?, ?)")?
            .execute(params![event.at, event.kind, event.tag, event.text, event.who])?;
    }
    for (at, who, what, detail) in &batch.audit {
        transaction
            .prepare_cached("INSERT INTO audit (at, who, what, detail) VALUES (?, ?, ?, ?)")?
            .execute(params![at, who, what, detail])?;
    }
    for (name, value) in &batch.checkpoints {
        match value {
            Some(value) => transaction
                .prepare_cached(
                    "INSERT INTO checkpoint VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                )?
                .execute(params![name, value])?,
            None => transaction.prepare_cached("DELETE FROM checkpoint WHERE name = ?")?.execute([name])?,
        };
    }
    Ok(())
}

fn bucket(at: i64, grain: u32) -> i64 {
    let grain = i64::from(grain.max(1));
    at.div_euclid(grain) * grain
}

/// The row of a series, made if it is new.
fn row(transaction: &Transaction<'_>, key: &Key, known: &Rows, made: &mut Rows) -> Result<i64, ControlError> {
    let name = (key.figure.name, key.cdn.clone(), key.label.clone());
    if let Some(row) = known.get(&name).or_else(|| made.get(&name)) {
        return Ok(*row);
    }
    let found = transaction
        .prepare_cached("SELECT id FROM series WHERE figure = ? AND cdn = ? AND label = ?")?
        .query_row(params![name.0, name.1, name.2], |row| row.get(0))
        .optional()?;
    let id = match found {
        Some(id) => id,
        None => {
            let count: i64 =
                transaction.prepare_cached("SELECT count(*) FROM series")?.query_row([], |row| row.get(0))?;
            if count >= MOST_SERIES as i64 {
                return Err(ControlError::TooManySeries(MOST_SERIES));
            }
            transaction
                .prepare_cached("INSERT INTO series (figure, cdn, label, grain) VALUES (?, ?, ?, ?)")?
                .execute(params![name.0, name.1, name.2, key.grain])?;
            transaction.last_insert_rowid()
        }
    };
    made.insert(name, id);
    Ok(id)
}

/// Hours are made anew from their minutes, and days from their hours, so that writing twice changes nothing.
fn roll_up(transaction: &Transaction<'_>, touched: &BTreeSet<(i64, i64, bool)>) -> Result<(), ControlError> {
    let mut days = BTreeSet::new();
    for &(series, hour, mean) in touched {
        anew(transaction, "hour", "minute", series, (hour, HOUR), mean)?;
        days.insert((series, hour.div_euclid(DAY) * DAY, mean));
    }
    for (series, day, mean) in days {
        anew(transaction, "day", "hour", series, (day, DAY), mean)?;
    }
    Ok(())
}

fn anew(
    transaction: &Transaction<'_>,
    into: &str,
    from: &str,
    series: i64,
    (at, length): (i64, i64),
    mean: bool,
) -> Result<(), ControlError> {
    let roll = if mean { "avg" } else { "sum" };
    let sql = format!(
        "INSERT INTO {into} SELECT ?1, ?2, {roll}(value) FROM {from} WHERE series = ?1 AND at >= ?2 AND at < ?2 + ?3
         ON CONFLICT DO UPDATE SET value = excluded.value"
    );
    transaction.prepare_cached(&sql)?.execute(params![series, at, length])?;
    Ok(())
}

fn merge(transaction: &Transaction<'_>, table: &str, series: i64, at: i64, more: &Sketch) -> Result<(), ControlError> {
    let held: Option<Vec<u8>> = transaction
        .prepare_cached(&format!("SELECT value FROM {table} WHERE series = ? AND at = ?"))?
        .query_row(params![series, at], |row| row.get(0))
        .optional()?;
    let mut sketch = held.and_then(|held| Sketch::decode(&held)).unwrap_or_default();
    sketch.merge(more);
    transaction
        .prepare_cached(&format!(
            "INSERT INTO {table} VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
        ))?
        .execute(params![series, at, sketch.encode()])?;
    Ok(())
}
