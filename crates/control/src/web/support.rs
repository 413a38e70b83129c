//! What the support page is told. Nothing of it is kept.

use super::answer::{self, Answer};
use headwater_config::Policy;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;

/// `GET /api/support`: who asks, as we see it, and what the page is to fetch. `resolver` is null: what a browser's resolver
/// is shows only in the questions that reach a name server, and Headwater is none.
pub(crate) fn answer(policy: &Policy, peer: SocketAddr) -> Answer {
    let probes: Vec<Value> =
        policy.support.probes.iter().map(|probe| json!({ "class": probe.class, "url": probe.url })).collect();
    let told = json!({
        "client": peer.ip().to_canonical().to_string(),
        "resolver": null,
        "request_id": format!("{:016x}", RandomState::new().build_hasher().finish()),
        "at": crate::service::now(),
        "probes": probes,
    });
    answer::json(StatusCode::OK, &told)
}
