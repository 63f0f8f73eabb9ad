//! The drill: all backends are down for 90 s, meanwhile all agents are killed and started again. What a backend then has
//! of one series, second by second, says what came through.

use super::rig::Rig;
use super::side::Contender;
use std::time::Duration;

/// Seconds before the outage that are judged, too.
const BEFORE: Duration = Duration::from_secs(10);
/// How long backends are down.
const DOWN: Duration = Duration::from_secs(90);
/// Agents are killed so long after the backends went …
const KILLED_AFTER: Duration = Duration::from_secs(45);
/// … and stay dead for so long.
const DEAD: Duration = Duration::from_secs(15);
/// What was being sampled when the kill came: a sample has the time of its beginning.
const UNFINISHED: Duration = Duration::from_secs(1);
/// From a program's start until its sampling must have begun: the slowest, Prometheus, finds its targets within 5 s.
const START_UP: Duration = Duration::from_secs(5);
/// Until what was held back has come: retries are up to half a minute apart by then.
const CATCH_UP: Duration = Duration::from_secs(45);
/// What is younger at the end is not judged: agents collect before they send, ours for ten seconds.
const TAIL: Duration = Duration::from_secs(15);

/// What became of the seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Seconds that are judged.
    pub(super) judged: u64,
    /// Of these, seconds of which no sample is stored.
    pub(super) lost: u64,
    /// Samples stored twice.
    pub(super) doubled: u64,
    /// The first and the last of the lost ones, seconds from the outage's beginning.
    pub(super) between: Option<(i64, i64)>,
}

/// A span of time, Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from_ms: i64,
    to_ms: i64,
}

impl Span {
    fn contains(self, at_ms: i64) -> bool {
        (self.from_ms..=self.to_ms).contains(&at_ms)
    }

    fn seconds(self) -> u64 {
        u64::try_from((self.to_ms - self.from_ms) / 1000).unwrap_or(0)
    }
}

/// Drills all contenders at once; none for one that does not get through.
pub(super) fn drill(rig: &Rig, contenders: &mut [Contender<'_>]) -> Vec<Option<Verdict>> {
    let now_ms = || rig.clock.wall_ms();
    let from_ms = now_ms() - ms(BEFORE);
    contenders.iter_mut().for_each(Contender::stop_backend);
    let (down, down_ms) = (rig.clock.mono(), now_ms());
    rig.sleep_until(down + KILLED_AFTER);
    // Each is dead from its own kill on, and the first is killed some milliseconds before the last.
    let killed: Vec<_> = contenders.iter_mut().map(|contender| (now_ms(), contender.kill_agents()).0).collect();
    rig.sleep_until(down + KILLED_AFTER + DEAD);
    let started: Vec<_> = contenders.iter_mut().map(|contender| (contender.start_agents(), now_ms()).1).collect();
    rig.sleep_until(down + DOWN);
    contenders.iter_mut().for_each(Contender::start_backend);
    rig.sleep_until(rig.clock.mono() + CATCH_UP);
    let judged = Span { from_ms, to_ms: now_ms() - ms(TAIL) };
    let dead = killed
        .into_iter()
        .zip(started)
        .map(|(killed_ms, started_ms)| Span { from_ms: killed_ms - ms(UNFINISHED), to_ms: started_ms + ms(START_UP) });
    let verdicts = contenders.iter_mut().zip(dead).map(|(contender, dead)| {
        let times = contender.times(judged.from_ms, judged.to_ms)?;
        Some(judge(times, judged, dead, down_ms))
    });
    verdicts.collect()
}

/// Looks for a sample a second within `judged`, but for `dead`. Samples need not be at whole seconds: between two that
/// are n seconds apart, n - 1 are missing. Of two within half a second one is the other's double.
fn judge(mut times: Vec<i64>, judged: Span, dead: Span, down_ms: i64) -> Verdict {
    times.retain(|at| judged.contains(*at));
    times.sort_unstable();
    let doubled = times.windows(2).filter(|pair| pair[1] - pair[0] < 500).count();
    // As if there were samples at both ends: what is missing beside them counts.
    times.insert(0, judged.from_ms);
    times.push(judged.to_ms);
    let mut lost = Vec::new();
    for pair in times.windows(2) {
        let steps = (pair[1] - pair[0] + 500) / 1000;
        lost.extend((1..steps).map(|n| pair[0] + n * (pair[1] - pair[0]) / steps).filter(|at| !dead.contains(*at)));
    }
    let second = |at: &i64| (at - down_ms).div_euclid(1000);
    Verdict {
        judged: judged.seconds() - dead.seconds(),
        lost: lost.len() as u64,
        doubled: doubled as u64,
        between: lost.first().map(second).zip(lost.last().map(second)),
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("seconds of a drill")
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUDGED: Span = Span { from_ms: 0, to_ms: 100_000 };
    const DEAD: Span = Span { from_ms: 40_000, to_ms: 60_000 };

    /// A sample a second, some milliseconds early or late.
    fn times(seconds: impl Iterator<Item = i64>) -> Vec<i64> {
        seconds.map(|n| n * 1000 + 300 + (n * 7919) % 90).collect()
    }

    fn verdict(lost: u64, doubled: u64, between: Option<(i64, i64)>) -> Verdict {
        Verdict { judged: 80, lost, doubled, between }
    }

    #[test]
    fn seconds_without_a_sample_are_lost_unless_the_agent_was_dead() {
        let all = judge(times(0..100), JUDGED, DEAD, 10_000);
        assert_eq!(all, verdict(0, 0, None));
        let but_dead = judge(times((0..40).chain(60..100)), JUDGED, DEAD, 10_000);
        assert_eq!(but_dead, verdict(0, 0, None));
        let one_less = judge(times((0..40).chain(61..100)), JUDGED, DEAD, 10_000);
        assert_eq!(one_less, verdict(1, 0, Some((50, 50))));
        let late = judge(times((0..10).chain(80..100)), JUDGED, DEAD, 10_000);
        assert_eq!(late, verdict(50, 0, Some((0, 69))));
    }

    #[test]
    fn nothing_at_all_is_everything_lost() {
        assert_eq!(judge(Vec::new(), JUDGED, DEAD, 10_000), verdict(78, 0, Some((-9, 89))));
    }

    #[test]
    fn a_sample_that_is_there_twice_is_doubled_and_stands_for_no_other() {
        let mut twice = times((0..70).chain(72..100));
        twice.extend([times(5..8), vec![200_000]].concat());
        assert_eq!(judge(twice, JUDGED, DEAD, 10_000), verdict(2, 3, Some((60, 61))));
    }
}
