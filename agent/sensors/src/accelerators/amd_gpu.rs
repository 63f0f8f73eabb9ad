//! AMD's GPUs, and under node_exporter's names what its collector `drm` has of them, which is off by default there.
//!
//! Format: the kernel's `Documentation/gpu/amdgpu/driver-misc.rst` and `thermal.rst` (percent, bytes; of the monitoring chip
//! thousandths of a degree, millionths of a watt, hertz). A GPU that has no average of its power has an input.

use super::device::Device;
use super::family::{At, Family, number};
use super::schema::{AcceleratorKind, Quantity};
use crate::host::place_label;
use crate::reading::{Form, Reading};
use crate::root::Root;
use dsmil_protocol::metric::Scale;
use std::borrow::Cow;

const ONE: Form = Form::gauge(Scale::ONE);
const MICRO: Scale = Scale::per(1_000_000);

pub(super) const FAMILY: Family = Family {
    name: "amd_gpu",
    source: "/sys/class/drm/card*/device of the driver amdgpu",
    class: "class/drm",
    prefix: "card",
    drivers: &["amdgpu"],
    kind: AcceleratorKind::Gpu,
    vendor: "amd",
    model: Some("product_name"),
    figures: &[
        number(Quantity::Utilisation, At::Device("gpu_busy_percent"), Scale::per(100)),
        number(Quantity::MemoryUsed, At::Device("mem_info_vram_used"), Scale::ONE),
        number(Quantity::MemoryTotal, At::Device("mem_info_vram_total"), Scale::ONE),
        number(Quantity::Temperature, At::Chip("temp1_input"), Scale::per(1000)),
        number(Quantity::Power, At::Chip("power1_average"), MICRO),
        number(Quantity::Power, At::Chip("power1_input"), MICRO),
        number(Quantity::Clock, At::Chip("freq1_input"), Scale::ONE),
    ],
    own: Some(push_own),
};

/// Files and node_exporter's names of them.
const OWN: [(&str, &str); 7] = [
    ("gpu_busy_percent", "node_drm_gpu_busy_percent"),
    ("mem_info_gtt_total", "node_drm_memory_gtt_size_bytes"),
    ("mem_info_gtt_used", "node_drm_memory_gtt_used_bytes"),
    ("mem_info_vram_total", "node_drm_memory_vram_size_bytes"),
    ("mem_info_vram_used", "node_drm_memory_vram_used_bytes"),
    ("mem_info_vis_vram_total", "node_drm_memory_vis_vram_size_bytes"),
    ("mem_info_vis_vram_used", "node_drm_memory_vis_vram_used_bytes"),
];

/// Pushes node_exporter's metrics of the card. The words are asked for once, and remembered.
fn push_own(root: &Root, device: &mut Device, ask: bool, out: &mut Reading) {
    let directory = [device.directory.as_str()];
    device.files.enter(&directory);
    if ask && device.own.is_empty() {
        let words = ["mem_info_vram_vendor", "power_dpm_force_performance_level", "unique_id"];
        device.own = words.map(|file| device.files.text(root, file).map(Cow::into_owned).unwrap_or_default()).into();
    }
    let card = ("card", device.name.as_str());
    if let [memory, level, id] = device.own.as_slice() {
        let chip = place_label(&device.directory).unwrap_or_default();
        let labels = [
            card,
            ("memory_vendor", memory.as_str()),
            ("power_performance_level", level),
            ("unique_id", id),
            ("chip", &chip),
            ("vendor", FAMILY.vendor),
        ];
        out.push("node_drm_card_info", &labels, ONE, Some(1));
    }
    for (file, metric) in OWN {
        let value = if ask { device.files.unsigned(root, file) } else { None };
        out.push(metric, &[card], ONE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerators::family::FamilySensor;
    use crate::accelerators::tests::{card, value};
    use crate::witness::Witness;

    const CARD: &str = "devices/pci0000:00/0000:00:01.0/0000:03:00.0";

    fn files() -> Vec<(&'static str, &'static str)> {
        vec![
            ("vendor", "0x1002"),
            ("device", "0x744c"),
            ("gpu_busy_percent", "37"),
            ("mem_info_vram_total", "25753026560"),
            ("mem_info_vram_used", "1234567168"),
            ("mem_info_vram_vendor", "samsung"),
            ("hwmon/hwmon4/temp1_input", "51000"),
            ("hwmon/hwmon4/power1_average", "120500000"),
            ("hwmon/hwmon4/power1_input", "999000000"),
            ("hwmon/hwmon4/freq1_input", "2482000000"),
        ]
    }

    #[test]
    fn a_card_tells_its_figures_in_both_languages() {
        let tree = card("class/drm/card1", "amdgpu", CARD, "active", &files());
        // Outputs of the card, and a card of another driver.
        tree.sys("class/drm/card1-DP-1/status", "connected\n");
        tree.sys("class/drm/card0/dev", "226:0\n");
        let seen = tree.read(&mut FamilySensor::of(&FAMILY));
        assert_eq!(seen.error, None);
        let of = |metric| value(&seen, metric, "0000:03:00.0", "measured");
        assert_eq!(of("utilisation_ratio"), Some(0.37));
        assert_eq!(of("memory_used_bytes"), Some(1_234_567_168.0));
        assert_eq!(of("temperature_celsius"), Some(51.0));
        assert_eq!(of("power_watts"), Some(120.5), "the average comes before the moment's");
        assert_eq!(of("clock_hertz"), Some(2.482e9));
        assert_eq!(seen.value("node_drm_gpu_busy_percent{card=\"card1\"}"), Some(37.0));
        let gtt = "node_drm_memory_gtt_used_bytes{card=\"card1\"}";
        assert!(seen.has(gtt) && seen.value(gtt).is_none(), "absent, not 0 bytes");
        let info = "node_drm_card_info{card=\"card1\",memory_vendor=\"samsung\",power_performance_level=\"\",unique_id=\"\",chip=\"0000:00:01_0_0000:03:00_0\",vendor=\"amd\"}";
        assert!(seen.has(info), "{:?}", seen.names());
    }

    #[test]
    fn a_card_that_sleeps_is_not_touched() {
        let tree = card("class/drm/card1", "amdgpu", CARD, "suspended", &files());
        let mut sensor = FamilySensor::of(&FAMILY);
        let witness = Witness::of(&tree.path().join("sys").join(CARD));
        let seen = tree.read(&mut sensor);
        assert_eq!(value(&seen, "state", "0000:03:00.0", "suspended"), Some(1.0));
        assert!(seen.names().iter().any(|name| name.starts_with("dsmil_accelerator_power_watts")));
        assert_eq!(value(&seen, "power_watts", "0000:03:00.0", "measured"), None);
        tree.read(&mut sensor);
        // What the PCI core keeps, and the power state.
        assert_eq!(witness.opened(), ["device", "power/runtime_status", "vendor"]);
    }
}
