//! Where a host's boot lies on the aggregator's clock: an offset from exchanges of four times.
//!
//! For one exchange (RFC 5905, section 8): `offset = ((t2 − t1) + (t3 − t4)) / 2`, `rtt = (t4 − t1) − (t3 − t2)`, and
//! the offset is wrong by at most `rtt / 2`. The host's times are `CLOCK_BOOTTIME`, so its wall clock may be wrong or
//! step without touching the result; the offset is the wall time at which the host booted.

use crate::message::Exchange;
use std::collections::VecDeque;

/// Exchanges looked back on: about two minutes of heartbeats. The one with the least round trip counts.
const WINDOW: usize = 64;
/// A new estimate this close to the one in use does not replace it: it would only make a series' times uneven.
const SLACK_NS: i64 = 10_000_000;

/// When a host booted on the aggregator's clock, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootEpoch {
    /// Wall time of boot on the aggregator's clock, nanoseconds since 1970.
    pub wall_ns: i64,
    /// Wrong by at most this, in nanoseconds.
    pub uncertainty_ns: i64,
}

/// Estimates one boot's [`BootEpoch`].
#[derive(Clone, Debug, Default)]
pub struct EpochEstimator {
    window: VecDeque<BootEpoch>,
    current: Option<BootEpoch>,
}

impl EpochEstimator {
    /// Takes a first guess before any exchange is complete: a message sent at `boot_ns` came at `wall_ns`, somewhere
    /// within the last `rtt_ns`.
    pub fn first_guess(&mut self, boot_ns: u64, wall_ns: i64, rtt_ns: i64) {
        if self.current.is_none() {
            let offset = wall_ns.saturating_sub(signed(boot_ns)).saturating_sub(rtt_ns / 2);
            // Not in the window: the first complete exchange is better whatever its round trip.
            self.current = Some(BootEpoch { wall_ns: offset, uncertainty_ns: rtt_ns.max(SLACK_NS) });
        }
    }

    /// Takes a finished exchange. One whose times run backwards is ignored.
    pub fn add(&mut self, e: &Exchange) {
        let out = signed(e.returned_boot_ns).saturating_sub(signed(e.sent_boot_ns));
        let rtt = out.saturating_sub(e.answered_wall_ns.saturating_sub(e.received_wall_ns));
        if out < 0 || rtt < 0 || rtt > out {
            return;
        }
        let there = i128::from(e.received_wall_ns) - i128::from(e.sent_boot_ns);
        let back = i128::from(e.answered_wall_ns) - i128::from(e.returned_boot_ns);
        let Ok(wall_ns) = i64::try_from((there + back) / 2) else { return };
        let sample = BootEpoch { wall_ns, uncertainty_ns: rtt / 2 };
        if self.has_stepped(sample) {
            self.window.clear();
        }
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(sample);
        self.settle();
    }

    /// The estimate in use.
    pub fn epoch(&self) -> Option<BootEpoch> {
        self.current
    }

    /// The aggregator's wall clock stepped: no exchange in the window agrees with the new one.
    fn has_stepped(&self, sample: BootEpoch) -> bool {
        self.window.back().is_some_and(|last| {
            apart(*last, sample)
                > last.uncertainty_ns.saturating_add(sample.uncertainty_ns).saturating_add(1_000_000_000)
        })
    }

    fn settle(&mut self) {
        let Some(best) = self.window.iter().min_by_key(|s| s.uncertainty_ns).copied() else { return };
        self.current = Some(match self.current {
            // What is kept for evenness is as unsure as the best one, and by as much more as it is away from it.
            Some(now) if self.window.len() > 1 && apart(now, best) <= SLACK_NS => {
                BootEpoch { wall_ns: now.wall_ns, uncertainty_ns: best.uncertainty_ns.saturating_add(apart(now, best)) }
            }
            _ => best,
        });
    }
}

fn apart(a: BootEpoch, b: BootEpoch) -> i64 {
    a.wall_ns.saturating_sub(b.wall_ns).saturating_abs()
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EPOCH: i64 = 1_700_000_000_000_000_000;

    fn exchange(at: u64, there: u64, held: u64, back: u64, step: i64) -> Exchange {
        let received = EPOCH + step + signed(at + there);
        Exchange {
            sent_boot_ns: at,
            received_wall_ns: received,
            answered_wall_ns: received + signed(held),
            returned_boot_ns: at + there + held + back,
        }
    }

    #[test]
    fn a_stepped_aggregator_is_followed_at_once() {
        let mut clock = EpochEstimator::default();
        for i in 0..10 {
            clock.add(&exchange(i * 2_000_000_000, 1_000_000, 0, 1_000_000, 0));
        }
        assert_eq!(clock.epoch().expect("an estimate").wall_ns, EPOCH);
        let hour = 3_600_000_000_000;
        clock.add(&exchange(30_000_000_000, 5_000_000, 0, 5_000_000, hour));
        assert_eq!(clock.epoch().expect("an estimate").wall_ns, EPOCH + hour);
    }

    #[test]
    fn nonsense_is_ignored() {
        let mut clock = EpochEstimator::default();
        clock.add(&Exchange { sent_boot_ns: 10, received_wall_ns: 0, answered_wall_ns: 0, returned_boot_ns: 5 });
        clock.add(&Exchange { sent_boot_ns: 0, received_wall_ns: 9, answered_wall_ns: i64::MIN, returned_boot_ns: 1 });
        assert_eq!(clock.epoch(), None);
    }

    proptest! {
        /// The true epoch is never further away than the estimate says, whatever the delays.
        #[test]
        fn the_truth_lies_within_the_uncertainty(
            delays in proptest::collection::vec((0u64..50_000_000, 0u64..5_000_000, 0u64..50_000_000), 1..100),
        ) {
            let mut clock = EpochEstimator::default();
            for (i, (there, held, back)) in delays.into_iter().enumerate() {
                clock.add(&exchange(i as u64 * 2_000_000_000, there, held, back, 0));
                let e = clock.epoch().expect("an estimate");
                // Halving rounds: a nanosecond.
                prop_assert!((e.wall_ns - EPOCH).abs() <= e.uncertainty_ns + 1);
            }
        }
    }
}
