//! What Headwater promises, each promise a test of the built binary against real sockets and real servers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod alerts;
mod apache_site;
mod bad_framing;
mod bad_heads;
mod beacon;
mod bounds;
mod broken_bodies;
mod check;
mod connections;
mod corpus;
mod demo;
mod failing_origins;
mod figures;
mod floods;
mod forwarded_headers;
mod gzip;
mod gzip_metadata;
mod house;
mod http2;
mod identity;
mod lab_table;
mod lifetimes;
mod lint;
mod logs;
mod main_job;
mod messages;
mod nagios;
mod nginx;
mod origin_cap;
mod origin_checks;
mod origin_faults;
mod origin_health;
mod origin_tls;
mod proxy_protocol;
mod python_peers;
mod reload;
mod soak;
mod strangers;
mod streaming;
mod systemd;
mod tls;
mod upgrade;
mod upgrade_in_place;
mod whoopsie;
