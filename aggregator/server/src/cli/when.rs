//! Times and spans as people write and read them. Shown in UTC always: an operator's zone is not the fleet's.

use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2026-11-21 21:07:25Z` of Unix seconds.
pub(super) fn utc(at_s: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(at_s) else { return format!("{at_s} s") };
    let (hour, minute, second) = at.to_hms();
    format!("{} {hour:02}:{minute:02}:{second:02}Z", at.date())
}

/// As [`utc`], of Unix milliseconds.
pub(super) fn utc_ms(at_ms: i64) -> String {
    utc(at_ms.div_euclid(1000))
}

/// How long `seconds` are, in the two units that matter.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..HOUR => format!("{} min", seconds / 60),
        HOUR..DAY => format!("{} h {} min", seconds / HOUR, seconds % HOUR / 60),
        _ => format!("{} d {} h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// What is left until `at_s`, or since when it is over.
pub(super) fn left(at_s: i64, now_s: i64) -> String {
    let left = at_s.saturating_sub(now_s);
    if left < 0 { format!("over since {}", span(left.saturating_neg())) } else { span(left) }
}

/// Reads `90s`, `30m`, `1h`, `7d`.
pub(super) fn parse_span(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no time: write it like 90s, 30m, 1h or 7d");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => HOUR.unsigned_abs(),
        "d" => DAY.unsigned_abs(),
        _ => return Err(refused()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(refused)?;
    Ok(Duration::from_secs(seconds))
}

/// A moment of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// So long ago.
    Ago(Duration),
    /// At this moment, Unix milliseconds.
    At(i64),
}

impl Since {
    /// Unix milliseconds.
    pub(super) fn at_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::Ago(span) => now_ms.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
            Self::At(at_ms) => at_ms,
        }
    }

    /// Reads a span as [`parse_span`] does, a date, or a date with its time.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(span) = parse_span(text) {
            return Ok(Self::Ago(span));
        }
        let whole_day = format!("{text}T00:00:00Z");
        let at = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| OffsetDateTime::parse(&whole_day, &Rfc3339));
        let at =
            at.map_err(|_| format!("{text:?} is no moment: write it like 1h, 7d, 2026-11-21 or 2026-11-21T21:07:25Z"))?;
        Ok(Self::At(at.unix_timestamp().saturating_mul(1000)))
    }
}

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_said() {
        let seconds = |text: &str| parse_span(text).map(|span| span.as_secs()).ok();
        assert_eq!([seconds("90s"), seconds("30m"), seconds("1h"), seconds("7d")], [90, 1800, 3600, 604_800].map(Some));
        for bad in ["", "h", "1", "1w", "-1h", "1.5h", "1h30m", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
        assert_eq!([59, 60, 3_660, 90_000].map(span), ["59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(left(100, 160), "over since 1 min");
    }

    #[test]
    fn moments_are_read_and_said() {
        assert_eq!(utc(1_795_295_245), "2026-11-21 21:07:25Z");
        assert_eq!(Since::parse("2026-11-21T21:07:25Z"), Ok(Since::At(1_795_295_245_000)));
        assert_eq!(Since::parse("2026-11-21").map(|since| utc_ms(since.at_ms(0))), Ok("2026-11-21 00:00:00Z".into()));
        assert_eq!(Since::parse("1h").map(|since| since.at_ms(3_600_000)), Ok(0));
        assert!(Since::parse("yesterday").is_err());
    }
}
