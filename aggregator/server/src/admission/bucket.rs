//! Token buckets that are one time each: the moment at which the bucket will be full again (GCRA, as ATM's traffic
//! control has it: ITU-T I.371, annex A). A table of thousands of them costs 16 bytes each and no timer.

use std::time::Duration;

/// How fast a bucket fills, and how many tokens it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// `tokens` in each `period`, and `burst` of them at once.
    pub(super) fn new(tokens: u32, period: Duration, burst: u32) -> Self {
        Self { interval: (period / tokens.max(1)).max(Duration::from_nanos(1)), burst }
    }

    /// How many tokens a full bucket holds.
    pub(super) fn burst(&self) -> u32 {
        self.burst
    }
}

/// A bucket; full when new.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// The tokens in it.
    pub(super) fn tokens(self, rate: Rate, now: Duration) -> u32 {
        let missing = self.full_at.saturating_sub(now).as_nanos().div_ceil(rate.interval.as_nanos());
        rate.burst.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, rate: Rate, now: Duration) -> bool {
        let is_there = self.tokens(rate, now) > 0;
        if is_there {
            self.full_at = self.full_at.max(now).saturating_add(rate.interval);
        }
        is_there
    }

    /// Puts a token back that was taken.
    pub(super) fn give_back(&mut self, rate: Rate) {
        self.full_at = self.full_at.saturating_sub(rate.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: fn() -> Rate = || Rate::new(4, Duration::from_secs(1), 8);

    #[test]
    fn a_burst_then_the_rate() {
        let (rate, mut bucket) = (RATE(), Bucket::default());
        let mut taken = |now: Duration| (0..100).filter(|_| bucket.take(rate, now)).count();
        assert_eq!(taken(Duration::ZERO), 8);
        assert_eq!(taken(Duration::from_millis(249)), 0);
        assert_eq!(taken(Duration::from_millis(250)), 1);
        assert_eq!(taken(Duration::from_millis(1250)), 4);
        assert_eq!(taken(Duration::from_secs(3600)), 8, "it never holds more than the burst");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_adds_nothing_to_a_full_bucket() {
        let (rate, mut bucket, now) = (RATE(), Bucket::default(), Duration::from_secs(9));
        assert!(bucket.take(rate, now));
        bucket.give_back(rate);
        assert_eq!(bucket.tokens(rate, now), 8);
        bucket.give_back(rate);
        assert_eq!((0..100).filter(|_| bucket.take(rate, now)).count(), 8);
    }

    proptest! {
        #[test]
        fn no_pattern_of_asking_gets_more_than_burst_and_rate(
            steps in proptest::collection::vec(0_u64..700, 1..200),
            per_second in 1_u32..50,
            burst in 1_u32..20,
        ) {
            let rate = Rate::new(per_second, Duration::from_secs(1), burst);
            let (mut bucket, mut now, mut taken) = (Bucket::default(), Duration::ZERO, 0_u64);
            for step in steps {
                now += Duration::from_millis(step);
                while bucket.take(rate, now) {
                    taken += 1;
                }
                let most = u128::from(burst) + now.as_nanos() / rate.interval.as_nanos();
                prop_assert!(u128::from(taken) <= most, "{taken} of {most}");
                prop_assert_eq!(bucket.tokens(rate, now), 0);
            }
        }
    }
}
