//! Times and durations as Prometheus takes them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The first and the last second that RFC 3339 can name, of the years 0 and 9999; they keep every sum inside an `i64`.
const SECONDS: std::ops::RangeInclusive<f64> = -62_167_219_200.0..=253_402_300_799.0;
/// Durations beyond this (292 years, Go's own bound) are typing errors.
const MAX_DURATION_MS: i64 = 9_223_372_036_854;

/// A text that is no time or duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// Not a time.
    #[error(
        "cannot parse {0:?} to a valid timestamp: give Unix seconds (1700000000.5) or RFC 3339 (2026-01-02T03:04:05Z)"
    )]
    Time(String),
    /// Not a duration.
    #[error("cannot parse {0:?} to a valid duration: give seconds (15) or a duration (1h30m, 15s, 500ms)")]
    Duration(String),
}

/// A time, in milliseconds since 1970: Unix seconds with or without a fraction, or RFC 3339.
pub fn parse_time(text: &str) -> Result<i64, MomentError> {
    let refused = || MomentError::Time(shown(text));
    match text.parse::<f64>() {
        Ok(seconds) if SECONDS.contains(&seconds) => milliseconds(seconds).ok_or_else(refused),
        Ok(_) => Err(refused()),
        // An offset may lead out of these years by less than a day, which does no harm.
        Err(_) => {
            let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| refused())?;
            i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).map_err(|_| refused())
        }
    }
}

/// A duration, in milliseconds: seconds with or without a fraction, or Prometheus's form (`1h30m`).
pub fn parse_duration(text: &str) -> Result<i64, MomentError> {
    let refused = || MomentError::Duration(shown(text));
    let ms = match text.parse::<f64>() {
        Ok(seconds) => milliseconds(seconds).ok_or_else(refused)?,
        Err(_) => parse_units(text).ok_or_else(refused)?,
    };
    if ms.abs() <= MAX_DURATION_MS { Ok(ms) } else { Err(refused()) }
}

/// `1h30m`: whole numbers with units, the larger ones first, each unit once.
pub(super) fn parse_units(text: &str) -> Option<i64> {
    let (mut rest, mut total, mut next) = (text, 0i64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest.get(..digits)?.parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, _) = UNITS[next..].iter().enumerate().find(|(_, (name, _))| *name == &rest[..letters])?;
        next += unit;
        total = total.checked_add(number.checked_mul(UNITS[next].1)?)?;
        next += 1;
        rest = &rest[letters..];
    }
    (next > 0 && total <= MAX_DURATION_MS).then_some(total)
}

/// A duration as [`parse_units`] reads it.
pub(super) fn print_units(mut ms: i64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (name, size) in UNITS {
        if ms >= size {
            text.push_str(&format!("{}{name}", ms / size));
            ms %= size;
        }
    }
    text
}

/// Prometheus's units: a day has 24 hours, a year 365 days.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

#[allow(clippy::cast_possible_truncation, reason = "bounded before the cast")]
fn milliseconds(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    // 2^53: beyond it a double does not tell milliseconds apart, and nobody means such a time.
    (ms.abs() <= 9_007_199_254_740_992.0).then_some(ms as i64)
}

/// A text for an error: whole texts of megabytes are not sent back.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let cases = [
            ("0", 0),
            ("1700000000", 1_700_000_000_000),
            ("1700000000.123", 1_700_000_000_123),
            ("1.7e9", 1_700_000_000_000),
            ("-1.5", -1500),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T23:13:20.5+01:00", 1_700_000_000_500),
            ("253402300799", 253_402_300_799_000),
            ("9999-12-31T23:59:59.999-23:59", 253_402_387_139_999),
        ];
        for (text, ms) in cases {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
        }
        for bad in
            ["", "now", "NaN", "inf", "1e300", "2023-11-14", "2023-11-14 22:13:20", "253402300799.1", &"9".repeat(400)]
        {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn durations_are_seconds_or_units() {
        let cases =
            [("15", 15_000), ("0.5", 500), ("15s", 15_000), ("1h30m", 5_400_000), ("500ms", 500), ("1d", 86_400_000)];
        for (text, ms) in cases {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        for bad in ["", "s", "1x", "1m1h", "1m1m", "1h 30m", "99999999999999999999s", "300000000000y", "inf", "1.5h"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,40}") {
            let _ = (parse_time(&text), parse_duration(&text));
        }

        #[test]
        fn a_printed_duration_reads_back(ms in 0..=MAX_DURATION_MS) {
            prop_assert_eq!(parse_units(&print_units(ms)), Some(ms));
        }
    }
}
