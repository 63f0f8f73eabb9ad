//! Devices on small trees, and what happens when one goes away.

use super::family::FamilySensor;
use super::{FAMILIES, all, amd_gpu, amd_npu, intel_npu};
use crate::tree::{MACHINES, Seen, Tree};
use crate::witness::Witness;

const CARD: &str = "devices/pci0000:00/0000:03:00.0";

/// A host with one accelerator: what it is listed as (`class/drm/card1`), its driver, its directory, power state and files.
pub(super) fn card(listed: &str, driver: &str, device: &str, status: &str, files: &[(&str, &str)]) -> Tree {
    let tree = Tree::new();
    tree.sys(&format!("{device}/power/runtime_status"), &format!("{status}\n"));
    for (file, text) in files {
        tree.sys(&format!("{device}/{file}"), &format!("{text}\n"));
    }
    drive(&tree, device, driver);
    let below = format!("{device}/{}", listed.strip_prefix("class/").expect("a class"));
    tree.sys(&format!("{below}/uevent"), "");
    tree.link(&format!("sys/{below}/device"), "../..");
    tree.link(&format!("sys/{listed}"), &format!("../../{below}"));
    let address = device.rsplit('/').next().expect("a name");
    if address.contains(':') {
        tree.link(&format!("sys/bus/pci/devices/{address}"), &format!("../../../{device}"));
    }
    tree
}

/// Binds a driver to a device.
pub(super) fn drive(tree: &Tree, device: &str, driver: &str) {
    tree.sys(&format!("bus/pci/drivers/{driver}/uevent"), "");
    let up = "../".repeat(device.split('/').count());
    tree.link(&format!("sys/{device}/driver"), &format!("{up}bus/pci/drivers/{driver}"));
}

/// The value of `dsmil_accelerator_METRIC` of a device; `last` is the last label's value, the source or the state.
pub(super) fn value(seen: &Seen, metric: &str, accelerator: &str, last: &str) -> Option<f64> {
    let begin = format!("dsmil_accelerator_{metric}{{accelerator=\"{accelerator}\",");
    let name =
        seen.names().into_iter().find(|name| name.starts_with(&begin) && name.ends_with(&format!("=\"{last}\"}}")));
    seen.value(name?)
}

fn state(seen: &Seen, state: &str) -> Option<f64> {
    value(seen, "state", "0000:03:00.0", state)
}

fn second(tree: &Tree, second: u32, sensor: &mut FamilySensor) -> Seen {
    tree.proc("uptime", &format!("{second}.00 1.00\n"));
    tree.read(sensor)
}

fn remove(tree: &Tree, path: &str) {
    let path = tree.path().join("sys").join(path);
    if path.is_symlink() { std::fs::remove_file(path) } else { std::fs::remove_dir_all(path) }.expect("it is there");
}

fn gpu() -> Tree {
    card(
        "class/drm/card1",
        "amdgpu",
        CARD,
        "active",
        &[("gpu_busy_percent", "5"), ("vendor", "0x1002"), ("device", "0x744c")],
    )
}

#[test]
fn a_host_without_accelerators_has_nothing_to_say_of_any() {
    let tree = Tree::new();
    for sensor in &mut all() {
        let seen = tree.read(sensor.as_mut());
        assert_eq!((seen.error, seen.names().len()), (None, 0), "{}", sensor.name());
    }
}

#[test]
fn a_card_that_is_gone_from_the_bus_is_lost_and_keeps_its_series() {
    let tree = gpu();
    let mut sensor = FamilySensor::of(&amd_gpu::FAMILY);
    let series = second(&tree, 1, &mut sensor).names().len();
    for path in ["class/drm/card1", "bus/pci/devices/0000:03:00.0", CARD] {
        remove(&tree, path);
    }
    for uptime in [2, 3, 60] {
        let seen = second(&tree, uptime, &mut sensor);
        assert_eq!((state(&seen, "lost"), state(&seen, "active")), (Some(1.0), Some(0.0)));
        assert_eq!(value(&seen, "utilisation_ratio", "0000:03:00.0", "measured"), None);
        assert_eq!(seen.names().len(), series);
    }
    // Found again by another name, as after a rescan of the bus.
    let back = card("class/drm/card2", "amdgpu", CARD, "active", &[("gpu_busy_percent", "5"), ("vendor", "0x1002")]);
    let seen = second(&back, 61, &mut sensor);
    assert_eq!(state(&seen, "active"), Some(1.0));
    assert_eq!(seen.names().len(), series);
}

#[test]
fn a_card_whose_driver_and_bus_are_silent_is_lost_though_it_is_listed() {
    let tree = gpu();
    let mut sensor = FamilySensor::of(&amd_gpu::FAMILY);
    assert_eq!(state(&second(&tree, 1, &mut sensor), "active"), Some(1.0));
    tree.sys(&format!("{CARD}/gpu_busy_percent"), "");
    tree.file(&format!("sys/{CARD}/config"), &[0xFF; 64]);
    // An attribute without a number is an answer; one that cannot be read is none.
    assert_eq!(state(&second(&tree, 2, &mut sensor), "active"), Some(1.0));
    std::fs::remove_file(tree.path().join("sys").join(CARD).join("gpu_busy_percent")).expect("the file");
    tree.file(&format!("sys/{CARD}/config"), &[0x02, 0x10, 0x4C, 0x74]);
    assert_eq!(state(&second(&tree, 3, &mut sensor), "unknown"), Some(1.0), "its driver is silent, it is not");
    tree.file(&format!("sys/{CARD}/config"), &[0xFF; 64]);
    for uptime in 4..30 {
        assert_eq!(state(&second(&tree, uptime, &mut sensor), "lost"), Some(1.0), "at {uptime}");
    }
    tree.file(&format!("sys/{CARD}/config"), &[0x02, 0x10, 0x4C, 0x74]);
    tree.sys(&format!("{CARD}/gpu_busy_percent"), "9\n");
    let seen = second(&tree, 40, &mut sensor);
    assert_eq!(state(&seen, "active"), Some(1.0));
    assert_eq!(value(&seen, "utilisation_ratio", "0000:03:00.0", "measured"), Some(0.09));
}

#[test]
fn one_that_can_be_asked_nothing_is_looked_for_on_its_bus() {
    let tree = card("class/accel/accel0", "amdxdna", CARD, "active", &[("vendor", "0x1022")]);
    let mut sensor = FamilySensor::of(&amd_npu::FAMILY);
    assert_eq!(state(&second(&tree, 1, &mut sensor), "active"), Some(1.0));
    tree.file(&format!("sys/{CARD}/config"), &[0xFF; 64]);
    assert_eq!(state(&second(&tree, 11, &mut sensor), "lost"), Some(1.0));
}

#[test]
fn a_card_that_somebody_took_is_not_lost() {
    let taken = gpu();
    let mut sensor = FamilySensor::of(&amd_gpu::FAMILY);
    second(&taken, 1, &mut sensor);
    // Its driver was told to let go: the card is on the bus, and not in the class.
    taken.file(&format!("sys/{CARD}/config"), &[0x02, 0x10, 0x4C, 0x74]);
    remove(&taken, "class/drm/card1");
    assert!(second(&taken, 2, &mut sensor).names().is_empty());
    // An external one was unplugged.
    let external = gpu();
    external.sys(&format!("{CARD}/removable"), "removable\n");
    let mut sensor = FamilySensor::of(&amd_gpu::FAMILY);
    second(&external, 1, &mut sensor);
    remove(&external, "class/drm/card1");
    remove(&external, "bus/pci/devices/0000:03:00.0");
    assert!(second(&external, 2, &mut sensor).names().is_empty());
}

#[test]
fn a_sleeping_device_of_any_family_is_not_touched() {
    let files = [
        ("vendor", "0x1"),
        ("device", "0x2"),
        ("class", "0x030000"),
        ("config", "x"),
        ("gpu_busy_percent", "1"),
        ("vbnv", "1"),
        ("npu_busy_time_us", "1"),
        ("freq/current_freq", "1"),
        ("tile0/gt0/freq0/act_freq", "1"),
        ("hwmon/hwmon0/temp1_input", "1"),
        ("hwmon/hwmon0/energy1_input", "1"),
    ];
    for family in FAMILIES {
        let number = if family.prefix.is_empty() { "x" } else { "0" };
        let listed = format!("{}/{}{number}", family.class, family.prefix);
        let tree = card(&listed, family.drivers[0], CARD, "suspended", &files);
        for file in ["temp", "cur_freq", "gt/gt0/rc6_residency_ms", "gt_act_freq_mhz"] {
            tree.sys(&format!("{listed}/{file}"), "1\n");
        }
        let witness = Witness::of(&tree.path().join("sys").join(CARD));
        let mut sensor = FamilySensor::of(family);
        for uptime in 1..30 {
            assert_eq!(state(&second(&tree, uptime, &mut sensor), "suspended"), Some(1.0), "{}", family.name);
        }
        assert_eq!(witness.opened(), ["device", "power/runtime_status", "vendor"], "{}", family.name);
    }
}

fn machine(name: &str) -> Tree {
    Tree::unpacked(MACHINES.iter().find(|machine| machine.name == name).expect("a machine").tree)
}

/// All that the accelerators of a machine say.
fn told(tree: &Tree) -> Vec<(String, Option<f64>)> {
    let seen: Vec<Seen> = all().iter_mut().map(|sensor| tree.read(sensor.as_mut())).collect();
    seen.iter().flat_map(|s| s.names().into_iter().map(|name| (name.to_owned(), s.value(name)))).collect()
}

#[test]
fn no_sensor_of_all_touches_the_workstations_sleeping_card() {
    let tree = machine("workstation-amdgpu-6.8");
    let card = tree.path().join("sys/devices/pci0000:00/0000:00:01.3/0000:04:00.0/0000:05:00.0/0000:06:00.0");
    let witness = Witness::of(&card);
    let mut sensors = crate::all();
    for uptime in 86_400..86_430 {
        tree.proc("uptime", &format!("{uptime}.00 1.00\n"));
        sensors.iter_mut().for_each(|sensor| drop(tree.read(sensor.as_mut())));
    }
    // What the PCI core, the core of the monitoring chips and that of power management keep in memory.
    let of_the_core = ["class", "device", "hwmon/hwmon5/name", "power/runtime_status", "vendor"];
    let opened = witness.opened();
    assert!(opened.iter().all(|file| of_the_core.contains(&file.as_str())), "{opened:?}");
    assert!(opened.contains(&"power/runtime_status".to_owned()), "somebody did look");
}

#[test]
fn the_machines_accelerators_say_what_their_documents_promise() {
    let expect = [
        (
            "workstation-amdgpu-6.8",
            vec![
                ("state{accelerator=\"0000:03:00.0\",kind=\"gpu\",vendor=\"amd\",state=\"active\"}", Some(1.0)),
                ("state{accelerator=\"0000:06:00.0\",kind=\"gpu\",vendor=\"amd\",state=\"suspended\"}", Some(1.0)),
                ("state{accelerator=\"0000:0d:00.1\",kind=\"npu\",vendor=\"amd\",state=\"active\"}", Some(1.0)),
                (
                    "utilisation_ratio{accelerator=\"0000:03:00.0\",kind=\"gpu\",vendor=\"amd\",source=\"measured\"}",
                    Some(0.42),
                ),
                (
                    "power_watts{accelerator=\"0000:03:00.0\",kind=\"gpu\",vendor=\"amd\",source=\"measured\"}",
                    Some(187.0),
                ),
                ("power_watts{accelerator=\"0000:06:00.0\",kind=\"gpu\",vendor=\"amd\",source=\"measured\"}", None),
            ],
        ),
        (
            "laptop-intel-6.11",
            vec![
                ("state{accelerator=\"0000:00:02.0\",kind=\"gpu\",vendor=\"intel\",state=\"active\"}", Some(1.0)),
                (
                    "clock_hertz{accelerator=\"0000:00:02.0\",kind=\"gpu\",vendor=\"intel\",source=\"measured\"}",
                    Some(8e8),
                ),
                (
                    "energy_joules_total{accelerator=\"0000:03:00.0\",kind=\"gpu\",vendor=\"intel\",source=\"measured\"}",
                    Some(81_233.412_044),
                ),
                (
                    "temperature_celsius{accelerator=\"0000:03:00.0\",kind=\"gpu\",vendor=\"intel\",source=\"measured\"}",
                    Some(49.0),
                ),
                ("power_watts{accelerator=\"0000:03:00.0\",kind=\"gpu\",vendor=\"intel\",source=\"estimated\"}", None),
                (
                    "busy_seconds_total{accelerator=\"0000:00:0b.0\",kind=\"npu\",vendor=\"intel\",source=\"measured\"}",
                    Some(91.233_441),
                ),
                (
                    "memory_used_bytes{accelerator=\"0000:00:0b.0\",kind=\"npu\",vendor=\"intel\",source=\"measured\"}",
                    Some(268_435_456.0),
                ),
            ],
        ),
        (
            "arm-rk3588-6.1",
            vec![
                (
                    "utilisation_ratio{accelerator=\"fdab0000.npu\",kind=\"npu\",vendor=\"rockchip\",source=\"measured\"}",
                    Some(0.18),
                ),
                (
                    "clock_hertz{accelerator=\"fdab0000.npu\",kind=\"npu\",vendor=\"rockchip\",source=\"measured\"}",
                    Some(1e9),
                ),
                (
                    "temperature_celsius{accelerator=\"0004:41:00.0\",kind=\"tpu\",vendor=\"google\",source=\"measured\"}",
                    Some(45.55),
                ),
            ],
        ),
    ];
    for (name, figures) in expect {
        let told = told(&machine(name));
        for (figure, value) in figures {
            let found = told.iter().find(|(series, _)| series.strip_prefix("dsmil_accelerator_") == Some(figure));
            assert_eq!(found.map(|(_, value)| *value), Some(value), "{name}: {figure}");
        }
    }
}

#[test]
fn one_device_under_a_hundred_names_is_one() {
    let tree = card("class/accel/accel0", "intel_vpu", CARD, "active", &[]);
    for number in 1..100 {
        tree.link(&format!("sys/class/accel/accel{number}"), "accel0");
    }
    let seen = tree.read(&mut FamilySensor::of(&intel_npu::FAMILY));
    assert_eq!(seen.error, None);
    assert!(seen.names().len() <= 5, "one device, whatever it is called");
}
