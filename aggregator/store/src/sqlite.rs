//! SQLite opened the way each tier needs it, and its failures sorted by what is to be done about them.

use dsmil_protocol::tlv::Classification;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use std::path::{Path, PathBuf};

/// Bytes of a page in every database of ours: those that can be salvaged.
pub(crate) const PAGE: u64 = dsmil_salvage::PAGE;
/// Statements kept prepared on a connection; a tier has about twenty.
const STATEMENTS: usize = 32;
/// The `-wal` file is cut back to this after a checkpoint; it grows beyond only while a large commit is in it.
const WAL_LIMIT: i64 = 16 << 20;
/// Pages in the write-ahead log that start a checkpoint, on a disk (16 MiB): a page that many commits change, as those of
/// the indexes, is written into the file once for all of them.
const CHECKPOINT_PAGES: i64 = 4096;
/// The same on a tmpfs (4 MiB), where the log is memory too.
const CACHE_CHECKPOINT_PAGES: i64 = 1024;
/// KiB of pages that the one writer of a database on a disk keeps. The newest page of each index for each of 1,000 hosts is
/// 8 MiB, and a commit is up to 8 MiB of batches: what does not fit is read again, and written before its time.
const WRITER_CACHE_KIB: i64 = 32 << 10;
/// A reader waits this long for a lock that only a recovery after a crash holds.
const BUSY_MS: i64 = 5_000;

/// What marks a database as ours, and how it is made: entry `n` takes version `n` to `n + 1`.
pub(crate) struct Format {
    /// `PRAGMA application_id`: whose file it is.
    pub(crate) application_id: i32,
    /// SQL scripts by version; their number is the newest version.
    pub(crate) migrations: &'static [&'static [&'static str]],
}

impl Format {
    fn version(&self) -> i32 {
        i32::try_from(self.migrations.len()).expect("a handful of migrations")
    }
}

/// How a database is to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// On a disk, the one writer: every commit is on the platter, others may read beside it.
    Durable {
        /// The most pages it may grow to.
        max_pages: Option<u64>,
    },
    /// On a disk, reading only.
    Reader,
    /// On a tmpfs, by this connection alone.
    ///
    /// `locking_mode=EXCLUSIVE` before the first access keeps the wal-index in our own memory: no `-shm` file exists
    /// whose truncation by somebody else would be a SIGBUS.
    Cache {
        /// The most pages it may grow to: a full tmpfs stops even deletes and checkpoints.
        max_pages: u64,
    },
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFailure {
    #[error("it was made by a program of version {found}, this one knows up to version {known}")]
    Version { found: i32, known: i32 },
    #[error("it is a database of another program (application id {0:#x})")]
    Foreign(i32),
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
}

/// What a failure asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No room: try again later.
    Full,
    /// The file is damaged: salvage it.
    Damaged,
    /// The disk failed: what is in the file must be looked at anew.
    Io,
    /// Anything else.
    Other,
}

/// Sorts a failure.
pub(crate) fn trouble(error: &rusqlite::Error) -> Trouble {
    match error {
        rusqlite::Error::SqliteFailure(e, _) => match (e.code, e.extended_code) {
            (ErrorCode::DiskFull, _) => Trouble::Full,
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) | (_, ffi::SQLITE_IOERR_SHORT_READ) => {
                Trouble::Damaged
            }
            (ErrorCode::SystemIoFailure, _) => Trouble::Io,
            _ => Trouble::Other,
        },
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => Trouble::Damaged,
        // A table or column of our own schema that is not there.
        rusqlite::Error::SqlInputError { .. } => Trouble::Damaged,
        _ => Trouble::Other,
    }
}

/// Opens (and, except for [`Mode::Reader`], makes and migrates) a database.
pub(crate) fn open(path: &Path, format: &Format, mode: Mode) -> Result<Connection, OpenFailure> {
    let access = match mode {
        Mode::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Mode::Durable { .. } | Mode::Cache { .. } => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    let mut db = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "busy_timeout", BUSY_MS)?;
    // A mapped file that is truncated by somebody else is a SIGBUS.
    db.pragma_update(None, "mmap_size", 0)?;
    match mode {
        Mode::Reader => return Ok(db),
        Mode::Cache { max_pages } => {
            db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            writable(&db, "NORMAL", CACHE_CHECKPOINT_PAGES, Some(max_pages))?;
        }
        Mode::Durable { max_pages } => {
            db.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
            writable(&db, "FULL", CHECKPOINT_PAGES, max_pages)?;
        }
    }
    migrate(&mut db, format)?;
    Ok(db)
}

fn writable(
    db: &Connection,
    synchronous: &str,
    checkpoint_pages: i64,
    max_pages: Option<u64>,
) -> Result<(), rusqlite::Error> {
    db.pragma_update(None, "page_size", PAGE.cast_signed())?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", synchronous)?;
    db.pragma_update(None, "wal_autocheckpoint", checkpoint_pages)?;
    db.pragma_update(None, "journal_size_limit", WAL_LIMIT)?;
    if let Some(pages) = max_pages {
        db.pragma_update(None, "max_page_count", pages.cast_signed())?;
    }
    Ok(())
}

fn migrate(db: &mut Connection, format: &Format) -> Result<(), OpenFailure> {
    let number = |db: &Connection, name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (id, found) = (number(db, "application_id")?, number(db, "user_version")?);
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && id != format.application_id {
        return Err(OpenFailure::Foreign(id));
    }
    let known = format.version();
    if found > known || found < 0 || (tables > 0 && found == 0) {
        return Err(OpenFailure::Version { found, known });
    }
    if found == known {
        return Ok(());
    }
    let tx = db.transaction()?;
    for script in format.migrations[usize::try_from(found).unwrap_or(0)..].iter().flat_map(|v| v.iter()) {
        tx.execute_batch(script)?;
    }
    tx.pragma_update(None, "application_id", format.application_id)?;
    tx.pragma_update(None, "user_version", known)?;
    Ok(tx.commit()?)
}

/// Moves everything from the write-ahead log into the file, so that the file alone is whole.
pub(crate) fn checkpoint(db: &Connection) -> Result<(), rusqlite::Error> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Whether the structure of the database is sound. It says nothing about payloads: those have their own CRC.
pub(crate) fn quick_check(db: &Connection) -> bool {
    matches!(db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)), Ok(answer) if answer == "ok")
}

/// The name of a file that SQLite keeps beside the database (`-wal`, `-shm`), or that we do (`.salvage`).
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes renames and new names in the folder of `path` survive a power cut.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A stored classification; a number that is none is damage.
pub(crate) fn classification(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Classification> {
    let level: u8 = row.get(column)?;
    Classification::new(level).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, level.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Format = Format { application_id: 7, migrations: &[&["CREATE TABLE a(x)"]] };
    const TWO: Format =
        Format { application_id: 7, migrations: &[&["CREATE TABLE a(x)"], &["ALTER TABLE a ADD COLUMN y"]] };
    const OTHER: Format = Format { application_id: 8, migrations: &[&["CREATE TABLE a(x)"]] };
    const DISK: Mode = Mode::Durable { max_pages: None };

    #[test]
    fn migrating_ends_at_the_fresh_schema_and_newer_or_foreign_files_are_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let schema = |path: &Path, format| {
            let db = open(path, format, DISK).expect("opens");
            db.query_row("SELECT group_concat(sql) FROM sqlite_schema", [], |r| r.get::<_, String>(0))
                .expect("a schema")
        };
        let (old, fresh) = (dir.path().join("old"), dir.path().join("fresh"));
        schema(&old, &ONE);
        assert_eq!(schema(&old, &TWO), schema(&fresh, &TWO));
        assert!(matches!(open(&old, &ONE, DISK), Err(OpenFailure::Version { found: 2, known: 1 })));
        assert!(matches!(open(&old, &OTHER, DISK), Err(OpenFailure::Foreign(7))));
    }

    #[test]
    fn the_pragmas_hold() {
        let dir = tempfile::tempdir().expect("a folder");
        let db = open(&dir.path().join("d"), &ONE, DISK).expect("opens");
        let number = |name: &str| db.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).expect("a pragma");
        assert_eq!((number("synchronous"), number("mmap_size"), number("page_size")), (2, 0, 4096));
        assert_eq!((number("cache_size"), number("wal_autocheckpoint")), (-WRITER_CACHE_KIB, CHECKPOINT_PAGES));
        let cache = open(&dir.path().join("c"), &ONE, Mode::Cache { max_pages: 100 }).expect("opens");
        let text = |name: &str| cache.pragma_query_value(None, name, |r| r.get::<_, String>(0)).expect("a pragma");
        assert_eq!((text("journal_mode"), text("locking_mode")), ("wal".to_string(), "exclusive".to_string()));
        assert!(!dir.path().join("c-shm").exists(), "the wal-index is in our own memory");
    }
}
