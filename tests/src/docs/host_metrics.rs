//! What an agent reports: every metric of a captured host, sensor by sensor.

use super::{Page, table};
use dsmil_agent::sampler::{HostSource, Source};
use dsmil_protocol::ids::Tick;
use dsmil_protocol::metric::{Kind, Metric};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_sensors::Reading;
use dsmil_sensors::root::Root;
use dsmil_sensors::tree::{MACHINES, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Label values shown as examples.
const EXAMPLES: usize = 4;

/// A metric's name, whatever its labels.
#[derive(Default)]
struct Family {
    kind: &'static str,
    series: usize,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The page of a host's metrics.
pub(super) fn page() -> anyhow::Result<Page> {
    let tree = Tree::unpacked(MACHINES[0].tree);
    let own_root = tree.root();
    let mut sections = String::new();
    let mut known = BTreeSet::new();
    for mut sensor in dsmil_sensors::all() {
        let mut reading = Reading::new();
        reading.begin();
        // What this host has no file of, it has no metrics of.
        let _ = sensor.read(&own_root, &mut reading);
        reading.complete();
        known.extend(reading.metrics().map(|metric| metric.name.clone()));
        sections += &section(&format!("Sensor `{}`", sensor.name()), reading.metrics());
    }
    let all = sampled(Arc::new(tree.root()))?;
    let of_the_sampler = all.iter().filter(|metric| !known.contains(&metric.name));
    let body = section("The sampler itself", of_the_sampler) + &sections;
    let introduction = "Metrics of a captured host: a virtual machine with two CPUs, Linux 6.18. Names, labels and units are \
                        node_exporter's, so that its dashboards work. A host with other hardware or another kernel has other \
                        series of the same kinds.";
    Ok(Page::markdown("host-metrics.md", "Metrics of a host", introduction, &body))
}

/// The metrics of a whole tick, the sampler's own included.
fn sampled(root: Arc<Root>) -> anyhow::Result<Vec<Metric>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::real();
        let supervisor = Supervisor::new(clock.clone());
        let mut source = HostSource::new(clock, &supervisor, root, dsmil_sensors::all());
        let row = source.collect(Tick(1)).await;
        drop(source);
        supervisor.drain(Duration::from_secs(5)).await;
        Ok(row.set.metrics().to_vec())
    })
}

fn section<'a>(title: &str, metrics: impl Iterator<Item = &'a Metric>) -> String {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    for metric in metrics {
        let family = families.entry(&metric.name).or_default();
        family.kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        family.series += 1;
        for (label, value) in &metric.labels {
            family.labels.entry(label.clone()).or_default().insert(value.clone());
        }
    }
    if families.is_empty() {
        return format!("## {title}\n\nNothing on this host.\n\n");
    }
    let rows = families.iter().map(|(name, family)| {
        let labels: Vec<String> = family.labels.iter().map(|(label, values)| examples(label, values)).collect();
        [format!("`{name}`"), family.kind.to_owned(), family.series.to_string(), labels.join("; ")]
    });
    format!("## {title}\n\n{}\n", table(["name", "type", "series", "labels"], rows))
}

fn examples(label: &str, values: &BTreeSet<String>) -> String {
    let shown: Vec<String> = values.iter().take(EXAMPLES).map(|value| format!("`{value}`")).collect();
    let more = if values.len() > EXAMPLES { ", …" } else { "" };
    format!("`{label}`: {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_the_same_twice_and_names_what_everybody_asks_for() {
        let text = page().expect("a page").text;
        assert_eq!(text, page().expect("a page").text);
        for name in ["node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "node_scrape_collector_success"] {
            assert!(text.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
