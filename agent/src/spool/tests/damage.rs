//! What others, and bad memory, do to the file.

use super::*;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const PAGE: u64 = 4096;

fn log_of(bench: &Bench) -> PathBuf {
    database::beside(&bench.path(), "-wal")
}

/// The files of a spool with these ticks as a killed agent leaves them: with a log, or all in the database.
fn left_behind(bench: &Bench, ticks: std::ops::RangeInclusive<u64>, with_log: bool) {
    let spool = bench.filled(ticks);
    if with_log {
        let keep = |path: &Path| std::fs::read(path).expect("reads");
        let (db, log) = (keep(&bench.path()), keep(&log_of(bench)));
        drop(spool);
        std::fs::write(bench.path(), db).expect("writes");
        std::fs::write(log_of(bench), log).expect("writes");
    } else {
        drop(spool);
        assert!(!log_of(bench).exists(), "a closed spool has no log");
    }
}

fn poke(path: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).expect("opens").write_all_at(bytes, at).expect("writes");
}

/// Where some bytes are in a file.
fn find(path: &Path, needle: &[u8]) -> Option<u64> {
    let haystack = std::fs::read(path).expect("reads");
    haystack.windows(needle.len()).position(|window| window == needle).map(|at| at as u64)
}

/// Every tick of `account` is in one batch or one gap.
fn assert_all_accounted_for(spool: &mut Spool, account: (u64, u64)) {
    let batches = ranges(spool).into_iter();
    let mut all: Vec<(u64, u64)> = batches.chain(gaps_of(spool).iter().map(|gap| (gap.0, gap.1))).collect();
    all.sort_unstable();
    assert_eq!(all.first().map(|range| range.0), Some(account.0), "{all:?}");
    assert_eq!(all.last().map(|range| range.1), Some(account.1), "{all:?}");
    assert!(all.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{all:?}");
}

#[test]
fn a_flipped_payload_byte_costs_its_batch_and_nothing_else() {
    let bench = Bench::new();
    let mut spool = bench.filled(1..=12);
    let victim = spool.batch(&BatchKey { boot: BOOT, first: Tick(5) }).expect("reads").expect("is there");
    drop(spool);
    let at = find(&bench.path(), &victim.bytes).expect("the batch is in the file");
    poke(&bench.path(), at + 40, &[victim.bytes[40] ^ 0x10]);
    let (mut spool, report) = bench.open_boot(BOOT);
    assert_eq!(report.set_aside, None, "SQLite does not see it");
    assert_eq!(ranges(&mut spool), [(9, 12), (1, 4)]);
    assert_eq!(gaps_of(&mut spool), [(5, 8, GapReason::SpoolDamaged)]);
    assert_eq!(spool.status().totals.ticks_damaged, 4);
    assert_eq!(spool.batch(&BatchKey { boot: BOOT, first: Tick(5) }).expect("reads"), None);
    check_content(&mut spool, &bench.sets);
    acknowledge(&mut spool, &[range(1, 12)]);
    assert_eq!((ranges(&mut spool), gaps_of(&mut spool)), (vec![], vec![]));
}

#[test]
fn a_flipped_byte_of_a_tick_that_is_not_sealed_costs_that_tick() {
    let bench = Bench::new();
    drop(bench.filled(1..=7));
    // Values are as they were pushed.
    let value = row(&bench.sets[0], 6).values[1].expect("there").to_le_bytes();
    let at = find(&bench.path(), &value).expect("the tick is in the file");
    poke(&bench.path(), at, &[value[0] ^ 1]);
    let (mut spool, report) = bench.open_boot(BOOT);
    assert_eq!((report.leftover_ticks, report.set_aside), (3, None));
    assert_eq!(ranges(&mut spool), [(7, 7), (5, 5), (1, 4)]);
    assert_eq!(gaps_of(&mut spool), [(6, 6, GapReason::SpoolDamaged)]);
    check_content(&mut spool, &bench.sets);
}

#[test]
fn a_broken_header_costs_nothing() {
    for with_log in [false, true] {
        let bench = Bench::new();
        left_behind(&bench, 1..=50, with_log);
        poke(&bench.path(), 0, &[0xEE; 100]);
        let (mut spool, report) = bench.open_boot(BOOT);
        let aside = report.set_aside.expect("is set aside");
        assert!(matches!(aside.damage, Damage::Corrupt(_)), "{aside:?}");
        assert_eq!((aside.salvaged_ticks, aside.lost_ticks), (50, 0), "with log: {with_log}");
        assert!(aside.path.is_some_and(|path| path.exists()));
        assert_all_accounted_for(&mut spool, (1, 50));
        assert_eq!(gaps_of(&mut spool), []);
        check_content(&mut spool, &bench.sets);
        assert_eq!(spool.status().totals.files_set_aside, 1);
        assert_eq!(spool.status().set_aside.len(), 1);
    }
}

#[test]
fn what_was_acknowledged_long_ago_is_neither_sent_again_nor_lost() {
    let bench = Bench::new();
    let mut spool = bench.filled(1..=400);
    acknowledge(&mut spool, &[range(1, 300)]);
    for tick in 401..=404 {
        spool.push(&bench.row(tick), None).expect("room");
    }
    drop(spool);
    let mut stale = 0;
    let count = |row: dsmil_salvage::RawRow| {
        let is_old = |id| rows::Ordinal::split(id).1 <= Tick(300);
        stale += u32::from(row.rowid.is_some_and(is_old) && row.values.len() == 5);
        Ok::<(), ()>(())
    };
    dsmil_salvage::Image::open(&bench.path()).rows(count).expect("nothing fails");
    assert!(stale > 10, "{stale} batches that were deleted are still on pages");
    poke(&bench.path(), 0, &[0xEE; 100]);
    let (mut spool, report) = bench.open_boot(BOOT);
    let aside = report.set_aside.expect("is set aside");
    assert_eq!((aside.salvaged_ticks, aside.lost_ticks), (104, 0));
    assert_eq!(ranges(&mut spool).last(), Some(&(301, 304)));
    assert_eq!(gaps_of(&mut spool), []);
}

#[test]
fn what_the_aggregator_acknowledged_and_lost_is_a_gap() {
    let bench = Bench::new();
    let mut spool = bench.filled(1..=18);
    acknowledge(&mut spool, &[range(1, 12)]);
    let mut resume = |ranges: &[TickRange]| {
        let lost = spool.note_journal_losses(&Accounted { boot: BOOT, ranges: ranges.to_vec() }).expect("writes");
        (lost, gaps_of(&mut spool))
    };
    assert_eq!(resume(&[range(1, 12)]), (0, Vec::new()), "what waits is not lost");
    // Its journal was damaged: one tick was acknowledged and is gone, another one is here still.
    assert_eq!(
        resume(&[range(6, 11), range(1, 4)]),
        (2, vec![(5, 5, GapReason::JournalLost), (12, 12, GapReason::JournalLost)])
    );
    assert_eq!(resume(&[range(6, 11), range(1, 4)]).0, 0, "it is said once");
    // A full list says nothing of what is older than its ranges.
    let newest: Vec<TickRange> = (0..MAX_RANGES as u64).rev().map(|n| range(100 + 2 * n, 100 + 2 * n)).collect();
    assert_eq!(resume(&newest).0, 0);
}

#[test]
fn broken_pages_cost_what_is_on_them() {
    let bench = Bench::new();
    let pages = {
        left_behind(&bench, 1..=200, false);
        std::fs::metadata(bench.path()).expect("there").len() / PAGE
    };
    let whole = std::fs::read(bench.path()).expect("reads");
    let mut lost_somewhere = 0;
    for page in 0..pages {
        std::fs::write(bench.path(), &whole).expect("writes");
        poke(&bench.path(), page * PAGE, &[0x5A; 4096]);
        let (mut spool, report) = bench.open_boot(BOOT);
        let lost = report.set_aside.as_ref().map_or(0, |aside| aside.lost_ticks);
        assert!(lost <= 24, "page {page} of {pages}: {report:?}");
        lost_somewhere += lost;
        // Without the metric set's page, batches are sent all the same: the aggregator knows the set already.
        let in_batches: u64 = ranges(&mut spool).iter().map(|(first, last)| last - first + 1).sum();
        let in_gaps: u64 = gaps_of(&mut spool).iter().map(|gap| gap.1 - gap.0 + 1).sum();
        assert_eq!(in_batches + in_gaps, 200, "page {page}: {:?}", gaps_of(&mut spool));
        assert_all_accounted_for(&mut spool, (1, 200));
        spool.push(&bench.row(201), None).expect("it goes on");
        drop(spool);
        for (_, path) in replace::set_aside_files(&bench.path()) {
            std::fs::remove_file(path).expect("removes");
        }
    }
    assert!(lost_somewhere > 0);
}

#[test]
fn a_truncated_file_costs_its_tail() {
    for keep in [0, 1, 100, PAGE, 3 * PAGE + 17, 8 * PAGE] {
        for with_log in [false, true] {
            let bench = Bench::new();
            left_behind(&bench, 1..=200, with_log);
            OpenOptions::new().write(true).open(bench.path()).expect("opens").set_len(keep).expect("cuts");
            let (mut spool, report) = bench.open_boot(BOOT);
            let found = (report.batches, spool.accounts().first().map(|account| account.ticks));
            spool.push(&bench.row(201), None).expect("it goes on");
            spool.seal().expect("seals");
            let first = found.1.map_or(201, |ticks| ticks.first.0);
            assert_all_accounted_for(&mut spool, (first, 201));
            if with_log {
                assert!(found.0 > 0, "the log is salvaged, {keep} bytes kept: {report:?}");
            }
        }
    }
}

#[test]
fn a_truncated_log_costs_its_tail() {
    let bench = Bench::new();
    left_behind(&bench, 1..=9, true);
    let log = std::fs::read(log_of(&bench)).expect("reads");
    let db = std::fs::read(bench.path()).expect("reads");
    for keep in (0..log.len()).step_by(1000) {
        std::fs::write(bench.path(), &db).expect("writes");
        std::fs::write(log_of(&bench), &log[..keep]).expect("writes");
        let (mut spool, _) = bench.open_boot(BOOT);
        spool.push(&bench.row(20), None).expect("it goes on");
        spool.seal().expect("seals");
        let first = spool.accounts()[0].ticks.first.0;
        assert_all_accounted_for(&mut spool, (first, 20));
        check_content(&mut spool, &bench.sets);
        drop(spool);
    }
}

#[test]
fn garbage_is_set_aside_and_at_most_two_files_are_kept() {
    let bench = Bench::new();
    for round in 1..=4 {
        std::fs::write(bench.path(), vec![0xA5; 10_000]).expect("writes");
        let (mut spool, report) = bench.open_boot(BOOT);
        let aside = report.set_aside.expect("is set aside");
        assert_eq!(aside.path, Some(bench.dir.path().join(format!("spool.sqlite.damaged-{round}"))));
        assert_eq!((aside.salvaged_ticks, aside.lost_ticks), (0, 0));
        spool.push(&bench.row(round), None).expect("it goes on");
        assert_eq!(spool.status().set_aside.len(), usize::try_from(round).expect("small").min(2));
    }
}

#[test]
fn files_of_other_versions_and_programs_are_not_guessed_at() {
    let bench = Bench::new();
    for (pragma, damage) in
        [("user_version", Damage::Version { found: 99, known: 1 }), ("application_id", Damage::Foreign(99))]
    {
        drop(bench.filled(1..=12));
        let db = rusqlite::Connection::open(bench.path()).expect("opens");
        db.pragma_update(None, pragma, 99).expect("changes");
        drop(db);
        let (spool, report) = bench.open_boot(BOOT);
        let aside = report.set_aside.expect("is set aside");
        assert_eq!((aside.damage, aside.salvaged_ticks), (damage, 0));
        assert_eq!(report.batches, 0);
        drop(spool);
        std::fs::remove_file(bench.path()).expect("removes");
    }
}

#[test]
fn an_unlinked_file_is_made_again_with_all_that_was_in_it() {
    let bench = Bench::new();
    for name in ["spool.sqlite", "spool.sqlite-wal"] {
        let mut spool = bench.filled(1..=10);
        assert_eq!(spool.check_file().expect("looks"), None);
        std::fs::remove_file(bench.dir.path().join(name)).expect("removes");
        spool.push(&bench.row(11), None).expect("an unlinked file takes writes");
        let aside = spool.check_file().expect("heals").expect("finds out");
        assert_eq!((aside.damage, aside.salvaged_ticks, aside.lost_ticks), (Damage::Removed, 11, 0));
        assert_eq!(spool.check_file().expect("looks"), None);
        spool.push(&bench.row(12), None).expect("room");
        assert_eq!((spool.vitals().waiting_ticks, gaps_of(&mut spool)), (12, vec![]));
        check_content(&mut spool, &bench.sets);
        // It is in the new file.
        drop(spool);
        assert_eq!(bench.open().vitals().waiting_ticks, 12);
        std::fs::remove_file(bench.path()).expect("removes");
    }
}

#[test]
fn a_replaced_file_is_set_aside_and_ours_made_again() {
    let bench = Bench::new();
    let mut spool = bench.filled(1..=10);
    let other = bench.dir.path().join("other");
    std::fs::write(&other, b"somebody's").expect("writes");
    std::fs::rename(&other, bench.path()).expect("renames");
    let aside = spool.check_file().expect("heals").expect("finds out");
    assert_eq!((aside.damage, aside.salvaged_ticks, aside.lost_ticks), (Damage::Replaced, 10, 0));
    assert_eq!(std::fs::read(aside.path.expect("kept")).expect("reads"), b"somebody's");
    assert_all_accounted_for(&mut spool, (1, 10));
    check_content(&mut spool, &bench.sets);
}

#[test]
fn a_file_truncated_in_use_is_salvaged_and_what_is_lost_is_known() {
    for keep in [0, 2 * PAGE, 9 * PAGE] {
        let bench = Bench::new();
        let mut spool = bench.filled(1..=400);
        acknowledge(&mut spool, &[range(1, 100)]);
        assert_eq!(spool.check_file().expect("looks"), None);
        File::options().write(true).open(bench.path()).expect("opens").set_len(keep).expect("cuts");
        let aside = spool.check_file().expect("heals").expect("finds out");
        assert_eq!(aside.damage, Damage::Truncated);
        assert_eq!(aside.salvaged_ticks + aside.lost_ticks, 300, "{aside:?}");
        spool.push(&bench.row(401), None).expect("it goes on");
        spool.seal().expect("seals");
        assert_all_accounted_for(&mut spool, (101, 401));
        check_content(&mut spool, &bench.sets);
    }
}

#[test]
fn damage_in_use_is_salvaged_and_what_is_lost_is_known() {
    let bench = Bench::new();
    let mut spool = bench.filled(1..=400);
    acknowledge(&mut spool, &[range(1, 100)]);
    // Everything but the first page; what is cached or in the log survives.
    let len = std::fs::metadata(bench.path()).expect("there").len();
    poke(&bench.path(), PAGE, &vec![0x11; usize::try_from(len - PAGE).expect("small")]);
    let mut tick = 400;
    while spool.status().totals.files_set_aside == 0 {
        tick += 1;
        assert!(tick < 500, "it is noticed");
        spool.push(&bench.row(tick), None).expect("it goes on");
        all(&mut spool);
    }
    spool.seal().expect("seals");
    let lost: u64 = gaps_of(&mut spool).iter().map(|gap| gap.1 - gap.0 + 1).sum();
    assert_eq!(spool.status().totals.ticks_damaged, lost);
    assert!(lost > 0);
    assert_all_accounted_for(&mut spool, (101, tick));
    check_content(&mut spool, &bench.sets);
}

#[test]
fn a_rename_that_was_cut_short_is_finished() {
    let bench = Bench::new();
    drop(bench.filled(1..=8));
    std::fs::rename(bench.path(), database::beside(&bench.path(), ".salvage")).expect("renames");
    assert_eq!(ranges(&mut bench.open()), [(5, 8), (1, 4)]);
    std::fs::write(database::beside(&bench.path(), ".salvage"), b"half").expect("writes");
    assert_eq!(ranges(&mut bench.open()), [(5, 8), (1, 4)], "an unfinished one goes");
    assert!(!database::beside(&bench.path(), ".salvage").exists());
}

#[test]
fn an_inspection_reads_everything_and_changes_nothing() {
    let bench = Bench::new();
    left_behind(&bench, 1..=10, true);
    let listing = || {
        let entries = std::fs::read_dir(bench.dir.path()).expect("lists").flatten();
        let mut files: Vec<_> = entries.map(|e| (e.file_name(), std::fs::read(e.path()).expect("reads"))).collect();
        files.sort();
        files
    };
    let before = listing();
    let found = inspect(&bench.path()).expect("reads");
    assert!(before == listing(), "nothing is changed");
    assert_eq!(found.damage, None);
    assert_eq!((found.spool.spool.ticks_waiting, found.spool.spool.ticks_pending), (10, 2));
    assert_eq!((found.spool.boots[0].first, found.spool.boots[0].last), (1, 10));
    left_behind(&bench, 11..=20, false);
    poke(&bench.path(), 0, &[0; 100]);
    let found = inspect(&bench.path()).expect("salvages");
    assert!(found.damage.is_some());
    assert_eq!(found.spool.spool.ticks_waiting, 20);
    let missing = inspect(&bench.dir.path().join("none"));
    assert!(matches!(missing, Err(InspectError::Missing { .. })));
}
