//! What one aggregator takes in: many real connections, batches encoded before, everything acknowledged.
//!
//! Three loads, one after the other, on the same connections. *Backlog* is of the hours before now, as after an outage: the
//! hot cache, which holds the present only, leaves it to the journal. The *present* goes to both; there is no more of it
//! than hot takes ahead of the clock, so it is one short burst. *Live* is the same at the hosts' own pace: what a fleet
//! costs that has nothing to catch up with.

mod perf;
mod stages;

use super::codec::Capture;
use super::load::{BOOT, Crowd, Pace, Phase, Prepared, Pushed, Stock};
use super::store::metric_set;
use super::{BATCH_TICKS, Options, Row, Target};
use crate::fleet::{Centre, Fleet, Parents, Ports};
use anyhow::{Context, ensure};
use dsmil_protocol::batch::encode;
use dsmil_protocol::ids::{HostName, TenantId, Tick};
use dsmil_protocol::session::{Lane, Speaker};
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::clock::Clock;
use stages::{Cost, Meter};
use std::sync::Arc;
use std::time::Duration;

/// Batches of the past that each host has to send: eight hours, for which the capture is repeated.
const PAST: usize = 2_880;
/// Batches of the present: a minute, for hot takes what is at most a minute ahead of the clock.
const PRESENT: usize = 6;
/// Batches that each host sends at its own pace.
const LIVE: usize = 2;
/// That pace.
const LIVE_EVERY: Duration = Duration::from_secs(BATCH_TICKS as u64);
/// The first tick of every host; no host samples tick 0.
const FIRST_TICK: u64 = 1_000;
/// The aggregator's cap on backlog, out of the way: 4 GB/s for each host.
const BACKLOG_KIB_PER_SECOND: i64 = 4_000_000;

pub(super) fn figures(capture: &Capture, options: &Options) -> anyhow::Result<Vec<Row>> {
    let stock = Arc::new(stock(capture, options.ingest_for)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(stock, options, &Clock::real()))
}

async fn measure(stock: Arc<Stock>, options: &Options, clock: &Clock) -> anyhow::Result<Vec<Row>> {
    let fleet = Fleet::new(&Parents::default(), "dsmil-bench", clock)?;
    let hosts = (0..options.connections).map(|n| HostName::new(format!("h{n}"))).collect::<Result<Vec<_>, _>>()?;
    let ports = Ports::free()?;
    let mut centre = Centre::init(&fleet, &hosts, ports)?;
    centre.configure(|table| {
        let cap = ("backlog_kib_per_second".to_owned(), toml::Value::Integer(BACKLOG_KIB_PER_SECOND));
        table.insert("agents".into(), toml::Table::from_iter([cap]).into());
    })?;
    let connections = hosts.len();
    let hosts = hosts.into_iter().map(|host| (host, Arc::clone(&stock))).collect();
    let mut crowd = Crowd::gather(&mut centre, ports.quic, hosts, clock).await?;
    let meter = Meter::of(centre.process()?.id());
    let past = window(&mut crowd, &meter, true, clock).await?;
    let present = window(&mut crowd, &meter, false, clock).await?;
    let live = window(&mut crowd, &meter, true, clock).await?;

    let stored = centre.pipeline().await?.ingest.samples;
    let sent: u64 = [&past, &present, &live].iter().map(|window| window.pushed.samples).sum();
    ensure!(stored == sent, "{stored} samples are stored, {sent} were acknowledged");
    let metrics = centre.api().text("/metrics").await?;
    let in_hot = counter(&metrics, "dsmil_hot_batches_total")?;
    let wanted = present.pushed.batches + live.pushed.batches;
    ensure!(in_hot == wanted, "hot took {in_hot} batches, {wanted} were of the present");
    let put_off = counter(&metrics, "dsmil_batches_deferred_total")?;
    centre.stop().await?;
    crowd.disperse().await;
    Ok(rows(&past, &present, &live, connections, put_off))
}

/// A sample of the aggregator's own metrics.
fn counter(metrics: &str, name: &str) -> anyhow::Result<u64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("there is no metric {name}"))?.parse()?)
}

/// What a phase was.
struct Window {
    pushed: Pushed,
    wall: f64,
    cost: Cost,
}

/// Measures the next phase.
async fn window(crowd: &mut Crowd, meter: &Meter, by_stage: bool, clock: &Clock) -> anyhow::Result<Window> {
    crowd.begin().await?;
    let (began, running) = (clock.mono(), meter.start(by_stage)?);
    let pushed = crowd.end().await?;
    let wall = clock.mono().saturating_sub(began).as_secs_f64();
    Ok(Window { pushed, wall, cost: running.stop()? })
}

fn rows(past: &Window, present: &Window, live: &Window, hosts: usize, put_off: u64) -> Vec<Row> {
    let per_core = |window: &Window| window.pushed.samples as f64 / window.cost.cpu();
    let what = |window: &Window| {
        let (batches, cost) = (window.pushed.batches, &window.cost);
        format!("{hosts} connections, {batches} batches, all durable and acknowledged; {}", cost.by_thread())
    };
    let mut rows = vec![
        Row::aimed("ingest of backlog through QUIC, per core", per_core(past), "samples/s", Target::AtLeast(10e6))
            .note(format!("a second of the aggregator's CPU time; {}; {put_off} batches put off", what(past))),
        Row::told("ingest of backlog through QUIC", past.pushed.samples as f64 / past.wall, "samples/s")
            .note("wall time, the generator on the same machine"),
        Row::aimed(
            "ingest of the present through QUIC, per core",
            per_core(present),
            "samples/s",
            Target::AtLeast(10e6),
        )
        .note(format!("to the hot cache as well; {}", what(present))),
        Row::told(
            format!("{hosts} live hosts, CPU of the aggregator"),
            100.0 * live.cost.cpu() / live.wall,
            "% of a core",
        )
        .note(format!("at their own pace for {:.0} s, heartbeats and all; {}", live.wall, what(live))),
    ];
    rows.extend(past.cost.rows("backlog"));
    rows.extend(live.cost.rows("live hosts"));
    rows
}

pub(super) fn speaker() -> anyhow::Result<Speaker> {
    // The tenant of every throw-away fleet.
    let tenant = TenantId::new("demo")?;
    Ok(Speaker { tenant, compartments: Compartments::SOC, classification: Classification::UNCLASS })
}

/// The capture over and over, as the batches of one boot.
fn stock(capture: &Capture, flood_for: Duration) -> anyhow::Result<Stock> {
    let set = metric_set(capture.metrics())?;
    let captured = capture.batches(BATCH_TICKS);
    let hour_ms =
        captured.last().zip(captured.first()).context("the capture is empty").map(|(last, first)| {
            last.header.stamps[BATCH_TICKS - 1].wall_ms - first.header.stamps[0].wall_ms + 1_000
        })?;
    let all = PAST + PRESENT + LIVE;
    let mut batches = Vec::with_capacity(all);
    for (n, captured) in (0..all).zip(captured.iter().cycle()) {
        let mut batch = captured.clone();
        let repeated = i64::try_from(n * BATCH_TICKS / (capture.ticks() / BATCH_TICKS * BATCH_TICKS))?;
        (batch.header.boot, batch.header.set) = (BOOT, set.id());
        for (t, stamp) in batch.header.stamps.iter_mut().enumerate() {
            stamp.tick = Tick(FIRST_TICK + (n * BATCH_TICKS + t) as u64);
            stamp.wall_ms += repeated * hour_ms;
        }
        let (ticks, samples) = (batch.header.range(), batch.matrix.samples());
        batches.push(Prepared { ticks, samples, bytes: encode(&batch)? });
    }
    let phases = vec![
        Phase { batches: 0..PAST, lane: Lane::Backlog, pace: Pace::Flood(flood_for) },
        Phase { batches: PAST..PAST + PRESENT, lane: Lane::Live, pace: Pace::Flood(flood_for) },
        Phase { batches: PAST + PRESENT..all, lane: Lane::Live, pace: Pace::Each(LIVE_EVERY) },
    ];
    let present = batches[PAST].ticks.first;
    Ok(Stock { set, batches, present, phases })
}
