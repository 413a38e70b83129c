//! Delivers to Graphite what was counted, minute by minute, once it has settled, however long Graphite was away.

use super::totals;
use crate::ControlError;
use crate::store::{Batch, Store};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The minute before which all is delivered.
const CHECKPOINT: &str = "logs:graphite";
/// From a minute's beginning to when its lines are taken to be complete. Later ones count in the minute that is sent next.
const SETTLED: i64 = 90;
/// Minutes of one connection.
const AT_ONCE: i64 = 30;
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the counts go, and how it stands there.
pub(super) struct Graphite {
    pub to: String,
    pub prefix: String,
    pub is_away: bool,
}

impl Graphite {
    /// Delivers every minute that had settled when the logs were read to their end at `read`. A sink that is away is said
    /// so once, and asked again at the next call.
    ///
    /// # Errors
    /// What the store says.
    pub async fn deliver(&mut self, store: &Store, read: i64) -> Result<(), ControlError> {
        let until = (read - SETTLED).div_euclid(60) * 60 + 60;
        let sent = store.read(|reader| reader.checkpoint(CHECKPOINT)).await?.and_then(|sent| sent.parse().ok());
        let mut from = match sent {
            Some(sent) => sent,
            None => match store.read(totals::first_minute).await? {
                Some(first) => first,
                None => return Ok(()),
            },
        };
        let began = from;
        while from < until {
            let end = until.min(from + AT_ONCE * 60);
            let prefix = self.prefix.clone();
            let lines = store.read(move |reader| totals::graphite(reader, &prefix, (from, end))).await?;
            if let Err(error) = send(&self.to, lines.as_bytes()).await {
                if !std::mem::replace(&mut self.is_away, true) {
                    let sink = &self.to;
                    tracing::warn!(sink, %error, "graphite is away; the counts are kept, and sent when it is back");
                }
                return Ok(());
            }
            let mut batch = Batch::default();
            batch.checkpoint(CHECKPOINT, Some(end.to_string()));
            store.write(batch).await?;
            from = end;
        }
        if std::mem::take(&mut self.is_away) {
            tracing::info!(sink = self.to, minutes = (from - began) / 60, "graphite is back");
        }
        Ok(())
    }
}

/// Sends all of it and waits until the sink has closed the connection, as carbon and its kin do at the end of what they
/// read: without that nobody knows whether it was.
async fn send(to: &str, lines: &[u8]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let late = |what| io::Error::new(io::ErrorKind::TimedOut, what);
    let mut stream =
        timeout(PATIENCE, TcpStream::connect(to)).await.map_err(|_| late("it does not take the connection"))??;
    timeout(PATIENCE, stream.write_all(lines)).await.map_err(|_| late("it does not read"))??;
    stream.shutdown().await?;
    let mut answer = [0; 256];
    let end = async {
        while stream.read(&mut answer).await? > 0 {}
        Ok(())
    };
    timeout(PATIENCE, end)
        .await
        .map_err(|_| late("it does not end the connection, so that it may not have read all"))?
}
