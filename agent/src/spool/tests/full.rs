//! Full: at its own capacity, and on a tmpfs that others have filled.

use super::*;
use std::process::Command;

/// How many ticks are in batches, not sealed, and in gaps.
fn places(spool: &mut Spool) -> (u64, u64) {
    let in_gaps = gaps_of(spool).iter().map(|gap| gap.1 - gap.0 + 1).sum();
    (spool.vitals().waiting_ticks, in_gaps)
}

#[test]
fn at_capacity_the_oldest_batches_go_and_are_gaps() {
    let bench =
        Bench { capacity_bytes: MIN_CAPACITY, sets: [metric_set("a", 300), metric_set("b", 1)], ..Bench::new() };
    let mut spool = bench.open();
    for tick in 1..=2_000 {
        spool.push(&bench.row(tick), None).expect("room is made");
        assert!(spool.vitals().spool_bytes <= bench.capacity_bytes);
    }
    let gaps = gaps_of(&mut spool);
    assert_eq!((gaps.len(), gaps[0].0, gaps[0].2), (1, 1, GapReason::Evicted), "neighbours are one gap: {gaps:?}");
    let (waiting, in_gaps) = places(&mut spool);
    assert_eq!((waiting + in_gaps, spool.status().totals.ticks_evicted), (2_000, in_gaps));
    assert!(waiting > 100, "{waiting} ticks are kept in 512 KiB");
    let log = database::beside(&bench.path(), "-wal");
    let files = [bench.path(), log].map(|path| std::fs::metadata(path).expect("there").len());
    assert!(files[0] <= bench.capacity_bytes && files[1] <= bench.capacity_bytes, "{files:?}");
    check_content(&mut spool, &bench.sets);
    drop(spool);
    assert_eq!(places(&mut bench.open()), (waiting, in_gaps));
}

#[test]
fn what_an_outage_took_is_given_back_when_it_is_over() {
    let bench = Bench { capacity_bytes: 32 << 20, ..Bench::new() };
    let mut spool = bench.filled(1..=20);
    let length = |suffix| std::fs::metadata(database::beside(&bench.path(), suffix)).expect("there").len();
    let sql = |spool: &Spool, sql| spool.db.as_ref().expect("open").conn.execute_batch(sql).expect("done");
    sql(&spool, "INSERT INTO rejected VALUES (1, 1, 1, 1, zeroblob(8388608)); PRAGMA wal_checkpoint");
    acknowledge(&mut spool, &[range(1, 5)]);
    assert!(length("") >= 8 << 20, "it is needed still");
    sql(&spool, "DELETE FROM rejected");
    acknowledge(&mut spool, &[range(6, 10)]);
    assert!(length("") < 1 << 20 && length("-wal") == 0, "{} bytes and {} of log", length(""), length("-wal"));
    assert!(spool.check_file().expect("a look").is_none(), "that is no damage");
    for tick in 21..=40 {
        spool.push(&bench.row(tick), None).expect("it goes on");
    }
    assert!(spool.check_file().expect("a look").is_none());
    let (waiting, accounted) = (ranges(&mut spool), spool.status().totals.ticks_accounted);
    drop(spool);
    let mut spool = bench.open();
    assert_eq!((ranges(&mut spool), spool.status().totals.ticks_accounted), (waiting, accounted), "all is as it was");
    check_content(&mut spool, &bench.sets);
}

#[test]
fn rejected_batches_go_first() {
    let bench = Bench { capacity_bytes: MIN_CAPACITY, ..Bench::new() };
    let mut spool = bench.filled(1..=40);
    spool.set_aside(BOOT, Rejected { first: Tick(21), code: 1 }).expect("moves");
    spool.write(|step| Ok(step.evict(1)?)).expect("evicts");
    assert_eq!((spool.report().expect("reads").rejected.len(), spool.status().totals.ticks_evicted), (0, 0));
    spool.write(|step| Ok(step.evict(1)?)).expect("evicts");
    assert_eq!(spool.status().totals.ticks_evicted, 4);
}

#[test]
fn a_tick_larger_than_the_spool_is_refused_and_the_agent_goes_on() {
    let bench =
        Bench { capacity_bytes: MIN_CAPACITY, sets: [metric_set("a", 10), metric_set("wide", 60_000)], ..Bench::new() };
    let mut spool = bench.filled(1..=5);
    let refused = spool.push(&row(&bench.sets[1], 6), None);
    assert!(matches!(refused, Err(SpoolError::Full)), "{refused:?}");
    assert_eq!(gaps_of(&mut spool).last(), Some(&(6, 6, GapReason::SpoolFull)), "it is told at once");
    spool.push(&bench.row(7), None).expect("the next one fits");
    assert_eq!(gaps_of(&mut spool).last(), Some(&(6, 6, GapReason::SpoolFull)), "and written down");
    assert_eq!(spool.accounts()[0].ticks, range(1, 7));
    assert_eq!(spool.status().totals.ticks_refused, 1);
    drop(spool);
    assert_eq!(gaps_of(&mut bench.open()).last(), Some(&(6, 6, GapReason::SpoolFull)));
}

/// A small tmpfs of its own; none without the right to mount one.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let options = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|out| out.status.success()) {
            return Some(Self(dir));
        }
        println!("skipped: no right to mount a tmpfs");
        None
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("somebody-else");
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&path).expect("opens");
        let block = [7u8; 4096];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the test's files may still be open when it fails.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Ticks are pushed while another process holds the whole tmpfs, and after it lets go.
fn outlive_a_full_tmpfs(before: u64) {
    let Some(tmpfs) = Tmpfs::mount(8 << 20) else { return };
    let capacity_bytes = 2 << 20;
    let path = tmpfs.0.path().join("spool.sqlite");
    let config = SpoolConfig { path, capacity_bytes, batch_ticks: 4 };
    let (mut spool, _) = Spool::open(config.clone(), BOOT, Clock::manual().0).expect("opens");
    let sets = [metric_set("a", 300), metric_set("b", 1)];
    let mut refused = 0;
    let mut push = |spool: &mut Spool, ticks: std::ops::RangeInclusive<u64>| {
        for tick in ticks {
            match spool.push(&row(&sets[0], tick), None) {
                Ok(_) => {}
                Err(SpoolError::Full) => refused += 1,
                Err(other) => panic!("tick {tick}: {other:?}"),
            }
            assert_eq!(spool.check_file().expect("looks"), None);
        }
    };
    push(&mut spool, 1..=before);
    let other = tmpfs.fill();
    push(&mut spool, before + 1..=before + 400);
    assert!(spool.status().tmpfs_full);
    tmpfs.fill();
    push(&mut spool, before + 401..=before + 600);
    let (waiting, in_gaps) = places(&mut spool);
    assert_eq!(waiting + in_gaps, before + 600, "{:?}", gaps_of(&mut spool));
    acknowledge(&mut spool, &[range(1, 8)]);
    let newest = ranges(&mut spool).first().map(|range| range.1);
    std::fs::remove_file(other).expect("removes");
    assert_eq!(spool.check_file().expect("looks"), None);
    assert!(!spool.status().tmpfs_full);
    push(&mut spool, before + 601..=before + 700);
    assert_eq!(spool.accounts()[0].ticks, range(1, before + 700));
    let (waiting, in_gaps) = places(&mut spool);
    assert_eq!(waiting + in_gaps, before + 692);
    check_content(&mut spool, &sets);
    println!("{before} before: {refused} refused, newest batch at the worst ends at {newest:?}");
    // The file is whole.
    drop(spool);
    let (mut spool, report) = Spool::open(config, BOOT, Clock::manual().0).expect("opens");
    assert_eq!((report.set_aside, places(&mut spool)), (None, (waiting, in_gaps)));
    if before > 0 {
        assert_eq!(refused, 0, "a spool that has pages of its own refuses nothing");
    }
}

#[test]
fn a_tmpfs_that_others_fill_stops_nothing() {
    outlive_a_full_tmpfs(1_000);
}

#[test]
fn a_tmpfs_that_others_fill_at_once_is_waited_out() {
    outlive_a_full_tmpfs(1);
}

#[test]
fn a_tmpfs_that_was_full_from_the_start_is_waited_out() {
    let Some(tmpfs) = Tmpfs::mount(4 << 20) else { return };
    let other = tmpfs.fill();
    let config =
        SpoolConfig { path: tmpfs.0.path().join("agent/spool.sqlite"), capacity_bytes: 1 << 20, batch_ticks: 4 };
    let sets = [metric_set("a", 30), metric_set("b", 1)];
    let opened = Spool::open(config, BOOT, Clock::manual().0);
    let (mut spool, report) = match opened {
        Ok(opened) => opened,
        // Not even the folder finds room: the one failure that is fatal.
        Err(SpoolError::Folder { .. }) => return,
        Err(other) => panic!("{other:?}"),
    };
    assert!(report.unusable.is_some());
    for tick in 1..=10 {
        assert!(spool.push(&row(&sets[0], tick), None).is_err());
        let _ = spool.check_file();
    }
    assert_eq!(spool.accounts(), [BootAccount { boot: BOOT, ticks: range(1, 10) }]);
    std::fs::remove_file(other).expect("removes");
    spool.push(&row(&sets[0], 11), None).expect("there is room");
    assert_eq!(gaps_of(&mut spool), [(1, 10, GapReason::SpoolFull)]);
    assert_eq!(spool.status().totals.ticks_refused, 10);
}
