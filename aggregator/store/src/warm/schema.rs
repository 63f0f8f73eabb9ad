//! The journal's schema, and its note of how the program that last had it open ended.

use crate::sqlite::Format;
use crate::{batch_table, ledger_table, set_use};
use rusqlite::{Connection, OptionalExtension};

/// The journal as SQLite sees it ("DSMj"). The root pages of version 1 come in this order, on which the salvager relies
/// when page 1 is gone.
pub(crate) const FORMAT: Format = Format {
    application_id: 0x4453_4D6A,
    migrations: &[
        &[
            "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;",
            batch_table::SCHEMA,
            ledger_table::SCHEMA,
        ],
        &[set_use::SCHEMA],
    ],
};

/// Whether the journal was closed, and nobody wrote to it since.
const CLEAN: &str = "clean";
/// Everything that could be salvaged from the damaged file is in this one.
const SALVAGED: &str = "salvaged";

/// Whether the last program that had the journal open closed it.
pub(crate) fn was_closed(db: &Connection) -> Result<bool, rusqlite::Error> {
    Ok(flag(db, CLEAN)? == Some(1))
}

/// Notes that the journal is open (and may end uncleanly), or that it was closed.
pub(crate) fn note_closed(db: &Connection, closed: bool) -> Result<(), rusqlite::Error> {
    set_flag(db, CLEAN, i64::from(closed))
}

/// Whether a salvage into this file came to its end.
pub(crate) fn is_salvaged(db: &Connection) -> Result<bool, rusqlite::Error> {
    Ok(flag(db, SALVAGED)? == Some(1))
}

/// Notes that a salvage into this file came to its end.
pub(crate) fn note_salvaged(db: &Connection) -> Result<(), rusqlite::Error> {
    set_flag(db, SALVAGED, 1)
}

fn flag(db: &Connection, key: &str) -> Result<Option<i64>, rusqlite::Error> {
    db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

fn set_flag(db: &Connection, key: &str, value: i64) -> Result<(), rusqlite::Error> {
    let sql = "INSERT INTO meta(key, value) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value";
    db.execute(sql, rusqlite::params![key, value]).map(drop)
}
