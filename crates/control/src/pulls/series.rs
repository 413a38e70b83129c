//! The proxy's counters by their names in `docs/metrics.md`, and what they are in the store.

use crate::figures::{self, Figure};

/// No label is longer: they come from closed sets.
const LONGEST_LABEL: usize = 128;

/// A counter that is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Counter {
    /// `headwater_pulls_total`
    Pulls { cdn: String, class: &'static Figure },
    /// One that is a figure as it is.
    Other { figure: &'static Figure, cdn: String, label: String },
    /// A bucket of a histogram: how many values are not above `limit`, those of the buckets below among them.
    Bucket { figure: &'static Figure, cdn: String, limit: f64 },
}

impl Counter {
    /// The counter that `name{label="value",...}` is; `None` for one that is not kept.
    pub fn named(series: &str) -> Option<Self> {
        let (name, labels) = series.split_once('{')?;
        let known = [
            "headwater_pulls_total",
            "headwater_pull_bytes_total",
            "headwater_whoopsie_total",
            "headwater_beacons_total",
            "headwater_beacon_countries_total",
            "headwater_pull_duration_seconds_bucket",
            "headwater_upstream_first_byte_seconds_bucket",
        ];
        if !known.contains(&name) {
            return None;
        }
        let labels = read(labels.strip_suffix('}')?)?;
        let label = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
        Self::of(name, label)
    }

    /// The counter of that name with these labels.
    pub fn of(name: &str, label: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let label = |key: &str| label(key).filter(|value| value.len() <= LONGEST_LABEL);
        let other = |figure, cdn, label| Some(Self::Other { figure, cdn, label });
        let bucket = |figure| {
            let limit = label("le")?.parse().ok()?;
            Some(Self::Bucket { figure, cdn: label("cdn")?, limit })
        };
        match name {
            "headwater_pulls_total" => Some(Self::Pulls {
                cdn: label("cdn")?,
                class: match label("code")?.as_str() {
                    "1xx" => figures::PULLS_1XX,
                    "2xx" => figures::PULLS_2XX,
                    "3xx" => figures::PULLS_3XX,
                    "4xx" => figures::PULLS_4XX,
                    "5xx" => figures::PULLS_5XX,
                    _ => return None,
                },
            }),
            "headwater_pull_bytes_total" => other(figures::PULL_BYTES, label("cdn")?, String::new()),
            "headwater_whoopsie_total" => other(figures::WHOOPSIES, label("cdn")?, label("reason")?),
            "headwater_beacons_total" => other(figures::BEACONS, label("cdn")?, label("source")?),
            // Whose beacon it was, this counter does not tell.
            "headwater_beacon_countries_total" => other(figures::BEACON_COUNTRIES, String::new(), label("country")?),
            "headwater_pull_duration_seconds_bucket" => bucket(figures::PULL_SECONDS),
            "headwater_upstream_first_byte_seconds_bucket" => bucket(figures::ORIGIN_SECONDS),
            _ => None,
        }
    }
}

/// `name="value",...`, where a value has `\\`, `\"` and `\n` for what would end it.
fn read(mut text: &str) -> Option<Vec<(&str, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (end, '"') => break end,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name, value));
        text = rest[end + 1..].trim_start_matches([',', ' ']);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_its_figure() {
        let named = |series| Counter::named(series).unwrap();
        assert_eq!(
            named(r#"headwater_pulls_total{cdn="a\"b",code="5xx",rule="x"}"#),
            Counter::Pulls { cdn: "a\"b".into(), class: figures::PULLS_5XX }
        );
        assert_eq!(
            named(r#"headwater_beacon_countries_total{country="DE"}"#),
            Counter::Other { figure: figures::BEACON_COUNTRIES, cdn: String::new(), label: "DE".into() }
        );
        assert_eq!(
            named(r#"headwater_pull_duration_seconds_bucket{cdn="fastly",le="+Inf"}"#),
            Counter::Bucket { figure: figures::PULL_SECONDS, cdn: "fastly".into(), limit: f64::INFINITY }
        );
        assert_eq!(Counter::named(r#"headwater_gzip_bytes_total{direction="in"}"#), None);
        assert_eq!(Counter::named(r#"headwater_pulls_total{cdn="a"#), None);
    }
}
