//! The side of the app servers: which one, over which connection, and what came back.

mod budget;
mod exchange;
mod health;
mod pool;
mod probe;
mod report;
mod server;
mod way;

pub(crate) use budget::Budget;
pub(crate) use exchange::{Broken, Exchange, OriginBody};
pub(crate) use pool::Pool;
pub(crate) use probe::watch;
pub(crate) use report::{families, status};
pub(crate) use server::{Server, servers};
