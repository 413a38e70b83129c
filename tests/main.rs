//! What Headwater promises, each promise a test of the built binary against real sockets and real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod apache;
mod bad_input;
mod beacon;
mod big_bodies;
mod check;
mod demo;
mod faults;
mod figures;
mod forwarding;
mod gzip;
mod house;
mod identity;
mod lab_table;
mod lifetimes;
mod limits;
mod lint;
mod logs;
mod reload;
mod whoopsie;
