//! The file: opened for one owner on tmpfs, made, and watched for what others do to it.

use super::report::Damage;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// "DSMs".
const APPLICATION_ID: i32 = 0x4453_4D73;
/// The version of the tables.
const VERSION: i32 = 1;
/// Bytes of a page: those that can be salvaged.
pub(super) const PAGE: u64 = dsmil_salvage::PAGE;
/// Pages that only deletions, gaps and what goes with them may use: they need a few to make room for more.
const RESERVE_PAGES: u64 = 32;
/// So many pages that nothing is in are given back (4 MiB): some minutes of an outage come and go without that.
const IDLE_PAGES: u64 = 1024;
/// While no more than so many pages are in use (1 MiB): some milliseconds' work.
const REST_PAGES: u64 = 256;
/// Statements kept prepared; there are about twenty.
const STATEMENTS: usize = 24;
/// KiB of pages kept in memory: a tick touches about six pages, and everything else is memory already.
const CACHE_KIB: i64 = 128;
/// Pages in the log that start a checkpoint, at least and at most: the log is memory too.
const CHECKPOINT_PAGES: (u64, u64) = (16, 64);

/// `boot`: what the spool answers for; `floor`: below it nothing waited when the row was written.
/// `tick`: ticks that are not in a batch yet. `batch`: sealed, not acknowledged. `gap`: lost, not acknowledged.
/// `rejected`: kept for a look. `totals`: one row. Row numbers of tick, batch, gap and rejected are boot and first tick.
const SCHEMA: &str = "
CREATE TABLE boot(id INTEGER PRIMARY KEY, boot BLOB NOT NULL, first INTEGER NOT NULL, floor INTEGER NOT NULL,
    last INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE metric_set(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
CREATE TABLE tick(id INTEGER PRIMARY KEY, boot BLOB NOT NULL, hash BLOB NOT NULL, wall_ms INTEGER NOT NULL,
    crc INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE batch(id INTEGER PRIMARY KEY, hash BLOB NOT NULL, last INTEGER NOT NULL, crc INTEGER NOT NULL,
    content BLOB NOT NULL);
CREATE TABLE gap(id INTEGER PRIMARY KEY, boot BLOB NOT NULL, last INTEGER NOT NULL, reason INTEGER NOT NULL,
    crc INTEGER NOT NULL);
CREATE TABLE rejected(id INTEGER PRIMARY KEY, last INTEGER NOT NULL, code INTEGER NOT NULL, crc INTEGER NOT NULL,
    content BLOB NOT NULL);
CREATE TABLE totals(id INTEGER PRIMARY KEY, content BLOB NOT NULL, crc INTEGER NOT NULL);
";

/// What a failure of SQLite asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No room: in the file or on its tmpfs.
    Full,
    /// The file is damaged: salvage it.
    Damaged,
    /// Another process has it.
    InUse,
    /// Anything else.
    Other,
}

/// Sorts a failure.
pub(super) fn trouble(error: &rusqlite::Error) -> Trouble {
    match error {
        rusqlite::Error::SqliteFailure(e, _) => match e.code {
            ErrorCode::DiskFull => Trouble::Full,
            // On tmpfs no device can fail: a read that comes back short is a file that was cut.
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure => Trouble::Damaged,
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Trouble::InUse,
            _ => Trouble::Other,
        },
        // A value or a table of our own schema that is not what we wrote.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::QueryReturnedNoRows
        | rusqlite::Error::Utf8Error(..)
        | rusqlite::Error::SqlInputError { .. } => Trouble::Damaged,
        _ => Trouble::Other,
    }
}

/// A row that is not what was written, as SQLite's own failure.
pub(super) fn corrupt(what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(what.to_owned()))
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenFailure {
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error(transparent)]
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for OpenFailure {
    fn from(error: rusqlite::Error) -> Self {
        match trouble(&error) {
            Trouble::Damaged => Self::Damaged(Damage::Corrupt(error.to_string())),
            _ => Self::Sql(error),
        }
    }
}

/// A file by what it is, not by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) conn: Connection,
    path: PathBuf,
    file: Option<FileId>,
    length: u64,
    log: Option<FileId>,
    log_length: u64,
    log_limit: u64,
    /// The most pages the file may have, and those a new tick may use.
    capacity_pages: u64,
    limit_pages: u64,
}

impl Database {
    /// Opens the file, or makes it, for this process alone.
    pub(super) fn open(path: &Path, capacity_bytes: u64) -> Result<Self, OpenFailure> {
        let len = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        if len(path) < PAGE && (len(path) > 0 || len(&beside(path, "-wal")) > 0) {
            // SQLite would take it for a new database and delete the log.
            return Err(Damage::Truncated.into());
        }
        // SQLite would make it readable by all; the log takes its mode from it. A failure shows when SQLite opens it.
        let _ = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        let capacity_pages = capacity_bytes / PAGE;
        let checkpoint = (capacity_pages / 32).clamp(CHECKPOINT_PAGES.0, CHECKPOINT_PAGES.1);
        let log_limit = 4 * checkpoint * PAGE;
        conn.pragma_update(None, "busy_timeout", 0)?;
        // A mapped file that somebody truncates is a SIGBUS; so is a `-shm` file, which exclusive locking avoids if it
        // comes before the first access.
        conn.pragma_update(None, "mmap_size", 0)?;
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        conn.pragma_update(None, "page_size", PAGE.cast_signed())?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
        conn.pragma_update(None, "cell_size_check", true)?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.pragma_update(None, "wal_autocheckpoint", checkpoint.cast_signed())?;
        conn.pragma_update(None, "journal_size_limit", log_limit.cast_signed())?;
        let mut db = Self {
            conn,
            path: path.to_owned(),
            file: None,
            length: 0,
            log: None,
            log_length: 0,
            log_limit,
            capacity_pages,
            limit_pages: 0,
        };
        db.set_limit(None)?;
        db.migrate()?;
        db.look()?;
        Ok(db)
    }

    fn migrate(&mut self) -> Result<(), OpenFailure> {
        let number = |name: &str| self.conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (id, found) = (number("application_id")?, number("user_version")?);
        let tables: i64 = self.conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 && id == 0 && found == 0 {
            let tx = self.conn.transaction()?;
            tx.execute_batch(SCHEMA)?;
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
            tx.pragma_update(None, "user_version", VERSION)?;
            return Ok(tx.commit()?);
        }
        if id != APPLICATION_ID {
            return Err(Damage::Foreign(id).into());
        }
        if found != VERSION {
            return Err(Damage::Version { found, known: VERSION }.into());
        }
        let answer: String = self.conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if answer == "ok" { Ok(()) } else { Err(Damage::Corrupt(answer).into()) }
    }

    /// Gives the file another capacity; while its tmpfs is full it does not grow to a greater one.
    pub(super) fn set_capacity(&mut self, capacity_bytes: u64, is_full: bool) -> Result<(), rusqlite::Error> {
        self.capacity_pages = capacity_bytes / PAGE;
        self.set_limit(is_full.then_some(self.limit_pages))
    }

    /// Lets the file grow to `pages` (to its capacity if none are given).
    pub(super) fn set_limit(&mut self, pages: Option<u64>) -> Result<(), rusqlite::Error> {
        self.limit_pages = pages.unwrap_or(self.capacity_pages).min(self.capacity_pages);
        self.conn.pragma_update(None, "max_page_count", self.limit_pages.max(1).cast_signed())
    }

    /// Pages that a new tick may use in all.
    pub(super) fn room_pages(&self) -> u64 {
        self.limit_pages - RESERVE_PAGES.min(self.limit_pages / 4)
    }

    /// Pages of the file, and those of them that are in use.
    pub(super) fn pages(&self) -> Result<(u64, u64), rusqlite::Error> {
        let number = |sql| self.conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, u64>(0));
        let (all, free) = (number("PRAGMA page_count")?, number("PRAGMA freelist_count")?);
        Ok((all, all.saturating_sub(free)))
    }

    /// Moves what is in the log into the file, as far as it goes.
    pub(super) fn checkpoint(&self) -> Result<(), rusqlite::Error> {
        self.conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// Gives back what an outage has left: pages that nothing is in are still the host's memory on a tmpfs. It is done when
    /// they are many and the rest is little, for the rest is written anew. False if that is not so.
    pub(super) fn shrink(&mut self) -> Result<bool, rusqlite::Error> {
        let (all, used) = self.pages()?;
        if all - used < IDLE_PAGES || used > REST_PAGES {
            return Ok(false);
        }
        self.conn.execute_batch("VACUUM")?;
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        // Both are shorter by our own hand.
        (self.length, self.log_length) = (0, 0);
        Ok(true)
    }

    /// Whether the names still stand for the files that are open: an unlinked file would go on taking writes, and a
    /// restart would not find them.
    pub(super) fn look(&mut self) -> Result<(), Damage> {
        let (file, length) = look_at(&self.path, self.file, self.length, u64::MAX)?;
        (self.file, self.length) = (Some(file), length);
        let log = beside(&self.path, "-wal");
        if self.log.is_some() || log.exists() {
            let (file, length) = look_at(&log, self.log, self.log_length, self.log_limit)?;
            (self.log, self.log_length) = (Some(file), length);
        }
        Ok(())
    }
}

/// A file shrinks on its own only to `shrinks_to`, which is what SQLite cuts a long log to; the database does so only in
/// [`Database::shrink`].
fn look_at(path: &Path, was: Option<FileId>, length: u64, shrinks_to: u64) -> Result<(FileId, u64), Damage> {
    let Ok(meta) = std::fs::metadata(path) else { return Err(Damage::Removed) };
    let file = FileId { device: meta.dev(), inode: meta.ino() };
    if was.is_some_and(|was| was != file) {
        return Err(Damage::Replaced);
    }
    if meta.len() < length && meta.len() != shrinks_to {
        return Err(Damage::Truncated);
    }
    Ok((file, meta.len()))
}

/// The name of a file that belongs to the one at `path`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
