//! The journal is damaged between two runs: it is named, salvaged, and what a spool still has comes again.

use crate::rig::{Rig, Setup, drill};
use anyhow::{Context, ensure};
use dsmil_protocol::batch::decode_header;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A page of the database.
const PAGE: u64 = 4096;
/// Why ticks are lost that were stored once, when no spool has them any more.
const REASON: &str = "journal_lost";

/// What happens to the file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// A byte of one batch that only the journal has, and one of a batch that the agent still has.
    FlippedBytes,
    /// A page is zero.
    ZeroedPage,
    /// The end is gone.
    Truncated,
}

#[test]
fn a_damaged_journal_is_named_and_what_is_in_no_spool_is_lost_by_name() {
    drill(Setup { seed: 81, batch_ticks: 1, ..Setup::default() }, async |rig| {
        damages(rig, &[Damage::FlippedBytes, Damage::Truncated]).await
    });
}

#[test]
fn long_a_journal_damaged_again_and_again_loses_by_name_what_is_in_no_spool() {
    let all = [Damage::ZeroedPage, Damage::FlippedBytes, Damage::Truncated, Damage::ZeroedPage];
    drill(Setup { seed: 82, batch_ticks: 2, ..Setup::default() }, async |rig| damages(rig, &all.repeat(5)).await);
}

async fn damages(rig: &mut Rig<'_>, damages: &[Damage]) -> anyhow::Result<()> {
    let relay = rig.put_relay().await?;
    rig.start().await?;
    let mut lost_before = BTreeSet::new();
    for damage in damages {
        let acknowledged = rig.agent.status()?.spool.totals.ticks_accounted;
        rig.until("more ticks are acknowledged", async || {
            Ok(rig.agent.status()?.spool.totals.ticks_accounted >= acknowledged + 4)
        })
        .await?;
        // Stored, but not acknowledged: these the agent still has.
        rig.cut_back(&relay, 2).await?;
        let batches = batches(rig).await?;
        let kept = rig.kept()?;
        let flipped = inflict(rig, *damage, &batches, &kept)?;
        let said = rig.log("aggregator").len();
        rig.centre.start().await?;
        let log = rig.log("aggregator").split_off(said);
        // Nothing may have been on a page that was hit.
        let named = log.contains("damaged") || matches!(damage, Damage::ZeroedPage);
        ensure!(named, "{damage:?} is not named in the log:\n{log}");
        relay.mend();
        rig.caught_up().await.with_context(|| format!("{damage:?}"))?;
        let stored: BTreeSet<u64> = batches.values().flat_map(|batch| batch.ticks.iter().copied()).collect();
        rig.until("what was stored is so again, or lost by name", async || {
            let detail = rig.detail(&rig.host).await?;
            let waiting = &detail.boot()?.waiting;
            Ok(!waiting.iter().flat_map(|range| range.first..=range.last).any(|tick| stored.contains(&tick)))
        })
        .await
        .with_context(|| format!("{damage:?}; kept were {kept:?}"))?;
        let lost = rig.detail(&rig.host).await?.lost_to(REASON)?;
        let new: Vec<_> = lost.difference(&lost_before).collect();
        println!("{damage:?}: lost {new:?}, kept {kept:?}");
        let explained = new.iter().all(|tick| stored.contains(tick) && !kept.contains(tick));
        ensure!(explained, "lost {new:?}; stored were {stored:?}, a spool held {kept:?}");
        if let Some((old, young)) = flipped {
            let expected: BTreeSet<u64> = batches[&old].ticks.iter().copied().collect();
            let found: BTreeSet<u64> = new.into_iter().copied().collect();
            ensure!(found == expected, "flipped in the batches at {old} and {young}, lost {found:?}");
        }
        lost_before = lost;
    }
    rig.settle(&[REASON]).await.map(drop)
}

/// A batch in the journal.
struct Stored {
    ticks: Vec<u64>,
    bytes: Vec<u8>,
}

/// Stops the centre and returns what is in its journal: each batch by its first tick.
async fn batches(rig: &mut Rig<'_>) -> anyhow::Result<BTreeMap<u64, Stored>> {
    rig.centre.stop().await?;
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("journal.sqlite");
    std::fs::copy(rig.centre.journal(), &copy)?;
    let db = Connection::open(&copy)?;
    let mut select = db.prepare("SELECT blob FROM batch")?;
    let mut rows = select.query([])?;
    let mut batches = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(0)?;
        let header = decode_header(&bytes).map_err(|error| anyhow::anyhow!("a stored batch: {error}"))?;
        let ticks: Vec<u64> = header.stamps.iter().map(|stamp| stamp.tick.0).collect();
        batches.insert(ticks[0], Stored { ticks, bytes });
    }
    Ok(batches)
}

/// Damages the journal. Returns the ticks of the batches that were hit, if it is known: one that only the journal has,
/// one that is kept.
fn inflict(
    rig: &mut Rig<'_>,
    damage: Damage,
    batches: &BTreeMap<u64, Stored>,
    kept: &BTreeSet<u64>,
) -> anyhow::Result<Option<(u64, u64)>> {
    let file = File::options().read(true).write(true).open(rig.centre.journal())?;
    let pages = file.metadata()?.len() / PAGE;
    match damage {
        Damage::FlippedBytes => {
            let (young, old): (Vec<u64>, Vec<u64>) = batches.keys().partition(|tick| kept.contains(*tick));
            ensure!(!young.is_empty() && !old.is_empty(), "{young:?} and {old:?} are no choice");
            let hit = (*rig.random.pick(&old), *rig.random.pick(&young));
            flip(&file, &batches[&hit.0].bytes)?;
            flip(&file, &batches[&hit.1].bytes)?;
            return Ok(Some(hit));
        }
        Damage::ZeroedPage => {
            let page = 1 + rig.random.below(pages - 1);
            println!("page {page} of {pages} is zeroed");
            file.write_all_at(&[0; 4096], page * PAGE)?;
        }
        Damage::Truncated => {
            let left = pages - pages / 4 + rig.random.below(3);
            println!("{left} of {pages} pages are left");
            file.set_len(left * PAGE)?;
        }
    }
    Ok(None)
}

/// Flips a bit in the middle of a batch, wherever its bytes lie in the file.
fn flip(file: &File, batch: &[u8]) -> anyhow::Result<()> {
    let mut content = vec![0; usize::try_from(file.metadata()?.len())?];
    file.read_exact_at(&mut content, 0)?;
    let middle = &batch[batch.len() / 2..][..16.min(batch.len() / 2)];
    let places: Vec<_> = content.windows(middle.len()).enumerate().filter(|(_, bytes)| *bytes == middle).collect();
    ensure!(!places.is_empty(), "a batch's bytes are not in the file");
    for (at, bytes) in places {
        file.write_all_at(&[bytes[0] ^ 0x10], at as u64)?;
    }
    Ok(())
}
