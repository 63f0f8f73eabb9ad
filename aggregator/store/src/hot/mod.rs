//! The hot cache: the last hour again, on tmpfs, for fast reading. Losing it loses nothing.
//!
//! Hot promises one thing: it holds every batch of a host that starts within [`Coverage`]. Below its floor, warm answers.
//! Whatever goes wrong (an append that fails, a damaged, removed or truncated file) moves the floor up and nothing else;
//! so hot starts empty, with its floor at the present, and needs no repair, only a fresh file.

mod database;
#[cfg(test)]
mod tests;
mod thread;

use crate::batch_table::{Page, PageQuery};
use crate::record::BatchRecord;
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::queue::Queue;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thread::{Command, HotThread};
use tokio::sync::oneshot;

/// A host and when (Unix ms) the newest of its batches started.
pub(crate) type NewestStart = (TenantId, HostName, i64);

/// Settings of the hot cache.
#[derive(Clone, Debug)]
pub struct HotConfig {
    /// The database file, on a tmpfs.
    pub path: PathBuf,
    /// The database grows to so many bytes, then its oldest batches go. At most half of the tmpfs less 1 MiB: the
    /// write-ahead log needs room too, and a full tmpfs stops even deletes.
    pub max_bytes: u64,
    /// How long a batch is kept.
    pub keep: Duration,
    /// Bytes of batches that may wait to be written; more are left out, and the floor moves.
    pub queue_bytes: usize,
}

impl HotConfig {
    /// The usual settings: an hour, 256 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: 256 << 20, keep: Duration::from_secs(3600), queue_bytes: 16 << 20 }
    }
}

/// A batch that starts further ahead of our clock than this comes from a clock that nobody could correct. Its host is
/// read from warm from there on, so that one wrong clock does not raise the floor for all.
const AHEAD_MS: i64 = 60_000;
/// Commands that may wait.
const QUEUE_COMMANDS: usize = 16_384;
/// What a command weighs in the queue besides its batches.
const COMMAND_WEIGHT: usize = 256;

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotStats {
    /// Batches written.
    pub stored: u64,
    /// Batches left out: full, failed, or too many waiting.
    pub left_out: u64,
    /// Batches removed by age or size.
    pub evicted: u64,
    /// Times the file was made anew: damaged, removed, replaced or truncated.
    pub reopened: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Hot is complete from here on (Unix ms of a batch's first tick); [`i64::MAX`] while it does not work.
    pub floor_ms: i64,
}

/// The starts of batches (Unix ms) that hot holds completely, of one host: `floor_ms <= start < ceiling_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coverage {
    pub(crate) floor_ms: i64,
    pub(crate) ceiling_ms: i64,
}

#[derive(Debug)]
struct Shared {
    queue: Queue<Command>,
    floor_ms: AtomicI64,
    /// The floor may not be below this, whatever file is opened: a batch was left out.
    least_floor_ms: AtomicI64,
    /// Hosts with a clock far ahead: where their batches begin that are not here.
    ceilings: Mutex<HashMap<(TenantId, HostName), i64>>,
    stats: Mutex<HotStats>,
}

/// A handle to the cache; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Hot {
    shared: Arc<Shared>,
    clock: Clock,
}

impl Hot {
    /// Starts the cache's thread, which makes a fresh file. Until it has, and whenever it cannot, the floor is out of
    /// reach. `newest`: the newest start of a batch in warm, by host; the floor is above them.
    pub(crate) fn start(config: HotConfig, newest: &[NewestStart], clock: &Clock, supervisor: &Supervisor) -> Self {
        let shared = Arc::new(Shared {
            queue: Queue::new(config.queue_bytes, QUEUE_COMMANDS),
            floor_ms: AtomicI64::new(i64::MAX),
            least_floor_ms: AtomicI64::new(i64::MIN),
            ceilings: Mutex::new(HashMap::new()),
            stats: Mutex::new(HotStats::default()),
        });
        let mut newest_start_ms = i64::MIN;
        for (tenant, host, start_ms) in newest {
            if *start_ms > clock.wall_ms().saturating_add(AHEAD_MS) {
                shared.lock_ceilings().insert((tenant.clone(), host.clone()), i64::MIN);
            } else {
                newest_start_ms = newest_start_ms.max(*start_ms);
            }
        }
        let worker = HotThread::new(config, newest_start_ms, Arc::clone(&shared), clock.clone());
        supervisor.thread("hot", OnFailure::Note, move || {
            worker.run();
            Ok::<(), std::convert::Infallible>(())
        });
        let (stop, ending) = (supervisor.stop(), Arc::clone(&shared));
        supervisor.spawn("hot-stop", OnFailure::Note, async move {
            stop.requested().await;
            ending.queue.close();
            Ok::<(), std::convert::Infallible>(())
        });
        Self { shared, clock: clock.clone() }
    }

    /// Shows batches to the cache; returns when they are in it, or are not and the floor has moved above them.
    pub(crate) async fn append(&self, batches: &[Arc<BatchRecord>]) {
        let now = self.clock.wall_ms();
        let floor = self.shared.floor_ms.load(Ordering::Acquire);
        let (mut wanted, mut weight) = (Vec::with_capacity(batches.len()), COMMAND_WEIGHT);
        for batch in batches {
            if batch.start_ms > now.saturating_add(AHEAD_MS) {
                self.shared.leave_to_warm(batch);
            } else if floor == i64::MAX {
                self.shared.raise_floor(batch.start_ms.saturating_add(1));
            } else if batch.start_ms >= floor {
                weight += batch.blob.len() + COMMAND_WEIGHT;
                wanted.push(Arc::clone(batch));
            }
        }
        if wanted.is_empty() {
            return;
        }
        let newest = wanted.iter().map(|batch| batch.start_ms).max().unwrap_or(now);
        let (done, written) = oneshot::channel();
        let count = wanted.len() as u64;
        if self.shared.queue.push(Command::Append { batches: wanted, done }, weight).is_err() {
            self.shared.raise_floor(now.max(newest.saturating_add(1)));
            self.shared.count(|stats| stats.left_out += count);
            return;
        }
        // If the thread ended, the floor is out of reach and warm answers.
        let _ = written.await;
    }

    /// Warm refused this batch, which hot may show now: from its start on, its host is read from warm.
    pub(crate) fn leave_to_warm(&self, batch: &BatchRecord) {
        self.shared.leave_to_warm(batch);
    }

    /// What the cache holds completely of a host.
    pub(crate) fn coverage(&self, tenant: &TenantId, host: &HostName) -> Coverage {
        self.shared.coverage(tenant, host)
    }

    /// A page of batches and what the cache held completely when it was read; none if it cannot be read now.
    pub(crate) async fn page(&self, query: PageQuery) -> Option<(Page, Coverage)> {
        let (done, answer) = oneshot::channel();
        self.shared.queue.push(Command::Page { query, done }, COMMAND_WEIGHT).ok()?;
        answer.await.ok().flatten()
    }

    /// A reader found a batch that is not as it was written: the file cannot be trusted.
    pub(crate) async fn report_damage(&self) {
        let (done, gone) = oneshot::channel();
        if self.shared.queue.push(Command::Damaged { done }, 1).is_ok() {
            let _ = gone.await;
        }
    }

    pub(crate) fn stats(&self) -> HotStats {
        let floor_ms = self.shared.floor_ms.load(Ordering::Acquire);
        HotStats { floor_ms, ..*self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl Shared {
    fn coverage(&self, tenant: &TenantId, host: &HostName) -> Coverage {
        let floor_ms = self.floor_ms.load(Ordering::Acquire);
        let ceiling_ms = self.lock_ceilings().get(&(tenant.clone(), host.clone())).copied().unwrap_or(i64::MAX);
        Coverage { floor_ms, ceiling_ms }
    }

    /// From this batch on, its host is read from warm. One entry a host, and hosts are enrolled.
    fn leave_to_warm(&self, batch: &BatchRecord) {
        let mut ceilings = self.lock_ceilings();
        let host = (batch.key.tenant.clone(), batch.key.host.clone());
        let ceiling = ceilings.entry(host).or_insert(batch.start_ms);
        *ceiling = batch.start_ms.min(*ceiling);
    }

    fn raise_floor(&self, to_ms: i64) {
        self.least_floor_ms.fetch_max(to_ms, Ordering::AcqRel);
        self.floor_ms.fetch_max(to_ms, Ordering::AcqRel);
    }

    /// A fresh file is open and holds everything from `floor_ms` on.
    fn set_floor(&self, floor_ms: i64) {
        self.floor_ms.store(floor_ms, Ordering::Release);
        // Whoever left a batch out before the line above counts too.
        self.floor_ms.fetch_max(self.least_floor_ms.load(Ordering::Acquire), Ordering::AcqRel);
    }

    fn lock_ceilings(&self) -> MutexGuard<'_, HashMap<(TenantId, HostName), i64>> {
        self.ceilings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut HotStats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
