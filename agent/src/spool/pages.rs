//! Rows read straight from the pages of a damaged SQLite file and its log, without its trees.
//!
//! A damaged header or inner page hides every row below it from SQL. The rows themselves lie in leaf pages that say what
//! they are, so this walks the pages one by one, each as the log has it or else the file, and takes every row that it
//! can read whole. What it finds may be stale (a row that was deleted since) or garbage: rows prove themselves by their
//! checksums. Nothing is written. Formats: <https://www.sqlite.org/fileformat2.html>, for the log section 4.

use super::database::{PAGE, beside};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Blob(Vec<u8>),
}

/// A row of some table; which one, its values tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RawRow {
    pub(super) id: i64,
    /// All columns but the first, which is the id.
    pub(super) values: Vec<Value>,
}

/// What a leaf page of a table starts with.
const TABLE_LEAF: u8 = 0x0D;
/// The file's own header on page 1, before the page's.
const FILE_HEADER: usize = 100;
/// The log's header, and that of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The longest row that is worth reading: a batch of 4 MiB and its columns. A damaged length asks for no more memory.
const MAX_ROW: usize = (4 << 20) + 4096;
/// Columns of the widest table, and some.
const MAX_COLUMNS: usize = 16;
/// Usable bytes of a page: nothing is reserved at its end.
#[allow(clippy::cast_possible_truncation, reason = "4096")]
const USABLE: usize = PAGE as usize;

/// A database and its log as they lie there.
pub(super) struct Image {
    file: Option<File>,
    log: Option<File>,
    /// Where the log has the newest form of a page.
    frames: HashMap<u32, u64>,
    /// Pages of the file alone; the log may have more.
    pages: u32,
}

impl Image {
    /// Opens what is there; files that are not are empty.
    pub(super) fn open(path: &Path) -> Self {
        let file = File::open(path).ok();
        let len = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
        let log = File::open(beside(path, "-wal")).ok();
        let frames = log.as_ref().map(frames).unwrap_or_default();
        Self { file, log, frames, pages: u32::try_from(len.div_ceil(PAGE)).unwrap_or(u32::MAX) }
    }

    /// Calls `take` with every whole row of every table.
    pub(super) fn rows<E>(&self, mut take: impl FnMut(RawRow) -> Result<(), E>) -> Result<(), E> {
        let mut beyond: Vec<u32> = self.frames.keys().copied().filter(|number| *number > self.pages).collect();
        beyond.sort_unstable();
        for number in (1..=self.pages).chain(beyond) {
            let Some(page) = self.page(number) else { continue };
            let header = if number == 1 { FILE_HEADER } else { 0 };
            if page[header] != TABLE_LEAF {
                continue;
            }
            let cells = usize::from(u16::from_be_bytes([page[header + 3], page[header + 4]]));
            for cell in 0..cells {
                let at = header + 8 + 2 * cell;
                let Some(pointer) = page.get(at..at + 2) else { break };
                let start = usize::from(u16::from_be_bytes([pointer[0], pointer[1]]));
                if let Some(row) = page.get(start..).and_then(|cell| self.row(cell)) {
                    take(row)?;
                }
            }
        }
        Ok(())
    }

    fn page(&self, number: u32) -> Option<[u8; USABLE]> {
        let mut page = [0u8; USABLE];
        match (self.frames.get(&number), &self.log, &self.file) {
            (Some(offset), Some(log), _) => log.read_exact_at(&mut page, *offset).ok()?,
            (_, _, Some(file)) => file.read_exact_at(&mut page, u64::from(number.checked_sub(1)?) * PAGE).ok()?,
            _ => return None,
        }
        Some(page)
    }

    /// A cell of a table: length of the payload, id, the payload's start, and the page on which it goes on.
    fn row(&self, cell: &[u8]) -> Option<RawRow> {
        let (length, rest) = varint(cell)?;
        let (id, rest) = varint(rest)?;
        let length = usize::try_from(length).ok().filter(|n| *n <= MAX_ROW)?;
        let local = local_len(length);
        let mut payload = rest.get(..local)?.to_vec();
        if local < length {
            let mut next = u32::from_be_bytes(rest.get(local..local + 4)?.try_into().ok()?);
            // The payload's length is known, so a chain that runs in a circle ends too.
            while payload.len() < length {
                let page = self.page(next)?;
                next = u32::from_be_bytes([page[0], page[1], page[2], page[3]]);
                payload.extend_from_slice(&page[4..4 + (length - payload.len()).min(USABLE - 4)]);
            }
        }
        Some(RawRow { id: id.cast_signed(), values: record(&payload)? })
    }
}

/// Where each page's newest committed form is in a log. A frame counts if it carries the salt of the log's header: older
/// ones do not, and what a killed process did not commit is behind the last frame that ends a transaction.
fn frames(log: &File) -> HashMap<u32, u64> {
    let (mut committed, mut open) = (HashMap::new(), Vec::new());
    let mut header = [0u8; LOG_HEADER];
    if log.read_exact_at(&mut header, 0).is_err() || header[0..3] != [0x37, 0x7F, 0x06] {
        return committed;
    }
    let mut offset = LOG_HEADER as u64;
    let mut frame = [0u8; FRAME_HEADER];
    while log.read_exact_at(&mut frame, offset).is_ok() && frame[8..16] == header[16..24] {
        let number = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        open.push((number(0), offset + FRAME_HEADER as u64));
        if number(4) != 0 {
            committed.extend(open.drain(..));
        }
        offset += FRAME_HEADER as u64 + PAGE;
    }
    committed
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

/// A record: length of its header, a type a column, then the values. The first column is the id and stored as NULL.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let (header_len, rest) = varint(payload)?;
    let header_len = usize::try_from(header_len).ok()?;
    let types = payload.get(payload.len() - rest.len()..header_len)?;
    let mut body = payload.get(header_len..)?;
    let (&0, mut types) = types.split_first()? else { return None };
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
    let int = |len: usize| {
        let (bytes, rest) = body.split_at_checked(len)?;
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        Some((Value::Int(bytes.iter().fold(sign, |n, b| n << 8 | i64::from(*b))), rest))
    };
    match kind {
        1..=4 => int(usize::try_from(kind).ok()?),
        5 => int(6),
        6 => int(8),
        8 => Some((Value::Int(0), body)),
        9 => Some((Value::Int(1), body)),
        12.. if kind.is_multiple_of(2) => {
            let (bytes, rest) = body.split_at_checked(usize::try_from((kind - 12) / 2).ok()?)?;
            Some((Value::Blob(bytes.to_vec()), rest))
        }
        // NULL, doubles and text are in no table of ours.
        _ => None,
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

    fn found(path: &Path) -> Vec<RawRow> {
        let mut rows = Vec::new();
        Image::open(path)
            .rows(|row| {
                rows.push(row);
                Ok::<(), ()>(())
            })
            .expect("nothing fails");
        rows.sort_by_key(|row| row.id);
        rows
    }

    /// What SQLite wrote is found in file and log, without the header and the inner pages.
    #[test]
    fn it_finds_what_sqlite_wrote() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("d");
        let db = Connection::open(&path).expect("opens");
        db.execute_batch(
            "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b BLOB)",
        )
        .expect("a table");
        let blob = |i: i64| vec![i.to_le_bytes()[0]; usize::try_from(i * i % 20_000).expect("small")];
        let numbers = [0, 1, -1, 127, -129, 40_000, -9_000_000, 1 << 40, i64::MIN, i64::MAX];
        let expected: Vec<RawRow> = (0..300i64)
            .map(|id| {
                let number = numbers[usize::try_from(id).expect("small") % numbers.len()];
                RawRow { id, values: vec![Value::Int(number), Value::Blob(blob(id))] }
            })
            .collect();
        for (i, row) in expected.iter().enumerate() {
            let [Value::Int(number), Value::Blob(bytes)] = row.values.as_slice() else { panic!("a row of the test") };
            db.execute("INSERT INTO t VALUES (?1, ?2, ?3)", params![row.id, number, bytes]).expect("inserts");
            if i == 200 {
                db.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).expect("moves the log into the file");
            }
        }
        // As a crash leaves it.
        let copy = dir.path().join("c");
        std::fs::copy(&path, &copy).expect("copies");
        std::fs::copy(beside(&path, "-wal"), beside(&copy, "-wal")).expect("copies");
        let file = File::options().write(true).open(&copy).expect("opens");
        file.write_all_at(&[0xAA; 100], 0).expect("writes");
        let rows = found(&copy);
        // The schema's row is text and not taken.
        assert_eq!(rows, expected);
    }

    proptest! {
        /// Garbage is not worth a panic, nor memory.
        #[test]
        fn garbage_does_no_harm(
            bytes in proptest::collection::vec(any::<u8>(), USABLE..=USABLE),
            log in proptest::collection::vec(any::<u8>(), 0..9000usize),
            cells in 0u8..40,
        ) {
            let dir = tempfile::tempdir().expect("a folder");
            let (mut bytes, mut log) = (bytes, log);
            bytes[0] = TABLE_LEAF;
            bytes[3..5].copy_from_slice(&[0, cells]);
            if log.len() > 60 {
                log[0..3].copy_from_slice(&[0x37, 0x7F, 0x06]);
                let salt: Vec<u8> = log[16..24].to_vec();
                log[40..48].copy_from_slice(&salt);
            }
            let path = dir.path().join("d");
            std::fs::write(&path, [vec![0; USABLE], bytes].concat()).expect("writes");
            std::fs::write(beside(&path, "-wal"), log).expect("writes");
            let _ = found(&path);
        }
    }
}
