//! How long this program has listened: whether a host's silence means anything depends on whether somebody was there to hear.
//!
//! A program that is stopped, starved or on a machine that sleeps hears nobody, and that says nothing of its hosts. Silence
//! is measured in time listened, which a regular look moves on; of what lies between two looks that are too far apart,
//! most was not listened through.

use std::time::Duration;

/// How often to look.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Of the time between two looks so much counts as listened through at the most: looks may come a little late.
const CREDIT: Duration = Duration::from_millis(500);
/// Without a look for so long we were away, and agents may have given us up meanwhile: they do 10 s after our last word, and
/// that may have been some seconds old.
const AWAY_AFTER: Duration = Duration::from_secs(5);

/// Time listened. Moments are of `Clock::boot`, which goes on while the machine sleeps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attention {
    looked_at: Duration,
    /// Until then.
    pub(super) listened: Duration,
}

impl Attention {
    /// Listens from `now` on.
    pub(super) fn new(now: Duration) -> Self {
        Self { looked_at: now, listened: Duration::ZERO }
    }

    /// How long we have listened until `now`.
    pub(super) fn listened(&self, now: Duration) -> Duration {
        self.listened + now.saturating_sub(self.looked_at).min(CREDIT)
    }

    /// Whether nobody looked for so long that we were away.
    pub(super) fn was_away(&self, now: Duration) -> bool {
        now.saturating_sub(self.looked_at) >= AWAY_AFTER
    }

    /// Looks.
    pub(super) fn look(&mut self, now: Duration) {
        (self.listened, self.looked_at) = (self.listened(now), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Time listened never runs ahead of the clock nor backwards, and a pause adds next to nothing.
        #[test]
        fn what_was_not_listened_through_does_not_count(steps in proptest::collection::vec(1u64..120_000, 1..50)) {
            let (mut attention, mut now, mut before) = (Attention::new(Duration::ZERO), Duration::ZERO, Duration::ZERO);
            for step in steps {
                let step = Duration::from_millis(step);
                now += step;
                let listened = attention.listened(now);
                prop_assert_eq!(attention.was_away(now), step >= AWAY_AFTER);
                prop_assert_eq!(listened - before, step.min(CREDIT));
                attention.look(now);
                prop_assert_eq!(attention.listened(now), listened, "a look changes nothing");
                before = listened;
            }
        }
    }
}
