//! The newest value of every metric, and steps of the wall clock: for whoever asks on the host.
//!
//! A tick has the values that were read at it. What is read once a minute is absent from the other fifty-nine, which is right
//! for what is sent and useless to somebody who looks at a screen; so the last value of each metric is kept, with the tick it
//! is of. That costs a walk over the row, some microseconds a tick, and no memory but that of two more rows.

use super::{Row, Source};
use dsmil_authority::Values;
use dsmil_protocol::ids::Tick;
use dsmil_protocol::metric::{Metric, MetricSet};
use dsmil_runtime::clock::Clock;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A jump of the wall clock against the time since boot that nobody slews a clock by within a second: chrony's fastest is a
/// twelfth of it.
const STEP_MS: u64 = 1_000;

/// What was seen last of every metric.
#[derive(Clone, Debug)]
pub struct Newest {
    /// The newest tick.
    pub tick: Tick,
    /// The host's wall clock then, milliseconds since 1970.
    pub wall_ms: i64,
    set: Arc<MetricSet>,
    /// A place a metric of the set: its last value, and the tick that it is of.
    last: Vec<Option<(u64, Tick)>>,
    /// Steps of the wall clock since the agent started.
    pub steps: WallSteps,
}

/// Steps of the wall clock since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallSteps {
    /// How many.
    pub count: u64,
    /// The last of them.
    pub last: Option<WallStep>,
}

/// One step of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallStep {
    /// By so many milliseconds; forward if positive.
    pub by_ms: i64,
    /// When, as time since boot.
    pub at: Duration,
}

/// A source that others can look at: what it samples is kept for them too. It is asked nothing more than before.
pub struct Seen<S> {
    source: S,
    clock: Clock,
    /// Wall time at boot, by the clocks at the last tick, milliseconds since 1970.
    boot_wall_ms: Option<i64>,
    board: watch::Sender<Option<Newest>>,
}

impl<S> Seen<S> {
    /// Over `source`, with nothing seen yet.
    pub fn new(source: S, clock: Clock) -> Self {
        Self { source, clock, boot_wall_ms: None, board: watch::Sender::new(None) }
    }

    /// Where what it sees is read.
    pub fn newest(&self) -> watch::Receiver<Option<Newest>> {
        self.board.subscribe()
    }

    /// What is looked at.
    #[cfg(test)]
    pub(crate) fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }

    /// Whether the wall clock went another way than the time since boot since the last tick.
    fn step(&mut self) -> Option<WallStep> {
        let at = self.clock.boot();
        let boot_wall_ms = self.clock.wall_ms().saturating_sub(i64::try_from(at.as_millis()).unwrap_or(i64::MAX));
        let by_ms = boot_wall_ms.saturating_sub(self.boot_wall_ms.replace(boot_wall_ms)?);
        (by_ms.unsigned_abs() >= STEP_MS).then_some(WallStep { by_ms, at })
    }
}

impl<S: Source> Source for Seen<S> {
    async fn collect(&mut self, tick: Tick) -> Row {
        let row = self.source.collect(tick).await;
        let step = self.step();
        self.board.send_modify(|board| {
            let newest = board.get_or_insert_with(|| Newest::of(&row));
            newest.take_in(&row);
            newest.steps.count += u64::from(step.is_some());
            newest.steps.last = step.or(newest.steps.last);
        });
        row
    }

    fn follow(&mut self, settings: watch::Receiver<Arc<Values>>) {
        self.source.follow(settings);
    }
}

impl Newest {
    /// Of a host whose first row this is.
    fn of(row: &Row) -> Self {
        let last = vec![None; row.values.len()];
        Self { tick: row.tick, wall_ms: row.wall_ms, set: Arc::clone(&row.set), last, steps: WallSteps::default() }
    }

    fn take_in(&mut self, row: &Row) {
        (self.tick, self.wall_ms) = (row.tick, row.wall_ms);
        if !Arc::ptr_eq(&self.set, &row.set) {
            self.move_to(&row.set);
        }
        for (last, value) in self.last.iter_mut().zip(&row.values) {
            if let Some(value) = value {
                *last = Some((*value, row.tick));
            }
        }
    }

    /// Metrics came or went: those that stay keep their last values.
    fn move_to(&mut self, set: &Arc<MetricSet>) {
        let known: HashMap<&Metric, (u64, Tick)> =
            self.set.metrics().iter().zip(&self.last).filter_map(|(metric, last)| Some((metric, (*last)?))).collect();
        let last = set.metrics().iter().map(|metric| known.get(metric).copied()).collect();
        self.last = last;
        self.set = Arc::clone(set);
    }

    /// Every metric in the order of the set, with its last value and the tick that it is of; a metric that never had one has
    /// none.
    pub fn metrics(&self) -> impl Iterator<Item = (&Metric, Option<(u64, Tick)>)> {
        self.set.metrics().iter().zip(self.last.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_protocol::metric::{Kind, Repr, Scale};

    /// Hands out the rows that it is given.
    struct Rows(std::vec::IntoIter<Row>);

    impl Source for Rows {
        async fn collect(&mut self, _tick: Tick) -> Row {
            self.0.next().expect("a row a tick")
        }
    }

    fn set(names: &[&str]) -> Arc<MetricSet> {
        let metric = |name: &&str| Metric {
            name: (*name).into(),
            labels: vec![],
            kind: Kind::Gauge,
            repr: Repr::U64,
            scale: Scale::ONE,
        };
        Arc::new(MetricSet::new(names.iter().map(metric).collect()).expect("a set"))
    }

    async fn after(rows: Vec<Row>, clock: Clock, mut between: impl FnMut()) -> Newest {
        let ticks: Vec<Tick> = rows.iter().map(|row| row.tick).collect();
        let mut seen = Seen::new(Rows(rows.into_iter()), clock);
        let newest = seen.newest();
        for tick in ticks {
            seen.collect(tick).await;
            between();
        }
        let newest = newest.borrow().clone();
        newest.expect("something was sampled")
    }

    #[tokio::test]
    async fn what_rests_keeps_its_last_value_whatever_else_comes_and_goes() {
        let (two, three) = (set(&["a", "b"]), set(&["c", "b", "a"]));
        let row = |tick, set: &Arc<MetricSet>, values: &[Option<u64>]| Row {
            tick: Tick(tick),
            wall_ms: 0,
            set: Arc::clone(set),
            values: values.to_vec(),
        };
        let rows = vec![
            row(10, &two, &[Some(1), Some(2)]),
            row(11, &two, &[Some(3), None]),
            row(12, &three, &[Some(9), None, None]),
        ];
        let newest = after(rows, Clock::manual().0, || {}).await;
        let told: Vec<_> = newest.metrics().map(|(metric, last)| (metric.name.as_str(), last)).collect();
        let expected = [("c", Some((9, Tick(12)))), ("b", Some((2, Tick(10)))), ("a", Some((3, Tick(11))))];
        assert_eq!((told.as_slice(), newest.tick), (expected.as_slice(), Tick(12)));
    }

    #[tokio::test]
    async fn steps_of_the_wall_clock_are_counted_and_its_slewing_is_not() {
        let (clock, hand) = Clock::manual();
        let one = set(&["a"]);
        let rows = (1..=4).map(|tick| Row { tick: Tick(tick), wall_ms: 0, set: Arc::clone(&one), values: vec![None] });
        let wall = std::cell::Cell::new(0_i64);
        let mut moves = [1_050, 1_000, 3_600_000].into_iter();
        let newest = after(rows.collect(), clock, || {
            hand.advance(Duration::from_secs(1));
            wall.set(wall.get() + moves.next().unwrap_or(1_000));
            hand.set_wall_ns(wall.get() * 1_000_000);
        });
        let step = WallStep { by_ms: 3_599_000, at: Duration::from_secs(3) };
        assert_eq!(newest.await.steps, WallSteps { count: 1, last: Some(step) });
    }
}
