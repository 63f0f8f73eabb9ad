//! All sensors together: against node_exporter on a captured host, and on hosts that lie.

use super::tree::{Seen, Tree, series};
use super::*;
use crate::sensors::reading::MAX_SENSOR_METRICS;
use proptest::prelude::*;
use std::collections::BTreeMap;

const TREE: &str = include_str!("../../fixtures/kvm-linux-6.18/tree.txt");
const EXPECTED: &str = include_str!("../../fixtures/kvm-linux-6.18/node_exporter.prom");

/// What the agent reports beyond node_exporter 1.5.0.
const BEYOND: [&str; 1] = ["dsmil_uptime_seconds"];
/// What it does not: it comes from udev's database, which is neither in /proc nor in /sys.
const WITHOUT: [&str; 1] = ["node_disk_info"];

fn captured() -> Tree {
    let tree = Tree::new();
    for file in TREE.split("=== ").skip(1) {
        let (path, text) = file.split_once('\n').expect("a path, then the file");
        match path.split_once('/').expect("proc or sys") {
            ("proc", path) => tree.proc(path, text),
            (_, path) => tree.sys(path, text),
        }
    }
    tree
}

fn see_all(root: &Root) -> Vec<Seen> {
    all().iter_mut().map(|sensor| Seen::of(sensor.as_mut(), root)).collect()
}

/// A series with its labels sorted, as node_exporter prints them.
fn sorted(name: &str) -> String {
    let Some((name, labels)) = name.split_once('{') else { return name.to_owned() };
    let mut labels: Vec<&str> = labels.trim_end_matches("\"}").split("\",").collect();
    labels.sort_unstable();
    format!("{name}{{{}\"}}", labels.join("\","))
}

#[test]
fn names_labels_and_values_are_node_exporters() {
    let seen = see_all(&captured().root());
    assert!(seen.iter().all(|seen| seen.error.is_none()));
    let ours: BTreeMap<String, Option<f64>> =
        seen.iter().flat_map(|s| s.names().into_iter().map(|name| (sorted(name), s.value(name)))).collect();
    let theirs: BTreeMap<String, f64> = EXPECTED
        .lines()
        .map(|line| line.rsplit_once(' ').expect("a series and a value"))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect();
    for (name, value) in &theirs {
        if WITHOUT.iter().any(|left_out| name.starts_with(left_out)) {
            continue;
        }
        let own = ours.get(name).unwrap_or_else(|| panic!("{name} is missing: node_exporter has it"));
        let of_the_tree = !name.starts_with("node_network_") && !name.starts_with("node_filesystem_");
        let own = own.unwrap_or_else(|| panic!("{name} has no value"));
        assert!(!of_the_tree || (own - value).abs() <= value.abs() * 1e-12, "{name}: {own}, node_exporter: {value}");
    }
    for name in ours.keys() {
        let known = theirs.contains_key(name) || BEYOND.contains(&name.as_str());
        assert!(known, "{name} is not node_exporter's: take its name for it, or say in BEYOND why there is none");
    }
}

#[test]
fn this_host_is_read_without_a_verdict_but_what_its_kernel_lacks() {
    let root = Root::host().expect("a Linux host");
    for seen in see_all(&root) {
        assert!(matches!(seen.error, None | Some(SensorError::Missing { .. })), "{:?}", seen.error);
    }
}

#[test]
fn ten_thousand_disks_are_cut_and_reported_as_cut() {
    let tree = Tree::new();
    let disk = |i: usize| format!("8 {i} disk{i}x 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n");
    tree.proc("diskstats", &(0..10_000).map(disk).collect::<String>());
    let mut reading = Reading::new();
    reading.begin();
    let mut sensor = diskstats::Diskstats::default();
    assert_eq!(sensor.read(&tree.root(), &mut reading), Ok(()));
    reading.complete();
    assert!(reading.is_truncated());
    assert_eq!(reading.metrics().count(), MAX_SENSOR_METRICS);
    assert_eq!(
        reading.metrics().next().map(series).as_deref(),
        Some("node_disk_reads_completed_total{device=\"disk0x\"}")
    );
}

#[test]
fn a_host_without_any_file_is_nothing_but_verdicts() {
    let tree = Tree::new();
    for (sensor, seen) in all().iter().zip(see_all(&tree.root())) {
        assert!(seen.names().is_empty(), "{}", sensor.name());
        let optional = sensor.name() == "sockstat";
        assert_eq!(matches!(seen.error, Some(SensorError::Missing { .. })), !optional, "{}", sensor.name());
    }
}

/// Every file of the captured host, cut, mangled or filled with the line given.
fn mangle(how: &Mangle) -> Tree {
    let tree = captured();
    for file in TREE.split("=== ").skip(1) {
        let (path, text) = file.split_once('\n').expect("a path, then the file");
        let Some(path) = path.strip_prefix("proc/") else { continue };
        let mut bytes = text.as_bytes().to_vec();
        match how {
            Mangle::Cut(part) => bytes.truncate(bytes.len() * part / 1000),
            Mangle::Flip(seed) => {
                for step in 0..bytes.len() / 16 {
                    let at = step.wrapping_mul(*seed) % bytes.len();
                    bytes[at] ^= u8::try_from(seed >> (step % 7) & 0xFF).unwrap_or(0xFF);
                }
            }
            Mangle::Numbers(number) => {
                let text: String = text
                    .split_inclusive(|c: char| c.is_ascii_whitespace())
                    .map(
                        |field| {
                            if field.trim().parse::<f64>().is_ok() { format!("{number} ") } else { field.to_owned() }
                        },
                    )
                    .collect();
                bytes = text.into_bytes();
            }
            Mangle::Noise(noise) => bytes.clone_from(noise),
        }
        tree.proc_bytes(path, &bytes);
    }
    tree
}

#[derive(Clone, Debug)]
enum Mangle {
    Cut(usize),
    Flip(usize),
    Numbers(String),
    Noise(Vec<u8>),
}

fn mangles() -> impl Strategy<Value = Mangle> {
    prop_oneof![
        (0usize..1000).prop_map(Mangle::Cut),
        (1usize..1 << 40).prop_map(Mangle::Flip),
        prop_oneof![
            Just("-1"),
            Just("18446744073709551616"),
            Just("18446744073709551615"),
            Just("\u{fffd}"),
            Just("0x1")
        ]
        .prop_map(|number| Mangle::Numbers(number.to_owned())),
        proptest::collection::vec(any::<u8>(), 0..2000).prop_map(Mangle::Noise),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// No text makes a sensor panic, and all that comes of it is a set that the protocol accepts.
    #[test]
    fn no_text_harms(how in mangles()) {
        let root = mangle(&how).root();
        for sensor in &mut all() {
            let mut reading = Reading::new();
            for _ in 0..2 {
                reading.begin();
                match sensor.read(&root, &mut reading) {
                    Ok(()) => reading.complete(),
                    Err(_) => reading.abandon(),
                }
            }
            let metrics: Vec<_> = reading.metrics().cloned().collect();
            prop_assert_eq!(metrics.len(), reading.values().count());
            let named = metrics.iter().map(series).collect::<std::collections::BTreeSet<_>>();
            prop_assert_eq!(named.len(), metrics.len(), "no series twice");
            prop_assert!(dsmil_protocol::metric::MetricSet::new(metrics).is_ok());
        }
    }
}
