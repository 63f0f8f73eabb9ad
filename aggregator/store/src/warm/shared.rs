//! What the journal's handles, writer and readers share: the queue, the ledgers as of the last commit, and counts.

use super::group::{MAX_LEDGERS_PER_HOST, Touched};
use super::writer::{Answer, Command};
use super::{WarmError, WarmStats};
use crate::ledger::BootLedger;
use crate::ledger_table::Ledgers;
use crate::record::{Appended, StreamKey};
use dsmil_protocol::ids::{HostName, TenantId, TickRange};
use dsmil_runtime::queue::Queue;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) struct Shared {
    pub(super) path: PathBuf,
    pub(super) queue: Queue<Command>,
    known: RwLock<Known>,
    stats: Mutex<WarmStats>,
    /// Grows when the file is replaced: readers then open it again.
    generation: AtomicU64,
}

/// The ledgers as of the last commit.
#[derive(Debug, Default)]
struct Known {
    ledgers: Ledgers,
    by_host: HashMap<(TenantId, HostName), Vec<Arc<StreamKey>>>,
}

impl Known {
    fn new(ledgers: Ledgers) -> Self {
        let mut known = Self::default();
        for (key, ledger) in ledgers {
            known.put(key, ledger);
        }
        known
    }

    fn put(&mut self, key: Arc<StreamKey>, ledger: Arc<BootLedger>) {
        if self.ledgers.insert(Arc::clone(&key), ledger).is_none() {
            self.by_host.entry((key.tenant.clone(), key.host.clone())).or_default().push(key);
        }
    }

    fn remove(&mut self, key: &StreamKey) {
        self.ledgers.remove(key);
        let host = (key.tenant.clone(), key.host.clone());
        if let Some(streams) = self.by_host.get_mut(&host) {
            streams.retain(|stream| **stream != *key);
            if streams.is_empty() {
                self.by_host.remove(&host);
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(path: PathBuf, queue: Queue<Command>, ledgers: Ledgers) -> Self {
        Self {
            path,
            queue,
            known: RwLock::new(Known::new(ledgers)),
            stats: Mutex::new(WarmStats::default()),
            generation: AtomicU64::new(0),
        }
    }

    pub(super) fn ledger(&self, key: &StreamKey) -> Option<Arc<BootLedger>> {
        self.read().ledgers.get(key).cloned()
    }

    pub(super) fn ledgers(&self) -> Vec<(Arc<StreamKey>, Arc<BootLedger>)> {
        self.read().ledgers.iter().map(|(key, ledger)| (Arc::clone(key), Arc::clone(ledger))).collect()
    }

    pub(super) fn streams_of(&self, tenant: &TenantId, host: &HostName) -> Vec<Arc<StreamKey>> {
        self.read().by_host.get(&(tenant.clone(), host.clone())).cloned().unwrap_or_default()
    }

    /// How many ledgers the stream's host has.
    pub(super) fn ledgers_of(&self, key: &StreamKey) -> usize {
        self.read().by_host.get(&(key.tenant.clone(), key.host.clone())).map_or(0, Vec::len)
    }

    /// Counts an expectation; says whether that changed anything.
    pub(super) fn expect(&self, key: &Arc<StreamKey>, range: TickRange) -> bool {
        let known = self.ledger(key);
        if known.as_ref().and_then(|ledger| ledger.named()).is_some_and(|named| named.covers(range)) {
            return false;
        }
        if known.is_none() && self.ledgers_of(key) >= MAX_LEDGERS_PER_HOST {
            return false;
        }
        let mut ledger = known.map(|ledger| BootLedger::clone(&ledger)).unwrap_or_default();
        ledger.expect(range);
        self.write().put(Arc::clone(key), Arc::new(ledger));
        true
    }

    /// Takes over what a committed transaction made of the ledgers, and counts its answers.
    pub(super) fn publish(&self, touched: Touched, answers: &[Answer]) {
        let mut known = self.write();
        for (key, (_, ledger)) in touched {
            known.put(key, Arc::new(ledger));
        }
        drop(known);
        self.count(|stats| {
            stats.commits += 1;
            for answer in answers {
                match answer {
                    Answer::Appended(batches) => batches.iter().for_each(|batch| match batch {
                        Appended::Stored => stats.stored += 1,
                        Appended::Duplicate => stats.duplicates += 1,
                        Appended::Refused(_) => stats.refused += 1,
                    }),
                    Answer::Dropped(damaged) => stats.damaged += damaged,
                    Answer::Done(_) => {}
                }
            }
        });
    }

    /// The file was opened anew: its ledgers are the truth, but what hosts named since stays expected.
    pub(super) fn replace(&self, ledgers: Ledgers) {
        let mut known = self.write();
        let old = std::mem::replace(&mut *known, Known::new(ledgers));
        for (key, ledger) in old.ledgers {
            let Some(named) = ledger.named() else { continue };
            let mut new = known.ledgers.get(&key).map(|ledger| BootLedger::clone(ledger)).unwrap_or_default();
            new.expect(named);
            known.put(key, Arc::new(new));
        }
        drop(known);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Drops ledgers that were pruned.
    pub(super) fn forget(&self, keys: &[StreamKey]) {
        let mut known = self.write();
        keys.iter().for_each(|key| known.remove(key));
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut WarmStats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn stats(&self) -> WarmStats {
        let bytes = self.path.metadata().map_or(0, |m| m.len());
        WarmStats { bytes, ..*self.stats.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    pub(super) fn error(&self, error: rusqlite::Error) -> WarmError {
        WarmError::from_sql(&self.path, error)
    }

    /// The error for every caller of a failed commit, which itself is still needed.
    pub(super) fn error_ref(&self, error: &rusqlite::Error) -> WarmError {
        use rusqlite::Error::SqliteFailure;
        match error {
            SqliteFailure(code, text) => self.error(SqliteFailure(*code, text.clone())),
            other => self.error(rusqlite::Error::ToSqlConversionFailure(other.to_string().into())),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the queue when the writer ends, however it ends.
pub(super) struct CloseOnDrop(pub(super) Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.queue.close();
        // What still waits is dropped with its senders, which tells its callers.
        while let dsmil_runtime::queue::Taken::Items(_) = self.0.queue.take(usize::MAX, Some(std::time::Duration::ZERO))
        {
        }
    }
}
