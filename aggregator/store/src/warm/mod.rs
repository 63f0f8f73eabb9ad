//! The warm journal: every batch is in it, durably, before it is acknowledged.

use crate::ledger::{BootLedger, LossReason};
use crate::record::{Appended, BatchRecord, StreamKey};
use dsmil_protocol::ids::{TenantId, TickRange};
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Settings of the warm journal.
#[derive(Clone, Debug)]
pub struct WarmConfig {
    /// The database grows to this many bytes and then refuses what comes ([`WarmError::Full`]); none: to the disk's end.
    pub max_bytes: Option<u64>,
    /// Bytes of batches that may wait for a commit; more is answered with [`WarmError::Busy`].
    pub queue_bytes: usize,
    /// Threads that read, each with its own connection.
    pub readers: usize,
    /// After an unclean end the newest so many bytes of batches are read and checked; the rest is checked when it is read.
    pub check_bytes: u64,
}

impl Default for WarmConfig {
    fn default() -> Self {
        Self { max_bytes: None, queue_bytes: 64 << 20, readers: 2, check_bytes: 4 << 30 }
    }
}

/// Why the journal did not do what it was asked. Nothing that failed is stored, nothing stored is failed.
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
    /// Another metric set is stored under this hash.
    #[error("another metric set is stored under the hash {0}")]
    SetConflict(SetId),
    /// SQLite failed otherwise.
    #[error("the warm journal {path} failed")]
    Db {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
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
    /// The damaged file, set aside under this name.
    pub set_aside: Option<PathBuf>,
    /// Batches brought over from the damaged file.
    pub salvaged: u64,
    /// Batches found unreadable, in the file set aside or in the one in use.
    pub damaged: u64,
    /// Ticks that were stored and wait again, to be asked for; none if the damaged ledger could not be read.
    pub lost_ticks: Option<u64>,
}

/// Counts since the journal was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WarmStats {
    /// Transactions committed.
    pub commits: u64,
    /// Batches stored.
    pub stored: u64,
    /// Batches that were there already.
    pub duplicates: u64,
    /// Commits that failed.
    pub failures: u64,
    /// Stored batches found unreadable; their ticks wait again.
    pub damaged: u64,
    /// Bytes of the database.
    pub bytes: u64,
}

/// What a pruning removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Batches removed.
    pub batches: u64,
    /// Ledgers of boots removed, of which no batch is left and nothing was heard since.
    pub ledgers: u64,
}

/// A handle to the journal; clones are the same one.
#[derive(Clone, Debug)]
pub struct Warm {
    _private: (),
}

impl Warm {
    /// Opens or makes the journal at `path`, repairs what is damaged, and starts its threads.
    pub fn open(
        _path: &Path,
        _clock: &Clock,
        _supervisor: &Supervisor,
        _config: WarmConfig,
    ) -> Result<(Self, WarmReport), WarmError> {
        Err(WarmError::Stopped)
    }

    /// Stores batches; when it returns `Ok` they are on disk. One answer a batch, in order.
    pub async fn append(&self, _batches: Vec<Arc<BatchRecord>>) -> Result<Vec<Appended>, WarmError> {
        Err(WarmError::Stopped)
    }

    /// Records ticks that will never come; on disk when it returns.
    pub async fn record_gaps(
        &self,
        _key: &Arc<StreamKey>,
        _gaps: Vec<(TickRange, LossReason)>,
    ) -> Result<(), WarmError> {
        Err(WarmError::Stopped)
    }

    /// The host accounts for `range` (HELLO names the first tick, HEARTBEAT the last one). Counts at once, is written
    /// with the next commit or within a second; a lost one is named again by the next heartbeat.
    pub fn expect(&self, _key: &Arc<StreamKey>, _range: TickRange) -> Result<(), WarmError> {
        Err(WarmError::Stopped)
    }

    /// Stores a metric set; on disk when it returns. Idempotent.
    pub async fn put_metric_set(&self, _tenant: &TenantId, _set: Arc<MetricSet>) -> Result<(), WarmError> {
        Err(WarmError::Stopped)
    }

    /// Removes batches that ended before `older_than_ms` (Unix ms), in slices between commits.
    pub async fn prune(&self, _older_than_ms: i64) -> Result<Pruned, WarmError> {
        Err(WarmError::Stopped)
    }

    /// The ledger of one stream as of the last commit.
    pub fn ledger(&self, _key: &StreamKey) -> Option<Arc<BootLedger>> {
        None
    }

    /// Every ledger as of the last commit.
    pub fn ledgers(&self) -> Vec<(Arc<StreamKey>, Arc<BootLedger>)> {
        Vec::new()
    }

    /// Counts since the journal was opened.
    pub fn stats(&self) -> WarmStats {
        WarmStats::default()
    }
}
