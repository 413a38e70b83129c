//! Headwater's control plane: it watches what the CDNs do and keeps it. The data plane runs on when it is gone.

pub mod collect;
pub mod alert;
pub mod anomaly;
pub mod error;
pub mod events;
pub mod figures;
pub mod offload;
mod pulls;
pub mod moment;
mod plain;
pub mod remote;
pub mod rum;
pub mod logs;
mod ingest;
pub mod offload;
mod overview;
mod plain;
pub mod remote;
mod service;
pub mod sketch;
pub mod store;
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
    pub ingest: ingest::Ingest,
    /// Who listens for the newest minute.
    pub(crate) live: web::Live,
}
