//! The thread that reads, and waiting for it no longer than it deserves.

use crate::source::{Source, is_partial};
use crate::waiting;
use dsmil_protocol::metric::{Metric, MetricSet, SetId};
use dsmil_protocol::probe::{Fault, ProbeReading};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use dsmil_sensors::Reading;
use dsmil_sensors::root::Root;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

/// How long a reading may take before it hangs. Sixteen GPUs take some 200 ms; the agent gives up on a probe after 2 s, and is
/// to hear from it before.
const PATIENCE: Duration = Duration::from_millis(1300);

/// The thread that reads is gone: it panicked, and the log has it.
#[derive(Debug)]
pub(crate) struct Gone;

/// What was read.
struct Done {
    set: Arc<MetricSet>,
    values: Vec<Option<u64>>,
    took: Duration,
    fault: Option<Fault>,
}

/// Asks the thread that reads.
pub(crate) struct Desk {
    clock: Clock,
    /// This machine's own, whatever tree is read: it has the state of our thread.
    own: Root,
    thread: i32,
    jobs: SyncSender<()>,
    results: Receiver<Done>,
    /// Since when the thread has not come back.
    busy_since: Option<Duration>,
    /// What the last reading's values meant.
    set: Arc<MetricSet>,
    listens: bool,
}

impl Desk {
    /// Starts the thread.
    pub(crate) fn start(
        clock: Clock,
        supervisor: &Supervisor,
        root: Root,
        own: Root,
        source: Box<dyn Source>,
    ) -> Result<Self, Gone> {
        let listens = source.listens();
        let (jobs, asked) = sync_channel(1);
        let (sender, results) = sync_channel(1);
        let (announce, announced) = sync_channel(1);
        let time = clock.clone();
        supervisor.thread("reader", OnFailure::Stop, move || {
            // Whoever started us waits for this.
            let _ = announce.send(rustix::thread::gettid().as_raw_nonzero().get());
            serve(&time, &root, source, &asked, &sender);
            Ok::<(), Infallible>(())
        });
        let thread = announced.recv().map_err(|_| Gone)?;
        Ok(Self { clock, own, thread, jobs, results, busy_since: None, set: empty(), listens })
    }

    /// What there is at this moment; the metric set comes along unless it is the one that is `known`.
    pub(crate) fn read(&mut self, known: Option<SetId>) -> Result<ProbeReading, Gone> {
        self.take_late()?;
        if self.busy_since.is_none() {
            self.jobs.try_send(()).map_err(|_| Gone)?;
            self.busy_since = Some(self.clock.mono());
            match self.results.recv_timeout(PATIENCE) {
                Ok(done) => {
                    self.busy_since = None;
                    self.set = Arc::clone(&done.set);
                    return Ok(self.reading(known, done.values, done.took, done.fault));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Gone),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        let hung = self.hung();
        Ok(self.reading(known, vec![None; self.set.metrics().len()], Duration::ZERO, Some(hung)))
    }

    /// For how long the thread has not come back, and whether it could be ended.
    pub(crate) fn stuck(&mut self) -> Option<(Duration, bool)> {
        let _ = self.take_late();
        let since = self.busy_since?;
        Some((self.clock.mono().saturating_sub(since), self.state() != Some('D')))
    }

    /// Whether this process has to be there all the time.
    pub(crate) fn listens(&self) -> bool {
        self.listens
    }

    /// An answer that comes when nobody waits for it is of another time: all it says is that the thread is back.
    fn take_late(&mut self) -> Result<(), Gone> {
        match self.results.try_recv() {
            Ok(done) => {
                self.busy_since = None;
                self.set = done.set;
                Ok(())
            }
            Err(TryRecvError::Empty) => Ok(()),
            Err(TryRecvError::Disconnected) => Err(Gone),
        }
    }

    fn reading(
        &self,
        known: Option<SetId>,
        values: Vec<Option<u64>>,
        took: Duration,
        fault: Option<Fault>,
    ) -> ProbeReading {
        let set = self.set.id();
        let metrics = (known != Some(set)).then(|| self.set.encode());
        ProbeReading { set, metrics, values, took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX), fault }
    }

    fn hung(&self) -> Fault {
        let since = self.busy_since.unwrap_or_default();
        let for_s = self.clock.mono().saturating_sub(since).as_secs();
        let wait_channel = waiting::channel(&self.own, &self.place());
        Fault::Hung { for_s: u32::try_from(for_s).unwrap_or(u32::MAX), state: self.state(), wait_channel }
    }

    /// The thread's state, proc(5).
    fn state(&self) -> Option<char> {
        waiting::state(&self.own, &self.place())
    }

    /// Where the thread is below /proc.
    fn place(&self) -> String {
        format!("self/task/{}", self.thread)
    }
}

/// No metrics: what a probe has before it has read anything.
fn empty() -> Arc<MetricSet> {
    Arc::new(MetricSet::new(Vec::new()).expect("nothing in it can be wrong"))
}

fn serve(clock: &Clock, root: &Root, mut source: Box<dyn Source>, asked: &Receiver<()>, results: &SyncSender<Done>) {
    let (mut reading, mut set) = (Reading::new(), empty());
    while asked.recv().is_ok() {
        let begin = clock.mono();
        reading.begin();
        let mut fault = source.read(root, &mut reading).err();
        if fault.as_ref().is_none_or(is_partial) {
            reading.complete();
        } else {
            reading.abandon();
        }
        if reading.take_changed() {
            let metrics: Vec<Metric> = reading.metrics().cloned().collect();
            // A reading keeps to the limits of a set.
            set = MetricSet::new(metrics).map_or_else(|_| empty(), Arc::new);
        }
        if reading.is_truncated() && fault.is_none() {
            let reported = u32::try_from(set.metrics().len()).unwrap_or(u32::MAX);
            fault = Some(Fault::TooMany { reported });
        }
        let values = reading.values().take(set.metrics().len()).collect();
        let took = clock.mono().saturating_sub(begin);
        if results.send(Done { set: Arc::clone(&set), values, took, fault }).is_err() {
            return; // Nobody waits any more.
        }
    }
}

#[cfg(test)]
mod tests;
