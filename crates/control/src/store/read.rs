//! What is asked of the store.

use super::batch::Event;
use crate::ControlError;
use crate::figures::{Figure, Roll};
use crate::sketch::Sketch;
use rusqlite::{Connection, OptionalExtension, params};

/// A length of bucket that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// 60 s
    Minute,
    /// 3,600 s
    Hour,
    /// 86,400 s
    Day,
}

impl Step {
    /// The finest that says a stretch of so many seconds in at most 1,500 points.
    pub fn for_length(seconds: i64) -> Self {
        const POINTS: i64 = 1500;
        [Step::Minute, Step::Hour].into_iter().find(|step| seconds <= step.seconds() * POINTS).unwrap_or(Step::Day)
    }

    /// Its length.
    pub const fn seconds(self) -> i64 {
        match self {
            Step::Minute => 60,
            Step::Hour => 3600,
            Step::Day => 86_400,
        }
    }

    const fn table(self) -> &'static str {
        match self {
            Step::Minute => "minute",
            Step::Hour => "hour",
            Step::Day => "day",
        }
    }
}

/// The points of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series<T = f64> {
    /// The provider.
    pub cdn: String,
    /// What the figure's label says.
    pub label: String,
    /// The length of its finest bucket, in seconds.
    pub grain: u32,
    /// Bucket by bucket, in order; where nothing was written there is no point.
    pub points: Vec<(i64, T)>,
}

/// One state of the store.
pub struct Reader<'c> {
    connection: &'c Connection,
}

impl<'c> Reader<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection }
    }

    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// Every series of a figure, or of one provider alone, from `from` to before `until`. A series without points in that
    /// time is not among them.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn points(
        &self,
        figure: &Figure,
        cdn: Option<&str>,
        (from, until): (i64, i64),
        step: Step,
    ) -> Result<Vec<Series>, ControlError> {
        self.series(figure, cdn, (from, until), step.table(), |row| row.get(1))
    }

    /// As [`Reader::points`], for distributions.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn sketches(
        &self,
        figure: &Figure,
        cdn: Option<&str>,
        (from, until): (i64, i64),
        step: Step,
    ) -> Result<Vec<Series<Sketch>>, ControlError> {
        debug_assert_eq!(figure.roll, Roll::Sketch);
        self.series(figure, cdn, (from, until), &format!("sketch_{}", step.table()), |row| {
            Ok(Sketch::decode(row.get_ref(1)?.as_blob()?).unwrap_or_default())
        })
    }

    fn series<T>(
        &self,
        figure: &Figure,
        cdn: Option<&str>,
        (from, until): (i64, i64),
        table: &str,
        value: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<Series<T>>, ControlError> {
        let mut found = Vec::new();
        let mut list = self.connection.prepare_cached(
            "SELECT id, cdn, label, grain FROM series WHERE figure = ?1 AND (?2 IS NULL OR cdn = ?2) ORDER BY cdn, label",
        )?;
        let mut rows = list.query(params![figure.name, cdn])?;
        let sql = format!("SELECT at, value FROM {table} WHERE series = ? AND at >= ? AND at < ? ORDER BY at");
        let mut points_of = self.connection.prepare_cached(&sql)?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let points = points_of
                .query_map(params![id, from, until], |row| Ok((row.get(0)?, value(row)?)))?
                .collect::<Result<Vec<_>, _>>()?;
            if !points.is_empty() {
                found.push(Series { cdn: row.get(1)?, label: row.get(2)?, grain: row.get(3)?, points });
            }
        }
        Ok(found)
    }

    /// What happened from `from` to before `until`, in order.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn events(&self, (from, until): (i64, i64)) -> Result<Vec<Event>, ControlError> {
        let mut list = self
            .connection
            .prepare_cached("SELECT at, kind, tag, text, who FROM event WHERE at >= ? AND at < ? ORDER BY at, id")?;
        let events = list.query_map([from, until], |row| event(row, 0))?;
        Ok(events.collect::<Result<_, _>>()?)
    }

    /// The providers that anything is kept of.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn providers(&self) -> Result<Vec<String>, ControlError> {
        let mut list = self.connection.prepare_cached(
            "SELECT DISTINCT cdn FROM series WHERE cdn NOT IN ('', 'untagged', 'unproven', 'other') ORDER BY cdn",
        )?;
        let providers = list.query_map([], |row| row.get(0))?;
        Ok(providers.collect::<Result<_, _>>()?)
    }

    /// The latest events of a stretch, in order and at most `most`; of one tag alone, where one is given.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn latest_events(
        &self,
        (from, until): (i64, i64),
        tag: Option<&str>,
        most: usize,
    ) -> Result<Vec<Event>, ControlError> {
        let mut list = self.connection.prepare_cached(
            "SELECT at, kind, tag, text, who FROM event WHERE at >= ?1 AND at < ?2 AND (?3 IS NULL OR tag = ?3)
             ORDER BY at DESC, id DESC LIMIT ?4",
        )?;
        let events = list.query_map(params![from, until, tag, most as i64], |row| event(row, 0))?;
        let mut events = events.collect::<Result<Vec<_>, _>>()?;
        events.reverse();
        Ok(events)
    }

    /// Events in the order in which they were written, each with its number: those after `number`, at most `most`.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn events_written_after(&self, number: i64, most: usize) -> Result<Vec<(i64, Event)>, ControlError> {
        let mut list = self
            .connection
            .prepare_cached("SELECT id, at, kind, tag, text, who FROM event WHERE id > ? ORDER BY id LIMIT ?")?;
        let events = list.query_map(params![number, most as i64], |row| Ok((row.get(0)?, event(row, 1)?)))?;
        Ok(events.collect::<Result<_, _>>()?)
    }

    /// The number of the event that was written last; 0 before the first.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn last_event(&self) -> Result<i64, ControlError> {
        Ok(self.connection.query_row("SELECT coalesce(max(id), 0) FROM event", [], |row| row.get(0))?)
    }

    /// Where a source stands.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn checkpoint(&self, name: &str) -> Result<Option<String>, ControlError> {
        let mut list = self.connection.prepare_cached("SELECT value FROM checkpoint WHERE name = ?")?;
        Ok(list.query_row([name], |row| row.get(0)).optional()?)
    }

    /// Every checkpoint whose name begins so, by name.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn checkpoints(&self, prefix: &str) -> Result<Vec<(String, String)>, ControlError> {
        let mut list = self
            .connection
            .prepare_cached("SELECT name, value FROM checkpoint WHERE name >= ?1 AND name < ?1 || ?2 ORDER BY name")?;
        let found = list.query_map(params![prefix, char::MAX.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

/// An event whose columns begin at `first`.
fn event(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Event> {
    Ok(Event {
        at: row.get(first)?,
        kind: row.get(first + 1)?,
        tag: row.get(first + 2)?,
        text: row.get(first + 3)?,
        who: row.get(first + 4)?,
    })
}
