//! What an agent reports: every metric of a captured host, sensor by sensor, and of its probes, kind by kind.

use super::{Page, table};
use dsmil_agent::probes::Probe;
use dsmil_agent::sampler::{HostSource, Source};
use dsmil_probe::reference;
use dsmil_protocol::ids::Tick;
use dsmil_protocol::metric::{Kind, Metric};
use dsmil_protocol::probe::ProbeKind;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_sensors::root::Root;
use dsmil_sensors::tree::{MACHINES, Tree};
use dsmil_sensors::{Reading, Sensor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Label values shown as examples.
const EXAMPLES: usize = 4;

/// Metrics that are newer than the first version, by the beginning of their names.
const SINCE: [(&str, &str); 0] = [];
/// The first version.
const FIRST: &str = "0.1.0";

/// A metric's name, whatever its labels.
#[derive(Default)]
struct Family {
    kind: &'static str,
    labels: BTreeMap<String, BTreeSet<String>>,
}

type Families = BTreeMap<String, Family>;

/// The page of a host's metrics.
pub(super) fn page() -> anyhow::Result<Page> {
    let trees = MACHINES.map(|machine| Tree::unpacked(machine.tree));
    let mut sections = String::new();
    let mut known = BTreeSet::new();
    for mut sensor in dsmil_sensors::all() {
        let mut families = Families::new();
        for tree in &trees {
            let mut reading = Reading::new();
            reading.begin();
            // What this host has no file of, it has no metrics of.
            let _ = sensor.read(&tree.root(), &mut reading);
            reading.complete();
            add(&mut families, reading.metrics());
        }
        known.extend(families.keys().cloned());
        sections += &section(&format!("Sensor `{}`", sensor.name()), &origin(sensor.as_ref()), &families);
    }
    for kind in ProbeKind::ALL {
        let (mut families, probe) = (Families::new(), Probe::new(kind, PathBuf::new(), Clock::real()));
        add(&mut families, reference::metrics(kind).iter());
        sections += &section(&format!("Probe `{kind}`"), &origin(&probe), &families);
    }
    let mut own = Families::new();
    let all = sampled(Arc::new(trees[0].root()))?;
    add(&mut own, all.iter().filter(|metric| !known.contains(&metric.name)));
    let body = section("The sampler itself", "the agent", &own) + &sections;
    let introduction = "What sensors report, from hosts of several kinds: virtual and real ones, with and without accelerators. \
                        Names, labels and units are node_exporter's where it has such a metric, and dcgm-exporter's for NVIDIA's GPUs, so \
                        that their dashboards and rules work. Probes are on a host where the package `dsmil-probe` is installed, one process a kind. A host reports what its hardware and kernel have; what cannot be read is \
                        absent, never zero. A rate is for who asks: counters are sent as the kernel counts.";
    Ok(Page::markdown("host-metrics.md", "Metrics of a host", introduction, &body))
}

/// What a sensor reads, and how often, where that is not every second.
fn origin(sensor: &dyn Sensor) -> String {
    match sensor.interval_s() {
        1 => sensor.source().to_owned(),
        seconds => format!("{}, every {seconds} s", sensor.source()),
    }
}

fn add<'a>(families: &mut Families, metrics: impl Iterator<Item = &'a Metric>) {
    for metric in metrics {
        let family = families.entry(metric.name.clone()).or_default();
        family.kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        for (label, value) in &metric.labels {
            family.labels.entry(label.clone()).or_default().insert(value.clone());
        }
    }
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

fn section(title: &str, source: &str, families: &Families) -> String {
    if families.is_empty() {
        return format!("## {title}\n\nSource: {source}. Nothing on the captured hosts.\n\n");
    }
    let rows = families.iter().map(|(name, family)| {
        let labels: Vec<String> = family.labels.iter().map(|(label, values)| examples(label, values)).collect();
        let since = SINCE.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(FIRST, |(_, since)| since);
        [format!("`{name}`"), family.kind.to_owned(), unit(name).to_owned(), labels.join("; "), since.to_owned()]
    });
    format!("## {title}\n\nSource: {source}.\n\n{}\n", table(["name", "type", "unit", "labels", "since"], rows))
}

/// A metric's unit, by its name: Prometheus's names end in it, NVIDIA's and smartctl_exporter's in what it is of.
fn unit(name: &str) -> &'static str {
    const UNITS: [(&str, &str); 36] = [
        ("seconds", "seconds"),
        ("bytes", "bytes"),
        ("celsius", "°C"),
        ("thermal_zone_temp", "°C"),
        ("volts", "volts"),
        ("amps", "amperes"),
        ("watts", "watts"),
        ("watt", "watts"),
        ("joules", "joules"),
        ("joule", "joules"),
        ("hertz", "hertz"),
        ("ratio", "0 to 1"),
        ("percent", "per cent"),
        ("bits", "bits"),
        ("_CLOCK", "MHz"),
        ("_TEMP", "°C"),
        ("_POWER_USAGE", "watts"),
        ("_POWER_MGMT_LIMIT", "watts"),
        ("_ENERGY_CONSUMPTION", "millijoules"),
        ("_UTIL", "per cent"),
        ("_FB_FREE", "MiB"),
        ("_FB_USED", "MiB"),
        ("_FB_RESERVED", "MiB"),
        ("_VIOLATION", "nanoseconds"),
        ("_THROTTLE_REASONS", "a bit a reason"),
        ("_bytes_read", "bytes"),
        ("_bytes_written", "bytes"),
        ("_block_size", "bytes"),
        ("_capacity_blocks", "blocks"),
        ("_temperature", "°C"),
        ("_percentage_used", "per cent"),
        ("_available_spare", "per cent"),
        ("_available_spare_threshold", "per cent"),
        ("_interface_speed", "bits a second"),
        ("_rotation_rate", "turns a minute"),
        ("smartctl_device", "always 1"),
    ];
    let bare = name.strip_suffix("_total").unwrap_or(name);
    if bare.ends_with("_info") {
        return "always 1";
    }
    UNITS.iter().find(|(ending, _)| bare.ends_with(ending)).map_or("number", |(_, unit)| unit)
}

fn examples(label: &str, values: &BTreeSet<String>) -> String {
    let shown: Vec<String> = values.iter().take(EXAMPLES).map(|value| format!("`{value}`")).collect();
    let more = if values.len() > EXAMPLES { ", …" } else { "" };
    format!("`{label}`: {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_agent::probes::own_names;

    #[test]
    fn the_page_is_the_same_twice_and_names_what_everybody_asks_for() {
        let text = page().expect("a page").text;
        assert_eq!(text, page().expect("a page").text);
        for name in ["node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "node_scrape_collector_success"] {
            assert!(text.contains(&format!("| `{name}` |")), "{name}");
        }
    }

    /// The agent refuses a whole reading for one name that is not its kind's to say.
    #[test]
    fn every_kind_of_probe_reports_something_and_nothing_but_its_own() {
        for kind in ProbeKind::ALL {
            let metrics = reference::metrics(kind);
            assert!(!metrics.is_empty(), "{kind}");
            for metric in metrics {
                let is_its_own = own_names(kind).iter().any(|prefix| metric.name.starts_with(prefix));
                assert!(is_its_own, "{kind}: {}", metric.name);
            }
        }
    }

    #[test]
    fn a_unit_is_told_by_a_name() {
        let cases = [
            ("node_rapl_package_joules_total", "joules"),
            ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "millijoules"),
            ("DCGM_FI_DEV_SM_CLOCK", "MHz"),
            ("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "a bit a reason"),
            ("dsmil_accelerator_info", "always 1"),
            ("smartctl_device_available_spare", "per cent"),
            ("smartctl_device", "always 1"),
            ("node_forks_total", "number"),
        ];
        assert_eq!(cases.map(|(name, _)| unit(name)), cases.map(|(_, unit)| unit));
    }
}
