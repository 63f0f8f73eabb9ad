//! The store alone: batches of many hosts into the warm journal and the hot cache.

use super::codec::Capture;
use super::process::Thread;
use super::{BATCH_TICKS, Row, Target};
use anyhow::{Context, ensure};
use dsmil_protocol::batch::encode;
use dsmil_protocol::ids::{BootId, HostName, TenantId};
use dsmil_protocol::metric::{Kind, Metric, MetricSet, Repr, Scale};
use dsmil_protocol::tlv::Classification;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use dsmil_store::hot::HotConfig;
use dsmil_store::warm::WarmConfig;
use dsmil_store::{Appended, BatchRecord, Store, StoreConfig, StreamKey};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Hosts whose batches are stored.
const HOSTS: usize = 4_000;
/// Batches of each. Hot takes what is at most a minute ahead of the clock, and a batch is ten seconds.
const ROUNDS: usize = 5;
/// Batches handed over at once, as the ingest of one host does after an outage.
const GROUP: usize = 64;
/// Groups on the way at once: enough for a commit to be worth its sync, and below what hot lets wait.
const WRITERS: usize = 32;
/// How long the hot cache may take to open.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where hot lies.
const TMPFS: &str = "/dev/shm";

pub(super) fn figures(capture: &Capture) -> anyhow::Result<Vec<Row>> {
    // The journal on the disk that the programs are on; a temporary folder may be a tmpfs.
    let this = std::env::current_exe()?;
    let disk = tempfile::tempdir_in(this.parent().context("a program lies in a folder")?)?;
    let tmpfs = tempfile::tempdir_in(TMPFS).with_context(|| format!("hot needs the tmpfs {TMPFS}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(capture, disk.path(), tmpfs.path()))
}

async fn measure(capture: &Capture, disk: &Path, tmpfs: &Path) -> anyhow::Result<Vec<Row>> {
    let clock = Clock::real();
    let supervisor = Supervisor::new(clock.clone());
    let hot = HotConfig::new(tmpfs.join("hot.sqlite"));
    let config = StoreConfig { journal: disk.join("journal.sqlite"), warm: WarmConfig::default(), hot: Some(hot) };
    let (store, _) = Store::open(config, &clock, &supervisor)?;
    let base_ms = floor(&store, &clock).await?.saturating_add(1);
    let tenant = TenantId::new("bench")?;
    let set = Arc::new(metric_set(capture.metrics())?);
    store.warm().put_metric_set(&tenant, Arc::clone(&set)).await?;
    let groups = groups(capture, &tenant, &set, base_ms)?;

    let (hot_thread, warm_thread) = (Thread::named("hot")?, Thread::named("warm-writer")?);
    let (hot_before, warm_before) = (hot_thread.cpu_time()?, warm_thread.cpu_time()?);
    let commits_before = store.warm().stats().commits;
    let start = clock.mono();
    append_all(&store, groups, &supervisor).await?;
    let wall = clock.mono().saturating_sub(start).as_secs_f64();
    let hot_cpu = hot_thread.cpu_time()?.saturating_sub(hot_before).as_secs_f64();
    let warm_cpu = warm_thread.cpu_time()?.saturating_sub(warm_before).as_secs_f64();

    let (hot, warm) = (store.hot_stats().context("there is a hot cache")?, store.warm().stats());
    let batches = (HOSTS * ROUNDS) as u64;
    ensure!(warm.stored == batches, "{} of {batches} batches are in warm", warm.stored);
    ensure!(hot.stored == batches, "{} of {batches} batches are in hot, {} left out", hot.stored, hot.left_out);
    supervisor.drain(PATIENCE).await;
    let batches = batches as f64;
    let what =
        format!("batches of {BATCH_TICKS} ticks × {} metrics; a second of the writer's CPU time", capture.metrics());
    Ok(vec![
        Row::aimed("hot appends", batches / hot_cpu, "batches/s", Target::AtLeast(50_000.0))
            .note(format!("{what}; 10,000 is the least")),
        Row::told("warm appends", batches / warm_cpu, "batches/s").note("a second of the writer's CPU time"),
        Row::told("hot and warm side by side, durable", batches / wall, "batches/s")
            .note(format!("wall time, {} commits", warm.commits - commits_before)),
    ])
}

/// From where on hot is complete, once it works.
async fn floor(store: &Store, clock: &Clock) -> anyhow::Result<i64> {
    let until = clock.mono() + PATIENCE;
    while clock.mono() < until {
        match store.hot_stats() {
            Some(stats) if stats.floor_ms != i64::MAX => return Ok(stats.floor_ms),
            _ => clock.sleep(Duration::from_millis(10)).await,
        }
    }
    anyhow::bail!("the hot cache on {TMPFS} did not open")
}

/// A set of so many metrics; what they are called does not matter here.
pub(super) fn metric_set(metrics: usize) -> anyhow::Result<MetricSet> {
    let metric = |i| Metric {
        name: format!("bench_{i}"),
        labels: Vec::new(),
        kind: Kind::Gauge,
        repr: Repr::U64,
        scale: Scale::ONE,
    };
    Ok(MetricSet::new((0..metrics).map(metric).collect())?)
}

/// Every host's batches, in groups of many hosts, oldest first.
fn groups(
    capture: &Capture,
    tenant: &TenantId,
    set: &MetricSet,
    base_ms: i64,
) -> anyhow::Result<Vec<Vec<Arc<BatchRecord>>>> {
    let keys = (0..HOSTS).map(|host| {
        let host = HostName::new(format!("h{host}"))?;
        let (tenant, classification) = (tenant.clone(), Classification::UNCLASS);
        Ok(Arc::new(StreamKey { tenant, host, boot: BootId([0xB0; 16]), classification }))
    });
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    let mut records = Vec::with_capacity(HOSTS * ROUNDS);
    for mut batch in capture.batches(BATCH_TICKS).into_iter().take(ROUNDS) {
        batch.header.set = set.id();
        let blob = bytes::Bytes::from(encode(&batch)?);
        let first = i64::try_from(batch.header.stamps[0].tick.0)?;
        for key in &keys {
            let start_ms = base_ms + first * 1000;
            records.push(Arc::new(BatchRecord::new(Arc::clone(key), &batch.header, start_ms, blob.clone())?));
        }
    }
    Ok(records.chunks(GROUP).map(<[_]>::to_vec).collect())
}

/// Appends the groups, some at a time, and waits until the last one is durable.
async fn append_all(store: &Store, groups: Vec<Vec<Arc<BatchRecord>>>, supervisor: &Supervisor) -> anyhow::Result<()> {
    let (queue, groups_left) = (Arc::new(tokio::sync::Mutex::new(groups.into_iter())), tokio::sync::mpsc::channel(1));
    let (done, mut all_done) = groups_left;
    for _ in 0..WRITERS {
        let (store, queue, done) = (store.clone(), Arc::clone(&queue), done.clone());
        supervisor.spawn("bench-append", OnFailure::Stop, async move {
            let outcome = append_some(&store, &queue).await;
            // The receiver waits for everybody.
            let _ = done.send(outcome).await;
            Ok::<(), std::convert::Infallible>(())
        });
    }
    drop(done);
    while let Some(outcome) = all_done.recv().await {
        outcome?;
    }
    Ok(())
}

type Groups = tokio::sync::Mutex<std::vec::IntoIter<Vec<Arc<BatchRecord>>>>;

async fn append_some(store: &Store, queue: &Groups) -> anyhow::Result<()> {
    loop {
        let Some(group) = queue.lock().await.next() else { return Ok(()) };
        let outcomes = store.append(group).await?;
        ensure!(outcomes.iter().all(|outcome| *outcome == Appended::Stored), "a batch was not stored: {outcomes:?}");
    }
}
