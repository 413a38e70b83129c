//! Headwater's data plane: the life of a pull, from a CDN's connection to the app and back.
//!
//! Read it in the order in which data flows: `server` listens on `sockets` and starts `worker`s; a worker's connection is a
//! `downstream`, whose heads `http1` reads from the `wire`; `pull` is the list of layers that each of them passes:
//! `identify`, `whoopsie`, `beacon` (with `reports`), `cache_control` (with `server_timing`), `compress`, and `forward`, which asks the `upstream`.
//! `figures`, the `access_log` and, where a `trace` is recorded, a collector hear of it at the end. `admin` and `push` give figures
//! out.
//!
//! Nothing here knows a vendor's API or a control plane: the proxy runs on when both are gone.

mod access_log;
mod admin;
mod beacon;
mod bound;
mod cache_control;
mod caller;
mod cap;
mod complaints;
mod compress;
mod deflate;
mod downstream;
mod failure;
mod fields;
mod figures;
mod forward;
mod forwarding;
mod http1;
mod http2;
mod identify;
mod incoming;
mod live;
#[cfg(feature = "micro")]
pub mod micro;
mod negotiate;
mod proxy_protocol;
mod pull;
mod push;
mod reload;
mod reports;
mod response;
mod server;
mod server_timing;
mod sockets;
mod status;
mod strangers;
mod trace;
mod upstream;
mod whoopsie;
mod wire;
mod worker;

pub use server::{Loader, Server, StartError};
pub use sockets::{Inherited, PREDECESSOR};
