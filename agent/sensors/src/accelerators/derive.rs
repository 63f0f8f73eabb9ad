//! Numbers out of an accelerator's files, and what is worked out of two of them.

use crate::text::{signed, unsigned};
use std::time::Duration;

/// The whole, of a share.
pub(super) const WHOLE: u32 = 10_000;
/// Two readings further apart than this tell of then and not of now.
const LONGEST: Duration = Duration::from_secs(60);
/// Time is told to a hundredth of a second: nearer together than this, and a tenth of the outcome is the clock's.
const SHORTEST: Duration = Duration::from_millis(100);

/// How a number comes out of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It is in the file.
    Number,
    /// The mean of all percentages in the file, in parts of [`WHOLE`].
    Percentages,
    /// The file counts work, so many of its units a second of it; the share of the time, in parts of [`WHOLE`].
    Share {
        /// Units in a second.
        per_second: u32,
    },
    /// The same of a file that counts rest.
    Rest {
        /// Units in a second.
        per_second: u32,
    },
    /// The file counts something; how much of it comes in a second.
    Rate,
}

/// What was last read of a file that counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    last: Option<(Duration, u64)>,
}

impl Past {
    /// The number of a file that holds `text` now.
    pub(super) fn value(&mut self, how: How, text: &[u8], now: Option<Duration>) -> Option<u64> {
        let whole = u128::from(WHOLE);
        match how {
            How::Number => unsigned(text).or_else(|| signed(text)),
            How::Percentages => percentages(text),
            How::Rate => self.change(text, now, 1000).and_then(|rate| u64::try_from(rate).ok()),
            How::Share { per_second } => {
                let worked = self.change(text, now, whole * 1000 / u128::from(per_second))?;
                u64::try_from(worked.min(whole)).ok()
            }
            How::Rest { per_second } => {
                let rested = self.change(text, now, whole * 1000 / u128::from(per_second))?;
                u64::try_from(whole.saturating_sub(rested)).ok()
            }
        }
    }

    /// The change since the last reading, times `factor`, for each millisecond. None the first time, where the count went back as
    /// after a reset, and where the readings are too near together or too far apart.
    fn change(&mut self, text: &[u8], now: Option<Duration>, factor: u128) -> Option<u128> {
        let (now, count) = (now?, unsigned(text)?);
        let Some((then, before)) = self.last else {
            self.last = Some((now, count));
            return None;
        };
        let between = now.checked_sub(then);
        if between.is_some_and(|between| between < SHORTEST) {
            return None;
        }
        self.last = Some((now, count));
        let between = between.filter(|between| *between <= LONGEST)?;
        Some(u128::from(count.checked_sub(before)?) * factor / between.as_millis())
    }
}

/// The mean of the percentages in `NPU load:  Core0: 12%, Core1:  0%,`.
fn percentages(text: &[u8]) -> Option<u64> {
    let (mut sum, mut count) = (0u64, 0u64);
    for part in text.split(|byte| *byte == b'%').rev().skip(1) {
        let digits = part.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        sum += unsigned(&part[part.len() - digits..]).filter(|percent| *percent <= 100)?;
        count += 1;
    }
    (sum * u64::from(WHOLE) / 100).checked_div(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_work_over_time() {
        let mut past = Past::default();
        let mut at = |ms: u64, count: u64| {
            past.value(
                How::Share { per_second: 1_000_000 },
                count.to_string().as_bytes(),
                Some(Duration::from_millis(ms)),
            )
        };
        assert_eq!(at(1000, 7), None, "the first time");
        assert_eq!(at(2000, 250_007), Some(2500));
        assert_eq!(at(2050, 250_008), None, "too near");
        assert_eq!(at(4000, 2_250_007), Some(10_000));
        assert_eq!(at(5000, 9_250_007), Some(10_000), "more work than time is all the time");
        assert_eq!(at(6000, 3), None, "a reset");
        assert_eq!(at(7000, 3), Some(0));
        assert_eq!(at(99_000, 9), None, "too long ago");
    }

    #[test]
    fn rest_and_rates() {
        let (mut rest, mut rate) = (Past::default(), Past::default());
        let second = |s| Some(Duration::from_secs(s));
        assert_eq!(rest.value(How::Rest { per_second: 1000 }, b"5000", second(10)), None);
        assert_eq!(rest.value(How::Rest { per_second: 1000 }, b"5900", second(11)), Some(1000));
        assert_eq!(rate.value(How::Rate, b"5000000", second(10)), None);
        assert_eq!(rate.value(How::Rate, b"65000000", second(12)), Some(30_000_000));
        assert_eq!(rate.value(How::Rate, b"x", second(13)), None);
        assert_eq!(rate.value(How::Rate, b"66000000", None), None, "nobody tells the time");
        assert_eq!(rate.value(How::Rate, b"18446744073709551615", second(13)), Some(18_446_744_073_644_551_615));
    }

    #[test]
    fn percentages_are_averaged() {
        let mut past = Past::default();
        let mut of = |text: &str| past.value(How::Percentages, text.as_bytes(), None);
        assert_eq!(of("NPU load:  Core0: 30%, Core1:  0%, Core2:  0%,"), Some(1000));
        assert_eq!(of("NPU load:  7%"), Some(700));
        for bad in ["", "NPU load:", "%", "300%", "18446744073709551616%"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
