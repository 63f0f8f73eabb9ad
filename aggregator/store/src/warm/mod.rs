//! The warm journal: every batch is in it, durably, before it is acknowledged.
//!
//! One SQLite file in WAL with `synchronous=FULL`, one writer thread with group commits, and a few reader threads with
//! connections of their own. It is opened with `locking_mode=NORMAL`, other than the databases on tmpfs: only so can
//! readers work beside the writer, and a query over a week must not hold up a commit. The price is a `-shm` file, whose
//! truncation by somebody else would kill the process; after that nothing is lost, because what was acknowledged is in
//! the log, and the wal-index is rebuilt from it. A tmpfs is open to more hands than the folder of the journal.

mod ballast;
mod group;
mod open;
mod readers;
mod salvage;
mod schema;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use readers::{ReaderContext, Readers};

use crate::hot::NewestStart;
use crate::ledger::{BootLedger, LossReason};
use crate::record::{Appended, BatchRecord, MAX_TICK, Refusal, StreamKey};
use crate::sqlite::{Trouble, trouble};
use dsmil_protocol::ids::{HostName, TenantId, TickRange};
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::queue::{Queue, Refused};
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use shared::Shared;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use writer::{Command, Done, Writer};

/// Settings of the warm journal.
#[derive(Clone, Debug)]
pub struct WarmConfig {
    /// The database grows to this many bytes and then refuses what comes ([`WarmError::Full`]); none: to the disk's end.
    /// Its write-ahead log comes on top (16 MiB and a commit).
    pub max_bytes: Option<u64>,
    /// Bytes of batches that may wait for a commit; more is answered with [`WarmError::Busy`].
    pub queue_bytes: usize,
    /// Threads that read, each with its own connection.
    pub readers: usize,
    /// After an unclean end the newest so many bytes of batches are read and checked, and the file's structure if it is
    /// not larger; after a clean end, 512 MiB at most. The rest is checked when it is read.
    pub check_bytes: u64,
}

impl Default for WarmConfig {
    fn default() -> Self {
        Self { max_bytes: None, queue_bytes: 64 << 20, readers: 2, check_bytes: 4 << 30 }
    }
}

/// Commands that may wait for a commit: a heartbeat of 10,000 hosts and what else they send meanwhile.
const QUEUE_COMMANDS: usize = 32_768;
/// A journal that had no room, or failed, is well when it commits and has not failed for so long. While it is all but full a
/// small commit finds a place between two that do not. Hosts send again after half a minute what was not stored, so by now it is.
pub const WELL_AFTER: Duration = Duration::from_secs(40);
/// What a command without batches weighs in the queue.
const COMMAND_WEIGHT: usize = 256;

/// Why the journal did not do what it was asked. Nothing that failed is acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WarmError {
    /// As much waits for a commit as may; try again shortly.
    #[error("the warm journal is busy: its queue is full; try again")]
    Busy,
    /// The disk, or the configured size, is used up.
    #[error("no room left for the warm journal: free disk space or raise its size limit; it goes on by itself")]
    Full,
    /// The program is ending.
    #[error("the warm journal is closed: the program is ending")]
    Stopped,
    /// A tick that no clock shows, or a stream that is kept no ledger of.
    #[error("the warm journal refused it")]
    Refused(#[from] Refusal),
    /// A tick beyond what a clock can show.
    #[error("a tick beyond {} is no tick", MAX_TICK.0)]
    Tick,
    /// Another metric set is stored under this hash.
    #[error("another metric set is stored under the hash {0}")]
    SetConflict(SetId),
    /// Another program has the journal open.
    #[error("the warm journal {path} is in use by another program")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is of a newer version.
    #[error(
        "the warm journal {path} is of version {found}, this program knows up to {known}: run the newer program, or move the file away"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
        /// The newest this program knows.
        known: i32,
    },
    /// The file is some other program's database.
    #[error("{path} is no journal of ours: move it away, or configure another path")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was damaged and could not be salvaged now; the next start tries again.
    #[error("the damaged warm journal {path} could not be salvaged: look at the disk; the next start tries again")]
    Salvage {
        /// The file.
        path: PathBuf,
        /// What stood in the way.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The file is damaged again right after it was salvaged.
    #[error("the warm journal {path} is damaged right after it was salvaged ({reason}): the disk is broken")]
    Hopeless {
        /// The file.
        path: PathBuf,
        /// What is broken.
        reason: String,
    },
    /// The operating system failed.
    #[error("the warm journal {path} cannot be reached")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: Arc<std::io::Error>,
    },
    /// SQLite failed otherwise.
    #[error("the warm journal {path} failed")]
    Db {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
}

impl WarmError {
    fn from_sql(path: &Path, error: rusqlite::Error) -> Self {
        match trouble(&error) {
            Trouble::Full => Self::Full,
            _ => Self::Db { path: path.into(), source: Arc::new(error) },
        }
    }
}

impl From<Refused> for WarmError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::Busy,
            Refused::Closed => Self::Stopped,
        }
    }
}

/// What was found when the journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WarmReport {
    /// The file was made.
    pub created: bool,
    /// The last program that had it open ended without closing it.
    pub unclean: bool,
    /// The write-ahead log was gone although the last end was unclean: what was only in it waits again.
    pub wal_missing: bool,
    /// What was broken in the file that was set aside.
    pub damage: Option<String>,
    /// The damaged file, set aside under this name.
    pub set_aside: Option<PathBuf>,
    /// Batches brought over from the damaged file.
    pub salvaged: u64,
    /// Batches found unreadable, in the file set aside or in the one in use (from where they were removed).
    pub damaged: u64,
    /// Ticks that were stored and wait again, to be asked for; none if nothing was damaged, or the ledger was as well.
    pub lost_ticks: Option<u64>,
}

/// Counts since the journal was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmStats {
    /// Transactions committed that stored, recorded or removed something.
    pub commits: u64,
    /// Batches stored.
    pub stored: u64,
    /// Batches that were there already.
    pub duplicates: u64,
    /// Batches refused.
    pub refused: u64,
    /// Commits that failed; nothing of them was acknowledged.
    pub failures: u64,
    /// Stored batches found unreadable; their ticks wait again.
    pub damaged: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What a pruning removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Batches removed.
    pub batches: u64,
    /// Ledgers of boots removed, of which no batch is left and nothing was heard since, and after which their host was heard
    /// of in another boot.
    pub ledgers: u64,
    /// Metric sets forgotten that no batch names any more.
    pub sets: u64,
}

/// A handle to the journal; clones are the same one.
#[derive(Clone, Debug)]
pub struct Warm {
    shared: Arc<Shared>,
    readers: Readers,
    newest: Arc<[NewestStart]>,
}

impl Warm {
    /// Opens or makes the journal at `path`, salvages what is damaged, and starts its threads. Needs a tokio runtime.
    pub fn open(
        path: &Path,
        clock: &Clock,
        supervisor: &Supervisor,
        config: WarmConfig,
    ) -> Result<(Self, WarmReport), WarmError> {
        let lock = open::lock(path)?;
        let opened = open::open(path, &config, clock, None)?;
        let queue = Queue::new(config.queue_bytes, QUEUE_COMMANDS);
        let shared = Arc::new(Shared::new(path.into(), queue, opened.ledgers));
        let readers = Readers::start(config.readers, &shared, supervisor);
        let writer = Writer::new(opened.db, Arc::clone(&shared), clock.clone(), config, lock);
        let threads_of = Arc::clone(&shared);
        supervisor.thread("warm-writer", OnFailure::Stop, move || {
            // Whatever ends the writer, nobody may wait for it for ever.
            let _closing = shared::CloseOnDrop(threads_of);
            writer.run()
        });
        let (stop, ending) = (supervisor.stop(), Arc::clone(&shared));
        supervisor.spawn("warm-stop", OnFailure::Note, async move {
            stop.requested().await;
            ending.queue.close();
            Ok::<(), WarmError>(())
        });
        Ok((Self { shared, readers, newest: opened.newest.into() }, opened.report))
    }

    /// Stores batches; when it returns `Ok` they are on disk. One answer a batch, in order.
    pub async fn append(&self, batches: Vec<Arc<BatchRecord>>) -> Result<Vec<Appended>, WarmError> {
        let weight = batches.iter().map(|batch| batch.blob.len() + COMMAND_WEIGHT).sum();
        self.ask(weight, |done| Command::Append { batches, done }).await
    }

    /// Records ticks that will never come; on disk when it returns.
    pub async fn record_gaps(&self, key: &Arc<StreamKey>, gaps: Vec<(TickRange, LossReason)>) -> Result<(), WarmError> {
        if gaps.iter().any(|(range, _)| range.last > MAX_TICK) {
            return Err(WarmError::Tick);
        }
        let weight = COMMAND_WEIGHT + std::mem::size_of_val(gaps.as_slice());
        self.ask(weight, |done| Command::Lose { key: Arc::clone(key), gaps, done }).await
    }

    /// The host accounts for `range` (HELLO names the first tick, HEARTBEAT the last one). Counts within moments, is
    /// written with the next commit or within a second; one that is lost in a crash is named again by the next heartbeat.
    pub fn expect(&self, key: &Arc<StreamKey>, range: TickRange) -> Result<(), WarmError> {
        if range.last > MAX_TICK {
            return Err(WarmError::Tick);
        }
        Ok(self.shared.queue.push(Command::Expect { key: Arc::clone(key), range }, COMMAND_WEIGHT)?)
    }

    /// Stores a metric set; on disk when it returns. Idempotent.
    pub async fn put_metric_set(&self, tenant: &TenantId, set: Arc<MetricSet>) -> Result<(), WarmError> {
        let weight = COMMAND_WEIGHT * (1 + set.metrics().len());
        self.ask(weight, |done| Command::PutSet { tenant: tenant.clone(), set, done }).await
    }

    /// Removes batches that ended before `older_than_ms` (Unix ms), in slices between commits.
    pub async fn prune(&self, older_than_ms: i64) -> Result<Pruned, WarmError> {
        self.ask(COMMAND_WEIGHT, |done| Command::Prune { older_than_ms, done }).await
    }

    /// The ledger of one stream as of the last commit.
    pub fn ledger(&self, key: &StreamKey) -> Option<Arc<BootLedger>> {
        self.shared.ledger(key)
    }

    /// Every ledger as of the last commit.
    pub fn ledgers(&self) -> Vec<(Arc<StreamKey>, Arc<BootLedger>)> {
        self.shared.ledgers()
    }

    /// The streams of one host of which there is a ledger.
    pub fn streams_of(&self, tenant: &TenantId, host: &HostName) -> Vec<Arc<StreamKey>> {
        self.shared.streams_of(tenant, host)
    }

    /// Counts since the journal was opened.
    pub fn stats(&self) -> WarmStats {
        self.shared.stats()
    }

    /// The newest start of a batch, by host, when the journal was opened.
    pub(crate) fn newest_at_open(&self) -> &[NewestStart] {
        &self.newest
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }

    /// A reader could not read a batch. If the queue is full, the next reader will say so again.
    pub(crate) fn report_damage(&self, id: i64) {
        let _ = self.shared.queue.push(Command::DamagedBatch { id }, COMMAND_WEIGHT);
    }

    /// A reader could not read a metric set.
    pub(crate) fn report_damaged_set(&self, tenant: &TenantId, set: SetId) {
        let _ = self.shared.queue.push(Command::DamagedSet { tenant: tenant.clone(), set }, COMMAND_WEIGHT);
    }

    async fn ask<T>(&self, weight: usize, command: impl FnOnce(Done<T>) -> Command) -> Result<T, WarmError> {
        let (done, answer) = oneshot::channel();
        self.shared.queue.push(command(done), weight)?;
        // The writer answers or ends; if it ended, so does the program.
        answer.await.unwrap_or(Err(WarmError::Stopped))
    }
}
