//! All sensors together: against node_exporter on a captured host, and on hosts that lie.

use crate::comparison::{Comparison, Distance, exposition, sorted};
use crate::host;
use crate::root::Root;
use crate::tree::{Entry, MACHINES, Machine, Seen, Tree, entries, series};
use crate::{MAX_SENSOR_METRICS, Reading, Sensor, SensorError, all};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn see_all(root: &Root) -> Vec<Seen> {
    all().iter_mut().map(|sensor| Seen::of(sensor.as_mut(), root)).collect()
}

/// The same number, whatever the two printed of it.
fn distance(series: &str, ours: f64, theirs: f64) -> Distance {
    // Not of the tree: sizes of filesystems are asked of the kernel.
    let live = series.starts_with("node_filesystem_");
    if live || (ours - theirs).abs() <= theirs.abs() * 1e-12 { Distance::Same } else { Distance::Apart }
}

#[test]
fn names_labels_and_values_are_node_exporters() {
    for machine in MACHINES {
        let seen = see_all(&Tree::unpacked(machine.tree).root());
        for (sensor, seen) in all().iter().zip(&seen) {
            assert_eq!(seen.error, None, "{} on {}", sensor.name(), machine.name);
        }
        let ours: BTreeMap<String, Option<f64>> =
            seen.iter().flat_map(|s| s.names().into_iter().map(|name| (sorted(name), s.value(name)))).collect();
        let compared = Comparison::of(&ours, &exposition(machine.node_exporter), distance);
        assert!(compared.unexplained.is_empty(), "{}:\n{}", machine.name, compared.unexplained.join("\n"));
        assert!(!compared.same.is_empty(), "{}", machine.name);
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
    let mut sensor = host::diskstats::Diskstats::default();
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
        let at_most_nothing = matches!(seen.error, None | Some(SensorError::Missing { .. }));
        assert!(at_most_nothing, "{}: {:?}", sensor.name(), seen.error);
        // That SELinux is off is all that can be said without any file.
        let said = if sensor.name() == "selinux" { 1 } else { 0 };
        assert_eq!(seen.names().len(), said, "{}", sensor.name());
        assert_eq!(seen.error.is_some(), EVERYWHERE.contains(&sensor.name()), "{}", sensor.name());
    }
}

/// Sensors whose files every Linux has: without them there is something wrong. The others are of hosts that have such a thing.
const EVERYWHERE: [&str; 13] = [
    "stat",
    "loadavg",
    "meminfo",
    "vmstat",
    "pressure",
    "diskstats",
    "filesystem",
    "filesystem_remote",
    "netdev",
    "netstat",
    "filefd",
    "uptime",
    "uname",
];

/// Every file of a captured host, cut, mangled or filled with the line given.
fn mangle(machine: &Machine, how: &Mangle) -> Tree {
    let tree = Tree::new();
    for entry in entries(machine.tree) {
        let (path, text) = match entry {
            Entry::File(path, text) => (path, text),
            Entry::Link(path, target) => {
                tree.link(path, target);
                continue;
            }
        };
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
        tree.file(path, &bytes);
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
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// No text makes a sensor panic, and all that comes of it is a set that the protocol accepts.
    #[test]
    fn no_text_harms(machine in proptest::sample::select(MACHINES.to_vec()), how in mangles()) {
        let root = mangle(&machine, &how).root();
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
