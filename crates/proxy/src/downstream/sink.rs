//! An answer's body on its way down: gathered, framed, counted.

use super::unless_gone;
use crate::http1::body::{Step, write_chunk_size};
use crate::incoming::Incoming;
use crate::response::Body;
use crate::upstream::Broken;
use crate::wire::{Halt, Writer};
use std::time::Duration;

/// Pieces up to this size are sent together with the head in one write.
pub(crate) const SMALL: usize = 8 << 10;
/// Chunks are gathered up to about this size.
const GATHER: usize = 32 << 10;

/// Where an answer goes: gathers what is small, frames it, and counts what was sent.
pub(crate) struct Sink<'a> {
    pub writer: &'a mut Writer,
    /// Head and framing, and pieces too small for a write of their own.
    pub out: &'a mut Vec<u8>,
    pub chunked: bool,
    /// Bytes of the body among `out`.
    pub staged: u64,
    pub sent: u64,
    pub patience: Duration,
}

impl Sink<'_> {
    /// Sends a body piece by piece; what has been gathered goes out whenever the origin pauses. A client that leaves during
    /// a pause is noticed at once, and the origin need not go on.
    pub async fn pump(&mut self, body: &mut Body, mut client: Option<&mut Incoming>) -> Result<(), Broken> {
        loop {
            match body.step()? {
                Step::Data(count) => {
                    self.put(body.data(count)).await?;
                    body.took(count);
                }
                Step::More => {
                    self.writer.be_prompt();
                    self.flush().await?;
                    unless_gone(client.as_deref_mut(), body.fill()).await.ok_or(Broken::Downstream)??;
                }
                Step::End => break,
            }
        }
        if self.chunked {
            self.out.extend_from_slice(b"0\r\n");
            if let Some(trailers) = body.trailers() {
                trailers.write_to(self.out);
            }
            self.out.extend_from_slice(b"\r\n");
        }
        self.flush().await
    }

    async fn put(&mut self, piece: &[u8]) -> Result<(), Broken> {
        if self.chunked {
            write_chunk_size(piece.len(), self.out);
            self.out.extend_from_slice(piece);
            self.out.extend_from_slice(b"\r\n");
            self.staged += piece.len() as u64;
            if self.out.len() >= GATHER { self.flush().await } else { Ok(()) }
        } else if self.out.len() + piece.len() <= SMALL {
            self.out.extend_from_slice(piece);
            self.staged += piece.len() as u64;
            Ok(())
        } else {
            self.write(piece).await
        }
    }

    /// Sends a body that is here.
    pub async fn send_all(&mut self, body: &[u8]) -> Result<(), Broken> {
        self.put(body).await?;
        self.flush().await
    }

    /// Sends what was gathered.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        if self.out.is_empty() { Ok(()) } else { self.write(b"").await }
    }

    async fn write(&mut self, piece: &[u8]) -> Result<(), Broken> {
        self.writer.write(self.out, piece, self.patience).await.map_err(|halt| match halt {
            Halt::TimedOut => Broken::DownstreamIdle,
            _ => Broken::Downstream,
        })?;
        self.sent += self.staged + piece.len() as u64;
        self.staged = 0;
        self.out.clear();
        Ok(())
    }
}
