//! Times as logs write them.

use super::format::Clock;

/// Seconds since the epoch; `None` where it is no time.
pub(crate) fn read(clock: Clock, text: &[u8]) -> Option<i64> {
    match clock {
        Clock::Common => common(text),
        Clock::Iso => iso(text),
        Clock::Epoch(parts) => {
            let whole = text.split(|b| *b == b'.').next()?;
            (whole.len() <= 18).then_some(())?;
            Some(digits(whole)? / i64::from(parts))
        }
    }
}

/// `24/Nov/2026:02:14:56 +0000`, in brackets or not.
fn common(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")).unwrap_or(text);
    let (head, zone) = text.split_at_checked(20)?;
    let [d, e, b'/', month @ .., b'/', y, z, v, w, b':', h, i, b':', m, n, b':', s, t] = head else { return None };
    let months = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = months.chunks(3).position(|name| name == month)? as i64 + 1;
    let day = days(digits(&[*y, *z, *v, *w])?, month, digits(&[*d, *e])?)?;
    Some(day * 86_400 + of_day([h, i], [m, n], [s, t])? - offset(zone.strip_prefix(b" ")?)?)
}

/// `2026-11-24T02:14:56+00:00`; a fraction of a second is left out.
fn iso(text: &[u8]) -> Option<i64> {
    let (head, mut zone) = text.split_at_checked(19)?;
    let [y, z, v, w, b'-', o, p, b'-', d, e, b'T', h, i, b':', m, n, b':', s, t] = head else { return None };
    if let Some(fraction) = zone.strip_prefix(b".") {
        zone = &fraction[fraction.iter().position(|b| !b.is_ascii_digit())?..];
    }
    let day = days(digits(&[*y, *z, *v, *w])?, digits(&[*o, *p])?, digits(&[*d, *e])?)?;
    Some(day * 86_400 + of_day([h, i], [m, n], [s, t])? - offset(zone)?)
}

fn of_day(hour: [&u8; 2], minute: [&u8; 2], second: [&u8; 2]) -> Option<i64> {
    let of = |two: [&u8; 2], most: i64| digits(&[*two[0], *two[1]]).filter(|value| *value <= most);
    // A leap second is one.
    Some(of(hour, 23)? * 3600 + of(minute, 59)? * 60 + of(second, 60)?)
}

/// `Z`, `+0130` or `-01:30`, in seconds.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match zone {
        b"Z" => return Some(0),
        [sign, h, i, m, n] | [sign, h, i, b':', m, n] => (sign, [*h, *i], [*m, *n]),
        _ => return None,
    };
    let seconds = digits(&hours)? * 3600 + digits(&minutes)? * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    let digit = |b: &u8| b.is_ascii_digit().then(|| i64::from(b - b'0'));
    text.iter().try_fold(0i64, |value, b| Some(value * 10 + digit(b)?)).filter(|_| !text.is_empty())
}

/// Days from 1 January 1970 to a date of the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=length).contains(&day).then_some(())?;
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_its_zone() {
        for (clock, text, expected) in [
            (Clock::Common, "24/Nov/2026:02:14:56 +0000", 1_795_486_496),
            (Clock::Common, "[24/Nov/2026:04:14:56 +0200]", 1_795_486_496),
            (Clock::Common, "23/Nov/2026:20:44:56 -0530", 1_795_486_496),
            (Clock::Iso, "2026-11-24T02:14:56+00:00", 1_795_486_496),
            (Clock::Iso, "2026-11-24T02:14:56.123Z", 1_795_486_496),
            (Clock::Epoch(1), "1795486496.789", 1_795_486_496),
            (Clock::Epoch(1_000_000), "1795486496789000", 1_795_486_496),
            (Clock::Common, "29/Feb/2028:00:00:00 +0000", 1_835_395_200),
            (Clock::Common, "01/Jan/1970:00:00:00 +0000", 0),
        ] {
            assert_eq!(read(clock, text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "-",
            "29/Feb/2026:00:00:00 +0000",
            "31/Apr/2026:00:00:00 +0000",
            "00/Jan/2026:00:00:00 +0000",
            "24/Xxx/2026:00:00:00 +0000",
            "24/Nov/2026:24:00:00 +0000",
            "24/Nov/2026:00:00:00 0000",
            "24/Nov/2026:00:00:00",
        ] {
            assert_eq!(read(Clock::Common, text.as_bytes()), None, "{text}");
        }
        assert_eq!(read(Clock::Iso, b"2026-13-24T02:14:56Z"), None);
        assert_eq!(read(Clock::Epoch(1), b"9999999999999999999999999"), None);
    }
}
