//! Threads that ask sensors: what a device does not answer holds up nobody else.
//!
//! A sensor that may wait for a device has a thread of its own. Those that read the kernel's memory answer at once and share
//! one: thirty stacks and thirty wake-ups a second would be most of what they cost.

use dsmil_protocol::ids::Tick;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use dsmil_sensors::root::Root;
use dsmil_sensors::{Reading, Sensor, SensorError};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Stack of a sensor's thread. Sensors keep their buffers on the heap and call nothing deep: the tests, a panic with a
/// full backtrace among them, pass with a quarter of it in a debug build.
const STACK: usize = 128 << 10;

/// "Read now", with the reading to fill.
pub(super) struct Request {
    /// Which sensor, by its place among them.
    pub(super) sensor: usize,
    pub(super) tick: Tick,
    pub(super) reading: Reading,
}

/// A sensor's answer.
pub(super) struct Answer {
    /// Which sensor, by its place among them.
    pub(super) sensor: usize,
    /// The tick it was asked for, perhaps long ago.
    pub(super) tick: Tick,
    pub(super) reading: Reading,
    pub(super) outcome: Outcome,
    /// How long the sensor took.
    pub(super) took: Duration,
    /// How much of that it worked; the rest it waited, for the kernel or for a core.
    pub(super) cost: Duration,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Read,
    Failed(SensorError),
    Panicked,
}

/// Wakes the sampler once a tick, when the last answer is in, instead of once an answer.
#[derive(Debug)]
pub(super) struct Countdown {
    /// The tick that is counted, and how many of its answers are outstanding.
    open: Mutex<(Tick, usize)>,
    done: Notify,
}

impl Countdown {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { open: Mutex::new((Tick(0), 0)), done: Notify::new() })
    }

    /// Begins to count `answers` for `tick`; what is still to come for an earlier one no longer counts.
    pub(super) fn start(&self, tick: Tick, answers: usize) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = (tick, answers);
    }

    /// How many answers are outstanding.
    pub(super) fn outstanding(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// The tick that is counted.
    #[cfg(test)]
    pub(super) fn current(&self) -> Tick {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Returns when every answer is in.
    pub(super) async fn finished(&self) {
        while self.outstanding() > 0 {
            self.done.notified().await;
        }
    }

    fn answered(&self, tick: Tick) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.0 == tick {
            open.1 = open.1.saturating_sub(1);
            if open.1 == 0 {
                self.done.notify_one();
            }
        }
    }
}

/// What the threads of all sensors share.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) root: Arc<Root>,
    pub(super) clock: Clock,
    pub(super) answers: Sender<Answer>,
    pub(super) countdown: Arc<Countdown>,
}

/// A sensor and its place among them.
pub(super) type Placed = (usize, Box<dyn Sensor>);

/// Starts a thread called `name` for `sensors`. It ends when the last of the returned sender is dropped, or never if one of
/// them hangs.
pub(super) fn start(
    supervisor: &Supervisor,
    desk: Desk,
    name: &'static str,
    sensors: Vec<Placed>,
) -> SyncSender<Request> {
    // A place each: a sensor is not asked again until it has answered.
    let (sender, requests) = sync_channel(sensors.len());
    supervisor.thread_with_stack(name, STACK, OnFailure::Stop, move || {
        serve(&desk, sensors, &requests);
        Ok::<(), Infallible>(())
    });
    sender
}

fn serve(desk: &Desk, mut sensors: Vec<Placed>, requests: &Receiver<Request>) {
    while let Ok(Request { sensor: number, tick, mut reading }) = requests.recv() {
        let Some((_, sensor)) = sensors.iter_mut().find(|(place, _)| *place == number) else { continue };
        let (begin, worked) = (desk.clock.mono(), desk.clock.thread_cpu());
        reading.begin();
        // A sensor that panicked is asked again: its buffers may hold anything, and it must expect anything of them.
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| sensor.read(&desk.root, &mut reading)));
        let outcome = match result {
            Ok(Ok(())) => Outcome::Read,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Panicked,
        };
        if outcome == Outcome::Read {
            reading.complete()
        } else {
            reading.abandon()
        }
        let took = desk.clock.mono().saturating_sub(begin);
        let cost = desk.clock.thread_cpu().saturating_sub(worked);
        if desk.answers.send(Answer { sensor: number, tick, reading, outcome, took, cost }).is_err() {
            return; // The sampler is gone.
        }
        desk.countdown.answered(tick);
    }
}
