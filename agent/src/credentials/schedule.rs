//! When to renew. Pure: times come in, a moment and a wish come out.

use super::Want;
use dsmil_crypto::identity::Validity;
use dsmil_crypto::issue::LEAF_BACKDATED;
use dsmil_runtime::backoff::Backoff;
use std::time::Duration;

/// Never asked more often than this, whatever happens on the link.
pub(super) const LEAST_BETWEEN: Duration = Duration::from_secs(5);
/// The longest wait after a failure, and the wait after an answer that somebody has to act on.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Of a leaf's life: renewed from here on …
const RENEW_FROM: f64 = 0.5;
/// … and within so much more, evenly spread, so that hosts that joined together do not renew together.
const RENEW_SPREAD: f64 = 0.25;

/// What is known of the time: the monotonic clock, and Unix seconds that are never before what certificates prove.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) mono: Duration,
    pub(super) wall_s: i64,
}

/// What to do next, and when on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Duration,
    pub(super) want: Want,
}

/// When to ask the join port for what.
#[derive(Debug)]
pub(super) struct Schedule {
    renew_at: RenewAt,
    wish: Option<Want>,
    /// Not before this, whatever is wished.
    held_until: Duration,
    /// Not before this either, unless there is a new reason.
    wait_until: Duration,
    asked_at: Option<Duration>,
    backoff: Backoff,
}

/// When a leaf is to be renewed: by the wall clock, which sees what a suspended or restarted host slept through, or by the
/// monotonic one, which goes on where a wall clock stands in 1970. Whichever is first.
#[derive(Clone, Copy, Debug)]
struct RenewAt {
    wall_s: i64,
    mono: Duration,
}

impl RenewAt {
    /// `jitter` is from 0 to 1.
    fn of(leaf: Validity, now: Now, jitter: f64) -> Self {
        let issued_s = leaf.not_before.saturating_add(LEAF_BACKDATED);
        // A leaf that is not backdated is none of our issuers'; then its life is all of it.
        let issued_s = if issued_s < leaf.not_after { issued_s } else { leaf.not_before };
        let life_s = u64::try_from(leaf.not_after.saturating_sub(issued_s)).unwrap_or(0);
        let age = Duration::from_secs(life_s).mul_f64(RENEW_FROM + RENEW_SPREAD * jitter);
        Self { wall_s: issued_s.saturating_add_unsigned(age.as_secs()), mono: now.mono.saturating_add(age) }
    }

    /// Of a leaf that has just come. Where our clock is so far ahead that it is old already, half of what is left counts, or
    /// it would be renewed again and again.
    fn of_new(leaf: Validity, now: Now, jitter: f64) -> Self {
        let left_s = leaf.not_after.saturating_sub(now.wall_s).max(0);
        let by_age = Self::of(leaf, now, jitter);
        Self { wall_s: by_age.wall_s.max(now.wall_s.saturating_add(left_s / 2)), ..by_age }
    }

    fn on_mono(self, now: Now) -> Duration {
        let left_s = u64::try_from(self.wall_s.saturating_sub(now.wall_s)).unwrap_or(0);
        now.mono.saturating_add(Duration::from_secs(left_s)).min(self.mono)
    }
}

impl Schedule {
    pub(super) fn new(leaf: Validity, now: Now, jitter: f64) -> Self {
        Self {
            renew_at: RenewAt::of(leaf, now, jitter),
            wish: None,
            held_until: Duration::ZERO,
            wait_until: Duration::ZERO,
            asked_at: None,
            backoff: Backoff::new(LEAST_BETWEEN, LONGEST_WAIT),
        }
    }

    /// There is a new reason to ask: at once, unless that was done just now or somebody has to act first.
    pub(super) fn wish(&mut self, want: Want) {
        self.wish = self.wish.max(Some(want));
        self.wait_until = self.asked_at.map_or(Duration::ZERO, |at| at + LEAST_BETWEEN);
    }

    /// What is next. `stale` is what our own clock says that we lack.
    pub(super) fn next(&self, now: Now, stale: Option<Want>) -> Due {
        let renew_at = self.renew_at.on_mono(now);
        let by_age = (renew_at <= now.mono).then_some(Want::Identity);
        let floor = self.held_until.max(self.wait_until);
        match by_age.max(self.wish).max(stale) {
            Some(want) => Due { at: now.mono.max(floor), want },
            None => Due { at: renew_at.max(floor), want: Want::Identity },
        }
    }

    /// The join port is asked now.
    pub(super) fn asking(&mut self, now: Now) {
        self.asked_at = Some(now.mono);
    }

    /// It gave us what we asked for; `leaf` is the one in use now.
    pub(super) fn succeeded(&mut self, got: Want, leaf: Validity, now: Now, jitter: f64) {
        if got == Want::Identity {
            self.renew_at = RenewAt::of_new(leaf, now, jitter);
        }
        self.wish = self.wish.filter(|wish| *wish > got);
        self.backoff.succeeded();
        self.held_until = Duration::ZERO;
        self.wait_until = now.mono + LEAST_BETWEEN;
    }

    /// It did not; `somebody_must_act` says that asking again soon is of no use.
    pub(super) fn failed(&mut self, now: Now, somebody_must_act: bool) {
        if somebody_must_act {
            self.held_until = now.mono + LONGEST_WAIT;
        } else {
            self.wait_until = now.mono + self.backoff.next_wait().max(LEAST_BETWEEN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn at(s: i64) -> Now {
        Now { mono: Duration::from_secs(u64::try_from(s).expect("a time")), wall_s: 1_000_000_000 + s }
    }

    fn leaf(issued: Now, life_s: i64) -> Validity {
        Validity { not_before: issued.wall_s - LEAF_BACKDATED, not_after: issued.wall_s + life_s }
    }

    fn hours(due: Due) -> u64 {
        due.at.as_secs() / 3600
    }

    #[test]
    fn a_leaf_is_renewed_between_half_and_three_quarters_of_its_life() {
        for (jitter, hour) in [(0.0, 12), (0.5, 15), (1.0, 18)] {
            let schedule = Schedule::new(leaf(at(0), 24 * HOUR), at(0), jitter);
            assert_eq!(hours(schedule.next(at(HOUR), None)), hour);
            assert_eq!(schedule.next(at(HOUR), None).want, Want::Identity);
        }
    }

    #[test]
    fn a_host_that_slept_renews_when_it_wakes_and_one_without_a_clock_by_its_uptime() {
        let schedule = Schedule::new(leaf(at(0), 24 * HOUR), at(0), 0.0);
        let awake = Now { mono: Duration::from_secs(60), wall_s: at(40 * 24 * HOUR).wall_s };
        assert_eq!(schedule.next(awake, None).at, awake.mono);
        let stands_still = |hours: u64| Now { mono: Duration::from_secs(hours * 3600), wall_s: at(0).wall_s };
        assert_eq!(hours(schedule.next(stands_still(1), None)), 12);
        assert_eq!(hours(schedule.next(stands_still(20), None)), 20);
    }

    #[test]
    fn failures_wait_longer_and_longer_and_a_new_reason_does_not() {
        let mut schedule = Schedule::new(leaf(at(0), 24 * HOUR), at(0), 0.0);
        let mut now = at(13 * HOUR);
        for _ in 0..50 {
            let due = schedule.next(now, None);
            assert!(due.at.saturating_sub(now.mono) <= LONGEST_WAIT);
            now = Now { mono: due.at, ..now };
            schedule.asking(now);
            schedule.failed(now, false);
            assert!(schedule.next(now, None).at >= now.mono + LEAST_BETWEEN);
        }
        schedule.wish(Want::Identity);
        assert_eq!(schedule.next(now, None).at, now.mono + LEAST_BETWEEN);
    }

    #[test]
    fn where_somebody_has_to_act_no_reason_makes_us_ask_sooner() {
        let mut schedule = Schedule::new(leaf(at(0), 24 * HOUR), at(0), 0.0);
        schedule.wish(Want::Identity);
        assert_eq!(schedule.next(at(60), None), Due { at: at(60).mono, want: Want::Identity });
        schedule.asking(at(60));
        schedule.failed(at(60), true);
        schedule.wish(Want::Identity);
        assert_eq!(schedule.next(at(61), None).at, at(660).mono);
    }

    #[test]
    fn a_bundle_alone_is_asked_for_and_an_identity_brings_one_along() {
        let mut schedule = Schedule::new(leaf(at(0), 24 * HOUR), at(0), 0.0);
        assert_eq!(schedule.next(at(10), Some(Want::Bundle)).want, Want::Bundle);
        schedule.wish(Want::Bundle);
        schedule.wish(Want::Identity);
        assert_eq!(schedule.next(at(10), Some(Want::Bundle)).want, Want::Identity);
        schedule.asking(at(10));
        schedule.succeeded(Want::Bundle, leaf(at(0), 24 * HOUR), at(10), 0.0);
        assert_eq!(schedule.next(at(20), None).want, Want::Identity, "the greater wish is still open");
        schedule.succeeded(Want::Identity, leaf(at(20), 24 * HOUR), at(20), 0.0);
        assert_eq!(hours(schedule.next(at(30), None)), 12);
    }
}
