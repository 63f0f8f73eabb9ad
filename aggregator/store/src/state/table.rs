//! Rows with a checksum: how every table that decides something is written and read.
//!
//! The checksum covers the table's name and all of a row's values with their types and lengths, its key among them: no
//! flipped bit, and no row copied over another, makes a key, a token or a revocation that was never written.

use super::Fault;
use crate::sqlite::{Trouble, trouble};
use dsmil_protocol::ids::TenantId;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

/// A row that is not as it was written. It counts for nothing until it is written again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {table} {name} of the state database is damaged and counts for nothing: remove the token, reinstate the host, \
     publish a newer bundle or push the settings again, and look at the disk"
)]
pub struct DamagedRow {
    /// Which table: `host`, `token`, `bundle`, `fleet_settings` or `settings_report`.
    pub table: &'static str,
    /// The row's key, as far as it can be read.
    pub name: String,
}

/// Rows of a table: one that is damaged does not take the others away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The sound ones, by key.
    pub rows: Vec<T>,
    /// Those that are not as they were written.
    pub damaged: Vec<DamagedRow>,
}

/// A row of one table. Its first two columns, tenant and name, are the key.
pub(super) trait Record: Sized {
    /// The table.
    const TABLE: &'static str;
    /// Its columns in order, without the tenant (which comes first) and the checksum (which comes last).
    const COLUMNS: &'static [&'static str];

    /// The values of [`Record::COLUMNS`].
    fn values(&self) -> Vec<Value>;

    /// Reads [`Record::COLUMNS`] out of a row in which the first of them is column 1.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self>;
}

/// Writes a new row; SQLite refuses it if its key is there.
pub(super) fn insert<T: Record>(db: &Connection, tenant: &TenantId, record: &T) -> Result<(), Fault> {
    put("INSERT", db, tenant, record)
}

/// Writes a row, over the one with its key if there is one.
pub(super) fn replace<T: Record>(db: &Connection, tenant: &TenantId, record: &T) -> Result<(), Fault> {
    put("INSERT OR REPLACE", db, tenant, record)
}

fn put<T: Record>(verb: &str, db: &Connection, tenant: &TenantId, record: &T) -> Result<(), Fault> {
    let mut values = vec![Value::from(tenant.as_str().to_string())];
    values.extend(record.values());
    let crc = checksum(T::TABLE, values.iter().map(ValueRef::from));
    values.push(i64::from(crc).into());
    let places = vec!["?"; values.len()].join(", ");
    let sql = format!("{verb} INTO {}({}) VALUES ({places})", T::TABLE, columns::<T>());
    db.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(())
}

/// The row of a key. A damaged one is an error.
pub(super) fn get<T: Record>(db: &Connection, tenant: &TenantId, key: Value) -> Result<Option<T>, Fault> {
    first(db, &format!("{} = ?2", T::COLUMNS[0]), vec![tenant.as_str().to_string().into(), key])
}

/// The row with the greatest key. A damaged one is an error: the one before it is not what was asked for.
pub(super) fn newest<T: Record>(db: &Connection, tenant: &TenantId) -> Result<Option<T>, Fault> {
    first(db, &format!("true ORDER BY {} DESC LIMIT 1", T::COLUMNS[0]), vec![tenant.as_str().to_string().into()])
}

fn first<T: Record>(db: &Connection, which: &str, values: Vec<Value>) -> Result<Option<T>, Fault> {
    let sql = format!("SELECT {} FROM {} WHERE tenant = ?1 AND {which}", columns::<T>(), T::TABLE);
    let row = db.prepare_cached(&sql)?.query_row(params_from_iter(values), sound).optional()?;
    Ok(row.transpose()?)
}

/// Every row of a tenant, by key.
pub(super) fn list<T: Record>(db: &Connection, tenant: &TenantId) -> Result<Listed<T>, Fault> {
    let sql = format!("SELECT {} FROM {} WHERE tenant = ?1 ORDER BY {}", columns::<T>(), T::TABLE, T::COLUMNS[0]);
    let mut listed = Listed { rows: Vec::new(), damaged: Vec::new() };
    for row in db.prepare_cached(&sql)?.query_map([tenant.as_str()], sound)? {
        match row? {
            Ok(row) => listed.rows.push(row),
            Err(damaged) => listed.damaged.push(damaged),
        }
    }
    Ok(listed)
}

/// Removes the row of a key, damaged or not; says whether there was one.
pub(super) fn remove<T: Record>(db: &Connection, tenant: &TenantId, key: Value) -> Result<bool, Fault> {
    let sql = format!("DELETE FROM {} WHERE tenant = ?1 AND {} = ?2", T::TABLE, T::COLUMNS[0]);
    Ok(db.prepare_cached(&sql)?.execute(params_from_iter([tenant.as_str().to_string().into(), key]))? > 0)
}

/// Removes the row with the greatest key; says whether there was one. Only for tables with a rowid, which stands for the
/// row even where its key cannot be read.
pub(super) fn remove_newest<T: Record>(db: &Connection, tenant: &TenantId) -> Result<bool, Fault> {
    let (table, key) = (T::TABLE, T::COLUMNS[0]);
    let newest = format!("SELECT rowid FROM {table} WHERE tenant = ?1 ORDER BY {key} DESC LIMIT 1");
    let sql = format!("DELETE FROM {table} WHERE rowid = ({newest})");
    Ok(db.prepare_cached(&sql)?.execute([tenant.as_str()])? > 0)
}

/// A row that is about to be written anew: what is damaged is as good as none.
pub(super) fn if_sound<T>(row: Result<Option<T>, Fault>) -> Result<Option<T>, Fault> {
    match row {
        Err(Fault::Damaged(_)) => Ok(None),
        row => row,
    }
}

fn columns<T: Record>() -> String {
    format!("tenant, {}, crc32c", T::COLUMNS.join(", "))
}

/// The row if it is as it was written. A value of another type than its column's is damage too, and not SQLite's failure.
fn sound<T: Record>(row: &Row<'_>) -> rusqlite::Result<Result<T, DamagedRow>> {
    let damaged = |row: &Row<'_>| Ok(Err(DamagedRow { table: T::TABLE, name: name(row.get_ref(1)?) }));
    let last = T::COLUMNS.len() + 1;
    let values = (0..last).map(|column| row.get_ref(column)).collect::<Result<Vec<_>, _>>()?;
    if row.get_ref(last)? != ValueRef::Integer(checksum(T::TABLE, values.into_iter()).into()) {
        return damaged(row);
    }
    match T::read(row) {
        Ok(record) => Ok(Ok(record)),
        Err(e) if trouble(&e) == Trouble::Damaged => damaged(row),
        Err(e) => Err(e),
    }
}

fn name(key: ValueRef<'_>) -> String {
    match key {
        ValueRef::Null => "without a name".into(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(n) => n.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn checksum<'a>(table: &str, values: impl Iterator<Item = ValueRef<'a>>) -> u32 {
    values.fold(crc32c::crc32c(table.as_bytes()), |crc, value| match value {
        ValueRef::Null => field(crc, 0, &[]),
        ValueRef::Integer(n) => field(crc, 1, &n.to_be_bytes()),
        ValueRef::Real(n) => field(crc, 2, &n.to_bits().to_be_bytes()),
        ValueRef::Text(text) => field(crc, 3, text),
        ValueRef::Blob(bytes) => field(crc, 4, bytes),
    })
}

/// Type and length go before the bytes, or a byte that moved from one column to its neighbour would not show.
fn field(crc: u32, kind: u8, bytes: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc, &[kind]);
    crc32c::crc32c_append(crc32c::crc32c_append(head, &(bytes.len() as u64).to_be_bytes()), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_knows_where_a_value_ends_what_it_is_and_whose_it_is() {
        let text = |text: &'static str| ValueRef::Text(text.as_bytes());
        let of = |table: &str, values: &[ValueRef<'static>]| checksum(table, values.iter().copied());
        let row = of("host", &[text("ab"), text("c")]);
        assert_eq!(row, of("host", &[text("ab"), text("c")]));
        assert_ne!(row, of("host", &[text("a"), text("bc")]));
        assert_ne!(row, of("host", &[text("ab"), ValueRef::Blob(b"c")]));
        assert_ne!(row, of("token", &[text("ab"), text("c")]));
        assert_ne!(of("host", &[ValueRef::Null, text("")]), of("host", &[text(""), ValueRef::Null]));
    }
}
