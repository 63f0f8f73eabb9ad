//! Threads that read the journal beside its writer, a job at a time. A query is many short jobs, so that a slow client
//! holds no thread.

use super::WarmError;
use super::schema::FORMAT;
use super::shared::Shared;
use super::writer::Command;
use crate::sqlite::{self, Mode, OpenFailure, Trouble, trouble};
use dsmil_protocol::batch::Decoder;
use dsmil_runtime::queue::{Queue, Refused, Taken};
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use rusqlite::Connection;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Jobs that may wait: a page each of so many queries.
const MAX_JOBS: usize = 1024;

/// What a job works with.
pub(crate) struct ReaderContext<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) decoder: &'a mut Decoder,
}

type Job = Box<dyn FnOnce(Result<ReaderContext<'_>, WarmError>) -> Option<Trouble> + Send>;

/// A handle to the reader threads.
#[derive(Clone)]
pub(crate) struct Readers {
    jobs: Arc<Queue<Job>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Readers {
    pub(super) fn start(threads: usize, shared: &Arc<Shared>, supervisor: &Supervisor) -> Self {
        let jobs: Arc<Queue<Job>> = Arc::new(Queue::new(usize::MAX, MAX_JOBS));
        for _ in 0..threads.max(1) {
            let (jobs, shared) = (Arc::clone(&jobs), Arc::clone(shared));
            supervisor.thread("warm-reader", OnFailure::Stop, move || {
                run(&jobs, &shared);
                Ok::<(), WarmError>(())
            });
        }
        let (stop, ending) = (supervisor.stop(), Arc::clone(&jobs));
        supervisor.spawn("warm-reader-stop", OnFailure::Note, async move {
            stop.requested().await;
            ending.close();
            Ok::<(), WarmError>(())
        });
        Self { jobs, shared: Arc::clone(shared) }
    }

    /// Runs `work` on a reader thread. The outer error is the journal's.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(ReaderContext<'_>) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, WarmError> {
        let (done, answer) = oneshot::channel();
        let path = self.shared.path.clone();
        let job: Job = Box::new(move |context| {
            let outcome = context.and_then(|context| work(context).map_err(|e| WarmError::from_sql(&path, e)));
            let seen = match &outcome {
                Err(WarmError::Db { source, .. }) => Some(trouble(source)),
                _ => None,
            };
            // A caller who has gone away wants no answer.
            let _ = done.send(outcome);
            seen
        });
        self.jobs.push(job, 1).map_err(|refused| match refused {
            Refused::Full => WarmError::Busy,
            Refused::Closed => WarmError::Stopped,
        })?;
        answer.await.unwrap_or(Err(WarmError::Stopped))
    }
}

fn run(jobs: &Queue<Job>, shared: &Shared) {
    let mut connection: Option<(Connection, u64)> = None;
    let mut decoder = Decoder::new();
    loop {
        // One at a time: the other threads take the next ones.
        let Taken::Items(items) = jobs.take(1, None) else { return };
        for job in items {
            let generation = shared.generation();
            connection = connection.take().filter(|(_, opened)| *opened == generation);
            let seen = match connect(&mut connection, generation, shared) {
                Ok(db) => job(Ok(ReaderContext { db, decoder: &mut decoder })),
                Err(e) => job(Err(e)),
            };
            if seen == Some(Trouble::Damaged) {
                connection = None;
                // If the queue is full, the next reader will say so again.
                let _ = shared.queue.push(Command::DamagedFile, 1);
            }
        }
    }
}

fn connect<'a>(
    slot: &'a mut Option<(Connection, u64)>,
    generation: u64,
    shared: &Shared,
) -> Result<&'a Connection, WarmError> {
    if slot.is_none() {
        let db = sqlite::open(&shared.path, &FORMAT, Mode::Reader).map_err(|e| match e {
            OpenFailure::Sql(e) => shared.error(e),
            OpenFailure::Version { .. } | OpenFailure::Foreign(_) => WarmError::Foreign { path: shared.path.clone() },
        })?;
        *slot = Some((db, generation));
    }
    Ok(&slot.as_ref().expect("opened just now").0)
}
