//! Every sampled tick until it is acknowledged: a bounded SQLite database on tmpfs.
//!
//! # What always holds
//!
//! - A tick is committed when it is pushed. A killed agent loses none; only the host's power takes them all.
//! - From the first tick sampled in a boot to the last, each is in exactly one place: not in a batch yet, in a batch, in a
//!   gap with its reason, or acknowledged and deleted. [`Spool::accounts`] says from where to where.
//! - A batch has no holes: its range says all about it. So a hole ends a batch, like a change of the metric set does.
//! - Nothing grows without bound: the file has a capacity, and what it cannot hold goes oldest first, counted, as a gap.
//! - Nothing that happens to the file stops the agent, and nobody has to delete anything by hand.
//!
//! All calls block for microseconds (tmpfs), an open or a salvage for up to a second; it belongs to one thread or a mutex.

mod database;
mod deletion;
mod gaps;
mod healing;
mod index;
mod inspect;
mod losses;
mod replace;
mod report;
mod room;
mod rows;
mod salvage;
mod step;
#[cfg(test)]
mod tests;

pub use inspect::{InspectError, Inspection, inspect};
pub use report::{BatchKey, Damage, OpenReport, SetAside, SpoolConfig, SpoolError};

use crate::sampler::Row;
use crate::status::{BootEntry, SpoolReport, SpoolStatus, SpoolTotals};
use database::{Database, PAGE};
use dsmil_protocol::batch::{BatchError, MAX_TICKS};
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::message::{BootAccount, GapReason, MAX_BOOTS};
use dsmil_protocol::metric::MetricSet;
use dsmil_protocol::session::agent::Vitals;
use dsmil_runtime::clock::Clock;
use healing::usable_folder;
use index::Index;
use room::Ballast;
use rows::{MAX_TICK, Ordinal};
use std::sync::Arc;
use std::time::Duration;
use step::Failure;

/// The least capacity: room for the tables, a row of a large host and what an eviction needs.
pub const MIN_CAPACITY: u64 = 512 << 10;
/// Batches that one eviction takes at most: its transaction is in the log, and so in memory, at once.
const EVICT_AT_ONCE: usize = 256;
/// Pages that a push may need besides its row and its batch; the reserve is for the rest.
const PUSH_PAGES: u64 = 4;
/// Holes that wait to be written down while the spool takes nothing. They follow each other, so more become one.
const MAX_UNRECORDED: usize = 64;

/// The spool.
#[derive(Debug)]
pub struct Spool {
    config: SpoolConfig,
    clock: Clock,
    boot: (Ordinal, BootId),
    /// Nothing while no file can be opened.
    db: Option<Database>,
    index: Index,
    ballast: Ballast,
    /// The tmpfs was full: the file does not grow until the ballast is back.
    tmpfs_full: bool,
    /// The last tick sampled in the running boot.
    last: Option<Tick>,
    /// How much longer the host has been up than awake, when the last tick was pushed; nothing before the first one.
    asleep: Option<Duration>,
    /// Ticks that could not be taken in, and holes, until they are written down.
    unrecorded: Vec<(TickRange, GapReason)>,
    /// Refused ticks that the totals do not have yet.
    refused: u64,
    /// The metric set of the last tick.
    set: Option<Arc<MetricSet>>,
}

impl Spool {
    /// Opens the spool, or makes it. A file that cannot be used is set aside and what can be read of it brought over;
    /// ticks that a killed agent left become a short batch.
    ///
    /// Fails only if the folder cannot be used, another agent has the spool, or the configuration is wrong: if the tmpfs is
    /// full, ticks are refused and counted until there is room.
    pub fn open(config: SpoolConfig, boot: BootId, clock: Clock) -> Result<(Self, OpenReport), SpoolError> {
        if config.capacity_bytes < MIN_CAPACITY {
            return Err(SpoolError::Config("the spool's capacity is below 512 KiB"));
        }
        if !(1..=MAX_TICKS).contains(&config.batch_ticks) {
            return Err(SpoolError::Config("the ticks of a batch are 1 to 120"));
        }
        usable_folder(&config)?;
        let ballast = Ballast::new(&config.path, config.capacity_bytes);
        let mut spool = Self {
            config,
            clock,
            boot: (Ordinal(1), boot),
            db: None,
            index: Index::default(),
            ballast,
            tmpfs_full: false,
            last: None,
            asleep: None,
            unrecorded: Vec::new(),
            refused: 0,
            set: None,
        };
        let mut report = OpenReport::default();
        match spool.reopen(&mut report) {
            Ok(()) => {}
            Err(error @ (SpoolError::InUse { .. } | SpoolError::Folder { .. })) => return Err(error),
            Err(error) => {
                tracing::error!(error = %chain(&error), "the spool cannot be opened: ticks are refused until it can");
                report.unusable = Some(chain(&error));
            }
        }
        report.batches = spool.index.batches;
        Ok((spool, report))
    }

    /// Takes a tick in, and with it the hole before it: `missed` are ticks that the sampler was too late for. Returns the
    /// batch that was sealed, if one was.
    ///
    /// Whatever fails, the tick is accounted for: it becomes a gap as soon as the spool takes something in again.
    pub fn push(&mut self, row: &Row, missed: Option<TickRange>) -> Result<Option<BatchKey>, SpoolError> {
        if let Some(last) = self.last.filter(|last| row.tick <= *last) {
            return Err(SpoolError::OutOfOrder { tick: row.tick, last });
        }
        let (columns, metrics) = (row.values.len(), row.set.metrics().len());
        if columns != metrics {
            return Err(BatchError::Columns { columns, metrics }.into());
        }
        if row.tick > MAX_TICK {
            return Err(BatchError::Ticks.into());
        }
        self.note_hole(row.tick, missed);
        self.last = Some(row.tick);
        let outcome = self.attempt(|spool| spool.take(row));
        if outcome.is_err() {
            self.refused += 1;
            self.note_unrecorded(TickRange { first: row.tick, last: row.tick }, GapReason::SpoolFull);
        }
        outcome
    }

    /// Makes a short batch of the ticks that are not in one yet: for a graceful stop.
    pub fn seal(&mut self) -> Result<Option<BatchKey>, SpoolError> {
        self.attempt(|spool| {
            let batch_ticks = spool.config.batch_ticks;
            if spool.index.pending == 0 { Ok(None) } else { spool.write(|step| step.seal(batch_ticks)) }
        })
    }

    /// What the spool answers for, the newest boot first: for HELLO.
    pub fn accounts(&self) -> Vec<BootAccount> {
        let boots = self.index.boots.values().rev().map(|boot| BootAccount { boot: boot.id, ticks: boot.account });
        let mut accounts: Vec<BootAccount> = boots.take(MAX_BOOTS).collect();
        // What is not written down yet is answered for as well.
        if let Some(last) = self.last {
            match accounts.iter_mut().find(|account| account.boot == self.boot.1) {
                Some(account) => account.ticks.last = account.ticks.last.max(last),
                None => {
                    let first = self.unrecorded.first().map(|(ticks, _)| ticks.first);
                    let ticks = first.and_then(|first| TickRange::new(first, last));
                    accounts.splice(0..0, ticks.map(|ticks| BootAccount { boot: self.boot.1, ticks }));
                }
            }
        }
        accounts.truncate(MAX_BOOTS);
        accounts
    }

    /// For heartbeats.
    pub fn vitals(&self) -> Vitals {
        Vitals {
            last_tick: self.last,
            waiting_ticks: self.index.waiting(),
            spool_bytes: self.used_bytes(),
            spool_capacity: self.config.capacity_bytes,
            bundle_version: 0,
        }
    }

    /// For the status.
    pub fn status(&self) -> SpoolStatus {
        SpoolStatus {
            path: self.config.path.clone(),
            writable: self.db.is_some(),
            used_bytes: self.used_bytes(),
            capacity_bytes: self.config.capacity_bytes,
            tmpfs_full: self.tmpfs_full,
            batches_waiting: self.index.batches,
            ticks_waiting: self.index.waiting(),
            ticks_pending: self.index.pending,
            boot_ticks: self.accounts().iter().find(|account| account.boot == self.boot.1).map(|account| account.ticks),
            totals: {
                let totals = self.index.current_totals();
                SpoolTotals { ticks_refused: totals.ticks_refused + self.refused, ..totals }
            },
            set_aside: replace::set_aside_files(&self.config.path).into_iter().map(|(_, path)| path).collect(),
        }
    }

    /// For `dsmilctl host spool`.
    pub fn report(&mut self) -> Result<SpoolReport, SpoolError> {
        let rejected = self.attempt(|spool| spool.read(|step| Ok(step.rejected()?)))?;
        Ok(SpoolReport { spool: self.status(), boots: boot_entries(&self.index), rejected })
    }

    /// Due once a second: sees whether the file is still ours and there is room again, and heals what it can. Returns what
    /// happened to a file that could not be used any longer.
    pub fn check_file(&mut self) -> Result<Option<SetAside>, SpoolError> {
        let mut report = OpenReport::default();
        match self.db.as_mut().map(Database::look) {
            None => self.reopen(&mut report)?,
            Some(Err(damage)) => report.set_aside = Some(self.replace(damage)?),
            Some(Ok(())) => {}
        }
        if self.ballast.restore() && std::mem::take(&mut self.tmpfs_full) {
            self.attempt(|spool| Ok(spool.db_mut()?.set_limit(None)?))?;
        }
        Ok(report.set_aside)
    }

    /// From now on keeps to another capacity, and makes batches of other lengths. What is over a lower capacity goes when the
    /// next tick needs room, the oldest first, counted.
    pub fn set_limits(&mut self, capacity_bytes: u64, batch_ticks: usize) -> Result<(), SpoolError> {
        self.config.capacity_bytes = capacity_bytes.max(MIN_CAPACITY);
        self.config.batch_ticks = batch_ticks.clamp(1, MAX_TICKS);
        let (capacity, is_full) = (self.config.capacity_bytes, self.tmpfs_full);
        match &mut self.db {
            Some(db) => db.set_capacity(capacity, is_full).map_err(|error| Failure::from(error).into()),
            None => Ok(()),
        }
    }

    /// Bytes of the file that are in use.
    fn used_bytes(&self) -> u64 {
        // A file that cannot be read says so elsewhere.
        self.db.as_ref().and_then(|db| db.pages().ok()).map_or(0, |(_, used)| used * PAGE)
    }
}

/// Taking ticks in.
impl Spool {
    fn take(&mut self, row: &Row) -> Result<Option<BatchKey>, Failure> {
        self.make_room(rows::encoded_len(row.values.len()))?;
        let (boot, batch_ticks, refused) = (self.boot, self.config.batch_ticks, self.refused);
        let unrecorded = self.unrecorded.clone();
        let sealed = self.write(|step| {
            let mut sealed = None;
            let is_other = !unrecorded.is_empty() || step.index.pending_set.is_some_and(|set| set != row.set.id());
            if is_other && step.index.pending > 0 {
                sealed = step.seal(batch_ticks)?;
            }
            for (ticks, reason) in &unrecorded {
                step.ensure_boot(boot, *ticks)?;
                step.add_gap(boot.0, *ticks, *reason)?;
            }
            if refused > 0 {
                step.index.totals.ticks_refused += refused;
                step.write_totals()?;
            }
            step.insert_tick(boot, row)?;
            if step.index.pending >= batch_ticks as u64 {
                sealed = step.seal(batch_ticks)?;
            }
            Ok(sealed)
        })?;
        self.unrecorded.clear();
        self.refused = 0;
        if self.set.as_ref().is_none_or(|set| !Arc::ptr_eq(set, &row.set)) {
            self.set = Some(Arc::clone(&row.set));
        }
        Ok(sealed)
    }

    /// Ticks between the last one and `tick` were not sampled: why?
    fn note_hole(&mut self, tick: Tick, missed: Option<TickRange>) {
        let asleep = self.clock.boot().saturating_sub(self.clock.mono());
        let slept = self.asleep.replace(asleep).map(|before| asleep.saturating_sub(before));
        let hole = self.last.and_then(|last| TickRange::new(last.next(), tick.previous()?));
        let Some(hole) = hole else { return };
        // Without a tick since the start, it was us who were not there, except for what the sampler says.
        let late_from = match (slept, missed.filter(|missed| hole.covers(*missed))) {
            (None, None) => None,
            (None, Some(missed)) => Some(missed.first),
            (Some(_), _) => Some(hole.first),
        };
        let down = late_from.map_or(Some(hole), |from| TickRange::new(hole.first, from.previous()?));
        let late = late_from.and_then(|from| TickRange::new(from, hole.last));
        if let Some(down) = down {
            self.note_unrecorded(down, GapReason::AgentDown);
        }
        if let Some(late) = late {
            // The host's sleep explains a hole if it is at least half of it.
            let by_sleep = slept.is_some_and(|slept| slept >= Duration::from_secs(late.len()) / 2);
            let reason = if by_sleep { GapReason::HostSuspended } else { GapReason::SamplerLate };
            self.note_unrecorded(late, reason);
        }
    }

    fn note_unrecorded(&mut self, ticks: TickRange, reason: GapReason) {
        match self.unrecorded.last_mut() {
            Some((before, why)) if *why == reason && before.last.next() == ticks.first => before.last = ticks.last,
            _ => self.unrecorded.push((ticks, reason)),
        }
        if self.unrecorded.len() > MAX_UNRECORDED {
            let (ticks, reason) = self.unrecorded.remove(0);
            let (next, why) = &mut self.unrecorded[0];
            if ticks.len() > next.len() {
                *why = reason;
            }
            next.first = ticks.first;
        }
    }

    /// Evicts until a row of so many bytes has room. If it has none then, SQLite will say so.
    fn make_room(&mut self, row_bytes: usize) -> Result<(), Failure> {
        let need = 2 * (row_bytes as u64).div_ceil(PAGE) + PUSH_PAGES;
        let mut count = 1;
        loop {
            let db = self.db_mut()?;
            if db.pages()?.1 + need <= db.room_pages() || !self.write(|step| Ok(step.evict(count)?))? {
                return Ok(());
            }
            count = (2 * count).min(EVICT_AT_ONCE);
        }
    }
}

/// The boots of an index, the newest first.
fn boot_entries(index: &Index) -> Vec<BootEntry> {
    let entry = |boot: &index::Boot| BootEntry {
        boot: boot.id.to_string(),
        first: boot.account.first.0,
        last: boot.account.last.0,
        ticks_waiting: boot.waiting.len(),
    };
    index.boots.values().rev().map(entry).collect()
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
