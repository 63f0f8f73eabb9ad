//! The rows of a real host: every sensor asked at once, and given until a deadline.

use super::columns::{Columns, Size};
use super::worker::{Answer, Countdown, Desk, Instrument, Outcome, Pool, Request};
use super::{Row, Source};
use dsmil_authority::Values;
use dsmil_protocol::ids::Tick;
use dsmil_protocol::metric::{Metric, MetricSet, Scale};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_sensors::root::Root;
use dsmil_sensors::{Form, Reading, Sensor, SensorError};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tokio::sync::watch;

/// How long a tick waits for its sensors. The slowest honest one takes some milliseconds; the rest of the second belongs
/// to the spool and the uplink.
pub const DEADLINE: Duration = Duration::from_millis(400);

/// A sensor that has not answered for this long hangs or crawls: another thread goes on with those behind it.
pub(super) const HELP_AFTER: Duration = Duration::from_millis(20);
/// What a sensor may cost a second, of a core: a host with ten thousand mounts has better uses for its cores than to be asked
/// about each of them each second. Ordinary sensors cost a hundredth of this.
const COST_PER_SECOND: Duration = Duration::from_millis(10);
/// However much a reading costs, it is done so often: what is older than five minutes is not shown any more.
const SELDOM_S: u16 = 240;

/// How a sensor did at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It reported everything there is.
    Ok,
    /// It reported a part, or nothing.
    Failed(SensorError),
    /// It has not answered since it was asked at that tick, and is not asked again until it does.
    Late {
        /// The tick it hangs at.
        since: Tick,
    },
    /// It has a bug that this host brought to light; it is asked again at the next tick.
    Panicked,
}

/// A sensor's last tick, for the status and `node_scrape_collector_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SensorReport {
    /// The sensor's name.
    pub name: &'static str,
    /// How it did.
    pub verdict: Verdict,
    /// How long it took; of a late one, nobody knows.
    pub took: Option<Duration>,
    /// How many metrics it has in the current set.
    pub metrics: usize,
    /// The first of their columns there; the others follow.
    pub first_column: usize,
    /// The last tick at which it was to be read: until the next such tick, what it said then is its newest word.
    pub read_at: Tick,
}

/// The sensors of this host as a source of rows.
pub struct HostSource {
    clock: Clock,
    slots: Vec<Slot>,
    pool: Pool,
    answers: Receiver<Answer>,
    countdown: Arc<Countdown>,
    set: Arc<MetricSet>,
    settings: watch::Receiver<Arc<Values>>,
    reports: watch::Sender<Vec<SensorReport>>,
}

/// One sensor, seen from the sampler.
struct Slot {
    name: &'static str,
    /// Seconds between two readings, if settings say nothing.
    own_interval_s: u16,
    /// Seconds between two readings that cost no more than a sensor may.
    affordable_s: u16,
    /// Absent while it reads.
    instrument: Option<Instrument>,
    /// Its metrics differ from those in the set.
    changed: bool,
    /// Its columns in the set.
    columns: Range<usize>,
    /// The fleet's settings say that it is not read at all: it has no columns then.
    off: bool,
    /// It was to be read at the last tick; if not, its values are absent and its verdict is of an earlier tick.
    is_due: bool,
    /// An answer to its last reading is still to come.
    expects_answer: bool,
    /// The last tick at which it was to be read.
    read_at: Tick,
    /// Not all of its metrics found room in the set.
    cut: bool,
    verdict: Verdict,
    took: Option<Duration>,
    /// How long it took when it answered last, in time or not.
    usually_took: Duration,
}

impl HostSource {
    /// A source whose threads end when it is dropped.
    pub fn new(clock: Clock, supervisor: &Supervisor, root: Arc<Root>, sensors: Vec<Box<dyn Sensor>>) -> Self {
        let (sender, answers) = channel();
        let countdown = Countdown::new();
        let desk = Desk { root, clock: clock.clone(), answers: sender, countdown: Arc::clone(&countdown) };
        let slots = sensors.into_iter().map(|sensor| Slot {
            name: sensor.name(),
            own_interval_s: sensor.interval_s(),
            affordable_s: 1,
            instrument: Some(Instrument { sensor, reading: Reading::new() }),
            changed: true,
            columns: 0..0,
            off: false,
            is_due: true,
            expects_answer: false,
            read_at: Tick(0),
            cut: false,
            verdict: Verdict::Ok,
            took: None,
            usually_took: Duration::ZERO,
        });
        let slots: Vec<Slot> = slots.collect();
        let reports = watch::Sender::new(slots.iter().map(Slot::report).collect());
        // Until it follows others: every sensor as often as it wants.
        let settings = watch::channel(Arc::default()).1;
        let (pool, set) = (Pool::new(supervisor, desk), Arc::new(Columns::new().finish()));
        Self { clock, slots, pool, answers, countdown, set, settings, reports }
    }

    /// How each sensor did at the last tick.
    pub fn reports(&self) -> watch::Receiver<Vec<SensorReport>> {
        self.reports.subscribe()
    }

    /// What a test needs to know when to let the deadline pass.
    #[cfg(test)]
    pub(super) fn countdown(&self) -> Arc<Countdown> {
        Arc::clone(&self.countdown)
    }

    /// How many threads ask sensors.
    #[cfg(test)]
    pub(super) fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Waits until no sensor has anything left to answer.
    #[cfg(test)]
    pub(super) async fn until_answered(&mut self) {
        while self.slots.iter().any(|slot| slot.instrument.is_none()) {
            self.pool.help();
            self.take_answers(Tick(u64::MAX));
            tokio::task::yield_now().await;
        }
    }

    /// Sensors of an interval are read at its multiples, whenever the agent was started; once before that, so that the
    /// set has its columns from the first tick on and does not change with the first minute; and as long as they have asked
    /// somebody who has not answered yet, so that no answer is older than a tick or two.
    fn plan(&mut self, tick: Tick) {
        let settings = self.settings.borrow().clone();
        for slot in &mut self.slots {
            let interval = settings.interval_of(slot.name, slot.own_interval_s).map(|s| s.max(slot.affordable_s));
            slot.changed |= slot.off != interval.is_none();
            slot.off = interval.is_none();
            let at_once = slot.read_at == Tick(0) || slot.expects_answer;
            slot.is_due = interval.is_some_and(|seconds| at_once || tick.0.is_multiple_of(u64::from(seconds.max(1))));
            if slot.is_due {
                slot.read_at = tick;
            }
        }
    }

    /// Has everybody read who is due and has answered. The quick ones go first: nobody waits behind one that is known to
    /// be slow.
    fn ask(&mut self, tick: Tick) {
        let mut requests = Vec::new();
        for (place, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_due) {
            let Some(instrument) = slot.instrument.take() else { continue };
            requests.push((slot.usually_took, Request { place, tick, instrument }));
            slot.verdict = Verdict::Late { since: tick };
            slot.took = None;
        }
        requests.sort_by_key(|(usually_took, _)| *usually_took);
        self.countdown.start(tick, requests.len());
        self.pool.ask(requests.into_iter().map(|(_, request)| request).collect());
    }

    /// Takes the answers that are in. A late one's values are of another time and are dropped, its metrics count.
    fn take_answers(&mut self, tick: Tick) {
        while let Ok(Answer { place, tick: of, mut instrument, outcome, took, cost }) = self.answers.try_recv() {
            let (slot, reading) = (&mut self.slots[place], &mut instrument.reading);
            slot.pays_for(cost);
            slot.usually_took = took;
            slot.changed |= reading.take_changed();
            if of == tick {
                slot.took = Some(took);
                slot.verdict = match outcome {
                    Outcome::Read if reading.is_truncated() => {
                        Verdict::Failed(SensorError::TooMany { reported: reading.metrics().count() })
                    }
                    Outcome::Read => Verdict::Ok,
                    Outcome::Failed(error) => Verdict::Failed(error),
                    Outcome::Panicked => Verdict::Panicked,
                };
            }
            slot.expects_answer = instrument.sensor.expects_answer();
            slot.instrument = Some(instrument);
        }
    }

    /// Puts the metric set together anew if a sensor's metrics changed.
    fn renew_set(&mut self) {
        if !self.slots.iter().any(|slot| slot.changed) {
            return;
        }
        let mut columns = Columns::new();
        let own = own_metrics(&self.slots);
        columns.add(own.iter(), Size::of(own.iter()));
        let wanted: Vec<Size> = self.slots.iter().map(|slot| Size::of(slot.metrics(&self.set))).collect();
        let share = columns.share(&wanted);
        let mut next = own_columns(self.slots.len());
        for slot in &mut self.slots {
            let count = columns.add(slot.metrics(&self.set), share);
            slot.cut = count < slot.metrics(&self.set).count();
            slot.columns = next..next + count;
            slot.changed = false;
            next += count;
        }
        self.set = Arc::new(columns.finish());
    }

    pub(super) fn row(&mut self, tick: Tick, wall_ms: i64) -> Row {
        let mut values = Vec::with_capacity(self.set.metrics().len());
        values.push(Some(wall_ms.cast_unsigned()));
        for slot in &mut self.slots {
            if slot.cut && slot.verdict == Verdict::Ok {
                slot.verdict = Verdict::Failed(SensorError::TooMany { reported: slot.columns.len() });
            }
            let success = slot.is_due.then_some(u64::from(slot.verdict == Verdict::Ok));
            let took = slot.took.filter(|_| slot.is_due);
            values.extend([success, took.and_then(|took| u64::try_from(took.as_micros()).ok())]);
        }
        for slot in &self.slots {
            // A reading that is back from an earlier tick has metrics, but no value of this one.
            let is_fresh = slot.is_due && !matches!(slot.verdict, Verdict::Late { .. });
            let fresh = slot.instrument.as_ref().filter(|_| is_fresh).map(|instrument| &instrument.reading);
            let end = values.len() + slot.columns.len();
            values.extend(fresh.into_iter().flat_map(Reading::values).take(slot.columns.len()));
            values.resize(end, None);
        }
        Row { tick, wall_ms, set: Arc::clone(&self.set), values }
    }
}

/// Waits until everybody has answered, or the deadline. While somebody hangs, others help those behind.
async fn until_answered_or(deadline: Duration, clock: &Clock, countdown: &Countdown, pool: &Pool) {
    loop {
        let now = clock.mono();
        if now >= deadline {
            return;
        }
        tokio::select! {
            () = countdown.finished() => return,
            () = clock.sleep_until(deadline.min(now.saturating_add(HELP_AFTER))) => pool.help(),
        }
    }
}

impl Source for HostSource {
    async fn collect(&mut self, tick: Tick) -> Row {
        let deadline = self.clock.mono().saturating_add(DEADLINE);
        let wall_ms = self.clock.wall_ms();
        self.take_answers(tick); // Of sensors that hung: they are asked again.
        self.plan(tick);
        self.ask(tick);
        until_answered_or(deadline, &self.clock, &self.countdown, &self.pool).await;
        self.take_answers(tick);
        self.renew_set();
        let row = self.row(tick, wall_ms);
        self.reports.send_modify(|reports| {
            for (report, slot) in reports.iter_mut().zip(&self.slots) {
                *report = slot.report();
            }
        });
        row
    }

    fn follow(&mut self, settings: watch::Receiver<Arc<Values>>) {
        self.settings = settings;
    }
}

impl Slot {
    /// Its last reading has cost so much: the next one comes when a share of the time since then has paid for it.
    fn pays_for(&mut self, cost: Duration) {
        let affordable_s = affordable(cost);
        if affordable_s > self.affordable_s.max(self.own_interval_s) {
            tracing::info!(
                sensor = self.name,
                ?cost,
                every_s = affordable_s,
                "reading it costs much: it is read less often"
            );
        }
        self.affordable_s = affordable_s;
    }

    /// What it has to report. The metrics of a sensor that hangs stay as they were in `set`, so that its hanging does not
    /// change the set.
    fn metrics<'a>(&'a self, set: &'a MetricSet) -> Box<dyn Iterator<Item = &'a Metric> + 'a> {
        match &self.instrument {
            _ if self.off => Box::new(std::iter::empty()),
            Some(instrument) => Box::new(instrument.reading.metrics()),
            None => Box::new(set.metrics()[self.columns.clone()].iter()),
        }
    }

    fn report(&self) -> SensorReport {
        // One that settings have turned off, because it hangs perhaps, is nobody's trouble.
        let verdict = if self.off { Verdict::Ok } else { self.verdict };
        let (metrics, first_column) = (self.columns.len(), self.columns.start);
        SensorReport { name: self.name, verdict, took: self.took, metrics, first_column, read_at: self.read_at }
    }
}

/// How many seconds apart readings of this cost may be, at the least.
fn affordable(cost: Duration) -> u16 {
    let seconds = cost.as_micros().div_ceil(COST_PER_SECOND.as_micros());
    u16::try_from(seconds).unwrap_or(SELDOM_S).clamp(1, SELDOM_S)
}

/// The sampler's own metrics, before those of the sensors: the wall clock, and how each sensor did. A host whose every
/// sensor fails still says so.
fn own_metrics(slots: &[Slot]) -> Vec<Metric> {
    let time = Form::signed_gauge(Scale::per(1000)).metric("node_time_seconds", &[]);
    let verdicts = slots.iter().flat_map(|slot| {
        let collector = [("collector", slot.name)];
        [
            Form::gauge(Scale::ONE).metric("node_scrape_collector_success", &collector),
            Form::gauge(Scale::per(1_000_000)).metric("node_scrape_collector_duration_seconds", &collector),
        ]
    });
    std::iter::once(time).chain(verdicts).collect()
}

fn own_columns(sensors: usize) -> usize {
    1 + 2 * sensors
}
