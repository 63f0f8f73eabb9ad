//! Intel's GPUs, by the driver i915 or xe. Their engines' time is told to each of their users only (DRM fdinfo, which a probe reads);
//! what anybody may read is how long the GPU's core was not asleep, an upper bound of its work.
//!
//! Format: the kernel's `Documentation/ABI/testing/sysfs-driver-intel-i915-hwmon` and `sysfs-driver-intel-xe-hwmon` (microjoules,
//! thousandths of a degree), `drivers/gpu/drm/i915/gt/intel_gt_sysfs_pm.c` (`gt/gt0`: MHz, milliseconds), and
//! `drivers/gpu/drm/xe/xe_gt_freq.c` and `xe_gt_idle.c` (`tile0/gt0`: the same).

use super::derive::{How, WHOLE};
use super::family::{Ask, At, Family, number};
use super::schema::{AcceleratorKind, Quantity};
use dsmil_protocol::metric::Scale;

const MICRO: Scale = Scale::per(1_000_000);
const MEGA: Scale = Scale::times(1_000_000);
const MILLI: Scale = Scale::per(1000);

pub(super) const FAMILY: Family = Family {
    name: "intel_gpu",
    source: "/sys/class/drm/card* of the drivers i915 and xe",
    class: "class/drm",
    prefix: "card",
    drivers: &["i915", "xe"],
    kind: AcceleratorKind::Gpu,
    vendor: "intel",
    model: None,
    figures: &[
        awake(At::Listed("gt/gt0/rc6_residency_ms")),
        awake(At::Device("tile0/gt0/gtidle/idle_residency_ms")),
        // Of the package; xe's first is another one's, i915's first is the only one.
        number(Quantity::Temperature, At::Chip("temp2_input"), MILLI),
        number(Quantity::Temperature, At::Chip("temp1_input"), MILLI),
        // Of the whole card, or else of the package.
        number(Quantity::Energy, At::Chip("energy1_input"), MICRO),
        number(Quantity::Energy, At::Chip("energy2_input"), MICRO),
        power(At::Chip("energy1_input")),
        power(At::Chip("energy2_input")),
        number(Quantity::Clock, At::Listed("gt/gt0/rps_act_freq_mhz"), MEGA),
        number(Quantity::Clock, At::Listed("gt_act_freq_mhz"), MEGA),
        number(Quantity::Clock, At::Device("tile0/gt0/freq0/act_freq"), MEGA),
    ],
    own: None,
};

const fn awake(at: At) -> Ask {
    Ask { quantity: Quantity::Utilisation, at, scale: Scale::per(WHOLE), how: How::Rest { per_second: 1000 } }
}

const fn power(at: At) -> Ask {
    Ask { quantity: Quantity::Power, at, scale: MICRO, how: How::Rate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerators::family::FamilySensor;
    use crate::accelerators::tests::{card, value};

    const ARC: &str = "devices/pci0000:00/0000:03:00.0";

    #[test]
    fn power_is_worked_out_of_energy_and_work_out_of_rest() {
        let tree = card("class/drm/card0", "xe", ARC, "active", &[("vendor", "0x8086"), ("device", "0x56a0")]);
        let mut sensor = FamilySensor::of(&FAMILY);
        let mut second = |uptime: &str, energy: &str, rest: &str| {
            tree.proc("uptime", uptime);
            tree.sys(&format!("{ARC}/hwmon/hwmon5/energy1_input"), energy);
            tree.sys(&format!("{ARC}/hwmon/hwmon5/temp2_input"), "43000");
            tree.sys(&format!("{ARC}/tile0/gt0/gtidle/idle_residency_ms"), rest);
            tree.sys(&format!("{ARC}/tile0/gt0/freq0/act_freq"), "2400");
            let seen = tree.read(&mut sensor);
            let of = |metric, source| value(&seen, metric, "0000:03:00.0", source);
            assert_eq!(of("temperature_celsius", "measured"), Some(43.0));
            assert_eq!(of("clock_hertz", "measured"), Some(2.4e9));
            (
                of("energy_joules_total", "measured"),
                of("power_watts", "estimated"),
                of("utilisation_ratio", "estimated"),
            )
        };
        assert_eq!(second("50.00 1", "7000000", "100"), (Some(7.0), None, None));
        assert_eq!(second("52.00 1", "67000000", "600"), (Some(67.0), Some(30.0), Some(0.75)));
    }

    #[test]
    fn the_older_driver_has_its_files_with_the_card() {
        let tree = card("class/drm/card1", "i915", ARC, "active", &[("vendor", "0x8086"), ("device", "0x7d55")]);
        tree.sys("class/drm/card1/gt/gt0/rps_act_freq_mhz", "1150\n");
        tree.sys("class/drm/card1/gt_act_freq_mhz", "1100\n");
        let seen = tree.read(&mut FamilySensor::of(&FAMILY));
        assert_eq!(value(&seen, "clock_hertz", "0000:03:00.0", "measured"), Some(1.15e9));
        assert!(seen.has("dsmil_accelerator_info{accelerator=\"0000:03:00.0\",kind=\"gpu\",vendor=\"intel\",model=\"8086:7d55\",driver=\"i915\",pci=\"0000:03:00.0\",device=\"card1\"}"));
    }
}
