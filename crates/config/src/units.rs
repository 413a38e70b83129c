//! Durations and sizes as people write them.

use std::time::Duration;

/// Reads `500ms`, `5s`, `2m`, `1h` or `1d`.
///
/// # Errors
/// What to write instead, as a sentence.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("write a whole number and one of ms, s, m, h, d, for example \"5s\"".into()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(milliseconds))
        .filter(|&total| total <= 36_600 * 86_400_000)
        .map(Duration::from_millis)
        .ok_or_else(|| "write a whole number of at most 36,600 days, for example \"5s\"".into())
}

/// Reads `860 B`, `32 KiB`, `1 MiB` or `2 GiB` into bytes.
///
/// # Errors
/// What to write instead, as a sentence.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" | "MB" | "GB" => {
            return Err("sizes are powers of two: write KiB, MiB or GiB, for example \"32 KiB\"".into());
        }
        _ => return Err("write a whole number and one of B, KiB, MiB, GiB, TiB, for example \"32 KiB\"".into()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(bytes))
        .ok_or_else(|| "write a whole number, for example \"32 KiB\"".into())
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_a_measure_or_has_a_remedy(text in "\\PC{0,12}|[0-9]{1,22} ?[smhdBKiMGT]{0,3}") {
            prop_assert!(duration(&text).is_ok_and(|time| time <= Duration::from_secs(36_600 * 86_400)) || duration(&text).is_err());
            prop_assert!(size(&text).is_ok() || size(&text).is_err_and(|remedy| !remedy.is_empty()));
        }

        #[test]
        fn what_is_written_is_what_is_read(number in 0_u64..10_000, blank in " {0,2}") {
            for (unit, seconds) in [("s", 1), ("m", 60), ("h", 3600)] {
                let expected = Duration::from_secs(number * seconds);
                let read = duration(&format!("{number}{blank}{unit}"));
                prop_assert!(read == Ok(expected) || expected > Duration::from_secs(36_600 * 86_400));
            }
            for (unit, power) in [("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)] {
                prop_assert_eq!(size(&format!("{number}{blank}{unit}")), Ok(number << power));
            }
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2 m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "s", "5 min", "-5s", "1.5s", "99999999999999999999s", "40000d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(size("860 B"), Ok(860));
        assert_eq!(size("32KiB"), Ok(32_768));
        assert!(size("1 MB").is_err_and(|remedy| remedy.contains("MiB")));
        assert!(size("20000000000 GiB").is_err());
    }
}
