//! Opening the journal: looked over, and salvaged if it is damaged, before anything is built on it.

use super::salvage::{SalvageError, finish_interrupted, salvage};
use super::schema::{FORMAT, note_closed, was_closed};
use super::{WarmConfig, WarmError, WarmReport};
use crate::batch_table;
use crate::catalog::Catalog;
use crate::hot::NewestStart;
use crate::ledger::BootLedger;
use crate::ledger_table::{self, Ledgers};
use crate::sqlite::{self, Mode, OpenFailure, PAGE, Trouble, beside, trouble};
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_runtime::clock::Clock;
use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// After a clean end so much is checked all the same (the newest batches, and the structure of a file not larger): a disk
/// may have turned bad since, and a start must not take long.
const CLEAN_CHECK_BYTES: u64 = 512 << 20;

/// The journal, ready for its writer.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) db: Connection,
    pub(super) ledgers: Ledgers,
    /// The newest start of a batch, by host.
    pub(super) newest: Vec<NewestStart>,
    pub(super) report: WarmReport,
}

/// What stands in the way of using a file.
enum Obstacle {
    /// It is damaged, so says this.
    Damaged(String),
    Fatal(WarmError),
}

/// Keeps a second program away from the journal; it would count ticks on its own.
pub(super) fn lock(path: &Path) -> Result<File, WarmError> {
    let failed = |e: std::io::Error| WarmError::Io { path: path.into(), source: Arc::new(e) };
    let file = File::options().create(true).truncate(false).write(true).open(beside(path, ".lock")).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(WarmError::InUse { path: path.into() }),
        Err(e) => Err(failed(e.into())),
    }
}

/// Opens or makes the journal at `path`, salvaging it if it is damaged or `known_damaged` (why, is said there).
pub(super) fn open(
    path: &Path,
    config: &WarmConfig,
    clock: &Clock,
    known_damaged: Option<&str>,
) -> Result<Opened, WarmError> {
    let salvage_failed = |e: SalvageError| WarmError::Salvage { path: path.into(), source: Arc::new(e) };
    finish_interrupted(path).map_err(salvage_failed)?;
    let reason = match known_damaged {
        Some(reason) => reason.to_string(),
        None => match look(path, config) {
            Ok(opened) => return Ok(opened),
            Err(Obstacle::Fatal(e)) => return Err(e),
            Err(Obstacle::Damaged(reason)) => reason,
        },
    };
    tracing::error!(path = %path.display(), reason, "the warm journal is damaged: salvaging it");
    let salvaged = salvage(path, clock.wall_ms()).map_err(salvage_failed)?;
    tracing::error!(
        set_aside = %salvaged.set_aside.display(),
        salvaged = salvaged.batches,
        damaged = salvaged.damaged,
        lost_ticks = salvaged.lost_ticks,
        "the damaged journal is set aside; what it lost waits again and is asked for from the spools"
    );
    let mut opened = match look(path, config) {
        Ok(opened) => opened,
        Err(Obstacle::Fatal(e)) => return Err(e),
        Err(Obstacle::Damaged(reason)) => return Err(WarmError::Hopeless { path: path.into(), reason }),
    };
    let report = &mut opened.report;
    report.damage = Some(reason);
    report.set_aside = Some(salvaged.set_aside);
    report.salvaged = salvaged.batches;
    report.damaged += salvaged.damaged;
    report.lost_ticks = salvaged.lost_ticks;
    Ok(opened)
}

fn look(path: &Path, config: &WarmConfig) -> Result<Opened, Obstacle> {
    let length = |suffix: &str| beside(path, suffix).metadata().ok().map(|m| m.len());
    let (file, log) = (length(""), length("-wal"));
    match (file, log) {
        (Some(0), _) => return Err(Obstacle::Damaged("the file is empty".into())),
        (None, Some(1..)) => return Err(Obstacle::Damaged("the file is gone, its write-ahead log is there".into())),
        _ => {}
    }
    let max_pages = config.max_bytes.map(|bytes| bytes / PAGE);
    let db = sqlite::open(path, &FORMAT, Mode::Durable { max_pages }).map_err(|e| match e {
        OpenFailure::Version { found, known } => {
            Obstacle::Fatal(WarmError::Version { path: path.into(), found, known })
        }
        OpenFailure::Foreign(_) => Obstacle::Fatal(WarmError::Foreign { path: path.into() }),
        OpenFailure::Sql(e) => obstacle(path, e),
    })?;
    let sql = |e| obstacle(path, e);
    let created = file.is_none();
    let unclean = !created && !was_closed(&db).map_err(sql)?;
    let budget = if unclean { config.check_bytes } else { config.check_bytes.min(CLEAN_CHECK_BYTES) };
    if file.unwrap_or(0) <= budget && !sqlite::quick_check(&db) {
        return Err(Obstacle::Damaged("its structure is broken (quick_check)".into()));
    }
    let mut report = WarmReport { created, unclean, wal_missing: unclean && log.is_none(), ..WarmReport::default() };
    check_sets(&db).map_err(sql)?;
    let damaged = check_batches(&db, budget).map_err(sql)?;
    if !damaged.is_empty() {
        report.damaged = damaged.len() as u64;
        report.lost_ticks = Some(drop_batches(&db, &damaged).map_err(sql)?);
    }
    let ledgers = ledger_table::load(&db).map_err(sql)?;
    let newest = batch_table::newest_starts(&db).map_err(sql)?;
    note_closed(&db, false).map_err(sql)?;
    // From here on a missing log means that somebody removed it.
    sqlite::checkpoint(&db).map_err(sql)?;
    if created {
        sqlite::sync_folder(path)
            .map_err(|e| Obstacle::Fatal(WarmError::Io { path: path.into(), source: Arc::new(e) }))?;
    }
    Ok(Opened { db, ledgers, newest, report })
}

fn obstacle(path: &Path, error: rusqlite::Error) -> Obstacle {
    match trouble(&error) {
        Trouble::Damaged => Obstacle::Damaged(error.to_string()),
        _ => Obstacle::Fatal(WarmError::from_sql(path, error)),
    }
}

/// Metric sets whose content is not what their hash says are known by name only, until an agent sends them again.
fn check_sets(db: &Connection) -> Result<(), rusqlite::Error> {
    let mut select = db.prepare("SELECT id, hash, content FROM metric_set WHERE content IS NOT NULL")?;
    let mut rows = select.query([])?;
    let mut bad: Vec<i64> = Vec::new();
    while let Some(row) = rows.next()? {
        let (hash, content) = (SetId(row.get(1)?), row.get::<_, Vec<u8>>(2)?);
        if MetricSet::decode(&content).map(|set| set.id()) != Ok(hash) {
            tracing::error!(set = %hash, "a stored metric set is damaged: it is asked for again");
            bad.push(row.get(0)?);
        }
    }
    for id in bad {
        db.execute("UPDATE metric_set SET content = NULL WHERE id = ?1", [id])?;
    }
    Ok(())
}

/// Reads the newest batches, `budget` bytes of them, and says which rows are not as they were written.
fn check_batches(db: &Connection, budget: u64) -> Result<Vec<i64>, rusqlite::Error> {
    let mut select = db.prepare("SELECT id FROM batch ORDER BY id DESC")?;
    let mut rows = select.query([])?;
    let (mut read, mut bad) = (0, Vec::new());
    while read < budget {
        let Some(row) = rows.next()? else { break };
        let id = row.get(0)?;
        match batch_table::by_id(db, id) {
            Ok(Some(batch)) if batch.is_sound() => read += batch.blob.len() as u64,
            // Its host, boot or set is not there, or holds what no writer of ours wrote.
            Ok(_) => bad.push(id),
            Err(e) if matches!(trouble(&e), Trouble::Damaged) && !is_file_damage(&e) => bad.push(id),
            Err(e) => return Err(e),
        }
    }
    Ok(bad)
}

/// Whether the file's structure is damaged, rather than a value in a row.
fn is_file_damage(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(..))
}

/// Removes damaged rows and takes from every ledger what the journal does not hold. A damaged row cannot be trusted to
/// say whose it was, so all are counted anew. Returns how many ticks wait again.
fn drop_batches(db: &Connection, damaged: &[i64]) -> Result<u64, rusqlite::Error> {
    let tx = db.unchecked_transaction()?;
    for id in damaged {
        tx.execute("DELETE FROM batch WHERE id = ?1", [id])?;
    }
    let (mut catalog, mut lost) = (Catalog::default(), 0);
    for (key, ledger) in ledger_table::load(&tx)? {
        let row = catalog.stream(&tx, &key)?;
        let mut ledger = BootLedger::clone(&ledger);
        lost += ledger.rebuild_stored(&batch_table::stored_ticks(&tx, row)?);
        ledger_table::save(&tx, row, &mut ledger, 0)?;
    }
    tx.commit()?;
    tracing::error!(batches = damaged.len(), ticks = lost, "stored batches are damaged: their ticks wait again");
    Ok(lost)
}
