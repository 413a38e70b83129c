//! Moments as vendors write them.

const DAY: i64 = 86_400;

/// A number that is of seconds, milliseconds, microseconds or nanoseconds: which, its size tells, until the year 5138.
pub(super) fn scaled(number: f64) -> Option<i64> {
    let seconds = match number {
        n if n < 0.0 || n.is_nan() => return None,
        n if n < 1e11 => n,
        n if n < 1e14 => n / 1e3,
        n if n < 1e17 => n / 1e6,
        n if n < 1e20 => n / 1e9,
        _ => return None,
    };
    Some(seconds as i64)
}

/// A number, RFC 3339 (also with `+0000`, with a space for the `T`, or with no zone, which is UTC), or the date of RFC 9110.
pub(super) fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let bytes = text.as_bytes();
    if bytes.first()?.is_ascii_alphabetic() {
        let moment = httpdate::parse_http_date(text).ok()?;
        return Some(moment.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?.as_secs() as i64);
    }
    if bytes.get(4) != Some(&b'-') {
        return scaled(text.parse().ok()?);
    }
    if bytes.len() < 19 || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let seconds = of_day(text.get(..10)?, text.get(11..19)?)?;
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    Some(seconds - offset(zone.trim())?)
}

/// `2019-12-04` and `21:02:31`, in UTC.
pub(super) fn of_day(date: &str, clock: &str) -> Option<i64> {
    let (date, clock) = (date.as_bytes(), clock.as_bytes());
    if date.len() != 10 || clock.len() != 8 || [date[4], date[7]] != *b"--" || [clock[2], clock[5]] != *b"::" {
        return None;
    }
    let (year, month, day) = (number(&date[..4])?, number(&date[5..7])?, number(&date[8..])?);
    let (hour, minute, second) = (number(&clock[..2])?, number(&clock[3..5])?, number(&clock[6..])?);
    // A leap second is the second before.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days(year, month, day) * DAY + hour * 3600 + minute * 60 + second.min(59))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

/// Days since the epoch, in the Gregorian calendar with its years begun in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z" | "UTC" | "GMT") {
        return Some(0);
    }
    let sign = match zone.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: Vec<u8> = zone.bytes().skip(1).filter(|b| *b != b':').collect();
    if digits.len() != 4 {
        return None;
    }
    Some(sign * (number(&digits[..2])? * 3600 + number(&digits[2..])? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_however_vendors_write_it() {
        for text in [
            "2022-05-25T13:25:26Z",
            "2022-05-25T13:25:26.982Z",
            "2022-05-25T13:25:26+0000",
            "2022-05-25T15:25:26+02:00",
            "2022-05-25T08:25:26-0500",
            "2022-05-25 13:25:26",
            "2022-05-25T13:25:26UTC",
            "Wed, 25 May 2022 13:25:26 GMT",
            "1653485126",
            "1653485126.982",
            "1653485126982",
            "1653485126982000000",
        ] {
            assert_eq!(parse(text), Some(1_653_485_126), "{text}");
        }
        assert_eq!(parse("2024-02-29T00:00:00Z"), Some(1_709_164_800));
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "-",
            "yesterday",
            "2022-13-01T00:00:00Z",
            "2022-01-01T24:00:00Z",
            "2022-01-01",
            "-5",
            "NaN",
            "inf",
            "2022-05-25T13:25:26+2",
            "2022-05-25T13:25:2ü",
            "1e300",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
