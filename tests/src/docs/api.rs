//! What the aggregator answers about itself: its metrics and its API's description, asked for as any client does.

use super::{Page, table};
use crate::client::ApiClient;
use anyhow::{Context, ensure};
use dsmil_aggregator::config::{Advertise, Config, LinkSection, Listen};
use dsmil_aggregator::init::{self, Order};
use dsmil_aggregator::live::HostNow;
use dsmil_aggregator::run;
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_protocol::clock::BootEpoch;
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_protocol::message::{Heartbeat, HostTimes};
use dsmil_protocol::metric::MetricSet;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Metrics that are there once the store works.
const LATE: [&str; 2] = ["dsmil_journal_commit_age_seconds", "dsmil_hot_floor_timestamp_seconds"];
/// How long the store may take to work.
const PATIENCE: Duration = Duration::from_secs(20);

/// A metric's name, type, help and labels.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    name: String,
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The page of the aggregator's own metrics, and its OpenAPI document.
pub(super) fn pages() -> anyhow::Result<[Page; 2]> {
    let (metrics, openapi) = ask()?;
    let rows = families(&metrics).into_iter().map(|family| {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        [format!("`{}`", family.name), family.kind, labels.join(", "), family.help]
    });
    let introduction = "What an aggregator answers to `GET /metrics`: its own numbers. What hosts report is in \
                        [host-metrics.md](host-metrics.md).";
    let body = table(["name", "type", "labels", "meaning"], rows);
    let document: serde_json::Value = serde_json::from_str(&openapi).context("the OpenAPI document is JSON")?;
    let text = serde_json::to_string_pretty(&document)? + "\n";
    Ok([
        Page::markdown("metrics.md", "Metrics of the aggregator", introduction, &body),
        Page { name: "openapi.json", text },
    ])
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

/// The families of a page in Prometheus's text format, in its order.
fn families(text: &str) -> Vec<Family> {
    let mut found: Vec<Family> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            found.push(Family { name: name.into(), help: help.into(), ..Family::default() });
        } else if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            found.last_mut().into_iter().for_each(|family| family.kind = kind.into());
        } else if let (Some(family), Some((_, rest))) = (found.last_mut(), line.split_once('{')) {
            let labels = rest.split("\",").filter_map(|pair| pair.split_once("=\"")).map(|(label, _)| label.to_owned());
            family.labels.extend(labels.filter(|label| label != "le"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read() {
        let text = "# HELP a_total All.\n# TYPE a_total counter\na_total{b=\"x\",c=\"y\"} 1\na_total{b=\"z\",c=\"\"} 2\n\
                    # HELP d Some.\n# TYPE d histogram\nd_bucket{le=\"1\"} 0\nd_sum 0\n";
        let family = |name: &str, kind: &str, help: &str, labels: &[&str]| Family {
            name: name.into(),
            kind: kind.into(),
            help: help.into(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        assert_eq!(
            families(text),
            [family("a_total", "counter", "All.", &["b", "c"]), family("d", "histogram", "Some.", &[])]
        );
    }
}
