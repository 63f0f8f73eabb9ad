//! What the aggregator answers about itself: its metrics and its API's description, asked for as any client does.

use super::{Page, metrics};
use crate::client::ApiClient;
use anyhow::{Context, ensure};
use dsmil_aggregator::config::{Advertise, Config, LinkSection, Listen};
use dsmil_aggregator::init::{self, Order};
use dsmil_aggregator::live::HostNow;
use dsmil_aggregator::run;
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_protocol::clock::BootEpoch;
use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick, TickRange};
use dsmil_protocol::message::{Heartbeat, HostTimes};
use dsmil_protocol::metric::MetricSet;
use dsmil_protocol::tlv::Classification;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_store::StreamKey;
use dsmil_store::ledger::LossReason;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Metrics that are there once the store works.
const LATE: [&str; 2] = ["dsmil_journal_commit_age_seconds", "dsmil_hot_floor_timestamp_seconds"];
/// How long the store may take to work.
const PATIENCE: Duration = Duration::from_secs(20);

/// The page of the aggregator's own metrics, and its OpenAPI document.
pub(super) fn pages() -> anyhow::Result<[Page; 2]> {
    let (metrics, openapi) = ask()?;
    let document: serde_json::Value = serde_json::from_str(&openapi).context("the OpenAPI document is JSON")?;
    let text = serde_json::to_string_pretty(&document)? + "\n";
    Ok([metrics::page(&metrics)?, Page { name: "openapi.json", text }])
}

/// Starts an aggregator of no consequence and asks it.
fn ask() -> anyhow::Result<(String, String)> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::real();
        let supervisor = Supervisor::new(clock.clone());
        let answers = answers(folder.path(), &clock, &supervisor).await;
        supervisor.drain(PATIENCE).await;
        answers
    })
}

async fn answers(folder: &Path, clock: &Clock, supervisor: &Supervisor) -> anyhow::Result<(String, String)> {
    let anywhere = (Ipv4Addr::LOCALHOST, 0).into();
    let tenant = TenantId::new("docs")?;
    let order = Order {
        folder: folder.into(),
        data: folder.into(),
        name: "a1".into(),
        tenant: tenant.clone(),
        trust_domain: TrustDomain::new("docs.test")?,
        hosts: vec![HostName::new("h1")?],
        advertise: Advertise { agents: vec!["127.0.0.1:8100".into()], join: vec!["127.0.0.1:8101".into()] },
        https_names: vec!["127.0.0.1".into()],
        listen: Listen { quic: anywhere, join: anywhere, https: anywhere },
        link: LinkSection::default(),
        hot: Some(folder.join("hot.sqlite")),
    };
    let made = init::run(&order, clock).await?;
    let running = run::start(&Config::load(&made.config)?, clock, supervisor).await?;
    let token = made.api_token.context("a new aggregator has a token")?;
    let client = ApiClient::new(running.https, &std::fs::read(&made.https_root)?, &token, clock.clone())?;
    running.live.welcomed(&HostName::new("h1")?, seen);
    let key = Arc::new(StreamKey {
        tenant: tenant.clone(),
        host: HostName::new("h1")?,
        boot: BootId([0; 16]),
        classification: Classification::UNCLASS,
    });
    let lost = TickRange::new(Tick(0), Tick(0)).context("a range of one")?;
    running.store.warm().record_gaps(&key, vec![(lost, LossReason::AgentDown)]).await?;
    // A commit, so that there is something to say about commits.
    running.store.warm().put_metric_set(&tenant, Arc::new(MetricSet::new(Vec::new())?)).await?;
    let give_up = clock.mono() + PATIENCE;
    let metrics = loop {
        let text = client.text("/metrics").await?;
        if LATE.iter().all(|name| text.contains(&format!("\n{name} "))) {
            break text;
        }
        ensure!(clock.mono() < give_up, "the store does not work: {LATE:?} are not all in /metrics");
        clock.sleep(Duration::from_millis(50)).await;
    };
    Ok((metrics, client.text("/openapi.json").await?))
}

/// A host that was there, so that every series of hosts is.
fn seen(host: &mut HostNow) {
    host.epoch = Some(BootEpoch { wall_ns: 0, uncertainty_ns: 0 });
    host.wall_ahead_ns = Some(0);
    host.heartbeat = Some(Heartbeat {
        last_tick: None,
        waiting_ticks: 0,
        spool_bytes: 0,
        spool_capacity: 0,
        bundle_version: 0,
        times: HostTimes { boot_ns: 0, wall_ns: 0 },
        exchange: None,
    });
}
