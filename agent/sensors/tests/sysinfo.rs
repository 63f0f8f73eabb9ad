//! The sensors beside sysinfo, a second reading of the same kernel by code that nobody here wrote (ADR 0003).

use dsmil_sensors::root::Root;
use dsmil_sensors::{Reading, all};
use std::collections::BTreeMap;
use sysinfo::{DiskRefreshKind, Disks, Networks, System};

/// What all sensors say of this host: `name{label values}`.
fn ours() -> BTreeMap<String, f64> {
    let root = Root::host().expect("a Linux host");
    let mut values = BTreeMap::new();
    for mut sensor in all() {
        let mut reading = Reading::new();
        reading.begin();
        // What this host lacks is nothing to compare.
        let _ = sensor.read(&root, &mut reading);
        reading.complete();
        for (metric, bits) in reading.metrics().zip(reading.values()) {
            let labels: Vec<&str> = metric.labels.iter().map(|(_, value)| value.as_str()).collect();
            let name = format!("{}{{{}}}", metric.name, labels.join(","));
            values.extend(bits.map(|bits| (name, metric.value(bits))));
        }
    }
    values
}

/// Whether theirs lies between two readings of ours, or as near as a host at work explains.
#[track_caller]
fn near(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, name: &str, theirs: f64) {
    let (before, after) = (before[name], after[name]);
    let slack = 0.05 * before.max(after) + 1.0;
    let range = before.min(after) - slack..=before.max(after) + slack;
    assert!(range.contains(&theirs), "{name}: {before} to {after}, sysinfo: {theirs}");
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "figures of a host are far below 2^53")]
fn a_second_reader_of_the_same_kernel_says_the_same() {
    let before = ours();
    let mut system = System::new().expect("a Linux host");
    system.refresh_memory();
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage()).expect("its disks");
    let networks = Networks::new_with_refreshed_list().expect("its interfaces");
    let load = System::load_average().expect("its load");
    let after = ours();
    let same = |name: &str, theirs: f64| near(&before, &after, name, theirs);

    same("node_memory_MemTotal_bytes{}", system.total_memory() as f64);
    same("node_memory_MemFree_bytes{}", system.free_memory() as f64);
    same("node_memory_MemAvailable_bytes{}", system.available_memory() as f64);
    same("node_memory_SwapTotal_bytes{}", system.total_swap() as f64);
    same("node_memory_SwapFree_bytes{}", system.free_swap() as f64);
    same("node_boot_time_seconds{}", System::boot_time().expect("when it booted") as f64);
    same("dsmil_uptime_seconds{}", System::uptime().expect("since when") as f64);
    same("node_load1{}", load.one);
    same("node_load15{}", load.fifteen);
    let cpus = before.keys().filter(|name| name.starts_with("node_cpu_seconds_total{") && name.ends_with(",idle}"));
    let theirs = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    assert!(cpus.count() >= theirs, "each processor is there");

    let mut compared = 0;
    for disk in &disks {
        let labels =
            [disk.name().to_string_lossy(), disk.mount_point().to_string_lossy(), disk.file_system().to_string_lossy()];
        let size = format!("node_filesystem_size_bytes{{{}}}", labels.join(","));
        if before.contains_key(&size) && after.contains_key(&size) {
            same(&size, disk.total_space() as f64);
            same(&size.replace("_size_", "_avail_"), disk.available_space() as f64);
            compared += 1;
        }
    }
    assert!(compared > 0, "one filesystem at least is known to both");
    for (interface, data) in &networks {
        let interface = interface.to_string_lossy();
        let counter = |name: &str| format!("node_network_{name}_total{{{interface}}}");
        if before.contains_key(&counter("receive_bytes")) {
            same(&counter("receive_bytes"), data.total_received() as f64);
            same(&counter("transmit_packets"), data.total_packets_transmitted() as f64);
            compared += 1;
        }
    }
    assert!(compared > 1, "one interface at least is known to both");
}
