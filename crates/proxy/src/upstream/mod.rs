//! The side of the app servers: which one, over which connection, and what came back.

mod exchange;
mod pool;
mod server;

pub(crate) use exchange::{Broken, Exchange, OriginBody};
pub(crate) use pool::Pool;
pub(crate) use server::{Server, servers};
