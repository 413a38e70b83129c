//! Settings that are good each for itself, and hardly meant together.

use crate::listen::overlap;
use crate::policy::{Policy, Verdict};
use crate::source::{Mistake, Place};
use crate::tree::{Node, Value};
use std::net::{Ipv4Addr, SocketAddr};

/// All of them; `root` is what was written, for their places.
pub(crate) fn find(policy: &Policy, root: &Node) -> Vec<Mistake> {
    let mut mistakes = loops(policy, root);
    let place = |section: &str, key: &str| root.find(&[section, key]).map(|node| node.place.clone());

    let (connect, response) = (policy.origin.connect_timeout, policy.origin.response_timeout);
    let written = place("origin", "response_timeout").or_else(|| place("origin", "connect_timeout"));
    if let Some(place) = written.filter(|_| response < connect) {
        mistakes.push(Mistake::warning(
            &place,
            format!("the origin has {connect:?} to take a connection, and then only {response:?} to answer"),
            "a connection is made in less time than an answer: let connect_timeout be the shorter one",
        ));
    }
    let denied = policy.providers.is_empty() && policy.identify.untagged == Verdict::Deny;
    if let Some(place) = place("identify", "untagged").filter(|_| denied) {
        mistakes.push(Mistake::warning(
            &place,
            "every pull gets 403: pulls without a tag are denied, and there is no [[cdn]] that could prove one",
            "add a [[cdn]] for each of your CDNs, or write untagged = \"serve\"",
        ));
    }
    if let Some(place) = place("tls", "certificate").filter(|_| policy.tls.is_some() && policy.listen.https.is_empty())
    {
        mistakes.push(Mistake::warning(
            &place,
            "nothing listens with this certificate",
            "add https = [\"0.0.0.0:8443\"] to [listen], or leave [tls] out",
        ));
    }
    let token = policy.listen.admin_token.as_ref();
    let shared = policy.providers.iter().find(|provider| {
        provider.secret.as_ref().is_some_and(|secret| token.is_some_and(|token| secret.values.contains(token)))
    });
    if let (Some(provider), Some(place)) = (shared, place("listen", "admin_token")) {
        mistakes.push(Mistake::warning(
            &place,
            format!("this is the secret of \"{}\" too: who reads its console can reload Headwater", provider.name),
            "use another one, for example the output of `openssl rand -hex 32`",
        ));
    }
    mistakes
}

/// Servers of the origin that are Headwater itself. Each pull would become another one, for ever.
fn loops(policy: &Policy, root: &Node) -> Vec<Mistake> {
    let Some(Value::Array(servers)) = root.find(&["origin", "servers"]).map(|node| &node.value) else {
        return Vec::new();
    };
    let ours = || policy.listen.http.iter().chain(&policy.listen.https).chain([&policy.listen.admin]);
    let is_ours = |node: &Node| {
        let Value::String(text) = &node.value else { return None };
        let server = server(text)?;
        // Where the address may be another machine's, only the very same one is known to be ours.
        let local = server.ip().is_loopback() || server.ip().is_unspecified();
        ours()
            .find(|our| if local { overlap(our, &server) } else { **our == server })
            .map(|our| itself(text, our, &node.place))
    };
    servers.iter().filter_map(is_ours).collect()
}

fn itself(text: &str, our: &SocketAddr, place: &Place) -> Mistake {
    Mistake::at(
        place,
        format!("\"{text}\" is Headwater itself, which listens on {our}: every pull would ask for another"),
        "name the app's own address, and let one of the two have another port",
    )
}

/// The address of a server that is no name, without the scheme.
fn server(text: &str) -> Option<SocketAddr> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().ok(),
    }
}
