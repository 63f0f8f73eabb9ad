//! The spool against a model, against damage, and against a full tmpfs.

mod damage;
mod full;
mod model;

use super::*;
use dsmil_protocol::batch;
use dsmil_protocol::message::{Accounted, GapRecord, MAX_RANGES, Rejected};
use dsmil_protocol::metric::{Kind, Metric, Repr, Scale};
use dsmil_protocol::session::agent::SpooledBatch;
use std::path::PathBuf;

const BOOT: BootId = BootId([7; 16]);
const OTHER_BOOT: BootId = BootId([8; 16]);

/// A spool's folder on tmpfs, and rows to fill it with.
struct Bench {
    dir: tempfile::TempDir,
    capacity_bytes: u64,
    batch_ticks: usize,
    sets: [Arc<MetricSet>; 2],
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
        Self { dir, capacity_bytes: 4 << 20, batch_ticks: 4, sets: [metric_set("a", 40), metric_set("b", 41)] }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("spool.sqlite")
    }

    fn open_boot(&self, boot: BootId) -> (Spool, OpenReport) {
        let config =
            SpoolConfig { path: self.path(), capacity_bytes: self.capacity_bytes, batch_ticks: self.batch_ticks };
        Spool::open(config, boot, Clock::manual().0).expect("opens")
    }

    fn open(&self) -> Spool {
        self.open_boot(BOOT).0
    }

    fn row(&self, tick: u64) -> Row {
        row(&self.sets[0], tick)
    }

    /// A spool with these ticks, pushed one by one.
    fn filled(&self, ticks: std::ops::RangeInclusive<u64>) -> Spool {
        let mut spool = self.open();
        for tick in ticks {
            spool.push(&self.row(tick), None).expect("room");
        }
        spool
    }
}

fn metric_set(name: &str, metrics: usize) -> Arc<MetricSet> {
    let metric = |i| Metric {
        name: format!("{name}_{i}"),
        labels: vec![],
        kind: Kind::Gauge,
        repr: Repr::U64,
        scale: Scale::ONE,
    };
    Arc::new(MetricSet::new((0..metrics).map(metric).collect()).expect("a set"))
}

/// A row whose values tell its tick, and do not compress well.
fn row(set: &Arc<MetricSet>, tick: u64) -> Row {
    let value = |metric: usize| {
        let mixed =
            (tick + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(u32::try_from(metric % 64).expect("small"));
        (metric % 7 != 3).then_some(if metric == 0 { tick } else { mixed })
    };
    let values = (0..set.metrics().len()).map(value).collect();
    Row { tick: Tick(tick), wall_ms: 1_000 * tick.cast_signed() + 5, set: Arc::clone(set), values }
}

fn range(first: u64, last: u64) -> TickRange {
    TickRange::new(Tick(first), Tick(last)).expect("a range of the test")
}

fn all(spool: &mut Spool) -> Vec<SpooledBatch> {
    spool.backlog(&|_, _| false, usize::MAX).expect("reads")
}

fn ranges(spool: &mut Spool) -> Vec<(u64, u64)> {
    all(spool).iter().map(|batch| (batch.ticks.first.0, batch.ticks.last.0)).collect()
}

fn gaps_of(spool: &mut Spool) -> Vec<(u64, u64, GapReason)> {
    let gaps: Vec<GapRecord> = spool.gaps(usize::MAX >> 1).expect("reads");
    gaps.iter().map(|gap| (gap.ticks.first.0, gap.ticks.last.0, gap.reason)).collect()
}

fn acknowledge(spool: &mut Spool, ranges: &[TickRange]) {
    spool.accounted(&Accounted { boot: BOOT, ranges: ranges.to_vec() }).expect("deletes");
}

/// Every batch is what was pushed: its values tell its ticks.
fn check_content(spool: &mut Spool, sets: &[Arc<MetricSet>]) {
    for spooled in all(spool) {
        let set = sets.iter().find(|set| set.id() == spooled.set).expect("a set of the test");
        let content = spool.metric_set(spooled.set).expect("reads").expect("a used set is kept");
        assert_eq!(MetricSet::decode(&content).as_ref(), Ok(set.as_ref()));
        let batch = batch::decode(&spooled.bytes, set.metrics().len()).expect("a batch");
        assert_eq!((batch.header.boot, batch.header.range()), (spooled.boot, spooled.ticks));
        for (t, stamp) in batch.header.stamps.iter().enumerate() {
            let expected = row(set, stamp.tick.0);
            assert_eq!(stamp.wall_ms, expected.wall_ms);
            for (metric, value) in expected.values.iter().enumerate() {
                assert_eq!(batch.matrix.get(metric, t), *value);
            }
        }
    }
}

#[test]
fn ten_ticks_become_a_batch_and_an_acknowledgement_deletes_it() {
    let bench = Bench { batch_ticks: 10, ..Bench::new() };
    let (mut spool, report) = bench.open_boot(BOOT);
    assert_eq!(report, OpenReport::default());
    for tick in 100..109 {
        assert_eq!(spool.push(&bench.row(tick), None).expect("room"), None);
    }
    assert_eq!((spool.vitals().last_tick, spool.vitals().waiting_ticks), (Some(Tick(108)), 9));
    let key = spool.push(&bench.row(109), None).expect("room").expect("the tenth seals");
    assert_eq!(key, BatchKey { boot: BOOT, first: Tick(100) });
    let batch = spool.batch(&key).expect("reads").expect("is there");
    assert_eq!(batch.ticks, range(100, 109));
    check_content(&mut spool, &bench.sets);
    assert_eq!(spool.accounts(), [BootAccount { boot: BOOT, ticks: range(100, 109) }]);
    acknowledge(&mut spool, &[range(101, 200)]);
    assert_eq!(ranges(&mut spool), [(100, 109)], "a batch that is not covered stays");
    acknowledge(&mut spool, &[range(100, 109)]);
    assert_eq!(spool.batch(&key).expect("reads"), None);
    let status = spool.status();
    assert_eq!((status.batches_waiting, status.ticks_waiting, status.totals.ticks_accounted), (0, 0, 10));
    assert_eq!(status.totals.ticks_taken, 10);
}

#[test]
fn a_changed_set_or_a_hole_ends_a_batch() {
    let bench = Bench { batch_ticks: 10, ..Bench::new() };
    let mut spool = bench.filled(1..=3);
    let sealed = spool.push(&row(&bench.sets[1], 4), None).expect("room");
    assert_eq!(sealed, Some(BatchKey { boot: BOOT, first: Tick(1) }));
    let sealed = spool.push(&row(&bench.sets[1], 8), Some(range(5, 7))).expect("room");
    assert_eq!(sealed, Some(BatchKey { boot: BOOT, first: Tick(4) }));
    assert_eq!(spool.seal().expect("seals"), Some(BatchKey { boot: BOOT, first: Tick(8) }));
    assert_eq!(spool.seal().expect("seals"), None);
    assert_eq!(ranges(&mut spool), [(8, 8), (4, 4), (1, 3)], "newest first");
    assert_eq!(gaps_of(&mut spool), [(5, 7, GapReason::SamplerLate)]);
    check_content(&mut spool, &bench.sets);
    let [old, new] = [bench.sets[0].id(), bench.sets[1].id()];
    acknowledge(&mut spool, &[range(1, 3)]);
    assert_eq!(spool.metric_set(old).expect("reads"), None, "an unused set goes");
    assert!(spool.metric_set(new).expect("reads").is_some());
    assert!(matches!(spool.push(&bench.row(8), None), Err(SpoolError::OutOfOrder { .. })));
}

#[test]
fn a_killed_agent_loses_nothing_and_its_absence_is_a_gap() {
    let bench = Bench::new();
    drop(bench.filled(1..=6));
    let (mut spool, report) = bench.open_boot(BOOT);
    assert_eq!((report.batches, report.leftover_ticks, report.set_aside), (2, 2, None));
    assert_eq!(ranges(&mut spool), [(5, 6), (1, 4)]);
    spool.push(&bench.row(20), None).expect("room");
    assert_eq!(gaps_of(&mut spool), [(7, 19, GapReason::AgentDown)]);
    // The sampler of a run that goes on was late, not down.
    spool.push(&bench.row(23), Some(range(21, 22))).expect("room");
    let late = (21, 22, GapReason::SamplerLate);
    assert_eq!(gaps_of(&mut spool), [(7, 19, GapReason::AgentDown), late]);
    acknowledge(&mut spool, &[range(1, 10)]);
    assert_eq!(gaps_of(&mut spool), [(11, 19, GapReason::AgentDown), late], "what is acknowledged of a gap goes");
    assert_eq!(spool.accounts(), [BootAccount { boot: BOOT, ticks: range(1, 23) }]);
    check_content(&mut spool, &bench.sets);
}

#[test]
fn a_spool_that_outlives_a_boot_keeps_both_until_the_old_one_is_over() {
    let bench = Bench::new();
    drop(bench.filled(1..=6));
    let (mut spool, _) = bench.open_boot(OTHER_BOOT);
    assert_eq!(spool.vitals().last_tick, None);
    spool.push(&bench.row(3), None).expect("ticks count from the boot");
    let [new, old] = [(OTHER_BOOT, range(3, 3)), (BOOT, range(1, 6))];
    let accounts: Vec<_> = spool.accounts().iter().map(|account| (account.boot, account.ticks)).collect();
    assert_eq!(accounts, [new, old]);
    assert_eq!(spool.seal().expect("seals"), Some(BatchKey { boot: OTHER_BOOT, first: Tick(3) }));
    assert_eq!(ranges(&mut spool), [(3, 3), (5, 6), (1, 4)]);
    check_content(&mut spool, &bench.sets);
    acknowledge(&mut spool, &[range(0, 100)]);
    assert_eq!(spool.accounts(), [BootAccount { boot: OTHER_BOOT, ticks: range(3, 3) }]);
}

#[test]
fn hello_can_name_every_boot_of_a_spool() {
    let bench = Bench::new();
    for boot in 1..=12 {
        let (mut spool, _) = bench.open_boot(BootId([boot; 16]));
        spool.push(&bench.row(5), None).expect("room");
        assert!(spool.accounts().len() <= MAX_BOOTS);
    }
    let (spool, _) = bench.open_boot(BootId([12; 16]));
    assert_eq!((spool.accounts().len(), spool.status().totals.ticks_evicted), (MAX_BOOTS, 4));
}

#[test]
fn a_rejected_batch_is_set_aside_and_the_rest_flows() {
    let bench = Bench::new();
    let mut spool = bench.filled(1..=12);
    assert!(spool.set_aside(BOOT, Rejected { first: Tick(5), code: 27 }).expect("moves"));
    assert!(!spool.set_aside(BOOT, Rejected { first: Tick(5), code: 27 }).expect("is gone"));
    assert_eq!(ranges(&mut spool), [(9, 12), (1, 4)]);
    assert_eq!(gaps_of(&mut spool), [(5, 8, GapReason::Rejected(27))]);
    let report = spool.report().expect("reads");
    assert_eq!((report.rejected.len(), report.rejected[0].code.as_str()), (1, "batch_malformed"));
    assert_eq!((report.spool.totals.batches_rejected, report.spool.totals.ticks_rejected), (1, 4));
    acknowledge(&mut spool, &[range(1, 12)]);
    assert_eq!((ranges(&mut spool), gaps_of(&mut spool)), (vec![], vec![]));
    assert_eq!(spool.report().expect("reads").rejected.len(), 1, "it is kept for a look");
    for tick in 13..400 {
        if let Some(key) = spool.push(&bench.row(tick), None).expect("room") {
            spool.set_aside(BOOT, Rejected { first: key.first, code: 6 }).expect("moves");
        }
    }
    assert_eq!(spool.report().expect("reads").rejected.len(), 64);
}

#[test]
fn a_host_that_slept_is_told_from_one_that_was_late() {
    // A manual clock does not sleep, so this reads the arithmetic alone.
    let bench = Bench::new();
    let mut spool = bench.filled(1..=2);
    spool.asleep = Some(Duration::ZERO);
    spool.note_hole(Tick(10), None);
    assert_eq!(spool.unrecorded, [(range(3, 9), GapReason::SamplerLate)]);
}

#[test]
fn skipped_batches_are_passed_over() {
    let bench = Bench::new();
    let mut spool = bench.filled(1..=20);
    let newest = spool.backlog(&|_, first| first == Tick(17), 2).expect("reads");
    let firsts: Vec<u64> = newest.iter().map(|batch| batch.ticks.first.0).collect();
    assert_eq!(firsts, [13, 9]);
}

#[test]
fn gaps_stay_bounded_and_every_tick_is_accounted_for() {
    let bench = Bench { capacity_bytes: 8 << 20, ..Bench::new() };
    let mut spool = bench.open();
    let limit = gaps::max_gaps(bench.capacity_bytes);
    for tick in 0..2 * limit + 200 {
        spool.push(&bench.row(2 * tick), None).expect("room");
    }
    assert!(spool.index.gaps <= limit);
    let gaps = gaps_of(&mut spool);
    assert_eq!(gaps[0].2, GapReason::Evicted);
    let (last, waiting) = (spool.accounts()[0].ticks, spool.index.waiting());
    let in_gaps: u64 = gaps.iter().map(|(first, last, _)| last - first + 1).sum();
    assert_eq!(in_gaps + waiting, last.len());
    assert!(spool.status().totals.ticks_evicted > 0);
}

#[test]
fn the_file_is_private_and_a_second_agent_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let spool = bench.filled(1..=1);
    for name in ["spool.sqlite", "spool.sqlite-wal", "spool.sqlite.ballast"] {
        let mode = std::fs::metadata(bench.dir.path().join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o137, 0, "{name} has mode {mode:o}");
    }
    assert!(!bench.dir.path().join("spool.sqlite-shm").exists());
    let config = spool.config.clone();
    let second = Spool::open(config.clone(), BOOT, Clock::manual().0);
    assert!(matches!(second, Err(SpoolError::InUse { .. })), "{second:?}");
    drop(spool);
    let missing = SpoolConfig { path: "/nonexistent/agent/spool.sqlite".into(), ..config.clone() };
    assert!(matches!(Spool::open(missing, BOOT, Clock::manual().0), Err(SpoolError::Folder { .. })));
    let small = SpoolConfig { capacity_bytes: MIN_CAPACITY - 1, ..config };
    assert!(matches!(Spool::open(small, BOOT, Clock::manual().0), Err(SpoolError::Config(_))));
}

#[test]
fn a_lower_capacity_evicts_the_oldest_with_the_next_tick_and_a_higher_one_is_used_again() {
    let bench = Bench::new();
    let mut spool = bench.filled(1..=4000);
    let before = spool.status();
    assert!(before.totals.ticks_evicted == 0 && before.used_bytes > 800 << 10, "{before:?}");
    spool.set_limits(600 << 10, 4).expect("changed");
    assert_eq!(spool.status().ticks_waiting, before.ticks_waiting, "nothing goes before room is needed");
    for tick in 4001..=4100 {
        spool.push(&bench.row(tick), None).expect("taken");
    }
    let lower = spool.status();
    assert!(lower.used_bytes <= 600 << 10 && lower.capacity_bytes == 600 << 10, "{lower:?}");
    let lost: u64 = gaps_of(&mut spool)
        .iter()
        .map(|(first, last, why)| {
            assert_eq!(*why, GapReason::Evicted);
            last - first + 1
        })
        .sum();
    assert_eq!(lost + lower.ticks_waiting, 4100, "every tick is in one place");
    spool.set_limits(4 << 20, 4).expect("changed");
    for tick in 4101..=6100 {
        spool.push(&bench.row(tick), None).expect("taken");
    }
    assert_eq!(spool.status().ticks_waiting, lower.ticks_waiting + 2000, "nothing more went");
    assert!(spool.status().used_bytes > 600 << 10);
}

#[test]
fn batches_have_their_new_length_from_the_next_one_on() {
    let bench = Bench::new();
    let mut spool = bench.filled(1..=6);
    spool.set_limits(bench.capacity_bytes, 10).expect("changed");
    for tick in 7..=24 {
        spool.push(&bench.row(tick), None).expect("taken");
    }
    assert_eq!(ranges(&mut spool), [(15, 24), (5, 14), (1, 4)]);
    for tick in 25..=31 {
        spool.push(&bench.row(tick), None).expect("taken");
    }
    spool.set_limits(bench.capacity_bytes, 4).expect("changed");
    spool.push(&bench.row(32), None).expect("taken");
    assert_eq!(ranges(&mut spool)[..2], [(29, 32), (25, 28)], "more than one now");
}
