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
        let events = list.query_map([from, until], |row| {
            Ok(Event { at: row.get(0)?, kind: row.get(1)?, tag: row.get(2)?, text: row.get(3)?, who: row.get(4)? })
        })?;
        Ok(events.collect::<Result<_, _>>()?)
    }

    /// Where a source stands.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn checkpoint(&self, name: &str) -> Result<Option<String>, ControlError> {
        let mut list = self.connection.prepare_cached("SELECT value FROM checkpoint WHERE name = ?")?;
        Ok(list.query_row([name], |row| row.get(0)).optional()?)
    }
}
