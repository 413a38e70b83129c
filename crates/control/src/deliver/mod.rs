//! What is kept, delivered to others by the time it speaks of. Each receiver has a mark in the store of what it took, so
//! that an outage of it or of ours is made up for afterwards, once and in order.

pub(crate) mod graphite;
pub(crate) mod remote_write;
mod write_request;
