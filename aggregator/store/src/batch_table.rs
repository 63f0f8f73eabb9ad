//! The tables that hot and warm share: hosts, boots, metric sets and batches.
//!
//! Tenant and classification are in every key: a host is one of a tenant, a batch one of a host, boot and classification.
//! Tables with blobs are rowid tables with a UNIQUE index: WITHOUT ROWID would keep blobs inside the tree's inner pages.

use crate::record::{BatchRecord, Classification, StreamKey, runs};
use bytes::Bytes;
use dsmil_protocol::batch::decode_header;
use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick, TickRange};
use dsmil_protocol::metric::SetId;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

/// The shared part of both schemas, version 1. The salvager knows rows by the types of these columns: a new table or
/// column needs a look at `salvage`.
pub(crate) const SCHEMA: &str = "
CREATE TABLE host(id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, max_span_ms INTEGER NOT NULL);
CREATE UNIQUE INDEX host_name ON host(tenant, name);
CREATE TABLE boot(id INTEGER PRIMARY KEY, host INTEGER NOT NULL, boot BLOB NOT NULL);
CREATE UNIQUE INDEX boot_name ON boot(host, boot);
CREATE TABLE metric_set(id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, hash BLOB NOT NULL, content BLOB);
CREATE UNIQUE INDEX metric_set_name ON metric_set(tenant, hash);
CREATE TABLE batch(
  id INTEGER PRIMARY KEY,
  host INTEGER NOT NULL,
  boot INTEGER NOT NULL,
  classification INTEGER NOT NULL,
  first_tick INTEGER NOT NULL,
  last_tick INTEGER NOT NULL,
  ticks INTEGER NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL,
  metric_set INTEGER NOT NULL,
  crc32c INTEGER NOT NULL,
  blob BLOB NOT NULL);
CREATE UNIQUE INDEX batch_identity ON batch(host, boot, classification, first_tick);
CREATE INDEX batch_time ON batch(host, start_ms);
";

/// The checksum stored with a batch: over its key by value and its bytes, so that a flipped bit anywhere in the row, or
/// in the host or boot it points to, is seen.
pub(crate) fn checksum(key: &StreamKey, range: TickRange, start_ms: i64, set: SetId, blob: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(key.tenant.as_str().as_bytes());
    // A name holds no zero byte, so tenant and host cannot run into each other.
    crc = crc32c::crc32c_append(crc, &[0]);
    crc = crc32c::crc32c_append(crc, key.host.as_str().as_bytes());
    crc = crc32c::crc32c_append(crc, &[0, key.classification.level()]);
    crc = crc32c::crc32c_append(crc, &key.boot.0);
    crc = crc32c::crc32c_append(crc, &range.first.0.to_be_bytes());
    crc = crc32c::crc32c_append(crc, &range.last.0.to_be_bytes());
    crc = crc32c::crc32c_append(crc, &start_ms.to_be_bytes());
    crc = crc32c::crc32c_append(crc, &set.0);
    crc32c::crc32c_append(crc, blob)
}

/// Where a stream's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamRow {
    pub(crate) host: i64,
    pub(crate) boot: i64,
    pub(crate) classification: Classification,
}

/// What is stored under a batch's identity.
#[derive(Debug)]
pub(crate) struct Existing {
    pub(crate) id: i64,
    pub(crate) range: TickRange,
    pub(crate) ticks: u64,
}

/// Looks up a batch by its identity.
pub(crate) fn find(db: &Connection, row: StreamRow, first: Tick) -> Result<Option<Existing>, rusqlite::Error> {
    db.prepare_cached(
        "SELECT id, first_tick, last_tick, ticks FROM batch
         WHERE host = ?1 AND boot = ?2 AND classification = ?3 AND first_tick = ?4",
    )?
    .query_row(params![row.host, row.boot, row.classification.level(), sql(first)], |r| {
        Ok(Existing { id: r.get(0)?, range: range_at(r, 1)?, ticks: r.get(3)? })
    })
    .optional()
}

/// Writes a batch; a longer one takes the place of a shorter one with the same first tick. Says whether it was written.
pub(crate) fn insert(db: &Connection, row: StreamRow, set: i64, batch: &BatchRecord) -> Result<bool, rusqlite::Error> {
    let range = batch.range();
    let ticks: u64 = batch.ticks.iter().map(|r| r.len()).sum();
    let crc = checksum(&batch.key, range, batch.start_ms, batch.set, &batch.blob);
    let written = db
        .prepare_cached(
            "INSERT INTO batch(host, boot, classification, first_tick, last_tick, ticks, start_ms, end_ms, metric_set, crc32c, blob)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT(host, boot, classification, first_tick) DO UPDATE SET last_tick = excluded.last_tick,
               ticks = excluded.ticks, start_ms = excluded.start_ms, end_ms = excluded.end_ms,
               metric_set = excluded.metric_set, crc32c = excluded.crc32c, blob = excluded.blob
             WHERE excluded.ticks > batch.ticks",
        )?
        .execute(params![
            row.host,
            row.boot,
            row.classification.level(),
            sql(range.first),
            sql(range.last),
            ticks,
            batch.start_ms,
            batch.end_ms(),
            set,
            crc,
            &batch.blob[..],
        ])?;
    Ok(written > 0)
}

/// A batch as it lies in a table.
#[derive(Clone, Debug)]
pub(crate) struct StoredBatch {
    pub(crate) id: i64,
    pub(crate) key: Arc<StreamKey>,
    pub(crate) range: TickRange,
    pub(crate) start_ms: i64,
    pub(crate) set: SetId,
    pub(crate) crc: u32,
    pub(crate) blob: Bytes,
}

impl StoredBatch {
    /// Whether the row is as it was written.
    pub(crate) fn is_sound(&self) -> bool {
        checksum(&self.key, self.range, self.start_ms, self.set, &self.blob) == self.crc
    }

    /// The ticks it holds; of an unreadable header, the whole range.
    pub(crate) fn ticks(&self) -> Vec<TickRange> {
        decode_header(&self.blob).map_or_else(|_| vec![self.range], |header| runs(&header))
    }
}

/// Which batches to page through, of one host, in the order of their start.
#[derive(Clone, Debug)]
pub(crate) struct PageQuery {
    pub(crate) tenant: TenantId,
    pub(crate) host: HostName,
    pub(crate) clearance: Classification,
    /// Batches that end at or after this time …
    pub(crate) from_ms: i64,
    /// … start within these …
    pub(crate) start_from_ms: i64,
    pub(crate) start_to_ms: i64,
    /// … and come after this one in (start, row).
    pub(crate) after: Option<(i64, i64)>,
}

/// Some batches, and whether there are no more.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) batches: Vec<StoredBatch>,
    pub(crate) last: bool,
}

/// Batches in one page: they are decoded at one go, on a thread that others wait for.
const PAGE_BATCHES: usize = 256;
/// Bytes of batches in one page, besides its last one: what one query holds in memory.
const PAGE_BYTES: usize = 4 << 20;

const COLUMNS: &str = "b.id, b.first_tick, b.last_tick, b.start_ms, b.crc32c, b.blob, b.classification, t.boot, s.hash";

/// Reads the next page.
pub(crate) fn page(db: &Connection, query: &PageQuery) -> Result<Page, rusqlite::Error> {
    let host = db
        .prepare_cached("SELECT id, max_span_ms FROM host WHERE tenant = ?1 AND name = ?2")?
        .query_row(params![query.tenant.as_str(), query.host.as_str()], |r| {
            Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?))
        })
        .optional()?;
    let mut page = Page { batches: Vec::new(), last: true };
    let Some((host, span)) = host else { return Ok(page) };
    let start_from = query.start_from_ms.max(query.from_ms.saturating_sub(span));
    let (after_ms, after_id) = query.after.unwrap_or((i64::MIN, i64::MIN));
    let sql = format!(
        "SELECT {COLUMNS} FROM batch b JOIN boot t ON t.id = b.boot JOIN metric_set s ON s.id = b.metric_set
         WHERE b.host = ?1 AND b.start_ms >= ?2 AND b.start_ms <= ?3 AND (b.start_ms, b.id) > (?4, ?5)
           AND b.end_ms >= ?6 AND b.classification <= ?7
         ORDER BY b.start_ms, b.id"
    );
    let mut select = db.prepare_cached(&sql)?;
    let mut rows = select.query(params![
        host,
        start_from.max(after_ms),
        query.start_to_ms,
        after_ms,
        after_id,
        query.from_ms,
        query.clearance.level()
    ])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if page.batches.len() >= PAGE_BATCHES || bytes >= PAGE_BYTES {
            page.last = false;
            break;
        }
        let batch = stored(row, &query.tenant, &query.host)?;
        bytes += batch.blob.len();
        page.batches.push(batch);
    }
    Ok(page)
}

/// One batch by its row, with the names it belongs to.
pub(crate) fn by_id(db: &Connection, id: i64) -> Result<Option<StoredBatch>, rusqlite::Error> {
    let sql = format!(
        "SELECT {COLUMNS}, h.tenant, h.name FROM batch b JOIN boot t ON t.id = b.boot
         JOIN metric_set s ON s.id = b.metric_set JOIN host h ON h.id = b.host WHERE b.id = ?1"
    );
    let named = |r: &Row<'_>| {
        let (tenant, host) = (name_at(r, 9, TenantId::new)?, name_at(r, 10, HostName::new)?);
        stored(r, &tenant, &host)
    };
    db.prepare_cached(&sql)?.query_row([id], named).optional()
}

/// The newest start of a batch, by host.
pub(crate) fn newest_starts(db: &Connection) -> Result<Vec<(TenantId, HostName, i64)>, rusqlite::Error> {
    let mut select = db.prepare(
        "SELECT tenant, name, (SELECT max(start_ms) FROM batch WHERE host = host.id) AS newest
         FROM host WHERE newest IS NOT NULL",
    )?;
    let read = |row: &Row<'_>| Ok((name_at(row, 0, TenantId::new)?, name_at(row, 1, HostName::new)?, row.get(2)?));
    select.query_map([], read)?.collect()
}

/// Every tick of a stream that a batch in the table holds.
pub(crate) fn stored_ticks(
    db: &Connection,
    row: StreamRow,
) -> Result<dsmil_protocol::tick_set::TickSet, rusqlite::Error> {
    let mut select = db.prepare_cached(
        "SELECT id, first_tick, last_tick, ticks FROM batch WHERE host = ?1 AND boot = ?2 AND classification = ?3",
    )?;
    let mut rows = select.query(params![row.host, row.boot, row.classification.level()])?;
    let mut set = dsmil_protocol::tick_set::TickSet::new();
    while let Some(r) = rows.next()? {
        let (range, ticks) = (range_at(r, 1)?, r.get::<_, u64>(3)?);
        if range.len() == ticks {
            set.insert(range);
        } else if let Some(batch) = by_id(db, r.get(0)?)? {
            // Ticks are missing inside it: which ones, only its own header says.
            for run in batch.ticks() {
                set.insert(run);
            }
        }
    }
    Ok(set)
}

fn stored(row: &Row<'_>, tenant: &TenantId, host: &HostName) -> Result<StoredBatch, rusqlite::Error> {
    let key = StreamKey {
        tenant: tenant.clone(),
        host: host.clone(),
        boot: BootId(row.get(7)?),
        classification: crate::sqlite::classification(row, 6)?,
    };
    Ok(StoredBatch {
        id: row.get(0)?,
        key: Arc::new(key),
        range: range_at(row, 1)?,
        start_ms: row.get(3)?,
        set: SetId(row.get(8)?),
        crc: row.get(4)?,
        blob: Bytes::from(row.get::<_, Vec<u8>>(5)?),
    })
}

/// A range in two neighbouring columns; one that runs backwards is damage.
pub(crate) fn range_at(row: &Row<'_>, column: usize) -> Result<TickRange, rusqlite::Error> {
    let (first, last): (u64, u64) = (row.get(column)?, row.get(column + 1)?);
    TickRange::new(Tick(first), Tick(last))
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column + 1, last.cast_signed()))
}

/// A name in a column; one that no name type takes is damage.
pub(crate) fn name_at<N, E>(
    row: &Row<'_>,
    column: usize,
    make: impl Fn(String) -> Result<N, E>,
) -> Result<N, rusqlite::Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    make(text).map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e)))
}

/// A tick as SQLite holds it.
pub(crate) fn sql(tick: Tick) -> i64 {
    i64::try_from(tick.0).unwrap_or(i64::MAX)
}

/// Whose batch a row is, and its ticks, without its bytes.
pub(crate) fn key_of(db: &Connection, id: i64) -> Result<(StreamKey, TickRange), rusqlite::Error> {
    db.prepare_cached(
        "SELECT b.first_tick, b.last_tick, b.classification, t.boot, h.tenant, h.name
         FROM batch b JOIN boot t ON t.id = b.boot JOIN host h ON h.id = b.host WHERE b.id = ?1",
    )?
    .query_row([id], |row| {
        let key = StreamKey {
            tenant: name_at(row, 4, TenantId::new)?,
            host: name_at(row, 5, HostName::new)?,
            boot: BootId(row.get(3)?),
            classification: crate::sqlite::classification(row, 2)?,
        };
        Ok((key, range_at(row, 0)?))
    })
}
