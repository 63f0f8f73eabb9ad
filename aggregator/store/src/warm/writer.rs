//! The one thread that writes the journal. It takes what waits, commits it as one transaction, and only then answers:
//! while one commit reaches the disk the next one gathers, so batching grows with the load and an idle journal commits
//! at once.

use super::ballast::Ballast;
use super::group::{Group, Touched};
use super::schema::{FORMAT, note_closed};
use super::{Pruned, Shared, WELL_AFTER, WarmConfig, WarmError, WarmReport, open};
use crate::catalog::Catalog;
use crate::ledger::LossReason;
use crate::ledger_table;
use crate::record::{Appended, BatchRecord, StreamKey};
use crate::set_use;
use crate::sqlite::{self, Mode, Trouble, trouble};
use dsmil_protocol::ids::{TenantId, TickRange};
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::queue::Taken;
use rusqlite::Connection;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Bytes of batches in one commit: at a slow disk's 20 MB/s it still ends within a second.
pub(super) const COMMIT_BYTES: usize = 8 << 20;
/// What was only heard (expectations) is written at the latest after this.
const LAZY: Duration = Duration::from_secs(1);
/// Batches that one slice of a pruning removes; commits wait for it.
const PRUNE_SLICE: usize = 500;
/// Prunings that may wait.
const MAX_PRUNINGS: usize = 8;
/// A file is salvaged while running at most so often: a disk that damages everything must not keep us copying.
const REPAIR_PAUSE: Duration = Duration::from_secs(60);

/// Where an answer goes.
pub(super) type Done<T> = oneshot::Sender<Result<T, WarmError>>;

/// What the writer is asked to do.
pub(super) enum Command {
    Append {
        batches: Vec<Arc<BatchRecord>>,
        done: Done<Vec<Appended>>,
    },
    Lose {
        key: Arc<StreamKey>,
        gaps: Vec<(TickRange, LossReason)>,
        done: Done<()>,
    },
    Expect {
        key: Arc<StreamKey>,
        range: TickRange,
    },
    PutSet {
        tenant: TenantId,
        set: Arc<MetricSet>,
        done: Done<()>,
    },
    Prune {
        older_than_ms: i64,
        done: Done<Pruned>,
    },
    /// A reader could not read this row.
    DamagedBatch {
        id: i64,
    },
    /// A reader could not read this set.
    DamagedSet {
        tenant: TenantId,
        set: SetId,
    },
    /// A reader found the file's structure damaged.
    DamagedFile,
}

struct Pruning {
    older_than_ms: i64,
    /// Hosts still to be looked at.
    hosts: Vec<i64>,
    pruned: Pruned,
    done: Done<Pruned>,
}

pub(super) struct Writer {
    db: Connection,
    shared: Arc<Shared>,
    clock: Clock,
    config: WarmConfig,
    catalog: Catalog,
    /// Expectations that are counted and not written yet, and since when.
    heard: HashMap<Arc<StreamKey>, ()>,
    heard_since: Duration,
    prunings: VecDeque<Pruning>,
    repaired: Option<Duration>,
    /// When there last was no room, until there is again; both are said once.
    full: Option<Duration>,
    ballast: Ballast,
    _lock: File,
}

impl Writer {
    pub(super) fn new(db: Connection, shared: Arc<Shared>, clock: Clock, config: WarmConfig, lock: File) -> Self {
        let ballast = Ballast::beside(&shared.path);
        Self {
            db,
            shared,
            clock,
            config,
            catalog: Catalog::default(),
            heard: HashMap::new(),
            heard_since: Duration::ZERO,
            prunings: VecDeque::new(),
            repaired: None,
            full: None,
            ballast,
            _lock: lock,
        }
    }

    /// Works until the queue is closed and empty. An error means that the journal cannot be written any more.
    pub(super) fn run(mut self) -> Result<(), WarmError> {
        loop {
            match self.shared.queue.take(COMMIT_BYTES, self.patience()) {
                Taken::Items(commands) => self.serve(commands)?,
                Taken::Nothing => {}
                Taken::Closed => break,
            }
            if !self.heard.is_empty() && self.clock.mono().saturating_sub(self.heard_since) >= LAZY {
                self.commit(Vec::new())?;
            }
            self.prune_slice()?;
        }
        if !self.heard.is_empty() {
            self.commit(Vec::new())?;
        }
        let closed = note_closed(&self.db, true).and_then(|()| sqlite::checkpoint(&self.db));
        closed.map_err(|e| self.shared.error(e))
    }

    /// How long to wait for the next command.
    fn patience(&self) -> Option<Duration> {
        if !self.prunings.is_empty() {
            Some(Duration::ZERO)
        } else if self.heard.is_empty() {
            None
        } else {
            Some(LAZY)
        }
    }

    fn serve(&mut self, commands: Vec<Command>) -> Result<(), WarmError> {
        let mut durable = Vec::with_capacity(commands.len());
        for command in commands {
            match command {
                Command::Expect { key, range } => self.expect(key, range),
                Command::Prune { older_than_ms, done } => self.start_pruning(older_than_ms, done),
                Command::DamagedFile => self.repair("a reader found its structure broken", true)?,
                other => durable.push(other),
            }
        }
        if durable.is_empty() { Ok(()) } else { self.commit(durable) }
    }

    /// Counts an expectation at once; it is written with the next commit.
    fn expect(&mut self, key: Arc<StreamKey>, range: TickRange) {
        if self.shared.expect(&key, range) {
            if self.heard.is_empty() {
                self.heard_since = self.clock.mono();
            }
            self.heard.insert(key, ());
        }
    }

    /// One transaction with all of `commands`, answered when it is on disk, or with its failure.
    fn commit(&mut self, commands: Vec<Command>) -> Result<(), WarmError> {
        let mut answers = Vec::with_capacity(commands.len());
        match self.attempt(&commands, &mut answers) {
            Ok(touched) => {
                self.heard.clear();
                self.note_room();
                self.shared.publish(touched, &answers);
                for (command, answer) in commands.into_iter().zip(answers) {
                    command.answer(answer);
                }
                Ok(())
            }
            Err(error) => {
                self.catalog.clear();
                // Tried again with the next commit, or in a second.
                self.heard_since = self.clock.mono();
                self.shared.count(|stats| stats.failures += 1);
                let told = self.shared.error_ref(&error);
                for command in commands {
                    command.fail(&told);
                }
                self.after_failure(error)
            }
        }
    }

    /// Something was committed: says that there is room again, once it is sure.
    fn note_room(&mut self) {
        let now = self.clock.mono();
        if self.full.take_if(|last| now.saturating_sub(*last) >= WELL_AFTER).is_some() {
            tracing::info!("there is room for the warm journal again");
        }
    }

    fn attempt(&mut self, commands: &[Command], answers: &mut Vec<Answer>) -> Result<Touched, rusqlite::Error> {
        let now_ms = self.clock.wall_ms();
        let tx = self.db.transaction()?;
        let mut group = Group { tx, catalog: &mut self.catalog, shared: &self.shared, touched: Touched::new(), now_ms };
        for key in self.heard.keys() {
            group.touch(key)?;
        }
        for command in commands {
            answers.push(match command {
                Command::Append { batches, .. } => {
                    Answer::Appended(batches.iter().map(|batch| group.append(batch)).collect::<Result<_, _>>()?)
                }
                Command::Lose { key, gaps, .. } => Answer::Done(group.lose(key, gaps)?),
                Command::PutSet { tenant, set, .. } => Answer::Done(group.put_set(tenant, set)?),
                Command::DamagedBatch { id } => Answer::Dropped(group.drop_damaged(*id)?),
                Command::DamagedSet { tenant, set } => {
                    group.drop_set(tenant, *set)?;
                    Answer::Dropped(0)
                }
                Command::Expect { .. } | Command::Prune { .. } | Command::DamagedFile => Answer::Dropped(0),
            });
        }
        group.commit(now_ms)
    }

    /// Nothing was stored; gets the journal back to work if that takes more than trying again.
    fn after_failure(&mut self, error: rusqlite::Error) -> Result<(), WarmError> {
        match trouble(&error) {
            Trouble::Full => {
                if self.full.replace(self.clock.mono()).is_none() {
                    let path = self.shared.path.display();
                    tracing::error!(%path, "no room for the warm journal: what is not stored is not acknowledged");
                }
                Ok(())
            }
            Trouble::Damaged => self.repair(&error.to_string(), false),
            Trouble::Io => {
                tracing::error!(%error, "the disk under the warm journal fails: opening it anew");
                self.reopen(None).map(drop)
            }
            Trouble::Other => {
                tracing::error!(%error, "a commit of the warm journal failed");
                Ok(())
            }
        }
    }

    /// Salvages the file if it is damaged, while readers and agents wait. `doubted`: look before believing it.
    fn repair(&mut self, reason: &str, doubted: bool) -> Result<(), WarmError> {
        let now = self.clock.mono();
        // With a connection of its own: ours may have the page in its cache as it was.
        let sound = || sqlite::open(&self.shared.path, &FORMAT, Mode::Reader).is_ok_and(|db| sqlite::quick_check(&db));
        if doubted && sound() {
            tracing::warn!(reason, "the warm journal was said to be damaged; its structure is sound");
            return Ok(());
        }
        if self.repaired.is_some_and(|last| now.saturating_sub(last) < REPAIR_PAUSE) {
            return Err(WarmError::Hopeless { path: self.shared.path.clone(), reason: reason.to_string() });
        }
        self.repaired = Some(now);
        let report = self.reopen(Some(reason))?;
        self.shared.count(|stats| stats.damaged += report.damaged);
        Ok(())
    }

    /// Closes the file, opens it again (salvaged if it is `damaged`), and takes its ledgers for the truth.
    fn reopen(&mut self, damaged: Option<&str>) -> Result<WarmReport, WarmError> {
        self.catalog.clear();
        let nothing = Connection::open_in_memory().map_err(|e| self.shared.error(e))?;
        drop(std::mem::replace(&mut self.db, nothing));
        let opened = open::open(&self.shared.path, &self.config, &self.clock, damaged)?;
        self.db = opened.db;
        self.shared.replace(opened.ledgers);
        Ok(opened.report)
    }

    fn start_pruning(&mut self, older_than_ms: i64, done: Done<Pruned>) {
        let hosts = || -> Result<Vec<i64>, rusqlite::Error> {
            self.db.prepare("SELECT id FROM host")?.query_map([], |row| row.get(0))?.collect()
        };
        if self.prunings.len() >= MAX_PRUNINGS {
            let _ = done.send(Err(WarmError::Busy));
            return;
        }
        match hosts() {
            Ok(hosts) => {
                self.prunings.push_back(Pruning { older_than_ms, hosts, pruned: Pruned::default(), done });
            }
            Err(e) => {
                let _ = done.send(Err(self.shared.error(e)));
            }
        }
    }

    /// Goes on with the pruning that is under way, a slice of one host at a time.
    fn prune_slice(&mut self) -> Result<(), WarmError> {
        let Some(mut pruning) = self.prunings.pop_front() else { return Ok(()) };
        let mut outcome = self.prune_some(&mut pruning);
        if matches!(&outcome, Err(e) if trouble(e) == Trouble::Full) && self.ballast.release() {
            tracing::warn!("no room to make room: the ballast beside the warm journal is released");
            self.catalog.clear();
            outcome = self.prune_some(&mut pruning);
        }
        match outcome {
            Ok(true) => {
                self.ballast.renew();
                // A caller who has gone away has lost only the numbers.
                let _ = pruning.done.send(Ok(pruning.pruned));
                Ok(())
            }
            Ok(false) => {
                self.prunings.push_front(pruning);
                Ok(())
            }
            Err(error) => {
                self.catalog.clear();
                let _ = pruning.done.send(Err(self.shared.error_ref(&error)));
                self.after_failure(error)
            }
        }
    }

    fn prune_some(&mut self, pruning: &mut Pruning) -> Result<bool, rusqlite::Error> {
        let Some(host) = pruning.hosts.last().copied() else {
            let gone = ledger_table::prune(&mut self.db, pruning.older_than_ms)?;
            pruning.pruned.ledgers = gone.len() as u64;
            self.shared.forget(&gone);
            // Every batch of that time is gone.
            pruning.pruned.sets = set_use::prune(&mut self.db, self.clock.wall_ms(), pruning.older_than_ms)?;
            self.catalog.clear();
            return Ok(true);
        };
        let now_ms = self.clock.wall_ms();
        let tx = self.db.transaction()?;
        let mut group = Group { tx, catalog: &mut self.catalog, shared: &self.shared, touched: Touched::new(), now_ms };
        let removed = group.expire(host, pruning.older_than_ms, PRUNE_SLICE)?;
        // Aged-out batches are no sign of life: heard_ms stays as it is.
        let touched = group.commit(i64::MIN)?;
        self.shared.publish(touched, &[]);
        pruning.pruned.batches += removed as u64;
        if removed < PRUNE_SLICE {
            pruning.hosts.pop();
        }
        Ok(false)
    }
}

/// The outcome of one command in a committed transaction.
pub(super) enum Answer {
    Appended(Vec<Appended>),
    Done(Result<(), WarmError>),
    Dropped(u64),
}

impl Command {
    /// Tells the caller; one who has gone away misses nothing but the news.
    fn answer(self, answer: Answer) {
        match (self, answer) {
            (Self::Append { done, .. }, Answer::Appended(appended)) => drop(done.send(Ok(appended))),
            (Self::Lose { done, .. } | Self::PutSet { done, .. }, Answer::Done(outcome)) => drop(done.send(outcome)),
            _ => {}
        }
    }

    fn fail(self, error: &WarmError) {
        match self {
            Self::Append { done, .. } => drop(done.send(Err(error.clone()))),
            Self::Lose { done, .. } | Self::PutSet { done, .. } => drop(done.send(Err(error.clone()))),
            Self::Prune { done, .. } => drop(done.send(Err(error.clone()))),
            Self::Expect { .. } | Self::DamagedBatch { .. } | Self::DamagedSet { .. } | Self::DamagedFile => {}
        }
    }
}
