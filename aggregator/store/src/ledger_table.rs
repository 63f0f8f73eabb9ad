//! The ledgers written down: in the same transaction as the batches they speak of, and only what changed.

use crate::batch_table::{StreamRow, name_at, range_at, sql};
use crate::ledger::{BootLedger, Fate, LossReason, Segment};
use crate::record::StreamKey;
use dsmil_protocol::ids::{BootId, HostName, TenantId};
use rusqlite::{Connection, Row, params};
use std::collections::HashMap;
use std::sync::Arc;

/// The tables of the ledger, version 1.
pub(crate) const SCHEMA: &str = "
CREATE TABLE ledger(
  boot INTEGER NOT NULL,
  classification INTEGER NOT NULL,
  first_tick INTEGER NOT NULL,
  last_tick INTEGER NOT NULL,
  overlapped INTEGER NOT NULL,
  resent INTEGER NOT NULL,
  heard_ms INTEGER NOT NULL,
  PRIMARY KEY(boot, classification)) WITHOUT ROWID;
CREATE TABLE ledger_segment(
  boot INTEGER NOT NULL,
  classification INTEGER NOT NULL,
  first_tick INTEGER NOT NULL,
  last_tick INTEGER NOT NULL,
  fate INTEGER NOT NULL,
  detail INTEGER NOT NULL,
  PRIMARY KEY(boot, classification, first_tick)) WITHOUT ROWID;
";

/// Stored numbers of fates: the reasons of losses follow after [`LOST`].
const STORED: u16 = 0;
const EXPIRED: u16 = 1;
const LOST: u16 = 16;

/// Ledgers by stream.
pub(crate) type Ledgers = HashMap<Arc<StreamKey>, Arc<BootLedger>>;

/// Writes what changed in a ledger.
pub(crate) fn save(
    db: &Connection,
    row: StreamRow,
    ledger: &mut BootLedger,
    heard_ms: i64,
) -> Result<(), rusqlite::Error> {
    let Some(named) = ledger.named() else { return Ok(()) };
    db.prepare_cached(
        "INSERT INTO ledger(boot, classification, first_tick, last_tick, overlapped, resent, heard_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT(boot, classification) DO UPDATE SET first_tick = excluded.first_tick,
           last_tick = excluded.last_tick, overlapped = excluded.overlapped, resent = excluded.resent,
           heard_ms = max(heard_ms, excluded.heard_ms)",
    )?
    .execute(params![
        row.boot,
        row.classification.level(),
        sql(named.first),
        sql(named.last),
        count(ledger.overlapped()),
        count(ledger.resent()),
        heard_ms
    ])?;
    for (first, segment) in ledger.take_dirty() {
        match segment {
            None => db
                .prepare_cached(
                    "DELETE FROM ledger_segment WHERE boot = ?1 AND classification = ?2 AND first_tick = ?3",
                )?
                .execute(params![row.boot, row.classification.level(), sql(first)])?,
            Some(segment) => {
                let (fate, detail) = fate_code(segment.fate);
                db.prepare_cached(
                    "INSERT INTO ledger_segment(boot, classification, first_tick, last_tick, fate, detail)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT(boot, classification, first_tick) DO UPDATE SET
                       last_tick = excluded.last_tick, fate = excluded.fate, detail = excluded.detail",
                )?
                .execute(params![
                    row.boot,
                    row.classification.level(),
                    sql(first),
                    sql(segment.range.last),
                    fate,
                    detail
                ])?
            }
        };
    }
    Ok(())
}

/// Reads every ledger.
pub(crate) fn load(db: &Connection) -> Result<Ledgers, rusqlite::Error> {
    let mut segments: HashMap<(i64, u8), Vec<Segment>> = HashMap::new();
    let mut select =
        db.prepare("SELECT boot, classification, first_tick, last_tick, fate, detail FROM ledger_segment")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let segment = Segment { range: range_at(row, 2)?, fate: fate_at(row, 4)? };
        segments.entry((row.get(0)?, row.get(1)?)).or_default().push(segment);
    }
    let mut select = db.prepare(
        "SELECT l.boot, l.classification, l.first_tick, l.last_tick, l.overlapped, l.resent, b.boot, h.tenant, h.name
         FROM ledger l JOIN boot b ON b.id = l.boot JOIN host h ON h.id = b.host",
    )?;
    let mut rows = select.query([])?;
    let mut ledgers = Ledgers::new();
    while let Some(row) = rows.next()? {
        let own = segments.remove(&(row.get(0)?, row.get(1)?)).unwrap_or_default();
        let ledger = BootLedger::restore(Some(range_at(row, 2)?), &own, row.get(4)?, row.get(5)?);
        let key = StreamKey {
            tenant: name_at(row, 7, TenantId::new)?,
            host: name_at(row, 8, HostName::new)?,
            boot: BootId(row.get(6)?),
            classification: crate::sqlite::classification(row, 1)?,
        };
        ledgers.insert(Arc::new(key), Arc::new(ledger));
    }
    Ok(ledgers)
}

/// Removes the ledgers of boots that are over: no batch is left, nothing was heard since `older_than_ms`, and the host was
/// heard of in a later boot. Says which.
///
/// A host's last boot stays, however long the host is silent: it may be running, behind a network that is gone, and when it
/// comes back it asks what became of every tick since it booted. Without the ledger the answer would be that all of them
/// were lost. That is one ledger a host.
pub(crate) fn prune(db: &mut Connection, older_than_ms: i64) -> Result<Vec<StreamKey>, rusqlite::Error> {
    let tx = db.transaction()?;
    let gone = silent(&tx, older_than_ms)?;
    for (boot, key) in &gone {
        for table in ["ledger", "ledger_segment"] {
            let delete = format!("DELETE FROM {table} WHERE boot = ?1 AND classification = ?2");
            tx.execute(&delete, params![boot, key.classification.level()])?;
        }
    }
    tx.commit()?;
    Ok(gone.into_iter().map(|(_, key)| key).collect())
}

fn silent(db: &Connection, older_than_ms: i64) -> Result<Vec<(i64, StreamKey)>, rusqlite::Error> {
    let mut select = db.prepare(
        "SELECT l.boot, l.classification, b.boot, h.tenant, h.name
         FROM ledger l JOIN boot b ON b.id = l.boot JOIN host h ON h.id = b.host
         WHERE l.heard_ms < ?1
           AND NOT EXISTS(SELECT 1 FROM batch WHERE batch.host = b.host AND batch.boot = b.id
             AND batch.classification = l.classification)
           AND EXISTS(SELECT 1 FROM boot later JOIN ledger n ON n.boot = later.id
             WHERE later.host = b.host AND later.id > b.id
             AND n.heard_ms >= (SELECT max(o.heard_ms) FROM ledger o WHERE o.boot = b.id))",
    )?;
    let mut rows = select.query([older_than_ms])?;
    let mut gone = Vec::new();
    while let Some(row) = rows.next()? {
        let key = StreamKey {
            tenant: name_at(row, 3, TenantId::new)?,
            host: name_at(row, 4, HostName::new)?,
            boot: BootId(row.get(2)?),
            classification: crate::sqlite::classification(row, 1)?,
        };
        gone.push((row.get(0)?, key));
    }
    Ok(gone)
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn fate_code(fate: Fate) -> (u16, u16) {
    match fate {
        Fate::Stored => (STORED, 0),
        Fate::Expired => (EXPIRED, 0),
        Fate::Lost(reason) => {
            let (code, detail) = reason.code();
            (LOST + u16::from(code), detail)
        }
    }
}

/// A fate in two neighbouring columns; a number that is none of ours is damage.
fn fate_at(row: &Row<'_>, column: usize) -> Result<Fate, rusqlite::Error> {
    let (code, detail): (u16, u16) = (row.get(column)?, row.get(column + 1)?);
    let lost = || LossReason::from_code(u8::try_from(code.checked_sub(LOST)?).ok()?, detail).map(Fate::Lost);
    match code {
        STORED => Ok(Fate::Stored),
        EXPIRED => Ok(Fate::Expired),
        _ => lost().ok_or(rusqlite::Error::IntegralValueOutOfRange(column, i64::from(code))),
    }
}
