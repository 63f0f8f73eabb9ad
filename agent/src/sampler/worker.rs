//! Threads that ask sensors: what a device does not answer holds up nobody else.
//!
//! On an ordinary host one thread asks them all, one after the other, within some milliseconds: fifty stacks, heaps and wake-ups
//! a second would be most of what they cost. When it does not come back for a moment, another one goes on with those that
//! wait; whoever comes back to find that there is one already ends. So there is a thread for each sensor that hangs, and one.

use dsmil_protocol::ids::Tick;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use dsmil_sensors::root::Root;
use dsmil_sensors::{Reading, Sensor, SensorError};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Stack of a sensor's thread. Sensors keep their buffers on the heap and call nothing deep: the tests, a panic with a
/// full backtrace among them, pass with a quarter of it in a debug build.
const STACK: usize = 128 << 10;

/// Threads at most: so many sensors can hang at a time before the others wait for them. The unit's `TasksMax=` has room for
/// them beside all else.
const MAX_THREADS: usize = 32;

/// A sensor with the reading that it fills: here while it rests, with a thread while it reads.
pub(super) struct Instrument {
    pub(super) sensor: Box<dyn Sensor>,
    pub(super) reading: Reading,
}

/// "Read now".
pub(super) struct Request {
    /// Which sensor, by its place among them.
    pub(super) place: usize,
    pub(super) tick: Tick,
    pub(super) instrument: Instrument,
}

/// A sensor's answer.
pub(super) struct Answer {
    /// Which sensor, by its place among them.
    pub(super) place: usize,
    /// The tick it was asked for, perhaps long ago.
    pub(super) tick: Tick,
    pub(super) instrument: Instrument,
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

/// The threads. They end when it is dropped, those that hang when they come back.
pub(super) struct Pool {
    supervisor: Supervisor,
    desk: Desk,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something is to be read, or nothing ever again.
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    threads: usize,
    idle: usize,
    is_over: bool,
}

impl Pool {
    /// No thread yet.
    pub(super) fn new(supervisor: &Supervisor, desk: Desk) -> Self {
        Self { supervisor: supervisor.clone(), desk, shared: Arc::default() }
    }

    /// Has sensors read, in this order.
    pub(super) fn ask(&self, requests: Vec<Request>) {
        let mut queue = self.shared.lock();
        queue.requests.extend(requests);
        let is_asleep = queue.threads == 0;
        drop(queue);
        if is_asleep {
            self.help();
        } else {
            self.shared.more.notify_one();
        }
    }

    /// Starts one more thread if somebody still waits to be read.
    pub(super) fn help(&self) {
        let mut queue = self.shared.lock();
        if queue.requests.is_empty() || queue.threads == MAX_THREADS {
            return;
        }
        queue.threads += 1;
        drop(queue);
        let (desk, shared) = (self.desk.clone(), Arc::clone(&self.shared));
        let started = self.supervisor.try_thread_with_stack("sensors", STACK, OnFailure::Stop, move || {
            while let Some(request) = shared.next() {
                let answer = read(&desk, request);
                let tick = answer.tick;
                if desk.answers.send(answer).is_err() {
                    break; // The sampler is gone.
                }
                desk.countdown.answered(tick);
            }
            Ok::<(), Infallible>(())
        });
        // A host out of processes is one that wants to be watched: those who wait are late, and the next tick tries again.
        if let Err(error) = started {
            self.shared.lock().threads -= 1;
            tracing::warn!(%error, "no thread could be started to read sensors");
        }
    }

    /// How many threads there are.
    #[cfg(test)]
    pub(super) fn threads(&self) -> usize {
        self.shared.lock().threads
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_over = true;
        queue.requests.clear();
        drop(queue);
        self.shared.more.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be read next; nothing if the thread that asks is not needed any more.
    fn next(&self) -> Option<Request> {
        let mut queue = self.lock();
        loop {
            if let Some(request) = queue.requests.pop_front() {
                return Some(request);
            }
            if queue.is_over || queue.idle > 0 {
                queue.threads -= 1;
                return None;
            }
            queue.idle += 1;
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

/// Reads one sensor.
fn read(desk: &Desk, request: Request) -> Answer {
    let Request { place, tick, instrument: Instrument { mut sensor, mut reading } } = request;
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
    Answer { place, tick, instrument: Instrument { sensor, reading }, outcome, took, cost }
}
