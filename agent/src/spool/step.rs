//! What one transaction does: ticks in, batches made, batches out, gaps written down.
//!
//! A step changes the file and a copy of the index together; both count only when the transaction is committed.

use super::database::corrupt;
use super::index::{Index, SetUse, encode_totals};
use super::report::{BatchKey, SpoolError};
use super::rows::{self, Ordinal, Table, batch_crc, crc, decode_values, encode_values, range, sql};
use crate::sampler::Row;
use dsmil_protocol::batch::{self, Batch, BatchError, BatchHeader, MAX_TICKS, Matrix, Stamp};
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::message::GapReason;
use dsmil_protocol::metric::{MetricSet, SetId};
use rusqlite::{Connection, OptionalExtension, params};

/// Why a step came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error(transparent)]
    Encode(#[from] BatchError),
    #[error("no file is open")]
    Closed,
}

impl From<Failure> for SpoolError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Encode(error) => Self::Encode(error),
            other => Self::Unusable(Box::new(other)),
        }
    }
}

/// One transaction.
pub(super) struct Step<'a> {
    pub(super) db: &'a Connection,
    pub(super) index: &'a mut Index,
    /// Rows of gaps; above, the oldest become one.
    pub(super) max_gaps: u64,
}

/// A tick that is not in a batch yet.
struct Pending {
    id: i64,
    boot: BootId,
    set: SetId,
    wall_ms: i64,
    values: Vec<u8>,
}

impl Step<'_> {
    /// Writes a tick down.
    pub(super) fn insert_tick(&mut self, boot: (Ordinal, BootId), row: &Row) -> Result<(), Failure> {
        let (ticks, id) = (TickRange { first: row.tick, last: row.tick }, boot.0.row(row.tick));
        let set = row.set.id();
        self.describe(&row.set)?;
        self.ensure_boot(boot, ticks)?;
        let values = encode_values(&row.values);
        let crc = crc(Table::Tick, id, &[row.wall_ms], &[&boot.1.0, &set.0, &values]);
        self.execute(
            "INSERT INTO tick(id, boot, hash, wall_ms, crc, content) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![id, boot.1.0, set.0, row.wall_ms, crc, values],
        )?;
        self.index.account(boot.0, boot.1, ticks);
        self.index.wait(boot.0, ticks);
        self.index.pending += 1;
        self.index.pending_set = Some(set);
        Ok(())
    }

    /// Writes down what a metric set is, if it is not known yet.
    pub(super) fn describe(&mut self, set: &MetricSet) -> Result<(), rusqlite::Error> {
        let used = self.index.sets.entry(set.id()).or_default();
        if std::mem::replace(&mut used.is_described, true) {
            return Ok(());
        }
        self.execute("INSERT INTO metric_set(hash, content) VALUES (?1, ?2)", params![set.id().0, set.encode()])
    }

    /// Makes a boot known; `ticks` are the first that it answers for.
    pub(super) fn ensure_boot(&mut self, boot: (Ordinal, BootId), ticks: TickRange) -> Result<(), rusqlite::Error> {
        if self.index.boots.contains_key(&boot.0) {
            return Ok(());
        }
        self.index.account(boot.0, boot.1, ticks);
        self.write_boot(boot.0)
    }

    /// Makes batches of all ticks that are not in one: one for each run of neighbours of one boot and set, `batch_ticks`
    /// at most. A batch has no holes, so that a range says all about it. Returns the newest.
    pub(super) fn seal(&mut self, batch_ticks: usize) -> Result<Option<BatchKey>, Failure> {
        let (pending, damaged) = self.pending()?;
        let mut newest = None;
        let mut rest = pending.as_slice();
        while let Some(first) = rest.first() {
            let expected = rest.iter().zip(first.id..).take(batch_ticks.clamp(1, MAX_TICKS));
            let belongs = |tick: &Pending, id| tick.id == id && (tick.boot, tick.set) == (first.boot, first.set);
            let (run, after) = rest.split_at(expected.take_while(|(tick, id)| belongs(tick, *id)).count());
            newest = self.seal_run(run)?.or(newest);
            rest = after;
        }
        for id in damaged {
            let (boot, tick) = Ordinal::split(id);
            let ticks = TickRange { first: tick, last: tick };
            self.index.settle(boot, ticks);
            self.index.totals.ticks_damaged += 1;
            self.add_gap(boot, ticks, GapReason::SpoolDamaged)?;
        }
        self.execute("DELETE FROM tick", [])?;
        self.index.totals.ticks_taken += self.index.pending;
        (self.index.pending, self.index.pending_set) = (0, None);
        let mut boots: Vec<Ordinal> = pending.iter().map(|tick| Ordinal::split(tick.id).0).collect();
        boots.dedup();
        boots.into_iter().try_for_each(|boot| self.write_boot(boot))?;
        self.write_totals()?;
        Ok(newest)
    }

    /// Ticks that are not in a batch, the oldest first, and the rows of those that are not as they were written.
    fn pending(&self) -> Result<(Vec<Pending>, Vec<i64>), rusqlite::Error> {
        let mut select =
            self.db.prepare_cached("SELECT id, boot, hash, wall_ms, crc, content FROM tick ORDER BY id")?;
        let mut rows = select.query([])?;
        let (mut pending, mut damaged) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let tick = Pending {
                id: row.get(0)?,
                boot: BootId(row.get(1)?),
                set: SetId(row.get(2)?),
                wall_ms: row.get(3)?,
                values: row.get(5)?,
            };
            let sum = crc(Table::Tick, tick.id, &[tick.wall_ms], &[&tick.boot.0, &tick.set.0, &tick.values]);
            if sum == row.get::<_, i64>(4)? { pending.push(tick) } else { damaged.push(tick.id) }
        }
        Ok((pending, damaged))
    }

    /// Makes a batch of neighbours; two, if they do not fit into one.
    fn seal_run(&mut self, run: &[Pending]) -> Result<Option<BatchKey>, Failure> {
        let [first, ..] = run else { return Ok(None) };
        let encoded = self.encode(run)?;
        let blob = match encoded {
            Err(BatchError::Count) if run.len() > 1 => {
                let (older, newer) = run.split_at(run.len() / 2);
                self.seal_run(older)?;
                return self.seal_run(newer);
            }
            other => other?,
        };
        let (ordinal, tick) = Ordinal::split(first.id);
        let last = sql(Ordinal::split(run[run.len() - 1].id).1);
        self.execute(
            "INSERT INTO batch(id, hash, last, crc, content) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![first.id, first.set.0, last, batch_crc(first.id, last, &first.set.0, &blob), blob],
        )?;
        self.index.batch_in(first.set);
        let known = self.index.boot(ordinal)?.id;
        Ok(Some(BatchKey { boot: known, first: tick }))
    }

    fn encode(&self, run: &[Pending]) -> Result<Result<Vec<u8>, BatchError>, Failure> {
        let set = self.metric_set(run[0].set)?.ok_or_else(|| corrupt("a tick without its metric set"))?;
        let metrics = MetricSet::decode(&set).map_err(|_| corrupt("a metric set"))?.metrics().len();
        let stamps = run.iter().map(|tick| Stamp { tick: Ordinal::split(tick.id).1, wall_ms: tick.wall_ms });
        let header = BatchHeader { boot: run[0].boot, set: run[0].set, metrics, stamps: stamps.collect() };
        let mut matrix = Matrix::new(metrics, run.len());
        for (t, tick) in run.iter().enumerate() {
            let values = decode_values(&tick.values, metrics).ok_or_else(|| corrupt("a tick's values"))?;
            values.into_iter().enumerate().for_each(|(metric, value)| matrix.set(metric, t, value));
        }
        Ok(batch::encode(&Batch { header, matrix }))
    }

    /// A metric set's encoding.
    pub(super) fn metric_set(&self, set: SetId) -> Result<Option<Vec<u8>>, rusqlite::Error> {
        let mut select = self.db.prepare_cached("SELECT content FROM metric_set WHERE hash = ?1")?;
        select.query_row([set.0], |row| row.get(0)).optional()
    }

    /// Writes down what a boot answers for.
    pub(super) fn write_boot(&mut self, boot: Ordinal) -> Result<(), rusqlite::Error> {
        let known = self.index.boot(boot)?;
        let floor = known.waiting.bounds().map_or(known.account.last.next(), |bounds| bounds.first);
        let numbers = [sql(known.account.first), sql(floor), sql(known.account.last)];
        let crc = crc(Table::Boot, boot.0, &numbers, &[&known.id.0]);
        self.execute(
            "INSERT OR REPLACE INTO boot(id, boot, first, floor, last, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![boot.0, known.id.0, numbers[0], numbers[1], numbers[2], crc],
        )
    }

    /// Writes the totals down.
    pub(super) fn write_totals(&mut self) -> Result<(), rusqlite::Error> {
        let content = encode_totals(&self.index.totals);
        let crc = crc(Table::Totals, 1, &[], &[&content]);
        self.execute("INSERT OR REPLACE INTO totals(id, content, crc) VALUES (1, ?1, ?2)", params![content, crc])
    }

    /// Removes batches with numbers from `from` to `to` whose ticks end by `last`, `limit` at most, the oldest first, and
    /// returns their ticks.
    pub(super) fn remove_batches(
        &mut self,
        (from, to): (i64, i64),
        last: Tick,
        limit: usize,
    ) -> Result<Vec<(Ordinal, TickRange)>, rusqlite::Error> {
        let mut select = self.db.prepare_cached(
            "SELECT id, last, hash FROM batch WHERE id BETWEEN ?1 AND ?2 AND last <= ?3 ORDER BY id LIMIT ?4",
        )?;
        let found: Vec<(i64, i64, [u8; 16])> = select
            .query_map(params![from, to, sql(last), limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let mut removed = Vec::with_capacity(found.len());
        for (id, last, hash) in found {
            let ticks = range(id, last).ok_or_else(|| corrupt("a batch's ticks"))?;
            self.remove_batch(id, ticks, SetId(hash))?;
            removed.push((Ordinal::split(id).0, ticks));
        }
        Ok(removed)
    }

    /// Removes one batch.
    pub(super) fn remove_batch(&mut self, id: i64, ticks: TickRange, set: SetId) -> Result<(), rusqlite::Error> {
        self.execute("DELETE FROM batch WHERE id = ?1", [id])?;
        self.index.batch_out(set);
        self.index.settle(Ordinal::split(id).0, ticks);
        Ok(())
    }

    /// Makes room: rejected batches go first, then the `count` oldest. Returns whether something went.
    pub(super) fn evict(&mut self, count: usize) -> Result<bool, rusqlite::Error> {
        if self.index.rejected > 0 {
            self.execute("DELETE FROM rejected", [])?;
            self.index.rejected = 0;
            return Ok(true);
        }
        let removed = self.remove_batches((0, i64::MAX), rows::MAX_TICK, count)?;
        for (boot, ticks) in &removed {
            self.index.totals.ticks_evicted += ticks.len();
            self.add_gap(*boot, *ticks, GapReason::Evicted)?;
        }
        self.tidy()?;
        Ok(!removed.is_empty())
    }

    /// Removes a boot and all that is left of it.
    pub(super) fn drop_boot(&mut self, boot: Ordinal) -> Result<(), rusqlite::Error> {
        for (_, ticks) in self.remove_batches(boot.all(), rows::MAX_TICK, usize::MAX >> 1)? {
            self.index.totals.ticks_evicted += ticks.len();
        }
        let (from, to) = boot.all();
        for sql in ["DELETE FROM gap WHERE id BETWEEN ?1 AND ?2", "DELETE FROM rejected WHERE id BETWEEN ?1 AND ?2"] {
            self.execute(sql, [from, to])?;
        }
        self.execute("DELETE FROM boot WHERE id = ?1", [boot.0])?;
        self.index.boots.remove(&boot);
        self.index.gaps = self.count("SELECT count(*) FROM gap")?;
        self.index.rejected = self.count("SELECT count(*) FROM rejected")?;
        Ok(())
    }

    /// Removes metric sets that no batch and no tick uses, and writes the totals down.
    pub(super) fn tidy(&mut self) -> Result<(), rusqlite::Error> {
        if self.index.sets.len() > 1 {
            let pending = self.index.pending_set;
            let unused = |(set, used): (&SetId, &SetUse)| (used.batches == 0 && pending != Some(*set)).then_some(*set);
            let unused: Vec<SetId> = self.index.sets.iter().filter_map(unused).collect();
            for set in unused {
                self.execute("DELETE FROM metric_set WHERE hash = ?1", [set.0])?;
                self.index.sets.remove(&set);
            }
        }
        self.write_totals()
    }

    pub(super) fn count(&self, sql: &str) -> Result<u64, rusqlite::Error> {
        self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))
    }

    pub(super) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), rusqlite::Error> {
        self.db.prepare_cached(sql)?.execute(params)?;
        Ok(())
    }
}
