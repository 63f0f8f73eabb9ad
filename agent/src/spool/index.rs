//! What the spool knows about its file without reading it: which ticks wait, which sets are used, what happened.
//!
//! It is read once when the file is opened and then follows each committed transaction. When the file turns out to be
//! damaged, the index says what was in it.

use super::database::corrupt;
use super::rows::{Ordinal, Table, batch_key_is_whole, crc, range};
use crate::status::SpoolTotals;
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::metric::SetId;
use dsmil_protocol::tick_set::TickSet;
use rusqlite::Connection;
use std::collections::{BTreeMap, HashMap};

/// One boot in the spool.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub(super) id: BootId,
    /// First to last tick that the spool answers for.
    pub(super) account: TickRange,
    /// Ticks in batches and those that are not in one yet.
    pub(super) waiting: TickSet,
    /// Ticks in gaps.
    pub(super) gaps: TickSet,
}

impl Boot {
    /// A boot of which nothing is in the file yet.
    pub(super) fn new(id: BootId, account: TickRange) -> Self {
        Self { id, account, waiting: TickSet::new(), gaps: TickSet::new() }
    }
}

/// How a metric set is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SetUse {
    /// Batches that use it.
    pub(super) batches: u64,
    /// Its content is in the file; it is not if its page was damaged.
    pub(super) is_described: bool,
}

/// What is in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// By age, the oldest first.
    pub(super) boots: BTreeMap<Ordinal, Boot>,
    /// The metric sets that are in the file, or that batches in it use.
    pub(super) sets: HashMap<SetId, SetUse>,
    /// Ticks that are not in a batch yet.
    pub(super) pending: u64,
    /// Their metric set.
    pub(super) pending_set: Option<SetId>,
    pub(super) batches: u64,
    pub(super) rejected: u64,
    pub(super) gaps: u64,
    pub(super) totals: SpoolTotals,
}

impl Index {
    /// The boot, which is there if anything of it is.
    pub(super) fn boot(&self, boot: Ordinal) -> Result<&Boot, rusqlite::Error> {
        self.boots.get(&boot).ok_or_else(|| corrupt("rows of an unknown boot"))
    }

    /// A boot answers for these ticks too.
    pub(super) fn account(&mut self, boot: Ordinal, id: BootId, ticks: TickRange) {
        let known = self.boots.entry(boot).or_insert_with(|| Boot::new(id, ticks));
        known.account.first = known.account.first.min(ticks.first);
        known.account.last = known.account.last.max(ticks.last);
    }

    /// Ticks wait.
    pub(super) fn wait(&mut self, boot: Ordinal, ticks: TickRange) {
        if let Some(known) = self.boots.get_mut(&boot) {
            known.waiting.insert(ticks);
        }
    }

    /// Ticks do not wait any longer. Returns how many of them did.
    pub(super) fn settle(&mut self, boot: Ordinal, ticks: TickRange) -> u64 {
        let Some(known) = self.boots.get_mut(&boot) else { return 0 };
        let before = known.waiting.len();
        known.waiting.remove(ticks);
        before - known.waiting.len()
    }

    /// A batch came.
    pub(super) fn batch_in(&mut self, set: SetId) {
        self.batches += 1;
        self.sets.entry(set).or_default().batches += 1;
    }

    /// A batch went.
    pub(super) fn batch_out(&mut self, set: SetId) {
        self.batches = self.batches.saturating_sub(1);
        if let Some(used) = self.sets.get_mut(&set) {
            used.batches = used.batches.saturating_sub(1);
        }
    }

    /// The ordinal of a boot.
    pub(super) fn ordinal(&self, boot: BootId) -> Option<Ordinal> {
        self.boots.iter().find(|(_, known)| known.id == boot).map(|(ordinal, _)| *ordinal)
    }

    /// The totals, with the ticks that are counted when they are sealed.
    pub(super) fn current_totals(&self) -> SpoolTotals {
        SpoolTotals { ticks_taken: self.totals.ticks_taken + self.pending, ..self.totals }
    }

    /// Whether everything that `other` knows to be there is here.
    pub(super) fn has_all_of(&self, other: &Self) -> bool {
        other.boots.iter().all(|(ordinal, before)| {
            let now = self.boots.get(ordinal);
            let has = |range| now.is_some_and(|now| now.waiting.covers(range) || now.gaps.covers(range));
            before.waiting.iter().all(has) && before.gaps.iter().all(has)
        })
    }

    /// Ticks that wait, of all boots.
    pub(super) fn waiting(&self) -> u64 {
        self.boots.values().map(|boot| boot.waiting.len()).sum()
    }

    /// Reads the file. Rows whose numbers are not what was written make it a damaged one; so small, they are all in a
    /// few pages. Batches prove themselves when they are read.
    pub(super) fn load(db: &Connection) -> Result<Self, rusqlite::Error> {
        let mut index = Self { totals: load_totals(db)?.unwrap_or_default(), ..Self::default() };
        index.load_boots(db)?;
        let mut select = db.prepare("SELECT hash FROM metric_set")?;
        for hash in select.query_map([], |row| row.get(0))? {
            index.sets.insert(SetId(hash?), SetUse { batches: 0, is_described: true });
        }
        let mut select = db.prepare("SELECT id, last, crc, hash FROM batch")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (id, last, crc, hash) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            let ticks = range(id, last).filter(|_| batch_key_is_whole(crc, id, last, &hash));
            let (ticks, boot) = (ticks.ok_or_else(|| corrupt("a batch's key"))?, Ordinal::split(id).0);
            let id = index.boot(boot)?.id;
            index.account(boot, id, ticks);
            index.wait(boot, ticks);
            index.batch_in(SetId(hash));
        }
        let mut select = db.prepare("SELECT id, hash FROM tick ORDER BY id")?;
        for row in select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (id, hash) = row?;
            let (boot, tick) = Ordinal::split(id);
            index.pending_set = Some(SetId(hash));
            let (id, ticks) = (index.boot(boot)?.id, TickRange { first: tick, last: tick });
            index.account(boot, id, ticks);
            index.wait(boot, ticks);
            index.pending += 1;
        }
        index.load_gaps(db)?;
        index.rejected = db.query_row("SELECT count(*) FROM rejected", [], |row| row.get(0))?;
        Ok(index)
    }

    fn load_boots(&mut self, db: &Connection) -> Result<(), rusqlite::Error> {
        let mut select = db.prepare("SELECT id, boot, first, floor, last, crc FROM boot")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (ordinal, id): (i64, [u8; 16]) = (row.get(0)?, row.get(1)?);
            let numbers: [i64; 3] = [row.get(2)?, row.get(3)?, row.get(4)?];
            let account = range(Ordinal(0).row(Tick(numbers[0].cast_unsigned())), numbers[2]);
            match account {
                Some(account) if row.get::<_, i64>(5)? == crc(Table::Boot, ordinal, &numbers, &[&id]) => {
                    self.boots.insert(Ordinal(ordinal), Boot::new(BootId(id), account));
                }
                _ => return Err(corrupt("a boot's row")),
            }
        }
        Ok(())
    }

    fn load_gaps(&mut self, db: &Connection) -> Result<(), rusqlite::Error> {
        let mut select = db.prepare("SELECT id, boot, last, reason, crc FROM gap")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (id, boot): (i64, [u8; 16]) = (row.get(0)?, row.get(1)?);
            let numbers: [i64; 2] = [row.get(2)?, row.get(3)?];
            let known = self.boots.get_mut(&Ordinal::split(id).0);
            match (range(id, numbers[0]), known) {
                (Some(ticks), Some(known)) if row.get::<_, i64>(4)? == crc(Table::Gap, id, &numbers, &[&boot]) => {
                    known.account.last = known.account.last.max(ticks.last);
                    known.gaps.insert(ticks);
                    self.gaps += 1;
                }
                _ => return Err(corrupt("a gap's row")),
            }
        }
        Ok(())
    }
}

/// The form of the totals: version, then eight numbers of 8 bytes, little-endian.
const TOTALS_VERSION: u8 = 1;

/// The numbers of the totals, in the order of their form.
fn numbers(totals: &mut SpoolTotals) -> [&mut u64; 8] {
    let SpoolTotals {
        ticks_taken,
        ticks_accounted,
        ticks_evicted,
        ticks_refused,
        ticks_damaged,
        ticks_rejected,
        batches_rejected,
        files_set_aside,
    } = totals;
    [
        ticks_taken,
        ticks_accounted,
        ticks_evicted,
        ticks_refused,
        ticks_damaged,
        ticks_rejected,
        batches_rejected,
        files_set_aside,
    ]
}

/// The totals as bytes.
pub(super) fn encode_totals(totals: &SpoolTotals) -> Vec<u8> {
    let mut totals = *totals;
    let bytes = numbers(&mut totals).into_iter().flat_map(|number| number.to_le_bytes());
    std::iter::once(TOTALS_VERSION).chain(bytes).collect()
}

/// Reads [`encode_totals`]'s bytes.
pub(super) fn decode_totals(bytes: &[u8]) -> Option<SpoolTotals> {
    let (&version, rest) = bytes.split_first()?;
    let (read, rest) = rest.as_chunks::<8>();
    let mut totals = SpoolTotals::default();
    let places = numbers(&mut totals);
    if version != TOTALS_VERSION || read.len() != places.len() || !rest.is_empty() {
        return None;
    }
    places.into_iter().zip(read).for_each(|(place, bytes)| *place = u64::from_le_bytes(*bytes));
    Some(totals)
}

fn load_totals(db: &Connection) -> Result<Option<SpoolTotals>, rusqlite::Error> {
    let mut select = db.prepare("SELECT id, content, crc FROM totals")?;
    let mut rows = select.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (id, content): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
    let whole = row.get::<_, i64>(2)? == crc(Table::Totals, id, &[], &[&content]);
    match decode_totals(&content) {
        Some(totals) if whole => Ok(Some(totals)),
        _ => Err(corrupt("the totals")),
    }
}
