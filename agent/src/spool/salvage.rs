//! A damaged spool made whole again: what can be read goes to a fresh file, what cannot becomes a gap.
//!
//! Rows come from SQL while the damaged file is still open, and straight from its pages. Each proves itself by its
//! checksum. Some are stale, deleted long ago but still on a page: what the index knew, or the rows that remain, says
//! which. The damaged file is only read.

use super::database::{Database, OpenFailure, Trouble, corrupt, trouble};
use super::gaps::max_gaps;
use super::index::{Boot, Index, decode_totals};
use super::losses::{Found, TickRow, insert_gaps, insert_lost, insert_tick};
use super::rows::{Ordinal, Table, batch_crc, crc, range, reason};
use super::step::{Failure, Step};
use crate::status::SpoolTotals;
use dsmil_protocol::batch::{MAX_TICKS, decode_header};
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::message::{GapReason, MAX_BOOTS};
use dsmil_protocol::metric::MetricSet;
use dsmil_salvage::{Image, RawRow, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::iter;
use std::path::Path;
use std::sync::Arc;

/// Rows of ticks held until all batches are known: those of a batch, and stale copies of as many before.
const MAX_TICK_ROWS: usize = 8 * MAX_TICKS;
/// Rows in one transaction: until it is committed, they are in the log and in memory.
const ROWS_PER_COMMIT: u32 = 256;
/// Every table, its number first.
const TABLES: [&str; 7] = ["boot", "metric_set", "batch", "tick", "gap", "rejected", "totals"];

/// Columns of a boot's row, its number among them.
const BOOT_COLUMNS: usize = 6;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Salvaged {
    pub(super) ticks: u64,
    pub(super) lost_ticks: u64,
}

/// What a running agent knows about the file that it lost.
pub(super) struct Known {
    pub(super) index: Index,
    /// The metric set of the newest ticks.
    pub(super) set: Option<Arc<MetricSet>>,
}

/// A salvage under way.
pub(super) struct Salvage {
    fresh: Database,
    /// What was in the damaged file, if somebody knows.
    known: Option<Index>,
    /// Rows in the open transaction.
    uncommitted: u32,
    max_gaps: u64,
    boots: BTreeMap<Ordinal, Found>,
    ticks: BTreeMap<i64, TickRow>,
    gaps: BTreeMap<i64, (TickRange, GapReason)>,
    totals: SpoolTotals,
    /// The tmpfs took no more: batches that come now are lost.
    full: bool,
}

impl Salvage {
    /// Starts with a fresh file at `path`, where nothing is. `known`: what was in the damaged one, if somebody knows.
    pub(super) fn start(path: &Path, capacity_bytes: u64, known: Option<&Known>) -> Result<Self, OpenFailure> {
        let fresh = Database::open(path, capacity_bytes)?;
        if let Some(set) = known.and_then(|known| known.set.as_ref()) {
            let index = &mut Index::default();
            Step { db: &fresh.conn, index, max_gaps: 0 }.describe(set)?;
        }
        fresh.conn.execute_batch("BEGIN")?;
        Ok(Self {
            fresh,
            known: known.map(|known| known.index.clone()),
            uncommitted: 0,
            max_gaps: max_gaps(capacity_bytes),
            boots: BTreeMap::new(),
            ticks: BTreeMap::new(),
            gaps: BTreeMap::new(),
            totals: SpoolTotals::default(),
            full: false,
        })
    }

    /// Takes every row that is found on the pages.
    pub(super) fn take_pages(&mut self, image: &Image) -> Result<(), rusqlite::Error> {
        // Boots first: they tell stale batches from others, and stale ones may take more room than there is.
        image.rows(|row| if row.values.len() == BOOT_COLUMNS { self.take(row) } else { Ok(()) })?;
        image.rows(|row| self.take(row))
    }

    /// Takes every row that SQL can still read. Returns whether that was all of them.
    pub(super) fn take_tables(&mut self, db: &Connection) -> Result<bool, rusqlite::Error> {
        let mut all = true;
        for table in TABLES {
            let mut rows = Vec::new();
            let mut from = i64::MIN;
            loop {
                let end = read_some(db, table, from, &mut rows);
                from = rows.last().and_then(|row| row.rowid).unwrap_or(from);
                let some = !rows.is_empty();
                rows.drain(..).try_for_each(|row| self.take(row))?;
                match end {
                    Ok(()) if some && from < i64::MAX => from += 1,
                    Ok(()) => break,
                    Err(_) => {
                        all = false;
                        break;
                    }
                }
            }
        }
        Ok(all)
    }

    /// Takes a row, if it is one of ours and as it was written. Fails only if the fresh file does.
    pub(super) fn take(&mut self, row: RawRow) -> Result<(), rusqlite::Error> {
        use Value::{Blob, Int};
        // The first column of every table is the row's number, which is not stored again. What has none is of an index.
        let (Some(id), [Value::Null, values @ ..]) = (row.rowid, row.values.as_slice()) else { return Ok(()) };
        match values {
            [Blob(boot), Int(first), Int(floor), Int(last), Int(sum)] => {
                let is_whole = *sum == crc(Table::Boot, id, &[*first, *floor, *last], &[boot]);
                is_whole.then(|| self.take_boot(id, boot, (*first, *floor, *last)));
            }
            [Blob(hash), Blob(content)] => self.take_set(hash, content)?,
            [Blob(content), Int(sum)] if *sum == crc(Table::Totals, id, &[], &[content]) => {
                if let Some(totals) = decode_totals(content).filter(|t| t.ticks_taken >= self.totals.ticks_taken) {
                    self.totals = totals;
                }
            }
            [Blob(boot), Blob(hash), Int(wall_ms), Int(sum), Blob(content)] => {
                let (Ok(boot), Ok(hash)) = (id16(boot), id16(hash)) else { return Ok(()) };
                if *sum == crc(Table::Tick, id, &[*wall_ms], &[&boot, &hash, content])
                    && self.know(Ordinal::split(id).0, BootId(boot))
                {
                    let (boot, content) = (BootId(boot), content.clone());
                    self.ticks.insert(id, TickRow { boot, hash, wall_ms: *wall_ms, crc: *sum, content });
                    if self.ticks.len() > MAX_TICK_ROWS {
                        self.ticks.pop_first();
                    }
                }
            }
            [Blob(hash), Int(last), Int(sum), Blob(content)] => self.take_batch(id, hash, *last, *sum, content)?,
            [Blob(boot), Int(last), Int(number), Int(sum)] => {
                if *sum == crc(Table::Gap, id, &[*last, *number], &[boot])
                    && let (Some(ticks), Some(reason), Ok(boot)) = (range(id, *last), reason(*number), id16(boot))
                    && self.know(Ordinal::split(id).0, BootId(boot))
                {
                    // Of two forms of one gap the longer is the newer, unless a part was acknowledged: then it is again.
                    let known = self.gaps.entry(id).or_insert((ticks, reason));
                    if known.0.last < ticks.last {
                        *known = (ticks, reason);
                    }
                    if self.gaps.len() as u64 > self.max_gaps {
                        self.gaps.pop_first();
                    }
                }
            }
            [Int(last), Int(code), Int(sum), Blob(content)] => {
                let insert = "INSERT OR IGNORE INTO rejected(id, last, code, crc, content) VALUES (?1, ?2, ?3, ?4, ?5)";
                let is_whole = *sum == crc(Table::Rejected, id, &[*last, *code], &[content]);
                is_whole.then(|| self.insert(insert, params![id, last, code, sum, content])).transpose()?;
            }
            _ => {}
        }
        Ok(())
    }

    fn take_boot(&mut self, id: i64, boot: &[u8], (first, floor, last): (i64, i64, i64)) {
        let Ok(boot) = id16(boot) else { return };
        let tick = |n: i64| u64::try_from(n).ok().map(Tick);
        let (Some(first), Some(floor), Some(last)) = (tick(first), tick(floor), tick(last)) else { return };
        let Some(account) = TickRange::new(first, last) else { return };
        if self.know(Ordinal(id), BootId(boot))
            && let Some(found) = self.boots.get_mut(&Ordinal(id))
            && found.account.is_none_or(|(known, _)| known.last <= account.last)
        {
            found.account = Some((account, floor));
        }
    }

    fn take_set(&mut self, hash: &[u8], content: &[u8]) -> Result<(), rusqlite::Error> {
        if MetricSet::decode(content).is_ok_and(|set| set.id().0 == hash) {
            self.insert("INSERT OR IGNORE INTO metric_set(hash, content) VALUES (?1, ?2)", params![hash, content])?;
        }
        Ok(())
    }

    fn take_batch(&mut self, id: i64, hash: &[u8], last: i64, sum: i64, content: &[u8]) -> Result<(), rusqlite::Error> {
        let (Ok(hash), Some(ticks)) = (id16(hash), range(id, last)) else { return Ok(()) };
        if sum != batch_crc(id, last, &hash, content) {
            return Ok(());
        }
        let Ok(header) = decode_header(content) else { return Ok(()) };
        let boot = Ordinal::split(id).0;
        let fits = header.range() == ticks && header.set.0 == hash && self.know(boot, header.boot);
        if fits && !self.is_stale(boot, ticks) {
            self.insert(
                "INSERT OR IGNORE INTO batch(id, hash, last, crc, content) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![id, hash, last, sum, content],
            )?;
        }
        Ok(())
    }

    /// Whether `ordinal` can be the number of `boot`: a stale row may use a number that means another one now.
    fn know(&mut self, ordinal: Ordinal, boot: BootId) -> bool {
        ordinal.0 > 0 && self.boots.entry(ordinal).or_insert(Found { id: boot, account: None }).id == boot
    }

    /// Whether ticks that were found do not wait any longer, as far as can be known.
    fn is_stale(&self, boot: Ordinal, ticks: TickRange) -> bool {
        match (&self.known, self.boots.get(&boot)) {
            (Some(known), _) => !known.boots.get(&boot).is_some_and(|boot| boot.waiting.covers(ticks)),
            (None, Some(found)) => found.account.is_some_and(|(_, floor)| ticks.last < floor),
            // A boot that was dropped, because there are newer ones enough.
            (None, None) => true,
        }
    }

    fn insert(&mut self, sql: &str, params: impl rusqlite::Params) -> Result<(), rusqlite::Error> {
        if self.full {
            return Ok(());
        }
        let conn = &self.fresh.conn;
        let mut outcome = conn.prepare_cached(sql)?.execute(params).map(|_| ());
        self.uncommitted += 1;
        if outcome.is_ok() && self.uncommitted >= ROWS_PER_COMMIT {
            self.uncommitted = 0;
            outcome = conn.execute_batch("COMMIT; BEGIN");
        }
        match outcome {
            Err(error) if trouble(&error) == Trouble::Full => {
                self.full = true;
                // SQLite may have given up the transaction with the row; what was in it is lost with it.
                if conn.is_autocommit() { conn.execute_batch("BEGIN") } else { Ok(()) }
            }
            other => other,
        }
    }

    /// Sorts out what is stale, writes down what is lost, and closes the fresh file.
    pub(super) fn finish(mut self) -> Result<Salvaged, Failure> {
        while self.boots.len() > MAX_BOOTS {
            self.boots.pop_first();
        }
        let known = self.known.take();
        let totals = known.as_ref().map_or(self.totals, |known| known.totals);
        let mut index = Index { totals, ..Index::default() };
        self.known = known;
        let batches = self.sort_out_batches()?;
        self.fill_index(&mut index, &batches);
        let (known, boots) = (self.known.as_ref(), &self.boots);
        let mut step = Step { db: &self.fresh.conn, index: &mut index, max_gaps: self.max_gaps };
        for (boot, ticks) in &batches {
            step.index.wait(*boot, *ticks);
        }
        let ticks = std::mem::take(&mut self.ticks);
        for (id, row) in ticks {
            let (boot, tick) = Ordinal::split(id);
            if boots.contains_key(&boot) && !self.is_stale(boot, TickRange { first: tick, last: tick }) {
                insert_tick(&mut step, id, row)?;
            }
        }
        let ticks = step.index.waiting();
        insert_gaps(&mut step, std::mem::take(&mut self.gaps), known)?;
        let lost_ticks = insert_lost(&mut step, known, boots)?;
        step.index.totals.ticks_damaged += lost_ticks;
        step.index.totals.files_set_aside += 1;
        let boots: Vec<Ordinal> = step.index.boots.keys().copied().collect();
        boots.into_iter().try_for_each(|boot| step.write_boot(boot))?;
        step.write_totals()?;
        self.fresh.conn.execute_batch("COMMIT")?;
        self.fresh.checkpoint()?;
        Ok(Salvaged { ticks, lost_ticks })
    }

    /// Removes batches that are stale and returns the others.
    fn sort_out_batches(&mut self) -> Result<Vec<(Ordinal, TickRange)>, rusqlite::Error> {
        let conn = &self.fresh.conn;
        conn.execute("DELETE FROM batch WHERE id IN (SELECT id FROM rejected)", [])?;
        let mut select = conn.prepare("SELECT id, last FROM batch ORDER BY id")?;
        let all: Vec<(i64, i64)> =
            select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        let mut kept = Vec::new();
        for (id, last) in all {
            let (boot, ticks) = (Ordinal::split(id).0, range(id, last).ok_or_else(|| corrupt("a batch's ticks"))?);
            if self.is_stale(boot, ticks) {
                conn.execute("DELETE FROM batch WHERE id = ?1", [id])?;
            } else {
                kept.push((boot, ticks));
            }
        }
        Ok(kept)
    }

    /// What each boot answers for: as the agent knew it, or as its row and its batches say.
    fn fill_index(&self, index: &mut Index, batches: &[(Ordinal, TickRange)]) {
        if let Some(known) = &self.known {
            let boots = known.boots.iter().map(|(ordinal, boot)| (*ordinal, Boot::new(boot.id, boot.account)));
            index.boots.extend(boots);
            return;
        }
        let rows = self.boots.iter().filter_map(|(ordinal, found)| Some((*ordinal, found.account?.0)));
        let gaps = self.gaps.iter().map(|(id, (ticks, _))| (Ordinal::split(*id).0, *ticks));
        for (ordinal, ticks) in rows.chain(batches.iter().copied()).chain(gaps) {
            if let Some(found) = self.boots.get(&ordinal) {
                index.account(ordinal, found.id, ticks);
            }
        }
    }
}

fn id16(bytes: &[u8]) -> Result<[u8; 16], std::array::TryFromSliceError> {
    bytes.try_into()
}

/// Reads rows with numbers from `from`, up to some megabytes of them, until one cannot be read.
fn read_some(db: &Connection, table: &str, from: i64, rows: &mut Vec<RawRow>) -> Result<(), rusqlite::Error> {
    let mut select = db.prepare_cached(&format!("SELECT * FROM {table} WHERE id >= ?1 ORDER BY id LIMIT 64"))?;
    let columns = select.column_count();
    let mut found = select.query([from])?;
    while let Some(row) = found.next()? {
        let value = |column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Integer(number) => Value::Int(number),
                ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
                _ => return Err(corrupt("a column")),
            })
        };
        // As on a page: the number is not among the values.
        let values: Result<_, rusqlite::Error> = iter::once(Ok(Value::Null)).chain((1..columns).map(value)).collect();
        rows.push(RawRow { rowid: Some(row.get(0)?), values: values? });
    }
    Ok(())
}
