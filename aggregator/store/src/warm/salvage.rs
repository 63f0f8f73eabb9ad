//! A damaged journal made whole again: what can be read goes to a fresh file, the damaged one is set aside.
//!
//! Rows are read from the pages themselves (`dsmil_salvage`), so a lost header, schema or inner page costs no row below
//! it, and each batch proves itself by its checksum. Names of hosts and boots are found in their tables or in the indexes
//! on them. The steps can be cut short by a crash at any point and are done again, or finished, at the next start:
//! fill `….salvage`; rename the damaged file aside; rename `….salvage` to the journal's name.

use super::schema::{FORMAT, is_salvaged, note_salvaged};
use crate::batch_table::{self, StreamRow, checksum};
use crate::catalog::Catalog;
use crate::ledger::BootLedger;
use crate::ledger_table::{self, Ledgers};
use crate::record::{BatchRecord, Classification, MAX_TICK, MAX_WALL_MS, StreamKey, runs};
use crate::sqlite::{self, Mode, OpenFailure, PAGE, beside, remove};
use bytes::Bytes;
use dsmil_protocol::batch::decode_header;
use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick, TickRange};
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_salvage::{Image, RawRow, Value};
use rusqlite::{Connection, OpenFlags, params};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a salvage brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Salvaged {
    /// Where the damaged file is now.
    pub(super) set_aside: PathBuf,
    /// Batches in the fresh file.
    pub(super) batches: u64,
    /// Batches that were found and could not be read whole.
    pub(super) damaged: u64,
    /// Ticks that the old ledger had as stored and the fresh file lacks; none if the old ledger was unreadable.
    pub(super) lost_ticks: Option<u64>,
}

/// Why a salvage did not come to its end. The damaged file is where it was; the next start tries again.
#[derive(Debug, thiserror::Error)]
pub(super) enum SalvageError {
    #[error("a file of the journal cannot be read, written or renamed")]
    Io(#[from] io::Error),
    #[error("the fresh journal cannot be written")]
    Sql(#[from] rusqlite::Error),
    #[error("the fresh journal cannot be made")]
    Open(#[from] OpenFailure),
}

/// Rows in one transaction of the fresh file.
const ROWS_PER_COMMIT: u64 = 2_000;
/// Unreadable batches that are told apart; more are not counted.
const MAX_BAD: usize = 100_000;
const SALVAGE: &str = ".salvage";

/// A salvage that was cut short between its two renames is finished.
pub(super) fn finish_interrupted(path: &Path) -> Result<(), SalvageError> {
    let fresh = beside(path, SALVAGE);
    if path.exists() || !fresh.exists() {
        return Ok(());
    }
    let done = sqlite::open(&fresh, &FORMAT, Mode::Durable { max_pages: None })
        .is_ok_and(|db| is_salvaged(&db).unwrap_or(false));
    if done {
        std::fs::rename(&fresh, path)?;
        sqlite::sync_folder(path)?;
    }
    Ok(())
}

/// Salvages the journal at `path`, which nobody has open.
pub(super) fn salvage(path: &Path, now_ms: i64) -> Result<Salvaged, SalvageError> {
    let fresh_path = beside(path, SALVAGE);
    for suffix in ["", "-wal", "-shm"] {
        remove(&beside(&fresh_path, suffix))?;
    }
    let mut fresh = sqlite::open(&fresh_path, &FORMAT, Mode::Durable { max_pages: None })?;
    sqlite::checkpoint(&fresh)?;
    let old = make_readable(path, &fresh_path)?;
    let old_ledgers = old.as_ref().and_then(|db| ledger_table::load(db).ok());
    drop(old);

    let mut found = Found::default();
    // What could be had from the log is in the file by now.
    let image = Image::of_file(File::open(path)?)?;
    image.rows(|row| found.name(&fresh, row))?;
    let mut batches = Batches::new(&found, &mut fresh)?;
    image.rows(|row| batches.take(row))?;
    let (salvaged, damaged) = batches.finish()?;
    let lost_ticks = write_ledgers(&mut fresh, old_ledgers, now_ms)?;

    note_salvaged(&fresh)?;
    sqlite::checkpoint(&fresh)?;
    drop(fresh);
    let set_aside = free_name(path, now_ms);
    std::fs::rename(path, &set_aside)?;
    if beside(path, "-wal").exists() {
        std::fs::rename(beside(path, "-wal"), beside(&set_aside, "-wal"))?;
    }
    remove(&beside(path, "-shm"))?;
    std::fs::rename(&fresh_path, path)?;
    sqlite::sync_folder(path)?;
    Ok(Salvaged { set_aside, batches: salvaged, damaged, lost_ticks })
}

fn free_name(path: &Path, now_ms: i64) -> PathBuf {
    let name = |n: u32| match n {
        0 => beside(path, &format!(".damaged-{now_ms}")),
        n => beside(path, &format!(".damaged-{now_ms}-{n}")),
    };
    (0..).map(name).find(|name| !name.exists()).expect("some number is free")
}

/// Brings what is in the write-ahead log into the file; if page 1 stands in the way, puts a good one in its place.
///
/// Page 1 holds nothing but the file's header and the schema, which is the same in every journal of a version.
fn make_readable(path: &Path, template: &Path) -> io::Result<Option<Connection>> {
    remove(&beside(path, "-shm"))?;
    if !path.exists() {
        File::create(path)?;
    }
    if let Some(db) = merge_log(path) {
        return Ok(Some(db));
    }
    let file = File::options().read(true).write(true).open(path)?;
    let mut page = [0u8; 4096];
    File::open(template)?.read_exact_at(&mut page, 0)?;
    let pages = u32::try_from(file.metadata()?.len() / PAGE).unwrap_or(u32::MAX).max(1);
    page[28..32].copy_from_slice(&pages.to_be_bytes());
    // No free pages are known: they are read like the others.
    page[32..40].fill(0);
    file.write_all_at(&page, 0)?;
    drop(file);
    Ok(merge_log(path))
}

fn merge_log(path: &Path) -> Option<Connection> {
    if path.metadata().ok()?.len() == 0 {
        // SQLite would delete the log of an empty database.
        return None;
    }
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
    // Lets SQLite read a file that is shorter than its header says.
    db.pragma_update(None, "writable_schema", true).ok()?;
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).ok()?;
    sqlite::checkpoint(&db).ok()?;
    Some(db)
}

/// What the numbers in the batches' rows stand for.
#[derive(Default)]
struct Found {
    hosts: HashMap<i64, (TenantId, HostName)>,
    boots: HashMap<i64, (i64, BootId)>,
    sets: HashMap<i64, SetId>,
}

impl Found {
    /// Takes a row of the tables of names, or an entry of the indexes on them. Contents of metric sets go straight to `fresh`.
    fn name(&mut self, fresh: &Connection, row: RawRow) -> Result<(), SalvageError> {
        let (id, values) = match (row.rowid, row.values.as_slice()) {
            (Some(id), [Value::Null, rest @ ..]) => (id, rest),
            (None, [rest @ .., Value::Int(id)]) => (*id, rest),
            _ => return Ok(()),
        };
        match values {
            [Value::Text(tenant), Value::Text(host), Value::Int(_)] | [Value::Text(tenant), Value::Text(host)] => {
                if let (Some(tenant), Some(host)) = (tenant_name(tenant), host_name(host)) {
                    self.hosts.insert(id, (tenant, host));
                }
            }
            [Value::Int(host), Value::Blob(boot)] => {
                if let Ok(boot) = boot.as_slice().try_into() {
                    self.boots.insert(id, (*host, BootId(boot)));
                }
            }
            [Value::Text(tenant), Value::Blob(hash), content @ ..] => {
                if let (Some(tenant), Ok(hash)) = (tenant_name(tenant), hash.as_slice().try_into()) {
                    self.sets.insert(id, SetId(hash));
                    keep_content(fresh, &tenant, SetId(hash), content)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn keep_content(fresh: &Connection, tenant: &TenantId, set: SetId, content: &[Value]) -> Result<(), SalvageError> {
    let [Value::Blob(bytes)] = content else { return Ok(()) };
    if MetricSet::decode(bytes).is_ok_and(|decoded| decoded.id() == set) {
        fresh.execute(
            "INSERT INTO metric_set(tenant, hash, content) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![tenant.as_str(), set.0, bytes],
        )?;
    }
    Ok(())
}

fn tenant_name(text: &[u8]) -> Option<TenantId> {
    TenantId::new(std::str::from_utf8(text).ok()?).ok()
}

fn host_name(text: &[u8]) -> Option<HostName> {
    HostName::new(std::str::from_utf8(text).ok()?).ok()
}

/// A batch's row as numbers.
struct BatchRow {
    host: i64,
    boot: i64,
    classification: i64,
    range: TickRange,
    start_ms: i64,
    set: i64,
    crc: i64,
    blob: Vec<u8>,
}

impl BatchRow {
    fn read(row: RawRow) -> Option<Self> {
        let mut values = row.values;
        let Some(Value::Blob(blob)) = values.pop() else { return None };
        let int = |value: &Value| if let Value::Int(n) = value { Some(*n) } else { None };
        let [Value::Null, numbers @ ..] = values.as_slice() else { return None };
        let numbers: Vec<i64> = numbers.iter().map(int).collect::<Option<_>>()?;
        let [host, boot, classification, first, last, _ticks, start_ms, _end_ms, set, crc] = numbers.try_into().ok()?;
        let tick = |n: i64| u64::try_from(n).ok().map(Tick).filter(|t| *t <= MAX_TICK);
        let range = TickRange::new(tick(first)?, tick(last)?)?;
        (start_ms.abs() <= MAX_WALL_MS).then_some(Self { host, boot, classification, range, start_ms, set, crc, blob })
    }
}

/// Moves batches to the fresh file.
struct Batches<'a> {
    found: &'a Found,
    fresh: &'a mut Connection,
    catalog: Catalog,
    in_transaction: u64,
    bad: HashSet<Identity>,
}

/// A batch's identity in the numbers of the damaged file: host, boot, classification, first tick.
type Identity = (i64, i64, i64, Tick);

impl<'a> Batches<'a> {
    fn new(found: &'a Found, fresh: &'a mut Connection) -> Result<Self, SalvageError> {
        fresh.execute_batch("BEGIN")?;
        Ok(Self { found, fresh, catalog: Catalog::default(), in_transaction: 0, bad: HashSet::new() })
    }

    fn take(&mut self, row: RawRow) -> Result<(), SalvageError> {
        let Some(row) = BatchRow::read(row) else { return Ok(()) };
        let identity = (row.host, row.boot, row.classification, row.range.first);
        let Some(batch) = self.check(row) else {
            if self.bad.len() < MAX_BAD {
                self.bad.insert(identity);
            }
            return Ok(());
        };
        let stream = self.catalog.stream(self.fresh, &batch.key)?;
        let set = self.catalog.named_set(self.fresh, &batch.key.tenant, batch.set)?;
        self.catalog.widen(self.fresh, &batch.key, batch.end_ms() - batch.start_ms)?;
        batch_table::insert(self.fresh, stream, set, &batch)?;
        self.in_transaction += 1;
        if self.in_transaction >= ROWS_PER_COMMIT {
            self.in_transaction = 0;
            self.fresh.execute_batch("COMMIT; BEGIN")?;
        }
        Ok(())
    }

    /// The batch, if it is as it was written.
    fn check(&self, row: BatchRow) -> Option<BatchRecord> {
        let (host, boot) = self.found.boots.get(&row.boot)?;
        let (tenant, name) = self.found.hosts.get(host)?;
        let classification = Classification::new(u8::try_from(row.classification).ok()?)?;
        let key = StreamKey { tenant: tenant.clone(), host: name.clone(), boot: *boot, classification };
        let set = *self.found.sets.get(&row.set)?;
        let crc = checksum(&key, row.range, row.start_ms, set, &row.blob);
        let header = decode_header(&row.blob).ok()?;
        (i64::from(crc) == row.crc && header.range() == row.range).then(|| BatchRecord {
            key: Arc::new(key),
            ticks: runs(&header),
            start_ms: row.start_ms,
            set,
            blob: Bytes::from(row.blob),
        })
    }

    /// How many batches were brought over, and how many were found and could not be.
    fn finish(self) -> Result<(u64, u64), SalvageError> {
        self.fresh.execute_batch("COMMIT")?;
        let good: u64 = self.fresh.query_row("SELECT count(*) FROM batch", [], |row| row.get(0))?;
        let mut bad = 0;
        for identity in &self.bad {
            bad += u64::from(!self.is_whole(*identity)?);
        }
        Ok((good, bad))
    }

    /// Whether the batch is in the fresh file after all: a page may hold an old image of a row that is whole elsewhere.
    fn is_whole(&self, (_, boot, classification, first): Identity) -> Result<bool, SalvageError> {
        let named = self.found.boots.get(&boot).and_then(|(host, boot)| Some((self.found.hosts.get(host)?, boot)));
        let Some(((tenant, host), boot)) = named else { return Ok(false) };
        let mut select = self.fresh.prepare_cached(
            "SELECT EXISTS(SELECT 1 FROM batch b JOIN boot t ON t.id = b.boot JOIN host h ON h.id = b.host
             WHERE h.tenant = ?1 AND h.name = ?2 AND t.boot = ?3 AND b.classification = ?4 AND b.first_tick = ?5)",
        )?;
        let name = params![tenant.as_str(), host.as_str(), boot.0, classification, batch_table::sql(first)];
        Ok(select.query_row(name, |row| row.get(0))?)
    }
}

/// Ledgers for the fresh file: what is stored is what its batches hold; losses and expectations are the old ledger's.
fn write_ledgers(fresh: &mut Connection, old: Option<Ledgers>, now_ms: i64) -> Result<Option<u64>, SalvageError> {
    let known = old.is_some();
    let mut ledgers: HashMap<Arc<StreamKey>, BootLedger> =
        old.unwrap_or_default().into_iter().map(|(key, ledger)| (key, BootLedger::clone(&ledger))).collect();
    for key in streams(fresh)? {
        ledgers.entry(Arc::new(key)).or_default();
    }
    let tx = fresh.transaction()?;
    let (mut catalog, mut lost) = (Catalog::default(), 0);
    for (key, mut ledger) in ledgers {
        let row: StreamRow = catalog.stream(&tx, &key)?;
        lost += ledger.rebuild_stored(&batch_table::stored_ticks(&tx, row)?);
        ledger.touch_all();
        ledger_table::save(&tx, row, &mut ledger, now_ms)?;
    }
    tx.commit()?;
    Ok(known.then_some(lost))
}

/// Every stream of which there is a batch.
fn streams(db: &Connection) -> Result<Vec<StreamKey>, rusqlite::Error> {
    let mut select = db.prepare(
        "SELECT DISTINCT b.classification, t.boot, h.tenant, h.name
         FROM batch b JOIN boot t ON t.id = b.boot JOIN host h ON h.id = b.host",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(StreamKey {
            tenant: batch_table::name_at(row, 2, TenantId::new)?,
            host: batch_table::name_at(row, 3, HostName::new)?,
            boot: BootId(row.get(1)?),
            classification: crate::sqlite::classification(row, 0)?,
        })
    };
    select.query_map([], read)?.collect()
}
