//! The cache's file: written, read, thinned out, and watched for what others do to it.

use super::HotConfig;
use crate::batch_table::{self, Page, PageQuery};
use crate::catalog::Catalog;
use crate::record::BatchRecord;
use crate::sqlite::{self, Format, Mode, OpenFailure, PAGE, beside};
use rusqlite::{Connection, params};
use rustix::fs::statvfs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// "DSMh". A cache has no older versions: a file that is found is thrown away.
const FORMAT: Format = Format { application_id: 0x4453_4D68, migrations: &[&[batch_table::SCHEMA]] };

/// Batches removed at a time; appends wait for it.
const EVICT_SLICE: i64 = 500;
/// When the file is used to this share of its limit (in percent), the oldest go.
const FULL_PERCENT: u64 = 90;
/// What must stay free on the tmpfs besides a second database for a damaged file to be kept for a look at it.
const SPARE_BYTES: u64 = 1 << 20;

/// An open cache file.
pub(super) struct HotDb {
    db: Connection,
    catalog: Catalog,
    path: PathBuf,
    inode: u64,
    device: u64,
    length: u64,
    max_pages: u64,
}

/// What became of the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Tampered {
    #[error("the file was removed")]
    Removed,
    #[error("another file has taken its place")]
    Replaced,
    #[error("the file was truncated")]
    Truncated,
}

impl HotDb {
    /// Makes a fresh file; one that is there goes.
    pub(super) fn create(config: &HotConfig) -> Result<Self, OpenFailure> {
        let fail = |e: std::io::Error| {
            rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
                Some(format!("{}: {e}", config.path.display())),
            )
        };
        for suffix in ["", "-wal", "-shm"] {
            sqlite::remove(&beside(&config.path, suffix)).map_err(fail)?;
        }
        let max_pages = (config.max_bytes / PAGE).max(64);
        let db = sqlite::open(&config.path, &FORMAT, Mode::Cache { max_pages })?;
        sqlite::checkpoint(&db)?;
        let meta = config.path.metadata().map_err(fail)?;
        Ok(Self {
            db,
            catalog: Catalog::default(),
            path: config.path.clone(),
            inode: meta.ino(),
            device: meta.dev(),
            length: meta.len(),
            max_pages,
        })
    }

    /// Whether the name still stands for the file that is open: an unlinked file would go on taking writes.
    pub(super) fn look(&mut self) -> Result<(), Tampered> {
        let Ok(meta) = self.path.metadata() else { return Err(Tampered::Removed) };
        if (meta.ino(), meta.dev()) != (self.inode, self.device) {
            return Err(Tampered::Replaced);
        }
        // The file only ever grows: it is never vacuumed.
        if meta.len() < self.length {
            return Err(Tampered::Truncated);
        }
        self.length = meta.len();
        Ok(())
    }

    /// Writes batches in one transaction; one that is there stays, unless the new one is longer.
    pub(super) fn append<'a>(
        &mut self,
        batches: impl Iterator<Item = &'a Arc<BatchRecord>>,
    ) -> Result<u64, rusqlite::Error> {
        let outcome = self.try_append(batches);
        if outcome.is_err() {
            self.catalog.clear();
        }
        outcome
    }

    fn try_append<'a>(&mut self, batches: impl Iterator<Item = &'a Arc<BatchRecord>>) -> Result<u64, rusqlite::Error> {
        let tx = self.db.transaction()?;
        let mut written = 0;
        for batch in batches {
            let row = self.catalog.stream(&tx, &batch.key)?;
            let set = self.catalog.cached_set(&tx, &batch.key.tenant, batch.set)?;
            self.catalog.widen(&tx, &batch.key, batch.end_ms() - batch.start_ms)?;
            written += u64::from(batch_table::insert(&tx, row, set, batch)?);
        }
        tx.commit()?;
        Ok(written)
    }

    pub(super) fn page(&self, query: &PageQuery) -> Result<Page, rusqlite::Error> {
        batch_table::page(&self.db, query)
    }

    /// Whether the file is used so far that room should be made.
    pub(super) fn is_full(&self) -> Result<bool, rusqlite::Error> {
        let number = |name: &str| self.db.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        let used = number("page_count")?.saturating_sub(number("freelist_count")?);
        Ok(used * 100 >= self.max_pages * FULL_PERCENT)
    }

    /// Removes the oldest batches by arrival; if `before_ms` is given, only while they started before it. Returns how
    /// many went, and the newest start among them.
    pub(super) fn evict(&mut self, before_ms: Option<i64>) -> Result<(u64, Option<i64>), rusqlite::Error> {
        let tx = self.db.transaction()?;
        let oldest: Vec<(i64, i64)> = tx
            .prepare_cached("SELECT id, start_ms FROM batch ORDER BY id LIMIT ?1")?
            .query_map([EVICT_SLICE], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let going: Vec<_> =
            oldest.into_iter().take_while(|(_, start)| before_ms.is_none_or(|before| *start < before)).collect();
        let Some((last, _)) = going.last() else { return Ok((0, None)) };
        let removed = tx.prepare_cached("DELETE FROM batch WHERE id <= ?1")?.execute(params![last])?;
        tx.commit()?;
        Ok((removed as u64, going.iter().map(|(_, start)| *start).max()))
    }

    /// Closes the file and puts it aside for a look, if there is room for it; the one that was aside before goes.
    pub(super) fn set_aside(self) -> Option<PathBuf> {
        let (path, max_bytes) = (self.path, self.max_pages * PAGE);
        drop(self.db);
        let aside = beside(&path, ".damaged");
        // What cannot be removed or renamed is in the way of the next file, which then says so.
        let _ = sqlite::remove(&aside);
        let kept = has_room(&path, max_bytes) && std::fs::rename(&path, &aside).is_ok();
        for suffix in ["", "-wal", "-shm"] {
            let _ = sqlite::remove(&beside(&path, suffix));
        }
        kept.then_some(aside)
    }
}

/// Whether the tmpfs holds a whole second database, log included, beside what is there.
fn has_room(path: &Path, max_bytes: u64) -> bool {
    statvfs(path).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) >= 2 * max_bytes + SPARE_BYTES)
}
