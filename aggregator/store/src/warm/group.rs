//! What one group commit does to the journal. Ledgers are changed on copies, which take the place of the known ones only
//! when the transaction is on disk.

use super::{Shared, WarmError};
use crate::batch_table::{self, StreamRow};
use crate::catalog::Catalog;
use crate::ledger::{BootLedger, LossReason, MAX_SEGMENTS};
use crate::ledger_table;
use crate::record::{Appended, BatchRecord, Refusal, StreamKey};
use crate::set_use;
use dsmil_protocol::ids::{TenantId, TickRange};
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_protocol::tick_set::TickSet;
use rusqlite::{OptionalExtension, Transaction, params};
use std::collections::HashMap;
use std::sync::Arc;

/// Ledgers of one host: a reboot every two and a half minutes for a week. More would only fill memory.
pub(super) const MAX_LEDGERS_PER_HOST: usize = 4096;
/// Close to [`MAX_SEGMENTS`] a change is tried on a copy first.
const NEAR_LIMIT: usize = MAX_SEGMENTS - 1024;

/// Ledgers as they will be when the transaction is committed.
pub(super) type Touched = HashMap<Arc<StreamKey>, (StreamRow, BootLedger)>;

/// One transaction being filled.
pub(super) struct Group<'a> {
    pub(super) tx: Transaction<'a>,
    pub(super) catalog: &'a mut Catalog,
    pub(super) shared: &'a Shared,
    pub(super) touched: Touched,
    /// When that is, Unix ms.
    pub(super) now_ms: i64,
}

impl Group<'_> {
    /// Stores one batch, or says why not.
    pub(super) fn append(&mut self, batch: &BatchRecord) -> Result<Appended, rusqlite::Error> {
        let Some(set) = self.catalog.described_set(&self.tx, &batch.key.tenant, batch.set)? else {
            return Ok(Appended::Refused(Refusal::SetUnknown));
        };
        let Some(row) = self.touch(&batch.key)? else { return Ok(Appended::Refused(Refusal::TooManyBoots)) };
        let ticks: u64 = batch.ticks.iter().map(|r| r.len()).sum();
        if let Some(existing) = batch_table::find(&self.tx, row, batch.range().first)? {
            let same = existing.range == batch.range() && existing.ticks == ticks;
            if same || !self.is_longer(existing.id, batch)? {
                if !same && !self.ledger(&batch.key).covers(&batch.ticks) {
                    return Ok(Appended::Refused(Refusal::Conflict));
                }
                self.ledger(&batch.key).count_resent(ticks);
                return Ok(Appended::Duplicate);
            }
        } else if self.ledger(&batch.key).covers(&batch.ticks) {
            self.ledger(&batch.key).count_overlap(ticks);
            return Ok(Appended::Duplicate);
        }
        if !self.mark_stored(&batch.key, &batch.ticks) {
            return Ok(Appended::Refused(Refusal::Fragmented));
        }
        self.catalog.widen(&self.tx, &batch.key, batch.end_ms() - batch.start_ms)?;
        self.catalog.use_set(&self.tx, set, set_use::until(self.now_ms, batch.end_ms()))?;
        batch_table::insert(&self.tx, row, set, batch)?;
        Ok(Appended::Stored)
    }

    /// Whether `batch` holds every tick of the stored one, and more. A stored one that cannot be read holds none.
    fn is_longer(&mut self, id: i64, batch: &BatchRecord) -> Result<bool, rusqlite::Error> {
        if self.drop_damaged(id)? > 0 {
            return Ok(true);
        }
        let Some(stored) = batch_table::by_id(&self.tx, id)? else { return Ok(true) };
        let new: TickSet = batch.ticks.iter().copied().collect();
        Ok(stored.ticks().into_iter().all(|range| new.covers(range)))
    }

    /// Marks ticks as stored, unless the ledger would have too many segments.
    fn mark_stored(&mut self, key: &Arc<StreamKey>, ticks: &[TickRange]) -> bool {
        self.change(key, |ledger| {
            let known = ticks.iter().map(|range| ledger.mark_stored(*range)).sum();
            ledger.count_overlap(known);
        })
    }

    /// Records ticks that will not come.
    pub(super) fn lose(
        &mut self,
        key: &Arc<StreamKey>,
        gaps: &[(TickRange, LossReason)],
    ) -> Result<Result<(), WarmError>, rusqlite::Error> {
        if self.touch(key)?.is_none() {
            return Ok(Err(WarmError::Refused(Refusal::TooManyBoots)));
        }
        let fits = self.change(key, |ledger| gaps.iter().for_each(|(range, why)| ledger.mark_lost(*range, *why)));
        Ok(if fits { Ok(()) } else { Err(WarmError::Refused(Refusal::Fragmented)) })
    }

    fn change(&mut self, key: &StreamKey, change: impl FnOnce(&mut BootLedger)) -> bool {
        let ledger = self.ledger(key);
        let before = ledger.segment_count();
        if before < NEAR_LIMIT {
            change(ledger);
            return true;
        }
        let mut tried = ledger.clone();
        change(&mut tried);
        let fits = tried.segment_count() <= MAX_SEGMENTS.max(before);
        if fits {
            *ledger = tried;
        }
        fits
    }

    /// Makes sure that the stream's ledger can be changed in this transaction; none if its host has too many already.
    pub(super) fn touch(&mut self, key: &Arc<StreamKey>) -> Result<Option<StreamRow>, rusqlite::Error> {
        if let Some((row, _)) = self.touched.get(key) {
            return Ok(Some(*row));
        }
        let ledger = match self.shared.ledger(key) {
            Some(ledger) => BootLedger::clone(&ledger),
            None if self.shared.ledgers_of(key) >= MAX_LEDGERS_PER_HOST => return Ok(None),
            None => BootLedger::new(),
        };
        let row = self.catalog.stream(&self.tx, key)?;
        self.touched.insert(Arc::clone(key), (row, ledger));
        Ok(Some(row))
    }

    /// The ledger of a stream that was touched.
    fn ledger(&mut self, key: &StreamKey) -> &mut BootLedger {
        &mut self.touched.get_mut(key).expect("touched before it is changed").1
    }

    /// Stores a metric set, or its content if only the name was known.
    pub(super) fn put_set(
        &mut self,
        tenant: &TenantId,
        set: &MetricSet,
    ) -> Result<Result<(), WarmError>, rusqlite::Error> {
        let id = self.catalog.named_set(&self.tx, tenant, set.id())?;
        let select = "SELECT content FROM metric_set WHERE id = ?1";
        let stored: Option<Option<Vec<u8>>> = self.tx.query_row(select, [id], |row| row.get(0)).optional()?;
        let content = set.encode();
        match stored.flatten() {
            Some(known) if known == content => Ok(Ok(())),
            // Damaged content is put right; a whole other set under this hash is a forgery.
            Some(known) if MetricSet::decode(&known).is_ok_and(|other| other.id() == set.id()) => {
                Ok(Err(WarmError::SetConflict(set.id())))
            }
            _ => {
                self.tx.execute("UPDATE metric_set SET content = ?2 WHERE id = ?1", params![id, content])?;
                Ok(Ok(()))
            }
        }
    }

    /// Forgets the content of a metric set that turned out to be damaged, so that it is asked for again.
    pub(super) fn drop_set(&mut self, tenant: &TenantId, set: SetId) -> Result<(), rusqlite::Error> {
        let sql = "UPDATE metric_set SET content = NULL WHERE tenant = ?1 AND hash = ?2";
        self.tx.execute(sql, params![tenant.as_str(), set.0])?;
        self.catalog.clear();
        Ok(())
    }

    /// Removes a batch that a reader could not read, if it is so, and lets its host's ticks wait again that no batch holds.
    /// All of the host's streams are counted anew: the damaged row is no witness of which one it belonged to.
    pub(super) fn drop_damaged(&mut self, id: i64) -> Result<u64, rusqlite::Error> {
        let Some(batch) = batch_table::by_id(&self.tx, id)? else { return Ok(0) };
        if batch.is_sound() {
            return Ok(0);
        }
        self.tx.execute("DELETE FROM batch WHERE id = ?1", [id])?;
        let mut lost = 0;
        for key in self.shared.streams_of(&batch.key.tenant, &batch.key.host) {
            let Some(row) = self.touch(&key)? else { continue };
            let held = batch_table::stored_ticks(&self.tx, row)?;
            lost += self.ledger(&key).rebuild_stored(&held);
        }
        tracing::error!(
            host = %batch.key.host,
            boot = %batch.key.boot,
            first_tick = batch.range.first.0,
            last_tick = batch.range.last.0,
            waiting_again = lost,
            "a stored batch is damaged: it is removed and its ticks wait again"
        );
        Ok(1)
    }

    /// Removes up to `limit` batches of a host that ended before `cutoff_ms`; says how many went.
    pub(super) fn expire(&mut self, host: i64, cutoff_ms: i64, limit: usize) -> Result<usize, rusqlite::Error> {
        let ids: Vec<i64> = self
            .tx
            .prepare_cached(
                "SELECT id FROM batch WHERE host = ?1 AND start_ms < ?2 AND end_ms < ?2 ORDER BY start_ms LIMIT ?3",
            )?
            .query_map(params![host, cutoff_ms, limit], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for id in &ids {
            let (key, range) = batch_table::key_of(&self.tx, *id)?;
            let key = Arc::new(key);
            if self.touch(&key)?.is_some() {
                self.ledger(&key).mark_expired(range);
            }
            self.tx.prepare_cached("DELETE FROM batch WHERE id = ?1")?.execute([id])?;
        }
        Ok(ids.len())
    }

    /// Writes the changed ledgers and commits. What it returns is durable.
    pub(super) fn commit(mut self, heard_ms: i64) -> Result<Touched, rusqlite::Error> {
        for (row, ledger) in self.touched.values_mut() {
            ledger_table::save(&self.tx, *row, ledger, heard_ms)?;
        }
        self.tx.commit()?;
        Ok(self.touched)
    }
}
