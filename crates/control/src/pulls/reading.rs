//! What a proxy's counters say at a moment, read from Prometheus text (exposition format 0.0.4).

use super::series::Counter;
use std::collections::BTreeMap;

/// Series taken of one proxy; Headwater begins at most 5,000 at 0.
const MOST_SERIES: usize = 20_000;

/// Counters at a moment. Those at 0 are left out.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Reading {
    /// When, in seconds since the epoch.
    pub at: i64,
    /// When the process began, in milliseconds since the epoch: each process has its own counters.
    pub began: Option<i64>,
    /// Value by name and labels, as the proxy writes them.
    pub counters: BTreeMap<String, f64>,
    /// Every provider that it names, those at 0 too.
    #[serde(skip)]
    pub cdns: Vec<String>,
}

impl Reading {
    /// Takes the counters that are kept from what a proxy says.
    ///
    /// # Errors
    /// What is wrong: no figure of Headwater's at all, a number that is none, more series than are taken.
    pub fn parse(text: &str, at: i64) -> Result<Self, String> {
        let mut reading = Self { at, ..Self::default() };
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let (series, value) = split(line).ok_or_else(|| format!("a line that is no figure: {}", words(line)))?;
            let value: f64 = value.parse().map_err(|_| format!("a value that is no number: {}", words(line)))?;
            if series == "process_start_time_seconds" {
                reading.began = Some((value * 1000.0).round() as i64);
            } else if let Some(counter) = Counter::named(series) {
                reading.take(series, &counter, value)?;
            }
        }
        if reading.cdns.is_empty() {
            return Err("there is no headwater_pulls_total; is that the admin endpoint of a Headwater?".into());
        }
        Ok(reading)
    }

    /// Takes one counter.
    ///
    /// # Errors
    /// Where it cannot be a count, or there are too many.
    pub fn take(&mut self, series: &str, counter: &Counter, value: f64) -> Result<(), String> {
        if !value.is_finite() || value < 0.0 {
            return Err(format!("{} is {value}, which is no count", words(series)));
        }
        if let Counter::Pulls { cdn, .. } = counter
            && !self.cdns.contains(cdn)
        {
            self.cdns.push(cdn.clone());
        }
        if value > 0.0 {
            self.counters.insert(series.into(), value);
        }
        if self.counters.len() > MOST_SERIES || self.cdns.len() > MOST_SERIES {
            return Err(format!("there are more than {MOST_SERIES} series"));
        }
        Ok(())
    }
}

/// A line's series and its value. A value of a label may hold spaces and braces; a timestamp may follow.
fn split(line: &str) -> Option<(&str, &str)> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let end = line.find(|c: char| {
        let ends = !is_quoted && c.is_whitespace();
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })?;
    let (series, rest) = line.split_at(end);
    Some((series, rest.split_whitespace().next()?))
}

fn words(line: &str) -> String {
    headwater_vendors::words(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP headwater_pulls_total Requests that reached Headwater.
# TYPE headwater_pulls_total counter
headwater_pulls_total{cdn="fastly",code="2xx",rule="a b}\"c"} 12
headwater_pulls_total{cdn="akamai",code="2xx",rule="default"} 0
headwater_gzip_bytes_total{direction="in"} 7
headwater_pull_bytes_total{cdn="fastly",rule="default"} 4e3 1732400000000
process_start_time_seconds 1732400000
"#;

    #[test]
    fn counters_that_are_kept_are_taken() {
        let reading = Reading::parse(TEXT, 60).unwrap();
        assert_eq!(reading.began, Some(1_732_400_000_000));
        assert_eq!(reading.cdns, ["fastly", "akamai"]);
        assert_eq!(reading.counters.values().copied().collect::<Vec<_>>(), [4000.0, 12.0]);
    }

    #[test]
    fn what_is_no_count_is_no_reading() {
        for (rubbish, why) in [
            ("", "is that the admin endpoint"),
            ("<html>", "no figure"),
            ("headwater_pulls_total{cdn=\"a\",rule=\"b\",code=\"2xx\"} many", "no number"),
            ("headwater_pulls_total{cdn=\"a\",rule=\"b\",code=\"2xx\"} -1", "no count"),
            ("headwater_pulls_total{cdn=\"a\",rule=\"b\",code=\"2xx\"} NaN", "no count"),
        ] {
            let error = Reading::parse(rubbish, 0).unwrap_err();
            assert!(error.contains(why), "{rubbish}: {error}");
        }
        let many: String = (0..=MOST_SERIES)
            .map(|n| format!("headwater_pulls_total{{cdn=\"a\",rule=\"{n}\",code=\"2xx\"}} 1\n"))
            .collect();
        assert!(Reading::parse(&many, 0).unwrap_err().contains("more than"));
    }
}
