//! What one aggregator takes in: many real connections, batches encoded before, everything acknowledged.
//!
//! The batches are of the hours before now, as after an outage, so the hot cache, which holds the present, leaves them to
//! the journal; what hot costs is measured in `store`.

use super::codec::Capture;
use super::load::{BOOT, Prepared, Pushed, Pusher, Stock};
use super::process::cpu_time;
use super::store::metric_set;
use super::{BATCH_TICKS, Options, Row, Target};
use crate::enrol::enrol;
use crate::fleet::{Centre, Fleet, Parents, Ports};
use anyhow::{Context, ensure};
use dsmil_aggregator::config::Config;
use dsmil_aggregator::credentials::time_source;
use dsmil_crypto::policy::{KeyExchange, Link};
use dsmil_protocol::batch::encode;
use dsmil_protocol::ids::{HostName, TenantId, Tick};
use dsmil_protocol::session::Speaker;
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Barrier, mpsc};

/// Batches that each host has to send: eight hours, for which the capture is repeated.
const BATCHES: usize = 2_880;
/// The first tick of every host; no host samples tick 0.
const FIRST_TICK: u64 = 1_000;
/// The aggregator's cap on backlog, out of the way: 4 GB/s for each host.
const BACKLOG_KIB_PER_SECOND: i64 = 4_000_000;
/// How long the tasks may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn figures(capture: &Capture, options: &Options) -> anyhow::Result<Vec<Row>> {
    let stock = Arc::new(stock(capture)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(stock, options))
}

async fn measure(stock: Arc<Stock>, options: &Options) -> anyhow::Result<Vec<Row>> {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-bench", &clock)?;
    let hosts = (0..options.connections).map(|n| HostName::new(format!("h{n}"))).collect::<Result<Vec<_>, _>>()?;
    let ports = Ports::free()?;
    let mut centre = Centre::init(&fleet, &hosts, ports)?;
    centre.configure(|table| {
        let cap = ("backlog_kib_per_second".to_owned(), toml::Value::Integer(BACKLOG_KIB_PER_SECOND));
        table.insert("agents".into(), toml::Table::from_iter([cap]).into());
    })?;
    let (identities, trust) = enrol(&Config::load(centre.config())?, &hosts, &clock).await?;
    centre.start().await?;
    let pid = centre.process()?.id();

    let supervisor = Supervisor::new(clock.clone());
    let start = Arc::new(Barrier::new(hosts.len() + 1));
    let (done, mut outcomes) = mpsc::channel(hosts.len());
    let aggregator = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.quic));
    for (host, identity) in hosts.iter().zip(identities) {
        let (trust, time) = (trust.clone(), time_source(&clock));
        let link = Link { identity, trust, key_exchange: KeyExchange::Pure, time };
        let pusher = Pusher {
            host: host.clone(),
            speaker: speaker()?,
            aggregator,
            stock: Arc::clone(&stock),
            clock: clock.clone(),
            start: Arc::clone(&start),
            push_for: options.ingest_for,
        };
        let done = done.clone();
        supervisor.spawn("bench-push", OnFailure::Note, async move {
            // The receiver waits for everybody.
            let _ = done.send(pusher.run(link).await).await;
            Ok::<(), std::convert::Infallible>(())
        });
    }
    drop(done);
    tokio::select! {
        _ = start.wait() => {}
        Some(outcome) = outcomes.recv() => {
            outcome?;
            anyhow::bail!("a host was done before all were connected");
        }
    }
    let (began, cpu_before) = (clock.mono(), cpu_time(pid)?);
    let mut all = Pushed::default();
    let mut ended = began;
    while let Some(outcome) = outcomes.recv().await {
        let Pushed { batches, samples } = outcome?;
        (all.batches, all.samples, ended) = (all.batches + batches, all.samples + samples, clock.mono());
    }
    let cpu = cpu_time(pid)?.saturating_sub(cpu_before).as_secs_f64();
    let stored = centre.pipeline().await?.ingest.samples;
    ensure!(stored == all.samples, "{stored} samples are stored, {} were acknowledged", all.samples);
    centre.stop().await?;
    supervisor.drain(DRAIN_WITHIN).await;
    Ok(rows(&all, ended.saturating_sub(began).as_secs_f64(), cpu, hosts.len()))
}

fn rows(all: &Pushed, wall: f64, cpu: f64, hosts: usize) -> Vec<Row> {
    let samples = all.samples as f64;
    let what = format!("{hosts} connections, {} batches, all durable and acknowledged", all.batches);
    vec![
        Row::aimed("ingest through QUIC, per core", samples / cpu, "samples/s", Target::AtLeast(10e6))
            .note(format!("a second of the aggregator's CPU time; {what}")),
        Row::told("ingest through QUIC", samples / wall, "samples/s")
            .note("wall time, the generator on the same machine"),
    ]
}

pub(super) fn speaker() -> anyhow::Result<Speaker> {
    // The tenant of every throw-away fleet.
    let tenant = TenantId::new("demo")?;
    Ok(Speaker { tenant, compartments: Compartments::SOC, classification: Classification::UNCLASS })
}

/// The capture over and over, as the batches of one boot.
fn stock(capture: &Capture) -> anyhow::Result<Stock> {
    let set = metric_set(capture.metrics())?;
    let captured = capture.batches(BATCH_TICKS);
    let hour_ms =
        captured.last().zip(captured.first()).context("the capture is empty").map(|(last, first)| {
            last.header.stamps[BATCH_TICKS - 1].wall_ms - first.header.stamps[0].wall_ms + 1_000
        })?;
    let mut batches = Vec::with_capacity(BATCHES);
    for (n, captured) in (0..BATCHES).zip(captured.iter().cycle()) {
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
    Ok(Stock { set, batches })
}
