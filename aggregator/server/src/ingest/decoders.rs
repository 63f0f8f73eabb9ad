//! Threads that decode, beside those that answer.
//!
//! A batch is some ten microseconds of work; a backlog of them from a thousand hosts is seconds, and one metric set as large
//! as they may be is long enough to be noticed. Whoever answers heartbeats must not stand behind either, so both are done
//! here, where the kernel shares out the processors, and sets on a thread of their own: a peer that tells of one after the
//! other holds up nobody's batches.

use dsmil_protocol::batch::Decoder;
use dsmil_runtime::queue::{Queue, Taken};
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Threads for batches; more would take turns with those that store what these decode.
const MOST_THREADS: usize = 8;
/// Pieces of work that may wait. A session has one at a time, and admission knows no more sessions than this.
const QUEUE: usize = 1_000_000;

type Work = Box<dyn FnOnce(&mut Decoder) + Send>;

/// The threads; clones are handles to the same ones. They end when the program stops.
#[derive(Clone)]
pub(super) struct Decoders {
    batches: Arc<Queue<Work>>,
    sets: Arc<Queue<Work>>,
}

impl std::fmt::Debug for Decoders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoders").finish_non_exhaustive()
    }
}

impl Decoders {
    pub(super) fn start(supervisor: &Supervisor) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS));
        let queue = || Arc::new(Queue::new(QUEUE, QUEUE));
        let this = Self { batches: queue(), sets: queue() };
        for queue in std::iter::repeat_n(&this.batches, threads).chain([&this.sets]) {
            let queue = Arc::clone(queue);
            supervisor.thread("decode", OnFailure::Stop, move || {
                work(&queue);
                Ok::<(), Infallible>(())
            });
        }
        let (stop, ending) = (supervisor.stop(), this.clone());
        supervisor.spawn("decode-stop", OnFailure::Note, async move {
            stop.requested().await;
            ending.batches.close();
            ending.sets.close();
            Ok::<(), Infallible>(())
        });
        this
    }

    /// Has batches decoded. Nothing if the work panicked, or the program is ending.
    pub(super) async fn batches<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Decoder) -> T + Send + 'static,
    ) -> Option<T> {
        ask(&self.batches, work).await
    }

    /// Has a metric set decoded. Nothing if the work panicked, or the program is ending.
    pub(super) async fn set<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        ask(&self.sets, |_| work()).await
    }
}

async fn ask<T: Send + 'static>(
    queue: &Queue<Work>,
    work: impl FnOnce(&mut Decoder) -> T + Send + 'static,
) -> Option<T> {
    let (done, answer) = oneshot::channel();
    // One who has gone away misses the answer and nothing else.
    let work = move |decoder: &mut Decoder| drop(done.send(work(decoder)));
    queue.push(Box::new(work), 1).ok()?;
    answer.await.ok()
}

/// Works until the queue is closed and empty.
fn work(queue: &Queue<Work>) {
    let mut decoder = Decoder::new();
    loop {
        match queue.take(1, None) {
            Taken::Items(items) => {
                for item in items {
                    // A panic is a mistake of ours, and one session's: it ends, and the others go on.
                    if catch_unwind(AssertUnwindSafe(|| item(&mut decoder))).is_err() {
                        decoder = Decoder::new();
                    }
                }
            }
            Taken::Nothing => {}
            Taken::Closed => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_runtime::clock::Clock;

    #[tokio::test]
    async fn a_panic_is_one_callers_and_the_stop_everybodys() {
        let supervisor = Supervisor::new(Clock::real());
        let decoders = Decoders::start(&supervisor);
        for _ in 0..2 * MOST_THREADS {
            assert_eq!(decoders.batches(|_| -> u8 { panic!("on purpose") }).await, None);
        }
        assert_eq!(decoders.batches(|_| 7).await, Some(7));
        supervisor.request_stop();
        while decoders.set(|| 8).await.is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(supervisor.drain(std::time::Duration::from_secs(5)).await, dsmil_runtime::supervise::Drained::Clean);
    }

    #[tokio::test]
    async fn a_set_holds_up_no_batch() {
        let decoders = Decoders::start(&Supervisor::new(Clock::real()));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let slow = decoders.set(move || wait.recv().is_ok());
        let quick = async {
            assert_eq!(decoders.batches(|_| 7).await, Some(7));
            go.send(()).expect("the set is still waited for");
        };
        assert_eq!(tokio::join!(slow, quick).0, Some(true));
    }
}
