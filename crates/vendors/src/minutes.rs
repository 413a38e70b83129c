//! Moments as vendors write them (RFC 3339, UTC).

use crate::edge::Seconds;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2026-11-23T06:00:00Z`
pub fn write(at: Seconds) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}

/// The moment that a vendor wrote; one without a zone is in UTC.
pub fn read(text: &str) -> Option<Seconds> {
    let moment =
        OffsetDateTime::parse(text, &Rfc3339).or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339));
    moment.ok().map(OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(write(1_567_972_800), "2019-09-08T20:00:00Z");
        assert_eq!(read("2019-09-08T20:00:00Z"), Some(1_567_972_800));
        assert_eq!(read("2019-09-08T22:00:00+02:00"), Some(1_567_972_800));
        assert_eq!(read("2019-09-08T20:00:00"), Some(1_567_972_800));
        assert_eq!(read("yesterday"), None);
    }
}
