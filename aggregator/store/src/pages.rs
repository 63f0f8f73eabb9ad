//! Rows read straight from the pages of a damaged SQLite file, without its trees.
//!
//! A damaged inner page hides every row below it from SQL. The rows themselves lie in leaf pages that say what they are,
//! so this walks the file page by page and takes every row it can read whole. What it finds may be stale (a row that was
//! deleted since) or garbage: the caller checks each row's own checksum.
//! Format: <https://www.sqlite.org/fileformat2.html>.

use crate::sqlite::PAGE;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// A row of some table or index; which one, its values tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawRow {
    /// The number of a table's row; an index entry has it as its last value instead.
    pub(crate) rowid: Option<i64>,
    pub(crate) values: Vec<Value>,
}

/// What a leaf page of a table starts with, and the inner and leaf pages of an index.
const TABLE_LEAF: u8 = 0x0D;
const INDEX_INNER: u8 = 0x02;
const INDEX_LEAF: u8 = 0x0A;
/// The longest index entry that is all on its page. The names that are looked for are far shorter.
const MAX_INDEX_ENTRY: usize = (USABLE - 12) * 64 / 255 - 23;
/// The file's own header on page 1, before the page's.
const FILE_HEADER: usize = 100;
/// The longest row that is worth reading: a batch of 4 MiB and its columns. A damaged length asks for no more memory.
const MAX_ROW: usize = (4 << 20) + 4096;
/// Columns of the widest table, and some.
const MAX_COLUMNS: usize = 32;
/// Usable bytes of a page: nothing is reserved at its end.
#[allow(clippy::cast_possible_truncation, reason = "4096")]
const USABLE: usize = PAGE as usize;

/// Calls `take` with every whole row of every table and every (short) entry of every index in the file.
/// `take` ends the walk with an error.
pub(crate) fn rows<E: From<std::io::Error>>(
    file: &File,
    mut take: impl FnMut(RawRow) -> Result<(), E>,
) -> Result<(), E> {
    let mut page = [0u8; USABLE];
    for number in 0..file.metadata()?.len() / PAGE {
        // A page that the disk does not give is one more damaged page.
        if file.read_exact_at(&mut page, number * PAGE).is_err() {
            continue;
        }
        let header = if number == 0 { FILE_HEADER } else { 0 };
        let (kind, pointers) = (page[header], if page[header] == INDEX_INNER { 12 } else { 8 });
        if ![TABLE_LEAF, INDEX_INNER, INDEX_LEAF].contains(&kind) {
            continue;
        }
        let cells = usize::from(u16::from_be_bytes([page[header + 3], page[header + 4]]));
        for cell in 0..cells {
            let at = header + pointers + 2 * cell;
            let Some(pointer) = page.get(at..at + 2) else { break };
            let start = usize::from(u16::from_be_bytes([pointer[0], pointer[1]]));
            let cell = page.get(start..).unwrap_or_default();
            let row = match kind {
                TABLE_LEAF => read_row(file, cell),
                INDEX_INNER => cell.get(4..).and_then(read_entry),
                _ => read_entry(cell),
            };
            if let Some(row) = row {
                take(row)?;
            }
        }
    }
    Ok(())
}

/// A cell of an index: length of the payload, and the payload.
fn read_entry(cell: &[u8]) -> Option<RawRow> {
    let (length, rest) = varint(cell)?;
    let length = usize::try_from(length).ok().filter(|n| *n <= MAX_INDEX_ENTRY)?;
    Some(RawRow { rowid: None, values: record(rest.get(..length)?)? })
}

/// A cell of a table: length of the payload, rowid, the payload's start, and the page on which it goes on.
fn read_row(file: &File, cell: &[u8]) -> Option<RawRow> {
    let (length, rest) = varint(cell)?;
    let (rowid, rest) = varint(rest)?;
    let length = usize::try_from(length).ok().filter(|n| *n <= MAX_ROW)?;
    let local = local_len(length);
    let mut payload = rest.get(..local)?.to_vec();
    if local < length {
        let next = rest.get(local..local + 4)?;
        overflow(file, u32::from_be_bytes(next.try_into().ok()?), length, &mut payload)?;
    }
    Some(RawRow { rowid: Some(rowid.cast_signed()), values: record(&payload)? })
}

/// How much of a payload is in the leaf itself.
fn local_len(length: usize) -> usize {
    if length <= USABLE - 35 {
        return length;
    }
    let least = (USABLE - 12) * 32 / 255 - 23;
    let some = least + (length - least) % (USABLE - 4);
    if some <= USABLE - 35 { some } else { least }
}

/// Follows the chain of overflow pages; its length is known, so a chain that runs in a circle ends too.
fn overflow(file: &File, first: u32, length: usize, payload: &mut Vec<u8>) -> Option<()> {
    let mut next = first;
    let mut page = [0u8; USABLE];
    while payload.len() < length {
        let offset = u64::from(next).checked_sub(1)? * PAGE;
        file.read_exact_at(&mut page, offset).ok()?;
        next = u32::from_be_bytes([page[0], page[1], page[2], page[3]]);
        let part = (length - payload.len()).min(USABLE - 4);
        payload.extend_from_slice(&page[4..4 + part]);
    }
    Some(())
}

/// A record: length of its header, a type a column, then the values.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let (header_len, rest) = varint(payload)?;
    let header_len = usize::try_from(header_len).ok()?;
    let mut types = payload.get(payload.len() - rest.len()..header_len)?;
    let mut body = payload.get(header_len..)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        let (kind, rest) = varint(types)?;
        types = rest;
        let (value, rest) = value(kind, body)?;
        body = rest;
        values.push(value);
        if values.len() > MAX_COLUMNS {
            return None;
        }
    }
    body.is_empty().then_some(values)
}

fn value(kind: u64, body: &[u8]) -> Option<(Value, &[u8])> {
    let take = |len: usize| Some((body.get(..len)?, &body[len..]));
    let int = |len: usize| {
        let (bytes, rest) = take(len)?;
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        Some((Value::Int(bytes.iter().fold(sign, |n, b| n << 8 | i64::from(*b))), rest))
    };
    match kind {
        0 => Some((Value::Null, body)),
        1..=4 => int(usize::try_from(kind).ok()?),
        5 => int(6),
        6 => int(8),
        8 => Some((Value::Int(0), body)),
        9 => Some((Value::Int(1), body)),
        // 7 is a double, which no table of ours has; 10 and 11 are never written.
        7 | 10 | 11 => None,
        _ => {
            let (bytes, rest) = take(usize::try_from((kind - 12) / 2).ok()?)?;
            let bytes = bytes.to_vec();
            Some((if kind.is_multiple_of(2) { Value::Blob(bytes) } else { Value::Text(bytes) }, rest))
        }
    }
}

/// One to nine bytes, big end first, seven bits each and eight of the ninth.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(9) {
        if i == 8 {
            return Some((number << 8 | u64::from(*byte), &bytes[9..]));
        }
        number = number << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusqlite::{Connection, params};

    #[test]
    fn it_finds_what_sqlite_wrote_even_without_inner_pages() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("d");
        let db = Connection::open(&path).expect("opens");
        db.execute_batch("PRAGMA page_size=4096; CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c BLOB)")
            .expect("a table");
        let blob = |i: i64| vec![i.to_le_bytes()[0]; usize::try_from(i * i % 20_000).expect("small")];
        let numbers = [0, 1, -1, 127, -129, 40_000, -9_000_000, 1 << 40, i64::MIN, i64::MAX];
        for i in 0..300i64 {
            let number = numbers[usize::try_from(i).expect("small") % numbers.len()];
            db.execute("INSERT INTO t VALUES (?1, ?2, ?3, ?4)", params![i, number, format!("row {i}"), blob(i)])
                .expect("inserts");
        }
        drop(db);
        let file = File::options().read(true).write(true).open(&path).expect("opens");
        // Inner pages of tables gone, page 1 with the schema gone.
        for page in 0..file.metadata().expect("there").len() / PAGE {
            let mut first = [0];
            file.read_exact_at(&mut first, page * PAGE).expect("reads");
            if page == 0 || first[0] == 0x05 {
                file.write_all_at(&[0; USABLE], page * PAGE).expect("writes");
            }
        }
        let mut found = Vec::new();
        rows(&file, |row| {
            if row.rowid.is_some() {
                found.push(row);
            }
            Ok::<(), std::io::Error>(())
        })
        .expect("reads");
        found.sort_by_key(|row| row.rowid);
        assert_eq!(found.len(), 300);
        for (i, row) in (0i64..).zip(&found) {
            let number = numbers[usize::try_from(i).expect("small") % numbers.len()];
            let text = Value::Text(format!("row {i}").into_bytes());
            assert_eq!(row.values, [Value::Null, Value::Int(number), text, Value::Blob(blob(i))]);
        }
    }

    proptest! {
        /// Garbage is not worth a panic, nor memory.
        #[test]
        fn garbage_does_no_harm(
            bytes in proptest::collection::vec(any::<u8>(), USABLE..=USABLE),
            cells in 0u8..40,
            kind in proptest::sample::select(vec![TABLE_LEAF, INDEX_INNER, INDEX_LEAF]),
        ) {
            let dir = tempfile::tempdir().expect("a folder");
            let mut bytes = bytes;
            bytes[0] = kind;
            bytes[3..5].copy_from_slice(&[0, cells]);
            let path = dir.path().join("d");
            std::fs::write(&path, [vec![0; USABLE], bytes].concat()).expect("writes");
            let file = File::open(&path).expect("opens");
            rows(&file, |_| Ok::<(), std::io::Error>(())).expect("reads");
        }
    }
}
