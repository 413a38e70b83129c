//! What can go wrong in the control plane itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;

/// Why the control plane cannot do what it should.
#[derive(Debug, Error)]
pub enum ControlError {
    /// The store cannot be opened, or was made by a newer Headwater.
    #[error("cannot open the store {}: {why}; look at `store` in [control], and at who owns the file", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// The store was open and fails: the disk is full, or the file was taken away.
    #[error("the store fails: {0}")]
    Store(#[from] rusqlite::Error),
    /// Something wants to keep more kinds of figures than the store takes.
    #[error("there are {0} series already, which is the most that the store takes")]
    TooManySeries(usize),
    /// The store's thread has ended.
    #[error("the store is closed")]
    Closed,
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {error}; another process may hold the port")]
    Listen {
        /// From `[control]`.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The system's certificates cannot be read.
    #[error("cannot read this system's certificates: {0}; install the package ca-certificates, or set SSL_CERT_FILE")]
    Certificates(std::io::Error),
}
