//! What Headwater promises, each promise a test of the built binary against real sockets and real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod apache;
mod bad_input;
mod beacon;
mod big_bodies;
mod faults;
mod forwarding;
mod gzip;
mod identity;
mod lab_table;
mod lifetimes;
mod limits;
mod whoopsie;
