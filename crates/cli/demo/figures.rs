//! Headwater's own figures, read from its admin endpoint as Prometheus would read them.

use super::http::Client;
use anyhow::{Context, Result, ensure};
use http_body_util::Full;
use hyper::{Request, StatusCode};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What Headwater counted under one value of the label `cdn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// `headwater_pulls_total`
    pub pulls: u64,
    /// The same, where `code` is `5xx`.
    pub errors: u64,
    /// `headwater_whoopsie_total`
    pub whoopsies: u64,
    /// `headwater_beacons_total`
    pub beacons: u64,
}

/// Figures by the label `cdn`.
pub type Figures = BTreeMap<String, Counted>;

/// Reads `/metrics`.
///
/// # Errors
/// Where the admin endpoint does not answer with 200.
pub async fn read(admin: &Client, address: SocketAddr) -> Result<Figures> {
    let request = Request::get("/metrics").header("host", address.to_string()).body(Full::default())?;
    let answer = admin.send(request).await.context("cannot read Headwater's figures")?;
    ensure!(answer.status() == StatusCode::OK, "/metrics answered {}", answer.status());
    Ok(parse(&String::from_utf8_lossy(answer.body())))
}

/// Adds up the samples that the table shows (Prometheus text format 0.0.4).
fn parse(text: &str) -> Figures {
    let mut figures = Figures::new();
    for (name, labels, value) in text.lines().filter_map(sample) {
        let label = |name: &str| labels.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str());
        let counted = |figures: &mut Figures, add: fn(&mut Counted) -> &mut u64| {
            if let Some(cdn) = label("cdn") {
                *add(figures.entry(cdn.into()).or_default()) += value as u64;
            }
        };
        match name {
            "headwater_pulls_total" => {
                counted(&mut figures, |counted| &mut counted.pulls);
                if label("code") == Some("5xx") {
                    counted(&mut figures, |counted| &mut counted.errors);
                }
            }
            "headwater_whoopsie_total" => counted(&mut figures, |counted| &mut counted.whoopsies),
            "headwater_beacons_total" => counted(&mut figures, |counted| &mut counted.beacons),
            _ => {}
        }
    }
    figures
}

type Sample<'a> = (&'a str, Vec<(&'a str, String)>, f64);

/// One line: a name, labels if there are any, and a value. Comments and what cannot be read are `None`.
fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    if name.starts_with('#') {
        return None;
    }
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        let mut inside = inside.trim_start();
        rest = loop {
            if let Some(after) = inside.strip_prefix('}') {
                break after;
            }
            let (label, quoted) = inside.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            labels.push((label, value));
            // A comma may stand before the end, too.
            inside = after.trim_start_matches([',', ' ']);
        };
    }
    Some((name, labels, rest.split_whitespace().next()?.parse().ok()?))
}

/// A label's value up to its quote, and what follows. A backslash stands before `\`, `"` and `n`.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP headwater_pulls_total Pulls.
# TYPE headwater_pulls_total counter
headwater_pulls_total{cdn="fastly",code="2xx",rule="static"} 10
headwater_pulls_total{cdn="fastly",code="5xx",rule="a}b,\"c\\"} 2
headwater_pulls_total{cdn="untagged",code="4xx",rule="default"} 1 1700000000000
headwater_whoopsie_total{cdn="fastly",reason="origin_5xx",language="ja"} 2
headwater_beacons_total{source="x",cdn="fastly",} 1e0
headwater_pull_bytes_total{cdn="fastly",rule="static"} 99
headwater_policy_reload_failed 0
"#;

    #[test]
    fn samples_are_added_up_by_provider() {
        let figures = parse(TEXT);
        assert_eq!(figures["fastly"], Counted { pulls: 12, errors: 2, whoopsies: 2, beacons: 1 });
        assert_eq!(figures["untagged"], Counted { pulls: 1, ..Counted::default() });
        assert_eq!(figures.len(), 2);
    }

    #[test]
    fn a_broken_line_is_left_out_and_does_no_harm() {
        for line in
            ["", "{", "x{", "x{a=\"", "x{a=\"b\"", "x{a=\"b\\", "x{a=\"b\"} y", "x 1 2 3", "x{,} 1", "x{é=\"é\"} 1"]
        {
            let _ = sample(line);
            assert!(parse(line).is_empty(), "{line}");
        }
    }
}
