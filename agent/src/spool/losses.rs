//! The last part of a salvage: what was found beside batches, and what is lost.

use super::index::Index;
use super::rows::Ordinal;
use super::step::Step;
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::message::GapReason;
use dsmil_protocol::metric::SetId;
use dsmil_protocol::tick_set::TickSet;
use rusqlite::params;
use std::collections::BTreeMap;

/// What is known of a boot.
pub(super) struct Found {
    pub(super) id: BootId,
    /// What it answers for, and below which tick nothing waited; without its row, what its batches say.
    pub(super) account: Option<(TickRange, Tick)>,
}

/// A row of the table of ticks, its checksum checked.
pub(super) struct TickRow {
    pub(super) boot: BootId,
    pub(super) hash: [u8; 16],
    pub(super) wall_ms: i64,
    pub(super) crc: i64,
    pub(super) content: Vec<u8>,
}

/// A tick that is in no batch, or in one that was lost.
pub(super) fn insert_tick(step: &mut Step<'_>, id: i64, row: TickRow) -> Result<(), rusqlite::Error> {
    let (boot, tick) = Ordinal::split(id);
    let ticks = TickRange { first: tick, last: tick };
    let is_there = step.index.boots.get(&boot).is_some_and(|known| known.waiting.covers(ticks));
    if is_there || step.metric_set(SetId(row.hash))?.is_none() {
        return Ok(());
    }
    step.execute(
        "INSERT INTO tick(id, boot, hash, wall_ms, crc, content) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id, row.boot.0, row.hash, row.wall_ms, row.crc, row.content],
    )?;
    step.index.account(boot, row.boot, ticks);
    step.index.wait(boot, ticks);
    Ok(())
}

/// Gaps that were found, without the ticks that are here after all and those whose loss was acknowledged.
pub(super) fn insert_gaps(
    step: &mut Step<'_>,
    gaps: BTreeMap<i64, (TickRange, GapReason)>,
    known: Option<&Index>,
) -> Result<(), rusqlite::Error> {
    for (id, (ticks, reason)) in gaps {
        let ordinal = Ordinal::split(id).0;
        let Some(boot) = step.index.boots.get(&ordinal) else { continue };
        let mut left: TickSet = boot.waiting.missing(ticks).into_iter().collect();
        boot.gaps.iter().for_each(|other| left.remove(other));
        if let Some(known) = known.and_then(|known| known.boots.get(&ordinal)) {
            known.gaps.missing(ticks).into_iter().for_each(|stale| left.remove(stale));
        }
        left.iter().try_for_each(|part| step.add_gap(ordinal, part, reason))?;
    }
    Ok(())
}

/// What was in the damaged file and is not in the fresh one becomes a gap. Returns how many ticks that are.
pub(super) fn insert_lost(
    step: &mut Step<'_>,
    known: Option<&Index>,
    boots: &BTreeMap<Ordinal, Found>,
) -> Result<u64, rusqlite::Error> {
    let mut lost_ticks = 0;
    let ordinals: Vec<Ordinal> = step.index.boots.keys().copied().collect();
    for ordinal in ordinals {
        let boot = step.index.boot(ordinal)?;
        let mut lost: TickSet = match known.and_then(|known| known.boots.get(&ordinal)) {
            Some(known) => known.waiting.iter().chain(known.gaps.iter()).collect(),
            None => {
                let found = boots.get(&ordinal).and_then(|found| found.account);
                let floor = found.map_or(boot.account.first, |(account, floor)| floor.max(account.first));
                TickRange::new(floor, boot.account.last).into_iter().collect()
            }
        };
        boot.waiting.iter().chain(boot.gaps.iter()).for_each(|here| lost.remove(here));
        lost_ticks += lost.len();
        lost.iter().try_for_each(|part| step.add_gap(ordinal, part, GapReason::SpoolDamaged))?;
    }
    Ok(lost_ticks)
}
