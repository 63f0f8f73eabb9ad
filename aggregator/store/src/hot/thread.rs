//! The one thread that has the cache's file open. It writes what waits as one transaction, answers readers, removes what
//! is old, and looks after the file each second and before each use.

use super::database::HotDb;
use super::{Coverage, HotConfig, Shared};
use crate::batch_table::{Page, PageQuery};
use crate::record::BatchRecord;
use crate::sqlite::{Trouble, trouble};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::queue::Taken;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// Bytes of batches in one transaction: they are all in the write-ahead log, and so in memory, at once.
const COMMIT_BYTES: usize = 4 << 20;
/// How often the file's name and the age of its batches are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Slices of old batches that one look removes; the rest goes with the next ones.
const SLICES_PER_LOOK: usize = 20;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Append { batches: Vec<Arc<BatchRecord>>, done: oneshot::Sender<()> },
    Page { query: PageQuery, done: oneshot::Sender<Option<(Page, Coverage)>> },
    Damaged { done: oneshot::Sender<()> },
}

pub(super) struct HotThread {
    config: HotConfig,
    shared: Arc<Shared>,
    clock: Clock,
    db: Option<HotDb>,
    /// The newest start of a batch that was ever shown to hot, or is in warm: a fresh file's floor is above it.
    newest_start_ms: i64,
    looked: Duration,
    /// It could not be opened at the last attempt; said once.
    down: bool,
}

impl HotThread {
    pub(super) fn new(config: HotConfig, newest_start_ms: i64, shared: Arc<Shared>, clock: Clock) -> Self {
        Self { config, shared, clock, db: None, newest_start_ms, looked: Duration::ZERO, down: false }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let _ended = OutOfReach(Arc::clone(&self.shared));
        self.reopen();
        loop {
            match self.shared.queue.take(COMMIT_BYTES, Some(LOOK_EVERY)) {
                Taken::Items(commands) => self.serve(commands),
                Taken::Nothing => {}
                Taken::Closed => return,
            }
            let now = self.clock.mono();
            if now.saturating_sub(self.looked) >= LOOK_EVERY {
                self.looked = now;
                self.look();
                self.evict();
            }
        }
    }

    /// Opens a fresh file. Its floor is the present, and above all batches that are not in it.
    fn reopen(&mut self) {
        self.db = None;
        self.shared.floor_ms.store(i64::MAX, Ordering::Release);
        match HotDb::create(&self.config) {
            Ok(db) => {
                self.db = Some(db);
                self.down = false;
                let floor = self.clock.wall_ms().max(self.newest_start_ms.saturating_add(1));
                self.shared.set_floor(floor);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.down, true) {
                    let path = self.config.path.display();
                    tracing::error!(%path, %error, "the hot cache cannot be opened: warm answers, it is tried again each second");
                }
            }
        }
    }

    /// The file is not to be trusted: it is put aside and a fresh one made.
    fn start_over(&mut self, reason: &str) {
        let aside = self.db.take().and_then(HotDb::set_aside);
        tracing::warn!(reason, set_aside = ?aside, "the hot cache starts over; nothing is lost, warm answers for the time before");
        self.shared.count(|stats| stats.reopened += 1);
        self.reopen();
    }

    fn look(&mut self) {
        match self.db.as_mut().map(HotDb::look) {
            None => self.reopen(),
            Some(Ok(())) => {}
            Some(Err(tampered)) => {
                // The name is not ours any more: what it stands for is removed with the fresh start.
                self.db = None;
                self.start_over(&tampered.to_string());
            }
        }
    }

    fn serve(&mut self, commands: Vec<Command>) {
        self.look();
        let (mut batches, mut waiting, mut pages) = (Vec::new(), Vec::new(), Vec::new());
        for command in commands {
            match command {
                Command::Append { batches: more, done } => {
                    batches.extend(more);
                    waiting.push(done);
                }
                Command::Page { query, done } => pages.push((query, done)),
                Command::Damaged { done } => {
                    self.start_over("a batch in it is not as it was written");
                    // Whoever reported it may have gone.
                    let _ = done.send(());
                }
            }
        }
        if !batches.is_empty() {
            self.append(&batches);
            for done in waiting {
                // Whoever waited may have gone.
                let _ = done.send(());
            }
        }
        for (query, done) in pages {
            let _ = done.send(self.page(&query));
        }
    }

    fn append(&mut self, batches: &[Arc<BatchRecord>]) {
        let newest = batches.iter().map(|batch| batch.start_ms).max().unwrap_or(i64::MIN);
        self.newest_start_ms = self.newest_start_ms.max(newest);
        match self.try_append(batches) {
            Ok(written) => self.shared.count(|stats| {
                stats.stored += written;
                stats.commits += 1;
            }),
            Err(()) => {
                self.shared.raise_floor(self.clock.wall_ms().max(newest.saturating_add(1)));
                self.shared.count(|stats| stats.left_out += batches.len() as u64);
            }
        }
    }

    fn try_append(&mut self, batches: &[Arc<BatchRecord>]) -> Result<u64, ()> {
        let error = match self.db.as_mut().ok_or(())?.append(batches.iter()) {
            Ok(written) => return Ok(written),
            Err(error) => error,
        };
        if trouble(&error) == Trouble::Full {
            self.make_room();
            if let Some(Ok(written)) = self.db.as_mut().map(|db| db.append(batches.iter())) {
                return Ok(written);
            }
        }
        // A cache that cannot be written is worth nothing: a fresh one may be, and frees what the old one took.
        self.start_over(&error.to_string());
        Err(())
    }

    fn page(&mut self, query: &PageQuery) -> Option<(Page, Coverage)> {
        match self.db.as_ref()?.page(query) {
            Ok(page) => Some((page, self.shared.coverage(&query.tenant, &query.host))),
            Err(error) => {
                self.start_over(&error.to_string());
                None
            }
        }
    }

    /// Removes what is older than it is to be kept, and more if the file is nearly full.
    fn evict(&mut self) {
        let keep = i64::try_from(self.config.keep.as_millis()).unwrap_or(i64::MAX);
        let cutoff = self.clock.wall_ms().saturating_sub(keep);
        for _ in 0..SLICES_PER_LOOK {
            if !self.evict_slice(Some(cutoff)) {
                break;
            }
        }
        while matches!(self.db.as_ref().map(HotDb::is_full), Some(Ok(true))) && self.evict_slice(None) {}
    }

    fn make_room(&mut self) {
        // Two slices: one may hold only short batches.
        let _ = self.evict_slice(None) && self.evict_slice(None);
    }

    /// Removes one slice, the floor first; says whether something went.
    fn evict_slice(&mut self, before_ms: Option<i64>) -> bool {
        let Some(db) = self.db.as_mut() else { return false };
        match db.evict(before_ms) {
            Ok((_, None)) => false,
            Ok((removed, Some(newest))) => {
                // Readers come through this thread, so none sees the hole before the floor is above it.
                self.shared.raise_floor(newest.saturating_add(1));
                self.shared.count(|stats| stats.evicted += removed);
                true
            }
            Err(error) => {
                self.start_over(&error.to_string());
                false
            }
        }
    }
}

/// However the thread ends, its floor is out of reach from then on.
struct OutOfReach(Arc<Shared>);

impl Drop for OutOfReach {
    fn drop(&mut self) {
        self.0.floor_ms.store(i64::MAX, Ordering::Release);
        self.0.queue.close();
        while let Taken::Items(_) = self.0.queue.take(usize::MAX, Some(Duration::ZERO)) {}
    }
}
