//! What the aggregator keeps in memory for each series that is active.
//!
//! Each host has a metric set of its own, as if no two were of the same make: a set that hosts share is held once, and a
//! series of theirs takes less. The memory is all that the aggregator has grown by since it was started: sessions, sets,
//! ledgers, latest values, and what its databases keep of their pages.

use super::codec::Capture;
use super::load::{BOOT, Crowd, Pace, Phase, Prepared, Stock};
use super::{BATCH_TICKS, Row, Target};
use crate::fleet::usage::Memory;
use crate::fleet::{Centre, Fleet, Parents, Ports};
use anyhow::{Context, ensure};
use dsmil_protocol::batch::encode;
use dsmil_protocol::ids::{HostName, Tick};
use dsmil_protocol::metric::{Kind, Metric, MetricSet, Repr, Scale};
use dsmil_protocol::session::Lane;
use dsmil_runtime::clock::Clock;
use std::sync::Arc;
use std::time::Duration;

/// Hosts that are active.
const HOSTS: usize = 500;
/// The first tick of every host.
const FIRST_TICK: u64 = 1_000;
/// Batches of each: the last one is the latest, and what those before it took has been given back or is kept.
const BATCHES: usize = 4;
/// How long they may take to be sent.
const SENT_WITHIN: Duration = Duration::from_secs(30);
/// Until memory has settled.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) fn figures(capture: &Capture) -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(capture, &Clock::real()))
}

async fn measure(capture: &Capture, clock: &Clock) -> anyhow::Result<Vec<Row>> {
    let fleet = Fleet::new(&Parents::default(), "dsmil-bench", clock)?;
    let stocks = (0..HOSTS).map(|n| Ok((HostName::new(format!("h{n}"))?, Arc::new(stock(capture, n)?))));
    let hosts = stocks.collect::<anyhow::Result<Vec<_>>>()?;
    let names: Vec<HostName> = hosts.iter().map(|(host, _)| host.clone()).collect();
    let ports = Ports::free()?;
    let mut centre = Centre::init(&fleet, &names, ports)?;
    // Started once before: what a fresh journal takes is not what a series costs.
    centre.start().await?;
    centre.stop().await?;
    let mut crowd = Crowd::gather(&mut centre, ports.quic, hosts, clock).await?;
    let pid = centre.process()?.id();
    let before = Memory::of(pid)?;
    crowd.begin().await?;
    let pushed = crowd.end().await?;
    clock.sleep(SETTLE).await;
    let after = Memory::of(pid)?;
    let up = centre.pipeline().await?.ingest.hosts_up;
    ensure!(up == HOSTS as u64, "{up} hosts are up, {HOSTS} should be");
    let hot = std::fs::metadata(centre.hot()).context("there is no hot cache")?.len();
    crowd.begin().await?;
    crowd.end().await?;
    centre.stop().await?;
    crowd.disperse().await;

    let series = (HOSTS * capture.metrics()) as f64;
    let grown = after.all.saturating_sub(before.all) as f64;
    Ok(vec![
        Row::aimed("memory of an active series", grown / series, "B PSS", Target::AtMost(4096.0)).note(format!(
            "{HOSTS} hosts × {} metrics, each host with a metric set of its own; sessions and all: {:.0} MiB",
            capture.metrics(),
            grown / f64::from(1 << 20)
        )),
        Row::told("hot cache beside it, on tmpfs", hot as f64 / pushed.samples as f64, "B/sample")
            .note("the last hour of a series is 3,600 samples"),
    ])
}

/// A few batches of the present, of a host that is like no other.
fn stock(capture: &Capture, host: usize) -> anyhow::Result<Stock> {
    let metrics = capture.columns().map(|(captured, _)| Metric {
        name: format!("node_{}", captured.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")),
        labels: vec![("device".into(), format!("ata-model-{host:05}"))],
        kind: Kind::Gauge,
        repr: Repr::U64,
        scale: Scale::ONE,
    });
    let set = MetricSet::new(metrics.collect())?;
    let mut batches = Vec::with_capacity(BATCHES);
    for (n, mut batch) in capture.batches(BATCH_TICKS).into_iter().take(BATCHES).enumerate() {
        (batch.header.boot, batch.header.set) = (BOOT, set.id());
        for (t, stamp) in batch.header.stamps.iter_mut().enumerate() {
            stamp.tick = Tick(FIRST_TICK + (n * BATCH_TICKS + t) as u64);
        }
        let (ticks, samples) = (batch.header.range(), batch.matrix.samples());
        batches.push(Prepared { ticks, samples, bytes: encode(&batch)? });
    }
    let all = Phase { batches: 0..BATCHES, lane: Lane::Backlog, pace: Pace::Flood(SENT_WITHIN) };
    // Nothing is sent in the second one: until it begins, sessions stay open.
    let nothing = Phase { batches: BATCHES..BATCHES, ..all.clone() };
    let present = batches.first().context("the capture is empty")?.ticks.first;
    Ok(Stock { set, batches, present, phases: vec![all, nothing] })
}
