//! Damaged SQLite files.

use super::Target;
use crate::memory;
use arbitrary::{Result, Unstructured};
use dsmil_salvage::{Image, MAX_COLUMNS, MAX_ROW, PAGE, RawRow, Value};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;

pub(super) const TARGET: Target = Target {
    name: "salvage",
    what: "rows out of damaged SQLite files and logs",
    run,
    seeds,
    dictionary: &[
        b"\x0d",
        b"\x02",
        b"\x0a",
        b"\x37\x7f\x06",
        b"\x00\x00\x00\x01",
        b"\x00\x00\x00\x02",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
    max_len: 4096,
};

/// Pages of the file, and of its log.
const MAX_PAGES: usize = 4;
/// Cells that a page says it has. Each may name a row of 4 MiB in a circle of pages, and reading more of those is only
/// slower.
const MAX_CELLS: u8 = 6;
/// What the walk holds beside a row: pages and where they are.
const BESIDE: usize = 64 << 10;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder for the files"));

fn run(input: &[u8]) {
    let mut source = Unstructured::new(input);
    let path = FOLDER.path().join(format!("{}.db", std::process::id()));
    let Ok(()) = lay_out(&mut source, &path) else { return };
    // A row and its values, and the row while it grows.
    let most = 4 * MAX_ROW + BESIDE;
    let all = memory::within(most, || walk(&Image::open(&path)));
    assert_eq!(walk(&Image::open(&path)), all, "the same file says the same");
    let file = std::fs::File::open(&path).expect("just written");
    walk(&Image::of_file(file).expect("a file of ours has a length"));
}

/// How many rows there are, each checked, and what they sum up to.
fn walk(image: &Image) -> (u64, u64) {
    let (mut rows, mut sum) = (0, 0u64);
    let done = image.rows(|row| {
        rows += 1;
        sum = sum.wrapping_mul(31).wrapping_add(check(&row));
        Ok::<(), ()>(())
    });
    assert_eq!(done, Ok(()));
    (rows, sum)
}

fn check(row: &RawRow) -> u64 {
    assert!(row.values.len() <= MAX_COLUMNS);
    let len = |value: &Value| match value {
        Value::Text(bytes) | Value::Blob(bytes) => bytes.len(),
        Value::Null | Value::Int(_) => 0,
    };
    let bytes: usize = row.values.iter().map(len).sum();
    assert!(bytes <= MAX_ROW, "a length was believed");
    bytes as u64 ^ row.rowid.unwrap_or(0).cast_unsigned()
}

/// Writes a file and a log whose pages are as the input says: mostly zeros, which an input need not spell out.
fn lay_out(source: &mut Unstructured<'_>, path: &Path) -> Result<()> {
    let file: Vec<u8> =
        (0..source.int_in_range(0..=MAX_PAGES)?).map(|n| page(source, n == 0)).collect::<Result<Vec<_>>>()?.concat();
    let mut log = source.arbitrary::<[u8; 32]>()?.to_vec();
    log[..3].copy_from_slice(&[0x37, 0x7F, 0x06]);
    for _ in 0..source.int_in_range(0..=MAX_PAGES)? {
        let mut head = [0; 24];
        head[3] = source.int_in_range(0..=8)?;
        head[7] = source.int_in_range(0..=1)?;
        let salt = if source.ratio(7, 8)? { log[16..24].to_vec() } else { vec![0; 8] };
        head[8..16].copy_from_slice(&salt);
        log.extend(head);
        log.extend(page(source, head[3] == 1)?);
    }
    log.truncate(log.len() - source.int_in_range(0..=100usize)?.min(log.len()));
    std::fs::write(path, file).expect("a temporary file can be written");
    std::fs::write(beside(path), log).expect("a temporary file can be written");
    Ok(())
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// A page: its kind, its cells, and where each begins, then what is in them.
fn page(source: &mut Unstructured<'_>, is_first: bool) -> Result<Vec<u8>> {
    let size = usize::try_from(PAGE).expect("4096");
    let mut page = vec![0; size];
    let start = if is_first { 100 } else { 0 };
    page[start] = *source.choose(&[0x0D, 0x02, 0x0A, 0x05, 0x00])?;
    page[start + 4] = source.int_in_range(0..=MAX_CELLS)?;
    let len = source.int_in_range(0..=600usize)?.min(source.len());
    page[start + 8..start + 8 + len].copy_from_slice(source.bytes(len)?);
    // An overflow page begins with the number of the next.
    if source.ratio(1, 3)? {
        page[..4].copy_from_slice(&[0, 0, 0, source.int_in_range(0..=8)?]);
    }
    Ok(page)
}

fn seeds() -> Vec<Vec<u8>> {
    (1..12u8).map(|step| (0..1500usize).map(|i| step.wrapping_mul(i.to_le_bytes()[0] >> 2)).collect()).collect()
}
