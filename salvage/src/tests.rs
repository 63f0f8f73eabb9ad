//! Read back what SQLite wrote, with parts of it gone.

use crate::image::{INDEX_INNER, INDEX_LEAF, TABLE_LEAF};
use crate::{Image, PAGE, RawRow, USABLE, Value};
use proptest::prelude::*;
use rusqlite::{Connection, params};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const ROWS: i64 = 300;

/// Row `id` of the table `t`: integers of every length, text, and blobs from none to several overflow pages.
fn row(id: i64) -> RawRow {
    let numbers = [0, 1, -1, 127, -129, 40_000, -9_000_000, 1 << 40, i64::MIN, i64::MAX];
    let number = numbers[usize::try_from(id).expect("small") % numbers.len()];
    let blob = vec![id.to_le_bytes()[0]; usize::try_from(id * id % 20_000).expect("small")];
    let values = vec![Value::Null, Value::Int(number), Value::Text(text(id).into_bytes()), Value::Blob(blob)];
    RawRow { rowid: Some(id), values }
}

/// Long enough that an index over it has inner pages.
fn text(id: i64) -> String {
    format!("{id:0>60}")
}

fn table(path: &Path) -> Connection {
    let db = Connection::open(path).expect("opens");
    db.execute_batch(
        "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
         CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT UNIQUE, c BLOB)",
    )
    .expect("a table");
    db
}

fn fill(db: &Connection, ids: std::ops::Range<i64>) {
    for row in ids.map(row) {
        let [_, Value::Int(a), Value::Text(b), Value::Blob(c)] = row.values.as_slice() else {
            panic!("a row of `row`")
        };
        let b = std::str::from_utf8(b).expect("text");
        db.execute("INSERT INTO t VALUES (?1, ?2, ?3, ?4)", params![row.rowid, a, b, c]).expect("inserts");
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// The rows of tables by their numbers, and apart from them the entries of indexes.
fn found(image: &Image) -> (Vec<RawRow>, Vec<RawRow>) {
    let mut rows = Vec::new();
    image
        .rows(|row| {
            rows.push(row);
            Ok::<(), ()>(())
        })
        .expect("nothing fails");
    let (mut rows, entries): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.rowid.is_some());
    rows.sort_by_key(|row| row.rowid);
    (rows, entries)
}

fn overwrite(path: &Path, is_lost: impl Fn(u64, u8) -> bool) {
    let file = File::options().read(true).write(true).open(path).expect("opens");
    for page in 0..file.metadata().expect("there").len() / PAGE {
        let mut first = [0];
        file.read_exact_at(&mut first, page * PAGE).expect("reads");
        if is_lost(page, first[0]) {
            file.write_all_at(&[0xAA; USABLE], page * PAGE).expect("writes");
        }
    }
}

#[test]
fn it_finds_what_sqlite_wrote_without_schema_and_inner_pages() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("d.db");
    let db = table(&path);
    fill(&db, 0..ROWS);
    drop(db);
    // Page 1 and the inner pages of the table.
    overwrite(&path, |page, kind| page == 0 || kind == 0x05);
    let image = Image::of_file(File::open(&path).expect("opens")).expect("has a length");
    let (rows, mut entries) = found(&image);
    assert!(rows.iter().eq((0..ROWS).map(row).collect::<Vec<_>>().iter()), "{} rows", rows.len());

    // The index on the text, its inner pages included, tells the numbers of all rows.
    entries.sort_by_key(|entry| match entry.values.as_slice() {
        [_, Value::Int(id)] => *id,
        other => panic!("{other:?}"),
    });
    let entry = |id| RawRow { rowid: None, values: vec![Value::Text(text(id).into_bytes()), Value::Int(id)] };
    assert!(entries.into_iter().eq((0..ROWS).map(entry)));
}

#[test]
fn pages_of_the_log_go_before_those_of_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("d.db");
    let db = table(&path);
    fill(&db, 0..200);
    db.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).expect("moves the log into the file");
    fill(&db, 200..ROWS);
    // As a crash leaves it, and without its header.
    let copy = dir.path().join("c.db");
    std::fs::copy(&path, &copy).expect("copies");
    std::fs::copy(beside(&path), beside(&copy)).expect("copies");
    File::options().write(true).open(&copy).expect("opens").write_all_at(&[0xAA; 100], 0).expect("writes");
    let is_row = |row: &RawRow| row.values.len() == 4;

    let (mut rows, _) = found(&Image::open(&copy));
    rows.retain(is_row);
    assert_eq!(rows.len(), 300);
    assert!(rows.into_iter().eq((0..ROWS).map(row)));

    // The file alone is as the log left it when it was moved.
    let (mut rows, _) = found(&Image::of_file(File::open(&copy).expect("opens")).expect("has a length"));
    rows.retain(is_row);
    assert!(rows.into_iter().eq((0..200).map(row)));

    // The log alone still has what is in it.
    std::fs::remove_file(&copy).expect("removes");
    let (mut rows, _) = found(&Image::open(&copy));
    rows.retain(is_row);
    assert!((200..ROWS).map(row).all(|row| rows.contains(&row)), "{} rows", rows.len());
}

#[test]
fn what_is_not_there_is_empty() {
    let dir = tempfile::tempdir().expect("a folder");
    assert_eq!(found(&Image::open(&dir.path().join("none"))), (vec![], vec![]));
}

#[test]
fn the_walk_ends_with_the_first_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("d.db");
    let db = table(&path);
    fill(&db, 0..10);
    let mut calls = 0;
    let outcome = Image::open(&path).rows(|_| {
        calls += 1;
        if calls == 3 { Err("enough") } else { Ok(()) }
    });
    assert_eq!((outcome, calls), (Err("enough"), 3));
}

proptest! {
    /// Garbage is not worth a panic, nor memory.
    #[test]
    fn garbage_does_no_harm(
        bytes in proptest::collection::vec(any::<u8>(), USABLE..=USABLE),
        log in proptest::collection::vec(any::<u8>(), 0..9000usize),
        cells in 0u8..40,
        kind in proptest::sample::select(vec![TABLE_LEAF, INDEX_INNER, INDEX_LEAF]),
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut bytes, mut log) = (bytes, log);
        bytes[0] = kind;
        bytes[3..5].copy_from_slice(&[0, cells]);
        if log.len() > 60 {
            log[0..3].copy_from_slice(&[0x37, 0x7F, 0x06]);
            let salt: Vec<u8> = log[16..24].to_vec();
            log[40..48].copy_from_slice(&salt);
        }
        let path = dir.path().join("d.db");
        std::fs::write(&path, [vec![0; USABLE], bytes].concat()).expect("writes");
        std::fs::write(beside(&path), log).expect("writes");
        found(&Image::open(&path));
        found(&Image::of_file(File::open(&path).expect("opens")).expect("has a length"));
    }
}
