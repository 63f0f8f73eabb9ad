//! Batches on their way out: sent, acknowledged, rejected, found damaged.

use super::database::corrupt;
use super::report::{BatchKey, SpoolError};
use super::rows::{Ordinal, Table, batch_crc, crc, range};
use super::step::{Failure, Step};
use super::{Spool, gaps};
use crate::status::RejectedEntry;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::message::{Accounted, GapReason, GapRecord, MAX_BOOTS, MAX_RANGES, Rejected};
use dsmil_protocol::metric::SetId;
use dsmil_protocol::session::agent::SpooledBatch;
use dsmil_protocol::tick_set::TickSet;
use rusqlite::{OptionalExtension, params};

/// Batches deleted in one transaction: after an outage an ACK covers tens of thousands, and what a transaction touches is
/// in the log, and so in memory, at once.
const DELETE_AT_ONCE: usize = 256;
/// Rejected batches that are kept for a look; one of each kind of trouble would do.
const MAX_REJECTED: u64 = 64;

/// A row of the table of batches.
struct Stored {
    id: i64,
    ticks: TickRange,
    set: SetId,
    /// The encoded batch.
    content: Vec<u8>,
    /// It is as it was written.
    is_whole: bool,
}

impl Stored {
    /// Reads a row of `id, last, crc, hash, content`.
    fn read(row: &rusqlite::Row<'_>) -> Result<Self, rusqlite::Error> {
        let (id, last, hash): (i64, i64, [u8; 16]) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let content: Vec<u8> = row.get(4)?;
        let is_whole = row.get::<_, i64>(2)? == batch_crc(id, last, &hash, &content);
        let ticks = range(id, last).ok_or_else(|| corrupt("a batch's ticks"))?;
        Ok(Self { id, ticks, set: SetId(hash), content, is_whole })
    }
}

impl Spool {
    /// At most `limit` batches, the newest first, without those that `skip` names by boot and first tick.
    ///
    /// A batch that is not as it was written is dropped and becomes a gap.
    pub fn backlog(
        &mut self,
        skip: &dyn Fn(BootId, Tick) -> bool,
        limit: usize,
    ) -> Result<Vec<SpooledBatch>, SpoolError> {
        self.attempt(|spool| {
            let (whole, damaged) = spool.read(|step| step.newest(skip, limit))?;
            spool.drop_damaged(damaged)?;
            Ok(whole)
        })
    }

    /// One batch, if it is there and as it was written.
    pub fn batch(&mut self, key: &BatchKey) -> Result<Option<SpooledBatch>, SpoolError> {
        let Some(ordinal) = self.index.ordinal(key.boot) else { return Ok(None) };
        self.attempt(|spool| match spool.read(|step| Ok(step.stored(ordinal.row(key.first))?))? {
            None => Ok(None),
            Some(damaged) if !damaged.is_whole => spool.drop_damaged(vec![damaged]).map(|()| None),
            Some(Stored { ticks, set, content, .. }) => {
                Ok(Some(SpooledBatch { boot: key.boot, ticks, set, bytes: content }))
            }
        })
    }

    fn drop_damaged(&mut self, damaged: Vec<Stored>) -> Result<(), Failure> {
        if damaged.is_empty() {
            return Ok(());
        }
        self.write(|step| {
            for batch in &damaged {
                tracing::error!(first = batch.ticks.first.0, "a batch in the spool was damaged and is lost");
                step.remove_batch(batch.id, batch.ticks, batch.set)?;
                step.add_gap(Ordinal::split(batch.id).0, batch.ticks, GapReason::SpoolDamaged)?;
                step.index.totals.ticks_damaged += batch.ticks.len();
            }
            Ok(step.tidy()?)
        })
    }

    /// The encoding of a metric set that some batch uses.
    ///
    /// Nobody asks for a set that they know: if it was damaged, its batches are of no use to anybody and become gaps.
    pub fn metric_set(&mut self, set: SetId) -> Result<Option<Vec<u8>>, SpoolError> {
        self.attempt(|spool| {
            let content = spool.read(|step| Ok(step.metric_set(set)?))?;
            if content.is_none() && spool.index.sets.contains_key(&set) {
                let useless = spool.read(|step| Ok(step.all_of(set)?))?;
                spool.drop_damaged(useless)?;
            }
            Ok(content)
        })
    }

    /// At most `limit` gaps whose loss is not acknowledged, the oldest first.
    pub fn gaps(&mut self, limit: usize) -> Result<Vec<GapRecord>, SpoolError> {
        let mut gaps = if self.index.gaps == 0 {
            Vec::new()
        } else {
            self.attempt(|spool| spool.read(|step| Ok(gaps::list(step, limit)?)))?
        };
        let boot = self.boot.1;
        gaps.extend(self.unrecorded.iter().map(|(ticks, reason)| GapRecord { boot, ticks: *ticks, reason: *reason }));
        gaps.truncate(limit);
        Ok(gaps)
    }

    /// Deletes the batches that lie wholly in an acknowledged range, and what gaps lie in one.
    pub fn accounted(&mut self, accounted: &Accounted) -> Result<(), SpoolError> {
        let Some(ordinal) = self.index.ordinal(accounted.boot) else {
            if accounted.boot == self.boot.1 {
                accounted.ranges.iter().for_each(|range| self.forget_unrecorded(*range));
            }
            return Ok(());
        };
        for range in &accounted.ranges {
            if accounted.boot == self.boot.1 {
                self.forget_unrecorded(*range);
            }
            let overlaps = |set: &TickSet| set.missing(*range) != [*range];
            let (waits, is_gap) = match self.index.boots.get(&ordinal) {
                Some(boot) => (overlaps(&boot.waiting), overlaps(&boot.gaps)),
                None => (false, false),
            };
            if waits {
                while self.attempt(|spool| spool.write(|step| Ok(step.account(ordinal, *range)?)))? {}
            }
            if is_gap {
                self.attempt(|spool| spool.write(|step| Ok(step.forget_gaps(ordinal, *range)?)))?;
            }
        }
        let is_over = ordinal != self.boot.0
            && self.index.boots.get(&ordinal).is_some_and(|boot| boot.waiting.is_empty() && boot.gaps.is_empty());
        if is_over {
            let current = self.boot.0;
            self.attempt(|spool| spool.write(|step| Ok(step.drop_old_boots(current)?)))?;
        }
        self.give_back();
        Ok(())
    }

    /// After an outage the file is as long as it was at its end, with little in it.
    fn give_back(&mut self) {
        let Some(db) = self.db.as_mut() else { return };
        match db.shrink() {
            Ok(false) => {}
            Ok(true) => tracing::info!("the spool's file has given back what the outage took"),
            // There may be no room for the little that is left; it is tried again with the next acknowledgement.
            Err(error) => tracing::debug!(%error, "the spool's file could not be made shorter"),
        }
    }

    /// What a new session's aggregator accounts for of a boot: all of it, or the newest [`MAX_RANGES`] ranges. A tick that
    /// is neither there nor here was acknowledged and deleted, and has been lost by the journal since: it becomes a gap.
    /// Returns how many such ticks there are.
    pub fn note_journal_losses(&mut self, accounted: &Accounted) -> Result<u64, SpoolError> {
        let Some(ordinal) = self.index.ordinal(accounted.boot) else { return Ok(0) };
        let Some(boot) = self.index.boots.get(&ordinal) else { return Ok(0) };
        let told = accounted.ranges.iter().copied();
        let floor = match told.clone().map(|range| range.first).min() {
            // Below the oldest of a full list, nobody knows.
            Some(oldest) if accounted.ranges.len() >= MAX_RANGES => oldest.max(boot.account.first),
            _ => boot.account.first,
        };
        let unrecorded = self.unrecorded.iter().map(|(ticks, _)| *ticks);
        let known: TickSet = told.chain(boot.waiting.iter()).chain(boot.gaps.iter()).chain(unrecorded).collect();
        let gone = TickRange::new(floor, boot.account.last).map(|all| known.missing(all)).unwrap_or_default();
        if gone.is_empty() {
            return Ok(0);
        }
        self.attempt(|spool| {
            spool.write(|step| {
                gone.iter().try_for_each(|ticks| step.add_gap(ordinal, *ticks, GapReason::JournalLost))?;
                Ok(())
            })
        })?;
        Ok(gone.iter().map(|ticks| ticks.len()).sum())
    }

    /// What is acknowledged need not be written down any more.
    fn forget_unrecorded(&mut self, range: TickRange) {
        let parts = |(ticks, reason): &(TickRange, GapReason)| {
            let mut left: TickSet = std::iter::once(*ticks).collect();
            left.remove(range);
            left.iter().map(|part| (part, *reason)).collect::<Vec<_>>()
        };
        self.unrecorded = self.unrecorded.iter().flat_map(parts).collect();
    }

    /// Sets a rejected batch aside, where it is kept until newer ones take its place; its ticks are a gap. False if it is not
    /// there.
    pub fn set_aside(&mut self, boot: BootId, rejected: Rejected) -> Result<bool, SpoolError> {
        let Some(ordinal) = self.index.ordinal(boot) else { return Ok(false) };
        self.attempt(|spool| spool.write(|step| Ok(step.reject(ordinal, rejected)?)))
    }
}

impl Step<'_> {
    /// The newest batches, and those among them that are damaged.
    fn newest(
        &self,
        skip: &dyn Fn(BootId, Tick) -> bool,
        limit: usize,
    ) -> Result<(Vec<SpooledBatch>, Vec<Stored>), Failure> {
        let mut select = self.db.prepare_cached("SELECT id, last, crc, hash, content FROM batch ORDER BY id DESC")?;
        let mut rows = select.query([])?;
        let (mut whole, mut damaged) = (Vec::new(), Vec::new());
        while whole.len() < limit
            && let Some(row) = rows.next()?
        {
            let (ordinal, first) = Ordinal::split(row.get(0)?);
            let boot = self.index.boot(ordinal)?.id;
            if skip(boot, first) {
                continue;
            }
            match Stored::read(row)? {
                Stored { ticks, set, content: bytes, is_whole: true, .. } => {
                    whole.push(SpooledBatch { boot, ticks, set, bytes });
                }
                stored => damaged.push(stored),
            }
        }
        Ok((whole, damaged))
    }

    fn stored(&self, id: i64) -> Result<Option<Stored>, rusqlite::Error> {
        let mut select = self.db.prepare_cached("SELECT id, last, crc, hash, content FROM batch WHERE id = ?1")?;
        select.query_row([id], Stored::read).optional()
    }

    fn all_of(&self, set: SetId) -> Result<Vec<Stored>, rusqlite::Error> {
        let mut select = self.db.prepare_cached("SELECT id, last FROM batch WHERE hash = ?1")?;
        let mut rows = select.query([set.0])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let ticks = range(row.get(0)?, row.get(1)?).ok_or_else(|| corrupt("a batch's ticks"))?;
            all.push(Stored { id: row.get(0)?, ticks, set, content: Vec::new(), is_whole: false });
        }
        Ok(all)
    }

    /// Deletes acknowledged batches, some at a time. Returns whether there may be more.
    fn account(&mut self, boot: Ordinal, range: TickRange) -> Result<bool, rusqlite::Error> {
        let removed = self.remove_batches(boot.rows(range), range.last, DELETE_AT_ONCE)?;
        if !removed.is_empty() {
            self.index.totals.ticks_accounted += removed.iter().map(|(_, ticks)| ticks.len()).sum::<u64>();
            self.tidy()?;
        }
        Ok(removed.len() == DELETE_AT_ONCE)
    }

    fn reject(&mut self, boot: Ordinal, rejected: Rejected) -> Result<bool, rusqlite::Error> {
        let Some(batch) = self.stored(boot.row(rejected.first))? else { return Ok(false) };
        let (last, code) = (super::rows::sql(batch.ticks.last), i64::from(rejected.code));
        // A damaged one is kept as well: the damage may be why it was rejected.
        let sum = crc(Table::Rejected, batch.id, &[last, code], &[&batch.content]);
        self.remove_batch(batch.id, batch.ticks, batch.set)?;
        self.execute(
            "INSERT OR REPLACE INTO rejected(id, last, code, crc, content) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![batch.id, last, code, sum, batch.content],
        )?;
        self.add_gap(boot, batch.ticks, GapReason::Rejected(rejected.code))?;
        self.index.totals.batches_rejected += 1;
        self.index.totals.ticks_rejected += batch.ticks.len();
        self.index.rejected = self.count("SELECT count(*) FROM rejected")?;
        // A sixteenth of the capacity, as the number of gaps is made from it.
        let max_bytes = self.max_gaps << 10;
        while self.index.rejected > MAX_REJECTED
            || self.count("SELECT coalesce(sum(length(content)), 0) FROM rejected")? > max_bytes
        {
            self.execute("DELETE FROM rejected WHERE id = (SELECT min(id) FROM rejected)", [])?;
            self.index.rejected -= 1;
        }
        self.tidy()?;
        Ok(true)
    }

    /// Batches that were rejected, the newest first.
    pub(super) fn rejected(&self) -> Result<Vec<RejectedEntry>, rusqlite::Error> {
        let mut select =
            self.db.prepare_cached("SELECT id, last, code, length(content) FROM rejected ORDER BY id DESC")?;
        let mut rows = select.query([])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let (id, code): (i64, i64) = (row.get(0)?, row.get(2)?);
            let ticks = range(id, row.get(1)?).ok_or_else(|| corrupt("a rejected batch's ticks"))?;
            let code = ErrorCode::from_number(u16::try_from(code).unwrap_or(u16::MAX));
            entries.push(RejectedEntry {
                boot: self.index.boots.get(&Ordinal::split(id).0).map_or_else(String::new, |boot| boot.id.to_string()),
                first: ticks.first.0,
                last: ticks.last.0,
                code: code.name().into(),
                remedy: code.remedy().into(),
                bytes: row.get(3)?,
            });
        }
        Ok(entries)
    }

    /// Removes boots before the running one of which nothing is left, and the oldest if there are more than HELLO can name.
    pub(super) fn drop_old_boots(&mut self, current: Ordinal) -> Result<(), rusqlite::Error> {
        let over = |boot: &super::index::Boot| boot.waiting.is_empty() && boot.gaps.is_empty();
        let others: Vec<(Ordinal, bool)> =
            self.index.boots.iter().filter(|(at, _)| **at != current).map(|(at, boot)| (*at, over(boot))).collect();
        let mut excess = (others.len() + 1).saturating_sub(MAX_BOOTS);
        for (boot, is_over) in others {
            if is_over || excess > 0 {
                self.drop_boot(boot)?;
                excess = excess.saturating_sub(1);
            }
        }
        self.tidy()
    }
}
