//! The tables. A series is a figure of a provider and a label; its points lie in one table for each length of bucket.

use rusqlite::{Connection, Result};

/// Of the file that this program writes.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE series (id INTEGER PRIMARY KEY, figure TEXT NOT NULL, cdn TEXT NOT NULL, label TEXT NOT NULL,
  grain INTEGER NOT NULL, UNIQUE (figure, cdn, label));
CREATE TABLE minute (series INTEGER, at INTEGER, value REAL NOT NULL, PRIMARY KEY (series, at)) WITHOUT ROWID;
CREATE TABLE hour (series INTEGER, at INTEGER, value REAL NOT NULL, PRIMARY KEY (series, at)) WITHOUT ROWID;
CREATE TABLE day (series INTEGER, at INTEGER, value REAL NOT NULL, PRIMARY KEY (series, at)) WITHOUT ROWID;
CREATE TABLE sketch_minute (series INTEGER, at INTEGER, value BLOB NOT NULL, PRIMARY KEY (series, at)) WITHOUT ROWID;
CREATE TABLE sketch_hour (series INTEGER, at INTEGER, value BLOB NOT NULL, PRIMARY KEY (series, at)) WITHOUT ROWID;
CREATE TABLE sketch_day (series INTEGER, at INTEGER, value BLOB NOT NULL, PRIMARY KEY (series, at)) WITHOUT ROWID;
CREATE TABLE event (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, tag TEXT NOT NULL,
  text TEXT NOT NULL, who TEXT NOT NULL);
CREATE INDEX event_at ON event (at);
CREATE TABLE audit (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL);
CREATE TABLE checkpoint (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

/// Makes the tables in a new file. A write is durable against the end of this process; of a power failure the last
/// seconds may be lost, and nothing else.
pub(super) fn prepare(connection: &mut Connection) -> Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        0 => {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        VERSION => {}
        other => {
            let why = format!("a newer Headwater wrote it (version {other}, and this one knows {VERSION})");
            return Err(rusqlite::Error::InvalidParameterName(why));
        }
    }
    transaction.commit()
}

/// Refuses a file of another version.
pub(super) fn look(connection: &Connection) -> Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == VERSION {
        return Ok(());
    }
    let why = format!("it is no store of this Headwater (version {version}, and this one knows {VERSION})");
    Err(rusqlite::Error::InvalidParameterName(why))
}
