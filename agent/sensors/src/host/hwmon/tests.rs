//! Chips on small trees.

use super::Hwmon;
use crate::Sensor;
use crate::tree::{Seen, Tree};
use crate::witness::Witness;

const CARD: &str = "devices/pci0000:00/0000:00:01.0/0000:03:00.0";
const CARD_CHIP: &str = "0000:00:01_0_0000:03:00_0";

/// A chip `hwmonN` in the directory of `device`, as the kernel lays it out.
fn chip(tree: &Tree, number: u32, device: &str, files: &[(&str, &str)]) {
    let directory = format!("{device}/hwmon/hwmon{number}");
    for (file, text) in files {
        tree.sys(&format!("{directory}/{file}"), &format!("{text}\n"));
    }
    tree.link(&format!("sys/{directory}/device"), "../..");
    tree.link(&format!("sys/class/hwmon/hwmon{number}"), &format!("../../{directory}"));
}

fn at(tree: &Tree, second: u32, sensor: &mut Hwmon) -> Seen {
    tree.proc("uptime", &format!("{second}.10 1.00\n"));
    let seen = tree.read(sensor);
    assert_eq!(seen.error, None);
    seen
}

#[test]
fn chips_are_named_by_their_place_and_inputs_without_an_answer_are_left_out() {
    let tree = Tree::new();
    assert!(tree.read(&mut Hwmon::default()).names().is_empty(), "no chips are no trouble");
    chip(
        &tree,
        0,
        "devices/platform/coretemp.0",
        &[("name", "coretemp"), ("temp1_input", "-3500"), ("temp1_label", "Package id 0"), ("temp1_crit", "100000")],
    );
    // No driver of the kernel has a chip without a device any more but those of its own zones and of tests.
    tree.sys("class/hwmon/hwmon1/name", "acpitz\n");
    tree.sys("class/hwmon/hwmon1/temp1_input", "16800\n");
    tree.sys("class/hwmon/hwmon1/temp2_input", "\n");
    tree.sys("class/hwmon/hwmon1/vrm", "115\n");
    let seen = at(&tree, 5, &mut Hwmon::default());
    assert_eq!(seen.value("node_hwmon_temp_celsius{chip=\"platform_coretemp_0\",sensor=\"temp1\"}"), Some(-3.5));
    assert_eq!(seen.value("node_hwmon_temp_crit_celsius{chip=\"platform_coretemp_0\",sensor=\"temp1\"}"), Some(100.0));
    assert!(seen.has("node_hwmon_chip_names{chip=\"platform_coretemp_0\",chip_name=\"coretemp\"}"));
    assert!(seen.has("node_hwmon_sensor_label{chip=\"platform_coretemp_0\",sensor=\"temp1\",label=\"Package id 0\"}"));
    assert_eq!(seen.value("node_hwmon_temp_celsius{chip=\"acpitz\",sensor=\"temp1\"}"), Some(16.8));
    assert_eq!(seen.value("node_hwmon_voltage_regulator_version{chip=\"acpitz\",sensor=\"vrm0\"}"), Some(115.0));
    assert_eq!(seen.names().len(), 7, "{:?}", seen.names());
}

#[test]
fn an_input_that_stops_answering_keeps_its_series_without_a_value() {
    let tree = Tree::new();
    chip(&tree, 0, "devices/platform/x.0", &[("name", "x"), ("temp1_input", "20000"), ("temp1_max", "90000")]);
    let mut sensor = Hwmon::default();
    at(&tree, 5, &mut sensor);
    tree.sys("class/hwmon/hwmon0/temp1_input", "");
    tree.sys("class/hwmon/hwmon0/temp1_max", "80000\n");
    let seen = at(&tree, 6, &mut sensor);
    let input = "node_hwmon_temp_celsius{chip=\"platform_x_0\",sensor=\"temp1\"}";
    let limit = "node_hwmon_temp_max_celsius{chip=\"platform_x_0\",sensor=\"temp1\"}";
    assert!(seen.has(input) && seen.value(input).is_none(), "absent, not 0 °C");
    assert_eq!(seen.value(limit), Some(90.0), "a limit keeps its value for ten seconds");
    assert_eq!(at(&tree, 15, &mut sensor).value(limit), Some(80.0));
}

#[test]
fn a_board_chip_costs_what_it_measures_and_not_what_it_is_set_to() {
    let tree = Tree::new();
    let mut files = vec![("name".to_owned(), "nct6798".to_owned())];
    for input in 0..15 {
        files.extend(["input", "min", "max", "alarm", "beep"].map(|e| (format!("in{input}_{e}"), "1".to_owned())));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    chip(&tree, 0, "devices/platform/nct6775.656", &files);
    let mut sensor = Hwmon::default();
    assert_eq!(at(&tree, 5, &mut sensor).names().len(), 1 + 75);
    let witness = Witness::of(&tree.path().join("sys/devices/platform/nct6775.656"));
    assert_eq!(at(&tree, 6, &mut sensor).names().len(), 1 + 75);
    assert_eq!(witness.opened().len(), 15);
}

/// A card with all that a driver would have to wake it for.
fn card(status: &str) -> Tree {
    let tree = Tree::new();
    for (file, text) in
        [("runtime_status", status), ("control", "auto"), ("runtime_usage", "0"), ("autosuspend_delay_ms", "5000")]
    {
        tree.sys(&format!("{CARD}/power/{file}"), &format!("{text}\n"));
    }
    let files = [
        ("name", "amdgpu"),
        ("temp1_input", "45000"),
        ("temp1_label", "edge"),
        ("power1_average", "9000000"),
        ("power1_cap", "203000000"),
        ("freq1_input", "500000000"),
        ("freq1_label", "sclk"),
    ];
    chip(&tree, 0, CARD, &files);
    tree
}

#[test]
fn a_card_that_sleeps_is_not_touched_and_says_so() {
    let tree = card("suspended");
    let mut sensor = Hwmon::default();
    let witness = Witness::of(&tree.path().join("sys").join(CARD));
    for second in 0..30 {
        let seen = at(&tree, second, &mut sensor);
        let temperature = format!("node_hwmon_temp_celsius{{chip=\"{CARD_CHIP}\",sensor=\"temp1\"}}");
        assert!(seen.has(&temperature) && seen.value(&temperature).is_none());
        assert_eq!(seen.value(&format!("dsmil_hwmon_chip_suspended{{chip=\"{CARD_CHIP}\"}}")), Some(1.0));
    }
    // The name is the kernel's core's, the power state too.
    assert_eq!(witness.opened(), ["hwmon/hwmon0/name", "power/runtime_status"]);
    tree.sys(&format!("{CARD}/power/runtime_status"), "active\n");
    let seen = at(&tree, 35, &mut sensor);
    assert_eq!(seen.value(&format!("node_hwmon_temp_celsius{{chip=\"{CARD_CHIP}\",sensor=\"temp1\"}}")), Some(45.0));
    assert_eq!(seen.value(&format!("node_hwmon_freq_freq_mhz{{chip=\"{CARD_CHIP}\",sensor=\"sclk\"}}")), Some(500.0));
    assert_eq!(seen.value(&format!("dsmil_hwmon_chip_suspended{{chip=\"{CARD_CHIP}\"}}")), Some(0.0));
}

#[test]
fn a_card_that_is_awake_for_nobody_is_given_the_time_to_fall_asleep() {
    let tree = card("active");
    let mut sensor = Hwmon::default();
    let asked: Vec<u32> = (70..100)
        .filter(|second| {
            let seen = at(&tree, *second, &mut sensor);
            seen.value(&format!("node_hwmon_power_average_watt{{chip=\"{CARD_CHIP}\",sensor=\"power1\"}}")).is_some()
        })
        .collect();
    assert_eq!(asked, [70, 77, 84, 91, 98], "five seconds of rest, and two more");
}

#[test]
fn a_disk_is_asked_for_its_temperature_only_while_it_works() {
    let tree = Tree::new();
    let disk = "devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0";
    chip(&tree, 2, disk, &[("name", "drivetemp"), ("temp1_input", "31000")]);
    let mut sensor = Hwmon::default();
    let mut temperature = |second, reads, writes| {
        tree.sys(&format!("{disk}/block/sda/stat"), &format!(" {reads} 0 8 1 {writes} 0 8 1 0 2 2 0 0 0 0 0 0\n"));
        at(&tree, second, &mut sensor).value("node_hwmon_temp_celsius{chip=\"target0:0:0_0:0:0:0\",sensor=\"temp1\"}")
    };
    assert_eq!(temperature(1, 100, 50), None, "it may be asleep");
    assert_eq!(temperature(2, 100, 50), None);
    assert_eq!(temperature(3, 100, 51), Some(31.0));
    assert_eq!(temperature(4, 100, 51), None);
    assert_eq!(temperature(5, 103, 51), Some(31.0));
}

#[test]
fn an_nvme_disk_is_left_in_the_power_state_of_its_choice() {
    let tree = Tree::new();
    let disk = "devices/pci0000:00/0000:01:00.0/nvme/nvme0";
    tree.sys(&format!("{disk}/hwmon1/name"), "nvme\n");
    tree.sys(&format!("{disk}/hwmon1/temp1_input"), "39850\n");
    tree.link(&format!("sys/{disk}/hwmon1/device"), "..");
    tree.link("sys/class/hwmon/hwmon1", &format!("../../{disk}/hwmon1"));
    let mut sensor = Hwmon::default();
    let mut temperature = |second, writes| {
        tree.sys(&format!("{disk}/nvme0n1/stat"), &format!("7 0 8 1 {writes} 0 8 1 0 2 2 0 0 0 0 0 0\n"));
        at(&tree, second, &mut sensor).value("node_hwmon_temp_celsius{chip=\"nvme_nvme0\",sensor=\"temp1\"}")
    };
    assert_eq!(
        [temperature(1, 5), temperature(2, 5), temperature(3, 6), temperature(4, 6)],
        [None, None, Some(39.85), None]
    );
}

#[test]
fn a_chip_that_never_ends_is_cut() {
    let tree = Tree::new();
    let files: Vec<(String, String)> = (0..600).map(|n| (format!("temp{n}_input"), n.to_string())).collect();
    let mut files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let long = "x".repeat(4000);
    files.extend([("name", "x"), ("temp1_label", long.as_str()), ("../../x", "1")]);
    chip(&tree, 0, "devices/platform/x.0", &files);
    let seen = at(&tree, 1, &mut Hwmon::default());
    let of = |name: &str| seen.names().iter().filter(|series| series.starts_with(name)).count();
    // The label comes before most of the inputs in the directory's order, so it is one of the 512.
    assert_eq!((of("node_hwmon_temp_celsius"), of("node_hwmon_sensor_label")), (511, 1));
    assert!(seen.names().iter().all(|series| series.len() < 300));
}

#[test]
fn a_chip_that_takes_anothers_number_is_another_chip() {
    let tree = Tree::new();
    chip(&tree, 0, "devices/platform/a.0", &[("name", "a"), ("temp1_input", "1000")]);
    let mut sensor = Hwmon::default();
    at(&tree, 1, &mut sensor);
    std::fs::remove_file(tree.path().join("sys/class/hwmon/hwmon0")).expect("the link");
    chip(&tree, 0, "devices/platform/b.0", &[("name", "b"), ("temp1_input", "2000")]);
    let seen = at(&tree, 61, &mut sensor);
    assert_eq!(seen.value("node_hwmon_temp_celsius{chip=\"platform_b_0\",sensor=\"temp1\"}"), Some(2.0));
    assert!(!seen.has("node_hwmon_temp_celsius{chip=\"platform_a_0\",sensor=\"temp1\"}"));
    assert_eq!(sensor.interval_s(), 1);
}
