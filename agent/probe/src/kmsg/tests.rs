//! Logs as files: what is counted of them, and what none of them can do.

use super::*;
use dsmil_sensors::tree::{Tree, series};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn read(source: &mut Kmsg) -> (BTreeMap<String, f64>, Option<Fault>) {
    let mut reading = Reading::new();
    reading.begin();
    let fault = source.read(&Tree::new().root(), &mut reading).err();
    reading.complete();
    let pairs = reading.metrics().zip(reading.values());
    (pairs.filter_map(|(m, bits)| Some((series(m), m.value(bits?)))).collect(), fault)
}

fn of(text: &str) -> (tempfile::TempDir, Kmsg) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("kmsg"), text).expect("a log");
    let source = Kmsg::new(folder.path().join("kmsg"));
    (folder, source)
}

#[test]
fn events_are_counted_with_their_devices_and_users_are_not_believed() {
    let (_folder, mut source) = of(
        "4,10,1,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus.\n SUBSYSTEM=pci\n DEVICE=+pci:0000:3b:00.0\n\
         4,11,2,-;NVRM: Xid (PCI:0000:3b:00): 119, Timeout\n\
         12,12,3,-;NVRM: Xid (PCI:0000:3b:00): 48, written by a user\n\
         3,15,4,c;Out of memory: Killed process 1 (a)\nnonsense\n,,;\n",
    );
    let (seen, fault) = read(&mut source);
    assert_eq!(fault, None);
    let value = |name: &str| seen.get(name).copied();
    assert_eq!(value("dsmil_kernel_events_total{event=\"xid\",device=\"0000:3b:00.0\",code=\"79\"}"), Some(1.0));
    assert_eq!(value("dsmil_kernel_events_total{event=\"xid\",device=\"0000:3b:00.0\",code=\"119\"}"), Some(1.0));
    assert_eq!(value("dsmil_kernel_events_total{event=\"xid\",device=\"0000:3b:00.0\",code=\"48\"}"), None);
    assert_eq!(value("DCGM_FI_DEV_XID_ERRORS{pci_bus_id=\"00000000:3B:00.0\"}"), Some(119.0));
    assert_eq!(value("dsmil_kernel_events_total{event=\"oom_kill\"}"), Some(1.0));
    let burst = "dsmil_gpu_xid_bursts_total{device=\"0000:3b:00.0\",action=\"restart_machine\"}";
    assert_eq!(value(burst), Some(1.0), "119 asks for less, and came with it");
    assert_eq!(value("dsmil_kernel_events_total{event=\"mce\"}"), Some(0.0), "there from the start");
    assert_eq!(value("dsmil_kernel_log_lines_total"), Some(4.0));
    assert_eq!(value("dsmil_kernel_log_lines_lost_total"), Some(2.0), "13 and 14");
}

#[test]
fn gpus_without_an_xid_say_so_under_their_number_and_one_that_fell_off_keeps_its_own() {
    const GPUS: [&str; 2] = ["0000:1b:00.0", "0000:3b:00.0"];
    let tree = Tree::new();
    tree.proc("sys/kernel/hostname", "gpu-7\n");
    tree.sys("bus/pci/drivers/nvidia/bind", "");
    for place in GPUS {
        tree.sys(&format!("bus/pci/devices/{place}/vendor"), "0x10de\n");
        tree.sys(&format!("bus/pci/devices/{place}/class"), "0x030200\n");
        tree.link(&format!("sys/bus/pci/devices/{place}/driver"), "../../drivers/nvidia");
    }
    let (folder, mut source) = of("4,1,1,-;NVRM: Xid (PCI:0000:5e:00): 13, of a GPU that is not there\n");
    let mut last = || {
        let mut reading = Reading::new();
        reading.begin();
        source.read(&tree.root(), &mut reading).expect("a log");
        reading.complete();
        let pairs = reading.metrics().zip(reading.values());
        let xids = pairs.filter(|(metric, _)| metric.name == "DCGM_FI_DEV_XID_ERRORS");
        xids.map(|(metric, value)| (series(metric).split_once('{').expect("labels").1.to_owned(), value)).collect()
    };
    let labels = |gpu: &str, bus: &str| format!("{gpu}pci_bus_id=\"00000000:{bus}:00.0\",Hostname=\"gpu-7\"}}");
    let expected = |second: u64| {
        let first = (labels("gpu=\"0\",", "1B"), Some(0));
        Vec::from([first, (labels("gpu=\"1\",", "3B"), Some(second)), (labels("", "5E"), Some(13))])
    };
    let before: Vec<(String, Option<u64>)> = last();
    assert_eq!(before, expected(0));
    std::fs::remove_dir_all(tree.path().join("sys/bus/pci/devices").join(GPUS[0])).expect("it is there");
    let log = std::fs::OpenOptions::new().append(true).open(folder.path().join("kmsg"));
    std::io::Write::write_all(&mut log.expect("a log"), b"4,2,2,-;NVRM: Xid (PCI:0000:3b:00): 79, off\n")
        .expect("room");
    for _ in 0..LOOK_EVERY {
        last();
    }
    assert_eq!(last(), expected(79));
}

#[test]
fn a_flood_is_read_in_parts_of_bounded_size() {
    let flood: String = (0..10_000).map(|n| format!("6,{n},1,-;audit: noise {n}\n")).collect();
    let (_folder, mut source) = of(&flood);
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.push(read(&mut source).0["dsmil_kernel_log_lines_total"]);
    }
    // A file is handed out in pieces of several records, the kernel's log record by record.
    let most = (MAX_RECORDS + MAX_RECORD_LEN / 20) as f64;
    assert!(lines[0] >= MAX_RECORDS as f64 && lines[0] <= most, "{lines:?}");
    assert_eq!(lines[3], 10_000.0);
}

#[test]
fn more_devices_than_can_be_told_apart_are_still_counted() {
    let many: String = (0..1000).map(|n| format!("6,{n},1,-;drv 0 eth{n}: Link is Down\n")).collect();
    let (_folder, mut source) = of(&many);
    let (seen, _) = read(&mut source);
    let all: f64 = seen.iter().filter(|(name, _)| name.contains("link_down")).map(|(_, count)| count).sum();
    assert_eq!(all, 1000.0);
    assert!(seen.len() < MAX_EVENTS + 20, "{}", seen.len());
}

#[test]
fn a_log_that_may_not_be_read_is_a_fault() {
    let mut gone = Kmsg::new("/nonexistent/kmsg".into());
    assert!(matches!(read(&mut gone).1, Some(Fault::Unreadable { .. })));
}

#[test]
fn this_machines_log_is_read_if_it_may_be() {
    let (seen, fault) = read(&mut Kmsg::new(DEFAULT_PATH.into()));
    match fault {
        None => assert!(seen["dsmil_kernel_log_lines_total"] > 0.0),
        Some(fault) => println!("not run: {fault}"),
    }
}

proptest! {
    #[test]
    fn no_log_harms(lines in proptest::collection::vec("(\\PC{0,40}|[0-9]{1,25},[0-9]{1,25},[0-9]*,-;(NVRM: Xid \\(PCI:)?\\PC{0,60})", 0..40), cut in 1usize..200) {
        let text = lines.join("\n");
        let mut log = Log::default();
        for piece in text.as_bytes().chunks(cut) {
            log.take(piece);
        }
        let mut reading = Reading::new();
        reading.begin();
        log.push(&mut reading);
        reading.complete();
        let metrics = reading.metrics().cloned().collect();
        prop_assert!(dsmil_protocol::metric::MetricSet::new(metrics).is_ok());
    }
}
