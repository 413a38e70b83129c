//! Headwater's configuration: TOML as it was written becomes a [`Policy`], or all its mistakes at once.
//!
//! ```
//! let (policy, mistakes) = headwater_config::from_text("example.toml", r#"
//!     [origin]
//!     servers = ["127.0.0.1:8000"]
//! "#);
//! assert!(mistakes.is_empty());
//! let policy = policy.expect("a config without mistakes is a policy");
//! let rule = &policy.rules.all()[policy.rules.matching(b"/site.css")];
//! assert_eq!(rule.name, "static");
//! ```

mod compile;
mod contradictions;
mod control;
mod country;
mod edge_api;
mod edge_logs;
mod lifetime;
mod listen;
mod log;
mod metrics;
mod names;
pub mod networks;
mod origin;
mod overrides;
pub mod pages;
mod policy;
mod proofs;
mod providers;
mod reach;
mod reader;
pub mod rules;
mod rum;
mod secret;
mod source;
mod support;
pub mod tls;
mod trace;
mod tree;
pub mod units;
mod validity;

pub use control::{Control, Grafana, Keep};
pub use country::Country;
pub use edge_api::{Credentials, EdgeApi};
pub use edge_logs::{EdgeLogs, LineField, LineFormat};
pub use networks::Networks;
pub use origin::{Checks, Ejection, Origin, OriginServer, OriginTls, Way};
pub use overrides::Override;
pub use pages::{Page, Part};
pub use policy::{
    AccessLog, Answer, Beacon, Http2, Identify, Limits, Listen, Log, LogFormat, Metrics, Policy, Verdict, Whoopsie,
};
pub use providers::{ADDRESSED, Kind, Provider, SecretHeader, Targeted};
pub use rules::{Gzip, Lifetime, Mode, Rule, Rules, Statuses};
pub use rum::Rum;
pub use secret::Secret;
pub use source::{Mistake, Place, Severity, Source};
pub use support::{Probe, Support};
pub use tls::Tls;
pub use trace::{Collector, Parent, Trace};

use std::path::Path;

/// Reads a file, lays the overrides over it in their order, and compiles it.
///
/// The policy is there unless one of the mistakes is an error; warnings may come with it.
pub fn from_file(path: &Path, overrides: &[Override]) -> (Option<Policy>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    match tree::read(path, &mut mistakes) {
        Some(root) => finish(root, overrides, mistakes),
        None => (None, mistakes),
    }
}

/// As [`from_file`], without what is the control plane's: its secrets are no business of the proxy, which starts and reloads
/// where they cannot be read. `headwater check` looks at all of it.
pub fn for_proxy(path: &Path, overrides: &[Override]) -> (Option<Policy>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let Some(mut root) = tree::read(path, &mut mistakes) else { return (None, mistakes) };
    overrides::lay_over(&mut root, overrides, &mut mistakes);
    root.drop_keys(&["control", "rum", "support"]);
    root.each_in("cdn", |provider| provider.drop_keys(&["api", "logs"]));
    finish(root, &[], mistakes)
}

/// `[control]` alone, and of its secrets the token alone: enough for who talks to the control plane, and may not read the rest.
pub fn control_from_file(path: &Path, overrides: &[Override]) -> (Option<Control>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let Some(mut root) = tree::read(path, &mut mistakes) else { return (None, mistakes) };
    overrides::lay_over(&mut root, overrides, &mut mistakes);
    let (control, mut mistakes) = compile::control(&root, mistakes);
    source::sort(&mut mistakes, &root.place.source.name);
    (control, mistakes)
}

/// As [`from_file`], from a text that has a name.
pub fn from_text(name: &str, text: &str) -> (Option<Policy>, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    let root = tree::parse(Source { name: name.into(), text: text.into() }, &mut mistakes);
    finish(root, &[], mistakes)
}

fn finish(mut root: tree::Node, overrides: &[Override], mut mistakes: Vec<Mistake>) -> (Option<Policy>, Vec<Mistake>) {
    overrides::lay_over(&mut root, overrides, &mut mistakes);
    let (policy, mut mistakes) = compile::compile(&root, mistakes);
    source::sort(&mut mistakes, &root.place.source.name);
    (policy, mistakes)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
