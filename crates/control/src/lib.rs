//! Headwater's control plane: it watches what the CDNs do and keeps it. The data plane runs on when it is gone.

pub mod alert;
pub mod anomaly;
pub mod collect;
mod deliver;
pub mod error;
pub mod events;
pub mod figures;
mod ingest;
pub mod logs;
pub mod moment;
pub mod offload;
mod overview;
mod plain;
mod pulls;
pub mod remote;
pub mod rum;
mod service;
pub mod sketch;
pub mod store;
mod totals;
mod web;

use headwater_config::Policy;
use std::sync::Arc;
use store::Store;

pub use error::ControlError;
pub use service::Service;

/// What every part of the control plane works with.
pub struct Context {
    /// The configuration in force.
    pub policy: Arc<Policy>,
    /// What is kept.
    pub store: Store,
    /// The way to vendors.
    pub vendors: headwater_vendors::Client,
    /// How the collectors of edge totals stand.
    pub collectors: collect::Collectors,
    /// What departs from normal.
    pub departures: anomaly::Board,
    /// How fast events are taken.
    pub(crate) pace: events::Pace,
    /// Users' timings that are not written yet.
    pub(crate) rum: rum::Rum,
    /// The log streams that CDNs push.
    pub(crate) ingest: ingest::Ingest,
    /// Who listens for the newest minute.
    pub(crate) live: web::Live,
}

impl Context {
    /// Opens the store; nothing works yet.
    ///
    /// # Errors
    /// Where the store cannot be opened, or the system has no certificates to trust.
    pub fn open(policy: Policy) -> Result<Self, ControlError> {
        Ok(Self {
            store: Store::open(&policy.control.store, policy.control.keep)?,
            vendors: headwater_vendors::Client::new().map_err(ControlError::Certificates)?,
            collectors: collect::Collectors::default(),
            departures: anomaly::Board::default(),
            pace: events::Pace::default(),
            rum: rum::Rum::new(&policy),
            ingest: ingest::Ingest::new(&policy),
            live: web::Live::new(),
            policy: Arc::new(policy),
        })
    }
}
