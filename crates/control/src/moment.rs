//! Moments as people and scripts write them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since the epoch of a moment written as such, as RFC 3339 (`2026-11-24T20:00:00Z`), or as so long ago (`15m ago`,
/// `2h ago`; units s, m, h and d).
///
/// # Errors
/// What may be written instead.
pub fn read(text: &str, now: i64) -> Result<i64, String> {
    let text = text.trim();
    if let Some(length) = text.strip_suffix("ago") {
        let ago = headwater_config::units::duration(length.trim_end()).map_err(|_| remedy(text))?;
        return Ok(now - ago.as_secs() as i64);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(seconds);
    }
    OffsetDateTime::parse(text, &Rfc3339).map(OffsetDateTime::unix_timestamp).map_err(|_| remedy(text))
}

fn remedy(text: &str) -> String {
    format!("\"{text}\" is no moment; write 2026-11-24T20:00:00Z, seconds since 1970, or \"15m ago\"")
}

/// The same moment as RFC 3339 has it, in UTC.
pub fn write(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp(at)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_may_be_written_in_three_ways() {
        assert_eq!(read("1700000000", 0), Ok(1_700_000_000));
        assert_eq!(read("2023-11-14T22:13:20Z", 0), Ok(1_700_000_000));
        assert_eq!(read("2023-11-15T00:13:20+02:00", 0), Ok(1_700_000_000));
        assert_eq!(read("15m ago", 10_000), Ok(9_100));
        assert_eq!(read("1d ago", 100_000), Ok(13_600));
        for wrong in ["", "yesterday", "2023-11-14", "ago", "m ago", "-5m ago", "5 ago", "5é ago", "é ago"] {
            assert!(read(wrong, 0).is_err(), "{wrong}");
        }
        assert_eq!(write(1_700_000_000), "2023-11-14T22:13:20Z");
    }
}
