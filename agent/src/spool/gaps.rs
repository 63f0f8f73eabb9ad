//! Gaps: ticks that will never come, with a reason, until their loss is acknowledged.
//!
//! Neighbours with one reason are one row. There is a limit all the same, since a host that samples every other second
//! makes a gap a tick: above it, the oldest gaps become one, and the ticks between them are evicted.

use super::database::corrupt;
use super::index::Boot;
use super::rows::{Ordinal, Table, crc, range, reason, reason_number, sql};
use super::step::Step;
use dsmil_protocol::ids::{Tick, TickRange};
use dsmil_protocol::message::{GapReason, GapRecord};
use rusqlite::{Connection, params};

/// Rows of gaps, at least and at most: half an hour and nine hours of the worst sampling, 50 and 800 KiB. An outage is
/// one row, however long.
const MAX_GAPS: (u64, u64) = (1024, 16 << 10);

/// How many rows of gaps a spool of so many bytes may have.
pub(super) fn max_gaps(capacity_bytes: u64) -> u64 {
    (capacity_bytes / (16 << 10)).clamp(MAX_GAPS.0, MAX_GAPS.1)
}

/// A row.
#[derive(Clone, Copy, Debug)]
struct Gap {
    ticks: TickRange,
    reason: GapReason,
}

/// At most `limit` gaps, the oldest first.
pub(super) fn list(step: &Step<'_>, limit: usize) -> Result<Vec<GapRecord>, rusqlite::Error> {
    let mut select = step.db.prepare_cached("SELECT id, last, reason, crc, boot FROM gap ORDER BY id LIMIT ?1")?;
    let mut rows = select.query([limit])?;
    let mut gaps = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let gap = read(id, row.get(1)?, row.get(2)?)?;
        let boot = step.index.boot(Ordinal::split(id).0)?.id;
        gaps.push(GapRecord { boot, ticks: gap.ticks, reason: gap.reason });
    }
    Ok(gaps)
}

fn read(id: i64, last: i64, number: i64) -> Result<Gap, rusqlite::Error> {
    match (range(id, last), reason(number)) {
        (Some(ticks), Some(reason)) => Ok(Gap { ticks, reason }),
        _ => Err(corrupt("a gap's row")),
    }
}

/// The gaps with numbers in a range that end at `from` or later.
fn between(db: &Connection, (low, high): (i64, i64), from: Tick) -> Result<Vec<Gap>, rusqlite::Error> {
    let mut select =
        db.prepare_cached("SELECT id, last, reason FROM gap WHERE id BETWEEN ?1 AND ?2 AND last >= ?3 ORDER BY id")?;
    let mut rows = select.query(params![low, high, sql(from)])?;
    let mut gaps = Vec::new();
    while let Some(row) = rows.next()? {
        gaps.push(read(row.get(0)?, row.get(1)?, row.get(2)?)?);
    }
    Ok(gaps)
}

impl Step<'_> {
    /// Writes a gap down. None of its ticks may be in another gap.
    pub(super) fn add_gap(&mut self, boot: Ordinal, ticks: TickRange, why: GapReason) -> Result<(), rusqlite::Error> {
        let id = self.index.boot(boot)?.id;
        self.index.account(boot, id, ticks);
        let mut merged = ticks;
        // Neighbours on either side.
        let near = TickRange { first: Tick(0), last: ticks.last.next() };
        for gap in between(self.db, boot.rows(near), ticks.first.previous().unwrap_or(ticks.first))? {
            if gap.reason == why {
                self.delete_gap(boot, gap)?;
                merged.first = merged.first.min(gap.ticks.first);
                merged.last = merged.last.max(gap.ticks.last);
            }
        }
        self.write_gap(boot, Gap { ticks: merged, reason: why })?;
        if self.index.gaps > self.max_gaps { self.coarsen() } else { Ok(()) }
    }

    /// The loss of these ticks is acknowledged.
    pub(super) fn forget_gaps(&mut self, boot: Ordinal, ticks: TickRange) -> Result<bool, rusqlite::Error> {
        let touched = TickRange { first: Tick(0), last: ticks.last };
        let gaps = between(self.db, boot.rows(touched), ticks.first)?;
        for gap in &gaps {
            self.delete_gap(boot, *gap)?;
            let before = ticks.first.previous().and_then(|last| TickRange::new(gap.ticks.first, last));
            let after = TickRange::new(ticks.last.next(), gap.ticks.last);
            for left in [before, after].into_iter().flatten() {
                self.write_gap(boot, Gap { ticks: left, ..*gap })?;
            }
        }
        Ok(!gaps.is_empty())
    }

    fn write_gap(&mut self, boot: Ordinal, gap: Gap) -> Result<(), rusqlite::Error> {
        let (id, known) = (boot.row(gap.ticks.first), self.index.boot(boot)?.id.0);
        let numbers = [sql(gap.ticks.last), reason_number(gap.reason)];
        let crc = crc(Table::Gap, id, &numbers, &[&known]);
        self.execute(
            "INSERT INTO gap(id, boot, last, reason, crc) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, known, numbers[0], numbers[1], crc],
        )?;
        self.index.gaps += 1;
        if let Some(known) = self.index.boots.get_mut(&boot) {
            known.gaps.insert(gap.ticks);
        }
        Ok(())
    }

    fn delete_gap(&mut self, boot: Ordinal, gap: Gap) -> Result<(), rusqlite::Error> {
        self.execute("DELETE FROM gap WHERE id = ?1", [boot.row(gap.ticks.first)])?;
        self.index.gaps = self.index.gaps.saturating_sub(1);
        if let Some(known) = self.index.boots.get_mut(&boot) {
            known.gaps.remove(gap.ticks);
        }
        Ok(())
    }

    /// Makes the oldest gaps of the boot that has the most into one: what lies between them and waits is evicted, what
    /// lies between them and is acknowledged stays so, since an aggregator keeps what it has stored.
    fn coarsen(&mut self) -> Result<(), rusqlite::Error> {
        let count = |boot: &Boot| boot.gaps.iter().count();
        let most = self.index.boots.iter().max_by_key(|(_, boot)| count(boot)).map(|(ordinal, _)| *ordinal);
        let Some(boot) = most else { return Ok(()) };
        let mut gaps = between(self.db, boot.all(), Tick(0))?;
        gaps.truncate(usize::try_from(2 + self.max_gaps / 16).unwrap_or(usize::MAX));
        let (Some(first), Some(last)) = (gaps.first().copied(), gaps.last().copied()) else { return Ok(()) };
        let whole = TickRange { first: first.ticks.first, last: last.ticks.last };
        let evicted = self.remove_batches(boot.rows(whole), whole.last, usize::MAX >> 1)?;
        self.index.totals.ticks_evicted += evicted.iter().map(|(_, ticks)| ticks.len()).sum::<u64>();
        for gap in &gaps {
            self.delete_gap(boot, *gap)?;
        }
        // One reason for all: the one that cost the most ticks, or that batches had to go.
        let longest = gaps.iter().max_by_key(|gap| gap.ticks.len()).map_or(first.reason, |gap| gap.reason);
        let reason = if evicted.is_empty() { longest } else { GapReason::Evicted };
        self.write_gap(boot, Gap { ticks: whole, reason })
    }
}
