//! Whether a host is well with new settings. Pure: each tick's facts come in, a verdict comes out.
//!
//! Only a tick can end a trial. An agent that samples no more never promotes anything: its service manager ends it, and the next
//! one finds settings that were on trial.

use dsmil_protocol::health::SettingsFault;
use std::time::Duration;

/// How long settings are on trial.
pub const TRIAL: Duration = Duration::from_secs(60);
/// How much longer a link that was up may take to come back, and its first acknowledgement to come: an aggregator that is
/// restarted within the minute must not make a whole fleet refuse what was just pushed.
pub const COMEBACK: Duration = Duration::from_secs(120);
/// Ticks that a busy host misses now and then: one in twenty. More is the settings' doing.
const MISSED: u64 = 3;
/// The same of ticks that the spool does not take.
const NOT_TAKEN: u64 = 3;

/// What a tick shows. Moments are on the monotonic clock, which stands still while the host sleeps: a nap is no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// When the tick was sampled.
    pub(super) now: Duration,
    /// Whether the spool took it.
    pub(super) is_taken: bool,
    /// Whether the link is up.
    pub(super) is_linked: bool,
    /// When something was acknowledged last.
    pub(super) acknowledged: Option<Duration>,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The settings stay.
    Healthy,
    /// They do not.
    Unhealthy(SettingsFault, String),
}

/// A trial under way.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    began: Duration,
    last: Duration,
    missed: u64,
    not_taken: u64,
    was_taken: bool,
    was_linked: bool,
}

impl Trial {
    /// Begins; `before` is how the host was with the settings before.
    pub(super) fn begin(before: Facts) -> Self {
        Self {
            began: before.now,
            last: before.now,
            missed: 0,
            not_taken: 0,
            was_taken: before.is_taken,
            was_linked: before.is_linked,
        }
    }

    /// How much of the minute is left.
    pub(super) fn left(&self, now: Duration) -> Duration {
        (self.began + TRIAL).saturating_sub(now)
    }

    /// Looks at a tick.
    pub(super) fn tick(&mut self, facts: Facts) -> Option<Verdict> {
        let since_last = facts.now.saturating_sub(self.last);
        // Ticks are a second apart, and each is sampled at some moment of its first half.
        self.missed += (since_last + Duration::from_millis(500)).as_secs().saturating_sub(1);
        self.last = facts.now;
        self.not_taken += u64::from(!facts.is_taken);
        let seconds = facts.now.saturating_sub(self.began).as_secs();
        if self.missed > MISSED {
            let what = format!("{} ticks of {seconds} s were missed", self.missed);
            return Some(Verdict::Unhealthy(SettingsFault::TicksMissed, what));
        }
        // A spool that took nothing before is not the settings' doing.
        if self.was_taken && self.not_taken > NOT_TAKEN {
            let what = format!("the spool did not take {} ticks of {seconds} s", self.not_taken);
            return Some(Verdict::Unhealthy(SettingsFault::SpoolRefused, what));
        }
        let age = facts.now.saturating_sub(self.began);
        let is_heard = facts.is_linked && facts.acknowledged.is_some_and(|at| at >= self.began);
        match age {
            _ if age < TRIAL => None,
            _ if is_heard || !self.was_linked => Some(Verdict::Healthy),
            _ if age < TRIAL + COMEBACK => None,
            _ if facts.is_linked => {
                let what = format!("nothing was acknowledged for {seconds} s");
                Some(Verdict::Unhealthy(SettingsFault::LinkLost, what))
            }
            _ => {
                let what = format!("the link was up before and is down after {seconds} s");
                Some(Verdict::Unhealthy(SettingsFault::LinkLost, what))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Duration = Duration::from_secs(1000);

    fn fine(seconds: u64) -> Facts {
        let now = START + Duration::from_secs(seconds);
        Facts { now, is_taken: true, is_linked: true, acknowledged: Some(now) }
    }

    /// Ticks from the first second on, changed by `change`, until there is a verdict: after how many seconds, and which.
    fn run(before: Facts, change: impl Fn(u64, &mut Facts) -> bool) -> (u64, Verdict) {
        let mut trial = Trial::begin(before);
        for second in 1..1000 {
            let mut facts = fine(second);
            if change(second, &mut facts)
                && let Some(verdict) = trial.tick(facts)
            {
                return (second, verdict);
            }
        }
        panic!("no verdict");
    }

    fn fault(verdict: Verdict) -> SettingsFault {
        match verdict {
            Verdict::Healthy => panic!("healthy"),
            Verdict::Unhealthy(fault, _) => fault,
        }
    }

    #[test]
    fn a_minute_of_good_ticks_is_enough() {
        assert_eq!(run(fine(0), |_, _| true), (60, Verdict::Healthy));
        let offline = Facts { is_linked: false, acknowledged: None, ..fine(0) };
        let stays_offline = |_, facts: &mut Facts| {
            *facts = Facts { is_linked: false, acknowledged: None, ..*facts };
            true
        };
        assert_eq!(run(offline, stays_offline), (60, Verdict::Healthy), "it had no link before");
    }

    #[test]
    fn a_host_that_misses_more_than_a_busy_one_does_is_unwell_at_once() {
        assert_eq!(run(fine(0), |second, _| !(10..13).contains(&second)), (60, Verdict::Healthy), "three are missed");
        let (second, verdict) = run(fine(0), |second, _| !(10..14).contains(&second));
        assert_eq!((second, fault(verdict)), (14, SettingsFault::TicksMissed), "four");
    }

    #[test]
    fn a_spool_that_takes_no_more_is_a_fault_and_one_that_took_nothing_before_is_not() {
        let full = |_, facts: &mut Facts| {
            facts.is_taken = false;
            true
        };
        let (second, verdict) = run(fine(0), full);
        assert_eq!((second, fault(verdict)), (4, SettingsFault::SpoolRefused));
        assert_eq!(run(Facts { is_taken: false, ..fine(0) }, full), (60, Verdict::Healthy));
    }

    #[test]
    fn a_link_that_was_up_may_take_its_time_to_come_back_and_has_to() {
        let down_until = |end: u64| {
            move |second: u64, facts: &mut Facts| {
                if second < end {
                    *facts = Facts { is_linked: false, acknowledged: Some(START), ..*facts };
                }
                true
            }
        };
        assert_eq!(run(fine(0), down_until(30)), (60, Verdict::Healthy));
        assert_eq!(run(fine(0), down_until(100)), (100, Verdict::Healthy));
        let (second, verdict) = run(fine(0), down_until(500));
        assert_eq!((second, fault(verdict)), (180, SettingsFault::LinkLost));
        let unheard = |_, facts: &mut Facts| {
            facts.acknowledged = Some(START - Duration::from_secs(1));
            true
        };
        let (second, verdict) = run(fine(0), unheard);
        assert_eq!((second, fault(verdict)), (180, SettingsFault::LinkLost), "a link that acknowledges nothing");
    }

    proptest! {
        /// Whatever happens: no promotion before its time or of a host that is unwell, and an end for every trial.
        #[test]
        fn a_trial_ends_in_its_time_and_promotes_only_what_is_well(
            ticks in proptest::collection::vec((200u64..3000, any::<bool>(), any::<bool>(), any::<bool>()), 400),
            linked in any::<bool>(), taken in any::<bool>(),
        ) {
            let mut trial = Trial::begin(Facts { is_linked: linked, is_taken: taken, ..fine(0) });
            let (mut now, mut acknowledged, mut not_taken, mut late) = (START, None, 0, Duration::ZERO);
            let mut verdict = None;
            for (step_ms, is_taken, is_linked, acks) in ticks {
                let step = Duration::from_millis(step_ms);
                now += step;
                late += step.saturating_sub(Duration::from_secs(1));
                acknowledged = if acks && is_linked { Some(now) } else { acknowledged };
                not_taken += u64::from(!is_taken);
                let facts = Facts { now, is_taken, is_linked, acknowledged };
                verdict = trial.tick(facts);
                let age = now - START;
                match &verdict {
                    None => prop_assert!(age < TRIAL + COMEBACK, "a trial without an end"),
                    Some(Verdict::Healthy) => {
                        prop_assert!(age >= TRIAL);
                        prop_assert!(!taken || not_taken <= NOT_TAKEN);
                        prop_assert!(!linked || (is_linked && acknowledged >= Some(START)));
                    }
                    Some(Verdict::Unhealthy(SettingsFault::TicksMissed, _)) => prop_assert!(late > Duration::from_secs(1)),
                    Some(Verdict::Unhealthy(SettingsFault::SpoolRefused, _)) => prop_assert!(not_taken > NOT_TAKEN),
                    Some(Verdict::Unhealthy(fault, _)) => {
                        prop_assert_eq!(*fault, SettingsFault::LinkLost);
                        prop_assert!(linked && age >= TRIAL + COMEBACK);
                    }
                }
                if verdict.is_some() {
                    break;
                }
            }
            prop_assert!(verdict.is_some());
        }
    }
}
