//! Disks as smartctl tells of them, and a smartctl that a script plays.

use super::watch::Room;
use super::*;
use dsmil_sensors::tree::{Tree, series};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

const NVME_QEMU: &str = include_str!("../../fixtures/smart/nvme-qemu.json");
const NVME_WORN: &str = include_str!("../../fixtures/smart/nvme-worn.json");
const SATA_QEMU: &str = include_str!("../../fixtures/smart/sata-qemu.json");
const SATA_FAILING: &str = include_str!("../../fixtures/smart/sata-failing.json");
const SATA_RESTING: &str = include_str!("../../fixtures/smart/sata-resting.json");
const SAS: &str = include_str!("../../fixtures/smart/sas.json");
const DENIED: &str = include_str!("../../fixtures/smart/denied.json");
const USB_UNKNOWN: &str = include_str!("../../fixtures/smart/usb-unknown.json");
const ALL: [&str; 11] = [
    NVME_QEMU,
    NVME_WORN,
    SATA_QEMU,
    SATA_FAILING,
    SATA_RESTING,
    SAS,
    DENIED,
    USB_UNKNOWN,
    include_str!("../../fixtures/smart/nvme-qemu-warning.json"),
    include_str!("../../fixtures/smart/sas-qemu.json"),
    include_str!("../../fixtures/smart/no-device.json"),
];
/// One that nobody looks at.
static DISK: OnceLock<Disk> = OnceLock::new();
const MINUTE: Duration = Duration::from_secs(60);
const SATA: &str = "devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0";
const PCI: &str = "devices/pci0000:00/0000:00:03.0";

/// A host with an NVMe drive, a SATA disk that rotates, and much that is no disk to ask.
fn host() -> Tree {
    let tree = Tree::new();
    for (file, text) in [("transport", "pcie"), ("state", "live"), ("nvme0n1/size", "131072")] {
        tree.sys(&format!("{PCI}/nvme/nvme0/{file}"), &format!("{text}\n"));
    }
    tree.sys(&format!("{PCI}/power/runtime_status"), "active\n");
    tree.link("sys/class/nvme/nvme0", &format!("../../{PCI}/nvme/nvme0"));
    tree.link(&format!("sys/{PCI}/nvme/nvme0/device"), "../..");
    tree.sys("class/nvme/nvme1/transport", "tcp\n");
    for (file, text) in
        [("vendor", "ATA     "), ("state", "running"), ("power/runtime_status", "active"), ("power/control", "on")]
    {
        tree.sys(&format!("{SATA}/{file}"), &format!("{text}\n"));
    }
    for (file, text) in [
        ("removable", "0"),
        ("size", "131072"),
        ("queue/rotational", "1"),
        ("stat", "9 0 9 0 9 0 9 0 0 0 0 0 0 0 0 0 0"),
    ] {
        tree.sys(&format!("{SATA}/block/sda/{file}"), &format!("{text}\n"));
    }
    tree.link("sys/block/sda", &format!("../{SATA}/block/sda"));
    tree.link(&format!("sys/{SATA}/block/sda/device"), "../..");
    for other in ["loop0", "ram0", "vda", "dm-0", "md0", "zram0", "sr0", "sdb/../x", "nvme0n1"] {
        tree.sys(&format!("block/{other}/size"), "9\n");
    }
    for (name, file, text) in [("sdx", "removable", "1"), ("sdy", "size", "0")] {
        tree.sys(&format!("block/{name}/device/vendor"), "STICK\n");
        tree.sys(&format!("block/{name}/{file}"), &format!("{text}\n"));
    }
    tree
}

fn of(name: &str, text: &str) -> BTreeMap<String, f64> {
    let figures = metrics::of(name, &Report::of(text.as_bytes()).expect("JSON"));
    let all = figures.main.iter().chain(&figures.attributes);
    all.map(|figure| (series(&figure.metric), figure.metric.value(figure.bits))).collect()
}

fn value(seen: &BTreeMap<String, f64>, name: &str) -> Option<f64> {
    seen.get(name).copied()
}

#[test]
fn an_nvme_drive_is_told_under_the_exporters_names() {
    let worn = of("nvme0", NVME_WORN);
    for (name, expected) in [
        ("percentage_used", 118.0),
        ("available_spare", 4.0),
        ("available_spare_threshold", 10.0),
        ("critical_warning", 5.0),
        ("media_errors", 23.0),
        ("num_err_log_entries", 57.0),
        ("smart_status", 0.0),
        ("power_on_seconds", 38_211.0 * 3600.0),
        ("power_cycle_count", 41.0),
        ("nvme_capacity_bytes", 1_920_383_410_176.0),
        ("bytes_written", 4_912_345_678.0 * 512_000.0),
    ] {
        assert_eq!(value(&worn, &format!("smartctl_device_{name}{{device=\"nvme0\"}}")), Some(expected), "{name}");
    }
    let temperature = "smartctl_device_temperature{device=\"nvme0\",temperature_type=\"current\"}";
    assert_eq!(value(&worn, temperature), Some(71.0));
    let info = "smartctl_device{device=\"nvme0\",interface=\"nvme\",protocol=\"NVMe\",model_family=\"unknown\",\
                model_name=\"EXAMPLE NVME 1920\",serial_number=\"EX0000000001\",ata_additional_product_id=\"unknown\",\
                firmware_version=\"1.02\",ata_version=\"\",sata_version=\"\",form_factor=\"\",scsi_vendor=\"\",scsi_product=\"\",\
                scsi_revision=\"\",scsi_version=\"\"}";
    assert_eq!(value(&worn, info), Some(1.0), "{worn:#?}");
    let healthy = of("nvme0", NVME_QEMU);
    assert_eq!(value(&healthy, "smartctl_device_smart_status{device=\"nvme0\"}"), Some(1.0));
    assert_eq!(
        value(&healthy, "smartctl_device_bytes_written{device=\"nvme0\"}"),
        None,
        "0 is a controller that does not count"
    );
    assert!(!healthy.keys().any(|name| name.contains("rotation") || name.contains("scsi_grown")), "absent is not zero");
}

#[test]
fn an_ata_disk_has_its_table_and_a_sas_disk_its_counters() {
    let failing = of("sda", SATA_FAILING);
    let attribute = |which: &str| {
        format!(
            "smartctl_device_attribute{{device=\"sda\",attribute_name=\"Reallocated_Sector_Ct\",attribute_flags_short=\"PO----\",\
             attribute_flags_long=\"prefailure,updated_online\",attribute_value_type=\"{which}\",attribute_id=\"5\"}}"
        )
    };
    let all = ["value", "worst", "thresh", "raw"].map(|which| value(&failing, &attribute(which)));
    assert_eq!(all, [Some(3.0), Some(3.0), Some(36.0), Some(4016.0)], "{failing:#?}");
    assert_eq!(
        value(&failing, "smartctl_device_error_log_count{device=\"sda\",error_log_type=\"summary\"}"),
        Some(417.0)
    );
    assert_eq!(value(&failing, "smartctl_device_interface_speed{device=\"sda\",speed_type=\"max\"}"), Some(6e9));
    assert_eq!(value(&failing, "smartctl_device_power_on_seconds{device=\"sda\"}"), Some(61_234.0 * 3600.0 + 720.0));
    assert_eq!(value(&failing, "smartctl_device_rotation_rate{device=\"sda\"}"), Some(5400.0));
    let sas = of("sdb", SAS);
    for (name, expected) in [
        ("smartctl_scsi_grown_defect_list", 7.0),
        ("smartctl_read_total_uncorrected_errors", 2.0),
        ("smartctl_read_errors_corrected_by_eccfast", 123_456.0),
        ("smartctl_write_errors_corrected_by_rereads_rewrites", 9.0),
        ("smartctl_device_bytes_read", 412_345_678e6),
        ("smartctl_device_power_cycle_count", 29.0),
    ] {
        assert_eq!(value(&sas, &format!("{name}{{device=\"sdb\"}}")), Some(expected), "{name}");
    }
    assert_eq!(value(&sas, "smartctl_device_temperature{device=\"sdb\",temperature_type=\"drive_trip\"}"), Some(60.0));
}

#[test]
fn disks_are_those_that_can_have_something_to_say() {
    let (tree, empty) = (host(), Tree::new());
    let root = tree.root();
    let (disks, has_more) = disk::list(&root, 8).expect("a list");
    let named: Vec<_> = disks.iter().map(|disk| (disk.name.as_str(), disk.node.as_str(), disk.interface)).collect();
    assert_eq!(named, [("nvme0", "/dev/nvme0n1", Interface::Nvme), ("sda", "/dev/sda", Interface::Sat)]);
    assert!(!has_more);
    let (disks, has_more) = disk::list(&root, 1).expect("a list");
    assert_eq!((disks.len(), has_more), (1, true));
    assert_eq!(disk::list(&empty.root(), 8), Ok((Vec::new(), false)), "a machine without disks");
}

fn watched(tree: &Tree, name: &str) -> Watched {
    let (disks, _) = disk::list(&tree.root(), 8).expect("a list");
    Watched::new(disks.into_iter().find(|disk| disk.name == name).expect("it is there"))
}

fn answer(watched: &mut Watched, text: &str, code: i32, now: Duration) -> Result<(), Fault> {
    let output = Output { code: Some(code), stdout: text.into(), stderr: Vec::new() };
    let report = Report::of(text.as_bytes());
    watched.take(Ok(&output), report.as_ref(), now)
}

fn pushed(watched: &Watched, now: Duration) -> BTreeMap<String, Option<u64>> {
    let mut reading = Reading::new();
    reading.begin();
    let mut room = Room::of(MAX_BYTES);
    watched.push_main(now, &mut room, &mut reading);
    watched.push_attributes(now, &mut room, &mut reading);
    reading.complete();
    reading.metrics().map(series).zip(reading.values()).collect()
}

/// The minutes, of an hour, in which a disk is asked that answers each time.
fn asked_in(tree: &Tree, name: &str) -> Vec<u32> {
    let (root, mut watched) = (tree.root(), watched(tree, name));
    let minutes = (0..60).filter(|minute| {
        let now = MINUTE * (minute + 1);
        let is_asked = watched.take_turn(&root, now);
        if is_asked {
            answer(&mut watched, SATA_QEMU, 0, now).expect("an answer");
        }
        is_asked
    });
    minutes.collect()
}

#[test]
fn a_disk_that_rotates_is_asked_while_others_use_it_and_rarely_while_nobody_does() {
    let tree = host();
    assert_eq!(asked_in(&tree, "sda"), [0, 30]);
    assert_eq!(asked_in(&tree, "nvme0").len(), 60, "one that does not rotate has nothing to spin up");
    let (root, mut disk) = (tree.root(), watched(&tree, "sda"));
    assert!(disk.take_turn(&root, MINUTE));
    assert!(!disk.take_turn(&root, MINUTE * 2));
    tree.sys(&format!("{SATA}/block/sda/stat"), "10 0 9 0 9 0 9 0 0 0 0 0 0 0 0 0 0\n");
    assert!(disk.take_turn(&root, MINUTE * 3), "somebody has read from it");
}

#[test]
fn a_disk_that_sleeps_is_not_asked_and_one_that_could_is_given_the_time_to() {
    let tree = host();
    tree.sys(&format!("{SATA}/queue/rotational"), "0\n");
    tree.sys(&format!("{SATA}/block/sda/queue/rotational"), "0\n");
    tree.sys(&format!("{SATA}/power/control"), "auto\n");
    tree.sys(&format!("{SATA}/power/autosuspend_delay_ms"), "180000\n");
    assert_eq!(asked_in(&tree, "sda"), (0..60).step_by(4).collect::<Vec<_>>(), "it sleeps after three minutes");
    tree.sys(&format!("{SATA}/power/runtime_status"), "suspended\n");
    assert_eq!(asked_in(&tree, "sda"), [0u32; 0]);
    let mut disk = watched(&tree, "sda");
    disk.take_turn(&tree.root(), MINUTE);
    assert_eq!(pushed(&disk, MINUTE)["smartctl_device_state{device=\"sda\"}"], Some(1));
    tree.sys(&format!("{PCI}/power/runtime_status"), "suspended\n");
    assert_eq!(asked_in(&tree, "nvme0"), [0u32; 0], "what it is attached to sleeps");
    tree.sys(&format!("{PCI}/power/runtime_status"), "active\n");
    tree.sys(&format!("{PCI}/nvme/nvme0/state"), "resetting\n");
    assert_eq!(asked_in(&tree, "nvme0"), [0u32; 0], "it takes no commands");
}

#[test]
fn what_a_disk_said_before_it_rests_is_unread_and_still_there() {
    let tree = host();
    let mut disk = watched(&tree, "sda");
    answer(&mut disk, SATA_FAILING, 0b1101_1000, MINUTE).expect("findings are no failure");
    let before = pushed(&disk, MINUTE);
    let status = "smartctl_device_smart_status{device=\"sda\"}";
    let exit = "smartctl_device_smartctl_exit_status{device=\"sda\"}";
    assert_eq!((before[status], before[exit]), (Some(0), Some(0b1101_1000)));
    answer(&mut disk, SATA_RESTING, 3, MINUTE * 2).expect("rest is no failure");
    let resting = pushed(&disk, MINUTE * 2);
    assert_eq!((resting[status], resting[exit]), (None, None));
    assert_eq!(resting["smartctl_device_state{device=\"sda\"}"], Some(1));
    assert!(before.keys().eq(resting.keys()), "the metrics are the same");
    let info = |seen: &BTreeMap<String, Option<u64>>| {
        seen.iter().find(|(name, _)| name.starts_with("smartctl_device{")).map(|(_, v)| *v)
    };
    assert_eq!(info(&resting), Some(Some(1)), "its name is still its name");
    answer(&mut disk, SATA_QEMU, 0, MINUTE * 3).expect("an answer");
    assert_eq!(pushed(&disk, MINUTE * 7)[status], Some(1));
    assert_eq!(pushed(&disk, MINUTE * 9)[status], None, "it is of another time");
}

#[test]
fn what_keeps_smartctl_from_a_disk_is_the_disks_own_unless_it_is_a_right() {
    let tree = host();
    let mut disk = watched(&tree, "sda");
    assert_eq!(answer(&mut disk, USB_UNKNOWN, 1, MINUTE), Ok(()));
    assert_eq!(pushed(&disk, MINUTE)["smartctl_device_smartctl_exit_status{device=\"sda\"}"], Some(1));
    assert_eq!(answer(&mut disk, DENIED, 2, MINUTE), Err(Fault::NoPermission { to: Text::of("/dev/sda") }));
    let garbage = answer(&mut disk, "SMART? What is that?", 0, MINUTE);
    let what = "smartctl on sda: what it prints is not what it documents";
    assert_eq!(garbage, Err(Fault::ProgramFailed { what: Text::of(what) }));
    // The fourth and every later time it is asked in an hour at the most.
    let hung = Fault::Hung { for_s: 10, state: Some('D'), wait_channel: Some(Text::of("blk_execute_rq")) };
    let (root, mut times) = (tree.root(), 0);
    let mut disk = watched(&tree, "nvme0");
    for minute in 1..=12 * 60 {
        if disk.take_turn(&root, MINUTE * minute) {
            disk.take(Err(hung.clone()), None, MINUTE * minute).expect("its own trouble");
            times += 1;
        }
    }
    assert!((12..20).contains(&times), "{times}");
    assert_eq!(disk.hung(), Some(&hung));
    assert_eq!(pushed(&disk, MINUTE)["dsmil_disk_health_hung{device=\"nvme0\"}"], Some(1));
}

/// A smartctl that a script plays.
fn played(script: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("smartctl");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a script");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("it may be run");
    (folder, program)
}

fn read(program: PathBuf, tree: &Tree) -> (BTreeMap<String, Option<u64>>, Result<(), Fault>) {
    let clock = Clock::real();
    let mut smart = Smart::new(Some(program), clock.clone(), &Supervisor::new(clock), Duration::MAX);
    let mut reading = Reading::new();
    reading.begin();
    let outcome = smart.read(&tree.root(), &mut reading);
    reading.complete();
    (reading.metrics().map(series).zip(reading.values()).collect(), outcome)
}

#[test]
fn every_disk_is_asked_with_what_leaves_one_at_rest_alone() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smart");
    let script = format!(
        "case \"$*\" in\n'--json=c --nocheck=standby,3 '*' --device=nvme /dev/nvme0n1') cat {0}/nvme-worn.json; exit 8;;\n\
         '--json=c --nocheck=standby,3 '*' --device=sat /dev/sda') cat {0}/sata-resting.json; exit 3;;\nesac\nexit 99",
        fixtures.display()
    );
    let (_folder, program) = played(&script);
    let (seen, outcome) = read(program, &host());
    assert_eq!(outcome, Ok(()));
    assert_eq!(seen["smartctl_device_critical_warning{device=\"nvme0\"}"], Some(5));
    assert_eq!(seen["smartctl_device_state{device=\"nvme0\"}"], Some(0));
    assert_eq!(seen["smartctl_device_state{device=\"sda\"}"], Some(1));
    let version = "smartctl_version{json_format_version=\"1.0\",smartctl_version=\"7.3\",svn_revision=\"5338\",build_info=\"(local build)\"}";
    assert_eq!(seen[version], Some(1));
}

#[test]
fn a_smartctl_that_is_not_there_is_named_and_nobody_misses_it_where_there_is_no_disk() {
    let program = PathBuf::from("/nonexistent/smartctl");
    let missing = Fault::ProgramMissing { program: Text::of("/nonexistent/smartctl") };
    assert_eq!(read(program.clone(), &host()).1, Err(missing));
    assert_eq!(read(program, &Tree::new()), (BTreeMap::new(), Ok(())));
    let (_folder, floods) =
        played("while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done");
    assert!(matches!(read(floods, &host()).1, Err(Fault::ProgramFailed { .. })));
}

#[test]
fn an_answer_about_too_many_disks_fits_with_what_every_disk_has() {
    let tree = Tree::new();
    for a in b'a'..=b'z' {
        for b in b'a'..=b'k' {
            let place = format!("block/sd{}{}", char::from(a), char::from(b));
            tree.sys(&format!("{place}/device/vendor"), "ATA\n");
        }
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smart");
    let (_folder, program) = played(&format!("exec /bin/cat {}/sata-failing.json", fixtures.display()));
    let clock = Clock::real();
    let mut smart = Smart::new(Some(program), clock.clone(), &Supervisor::new(clock), Duration::MAX);
    let mut reading = Reading::new();
    reading.begin();
    let outcome = smart.read(&tree.root(), &mut reading);
    reading.complete();
    assert!(matches!(outcome, Err(Fault::TooMany { .. })), "{outcome:?}");
    let metrics: Vec<Metric> = reading.metrics().cloned().collect();
    let told = metrics.iter().filter(|metric| metric.name == "smartctl_device_smart_status").count();
    assert_eq!(told, MAX_DISKS);
    let set = dsmil_protocol::metric::MetricSet::new(metrics).expect("a set");
    let values: Vec<_> = reading.values().collect();
    let answer = dsmil_protocol::probe::ProbeReading {
        set: set.id(),
        metrics: Some(set.encode()),
        values: values.iter().map(|_| Some(u64::MAX)).collect(),
        took_us: 0,
        fault: outcome.err(),
    };
    let bytes = dsmil_protocol::probe::answer(&dsmil_protocol::probe::Answer::Reading(answer)).map(|bytes| bytes.len());
    println!("{} metrics of {MAX_DISKS} disks: {bytes:?} bytes", values.len());
    assert!(bytes.is_some(), "it fits");
}

proptest! {
    /// Whatever smartctl prints, reading it ends, and what comes of it is a set that the protocol accepts.
    #[test]
    fn no_text_harms(which in 0..ALL.len(), cuts in proptest::collection::vec((any::<prop::sample::Index>(), ".{0,12}"), 0..8), code in any::<i32>()) {
        let mut text = ALL[which].to_owned();
        for (at, new) in cuts {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((at + new.len()).min(text.len()));
            text.replace_range(at..end, &new);
        }
        let mut disk = Watched::new(DISK.get_or_init(|| watched(&host(), "sda").disk).clone());
        let _ = answer(&mut disk, &text, code, MINUTE);
        let mut reading = Reading::new();
        reading.begin();
        let mut room = Room::of(MAX_BYTES);
        disk.push_main(MINUTE, &mut room, &mut reading);
        disk.push_attributes(MINUTE, &mut room, &mut reading);
        reading.complete();
        let metrics: Vec<Metric> = reading.metrics().cloned().collect();
        prop_assert!(metrics.len() <= 600);
        prop_assert!(dsmil_protocol::metric::MetricSet::new(metrics).is_ok());
    }
}
