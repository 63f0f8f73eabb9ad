//! One tick a second: when to sample, and what a sample is.
//!
//! A tick is a whole second of `CLOCK_BOOTTIME`, sampled once or never. Seconds that were not sampled, because the host
//! slept or the agent stood still, show as a jump in the tick numbers and are named when the next tick comes.

mod columns;
mod host;
mod newest;
mod worker;

pub use host::{DEADLINE, HostSource, SensorReport, Verdict};
pub use newest::{Newest, Seen, WallStep, WallSteps};

use dsmil_authority::Values;
use dsmil_protocol::batch::{self, Batch, BatchError, BatchHeader, Matrix, Stamp};
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::metric::MetricSet;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Stop;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Everything sampled at one tick.
#[derive(Clone, Debug)]
pub struct Row {
    /// The tick.
    pub tick: Tick,
    /// The host's wall clock when it was sampled, milliseconds since 1970.
    pub wall_ms: i64,
    /// What the values are. The same `Arc` as in the last row, unless metrics came or went.
    pub set: Arc<MetricSet>,
    /// A value a metric, in the set's order; `None` is unavailable, which is not zero.
    pub values: Vec<Option<u64>>,
}

impl Row {
    /// It as a batch of one tick, encoded: how it is shown to whoever watches.
    pub fn alone(&self, boot: BootId) -> Result<Vec<u8>, BatchError> {
        let metrics = self.set.metrics().len();
        let stamps = vec![Stamp { tick: self.tick, wall_ms: self.wall_ms }];
        let mut matrix = Matrix::new(metrics, 1);
        for (metric, value) in self.values.iter().enumerate().take(metrics) {
            matrix.set(metric, 0, *value);
        }
        batch::encode(&Batch { header: BatchHeader { boot, set: self.set.id(), metrics, stamps }, matrix })
    }
}

/// Where rows come from: a host's sensors, or a simulation.
pub trait Source: Send {
    /// Samples everything for `tick`. It must return well before the next tick.
    fn collect(&mut self, tick: Tick) -> impl Future<Output = Row> + Send;

    /// From now on samples what the fleet's settings say. A source without sensors has nothing to follow.
    fn follow(&mut self, _settings: watch::Receiver<Arc<Values>>) {}
}

/// Samples at every whole second since boot, until `stop`, and hands each row to `sink` with the ticks that were missed
/// since the last one.
///
/// The first tick is the first whole second after the call: an agent that is restarted within a second leaves the tick
/// alone that its predecessor may have sampled.
pub async fn run<S: Source>(clock: &Clock, stop: &Stop, mut source: S, mut sink: impl FnMut(Row, Option<TickRange>)) {
    let mut last = now(clock);
    let mut sampled = None;
    while let Some(tick) = next_tick(clock, stop, last).await {
        let missed = sampled.and_then(|_: Tick| TickRange::new(last.next(), tick.previous()?));
        let row = source.collect(tick).await;
        (last, sampled) = (tick, Some(tick));
        sink(row, missed);
    }
}

fn now(clock: &Clock) -> Tick {
    Tick(clock.boot().as_secs())
}

/// Waits for the first whole second after `last`; `None` when told to stop.
async fn next_tick(clock: &Clock, stop: &Stop, last: Tick) -> Option<Tick> {
    loop {
        let boot = clock.boot();
        if Tick(boot.as_secs()) > last {
            return (!stop.is_requested()).then_some(Tick(boot.as_secs()));
        }
        let wait = Duration::from_secs(last.next().0).saturating_sub(boot);
        tokio::select! {
            () = clock.sleep(wait) => {}
            () = stop.requested() => return None,
        }
    }
}

#[cfg(test)]
mod tests;
