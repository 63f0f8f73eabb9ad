//! What the tests of this crate share: a small fleet's data, and a store that is opened and closed like a program's.

use crate::hot::HotConfig;
use crate::read::{Part, Query, ReadError, Tier};
use crate::record::{BatchRecord, Classification, StreamKey};
use crate::store::{Store, StoreConfig};
use crate::warm::{WarmConfig, WarmReport};
use bytes::Bytes;
use dsmil_protocol::batch::{Batch, BatchHeader, Matrix, Stamp, encode};
use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick, TickRange};
use dsmil_protocol::metric::{Kind, Metric, MetricSet, Repr, Scale};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{Drained, Supervisor};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Metrics of a batch.
pub(crate) const METRICS: usize = 40;

pub(crate) fn tenant() -> TenantId {
    TenantId::new("acme").expect("a tenant")
}

pub(crate) fn host(n: u32) -> HostName {
    HostName::new(format!("host-{n}")).expect("a host")
}

pub(crate) fn key(n: u32) -> Arc<StreamKey> {
    let mut boot = [0; 16];
    boot[..4].copy_from_slice(&n.to_be_bytes());
    Arc::new(StreamKey {
        tenant: tenant(),
        host: host(n),
        boot: BootId(boot),
        classification: Classification::default(),
    })
}

pub(crate) fn set() -> Arc<MetricSet> {
    let metric =
        |n| Metric { name: format!("m{n}"), labels: Vec::new(), kind: Kind::Gauge, repr: Repr::U64, scale: Scale::ONE };
    Arc::new(MetricSet::new((0..METRICS).map(metric).collect()).expect("a set"))
}

pub(crate) fn range(first: u64, last: u64) -> TickRange {
    TickRange::new(Tick(first), Tick(last)).expect("a range of the test")
}

/// The value of a metric at a tick: noisy, so that a batch is a few KiB and lies on overflow pages too.
pub(crate) fn value(metric: usize, tick: u64) -> u64 {
    (tick ^ (metric as u64) << 17).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16
}

/// A batch of the given ticks whose first was at `start_ms`.
pub(crate) fn batch_of(key: &Arc<StreamKey>, ticks: &[u64], start_ms: i64) -> Arc<BatchRecord> {
    let set = set();
    let stamp = |tick: &u64| Stamp { tick: Tick(*tick), wall_ms: start_ms };
    let header =
        BatchHeader { boot: key.boot, set: set.id(), metrics: METRICS, stamps: ticks.iter().map(stamp).collect() };
    let mut matrix = Matrix::new(METRICS, ticks.len());
    for metric in 0..METRICS {
        for (i, tick) in ticks.iter().enumerate() {
            matrix.set(metric, i, Some(value(metric, *tick)));
        }
    }
    let blob = encode(&Batch { header: header.clone(), matrix }).expect("encodes");
    Arc::new(BatchRecord::new(Arc::clone(key), &header, start_ms, Bytes::from(blob)).expect("a record"))
}

/// Ten ticks from `first` on; tick 0 was at `origin_ms`.
pub(crate) fn batch(key: &Arc<StreamKey>, first: u64, origin_ms: i64) -> Arc<BatchRecord> {
    let ticks: Vec<u64> = (first..first + 10).collect();
    batch_of(key, &ticks, origin_ms + i64::try_from(first).expect("small") * 1000)
}

/// A store in folders of its own, that can be closed and opened again.
pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) report: WarmReport,
    pub(crate) supervisor: Supervisor,
}

/// The folders of a store; removed when it is dropped.
pub(crate) struct Place {
    pub(crate) disk: tempfile::TempDir,
    pub(crate) tmpfs: tempfile::TempDir,
    pub(crate) clock: Clock,
    pub(crate) warm: WarmConfig,
    pub(crate) hot: Option<HotConfig>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let disk = tempfile::tempdir().expect("a folder");
        let tmpfs = tempfile::tempdir_in("/dev/shm").expect("a tmpfs");
        Self { disk, tmpfs, clock: Clock::real(), warm: WarmConfig::default(), hot: None }
    }

    pub(crate) fn with_hot(mut self) -> Self {
        self.hot = Some(HotConfig::new(self.tmpfs.path().join("hot.sqlite")));
        self
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.disk.path().join("journal.sqlite")
    }

    pub(crate) fn hot_path(&self) -> PathBuf {
        self.tmpfs.path().join("hot.sqlite")
    }

    pub(crate) async fn open(&self) -> Rig {
        let supervisor = Supervisor::new(self.clock.clone());
        let config = StoreConfig { journal: self.journal(), warm: self.warm.clone(), hot: self.hot.clone() };
        let (store, report) = Store::open(config, &self.clock, &supervisor).expect("opens");
        store.warm().put_metric_set(&tenant(), set()).await.expect("the set is stored");
        if self.hot.is_some() {
            until(|| store.hot_stats().is_some_and(|s| s.floor_ms != i64::MAX)).await;
        }
        Rig { store, report, supervisor }
    }

    /// What the folder of the journal holds besides it, its lock and its ballast.
    pub(crate) fn beside_journal(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.disk.path()).expect("a folder");
        let names = names.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
        names
            .filter(|n| !["journal.sqlite", "journal.sqlite.lock", "journal.sqlite.ballast"].contains(&n.as_str()))
            .collect()
    }
}

impl Rig {
    pub(crate) async fn close(self) {
        let end = self.supervisor.drain(Duration::from_secs(20)).await;
        assert_eq!(end, Drained::Clean);
    }

    /// Every value of a host's metric 3 by tick, and the tiers that were asked, in order.
    pub(crate) async fn values(&self, n: u32, from_ms: i64, to_ms: i64) -> (Vec<(u64, u64)>, Vec<Tier>) {
        let (parts, _) = self.parts(n, from_ms, to_ms).await.expect("an answer");
        let mut tiers: Vec<Tier> = parts.iter().map(|part| part.tier).collect();
        tiers.dedup();
        let mut values = Vec::new();
        for part in parts {
            let bits = &part.columns[0].bits;
            assert_eq!((part.columns.len(), bits.len(), part.times_ms.len()), (1, part.ticks.len(), part.ticks.len()));
            assert!(part.times_ms.iter().all(|time| (from_ms..=to_ms).contains(time)));
            values.extend(part.ticks.iter().zip(bits).map(|(tick, bits)| (tick.0, bits.expect("was measured"))));
        }
        (values, tiers)
    }

    pub(crate) async fn parts(&self, n: u32, from_ms: i64, to_ms: i64) -> Result<(Vec<Part>, u64), ReadError> {
        let query = Query { tenant: tenant(), host: host(n), clearance: Classification::default(), from_ms, to_ms };
        let mut reading = self.store.read(query, |_| vec![3]);
        let mut parts = Vec::new();
        while let Some(part) = reading.next().await? {
            parts.push(part);
        }
        Ok((parts, reading.damaged()))
    }
}

/// The values that [`Rig::values`] should bring for these ticks.
pub(crate) fn expected(ticks: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    ticks.into_iter().map(|tick| (tick, value(3, tick))).collect()
}

/// Waits for something that another thread does, ten seconds at most.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let clock = Clock::real();
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        clock.sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen within ten seconds");
}

/// Copies a journal that may be open, as a crash would leave it: without the wal-index.
pub(crate) fn crash_copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let (from, to) = (crate::sqlite::beside(from, suffix), crate::sqlite::beside(to, suffix));
        // Another process reads it: closing the file in this one would drop the locks that SQLite holds.
        let done = std::process::Command::new("cp").arg(&from).arg(&to).status().expect("cp runs");
        assert!(done.success());
    }
}

/// Runs another test of this crate on a tmpfs of 12 MiB of its own, where a mount namespace may be made.
pub(crate) fn on_a_small_tmpfs(test: &str) {
    let place = tempfile::tempdir().expect("a folder");
    let run = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["-rm", "sh", "-ec", script]).env("SMALL_DISK", place.path()).env("NAME", test);
        command.env("TEST", std::env::current_exe().expect("this test"));
        command.output().map(|out| (out.status.success(), format!("{out:?}")))
    };
    if !matches!(run("mount -t tmpfs -o size=1m tmpfs \"$SMALL_DISK\""), Ok((true, _))) {
        eprintln!("not run: no mount namespace may be made here");
        return;
    }
    let script = "mount -t tmpfs -o size=12m tmpfs \"$SMALL_DISK\"
        exec \"$TEST\" --exact \"$NAME\" --nocapture";
    let (passed, output) = run(script).expect("runs");
    assert!(passed && output.contains("1 passed"), "{output}");
}

/// The tmpfs that [`on_a_small_tmpfs`] made; nothing in a test that was not started by it, which then has nothing to do.
pub(crate) fn small_tmpfs() -> Option<PathBuf> {
    std::env::var_os("SMALL_DISK").map(PathBuf::from)
}
