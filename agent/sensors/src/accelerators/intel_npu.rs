//! Intel's NPUs, by the driver ivpu.
//!
//! Format: the kernel's `drivers/accel/ivpu/ivpu_sysfs.c`: `npu_busy_time_us` is a counter (6.11) that is not to be read more than once
//! a second, `npu_memory_utilization` bytes (6.15), `freq/current_freq` and the older `npu_current_frequency_mhz` MHz.

use super::derive::{How, WHOLE};
use super::family::{Ask, At, Family, number};
use super::schema::{AcceleratorKind, Quantity};
use dsmil_protocol::metric::Scale;

const BUSY: At = At::Device("npu_busy_time_us");
const MICRO: Scale = Scale::per(1_000_000);
const MEGA: Scale = Scale::times(1_000_000);

pub(super) const FAMILY: Family = Family {
    name: "intel_npu",
    source: "/sys/class/accel/accel*/device of the driver intel_vpu",
    class: "class/accel",
    prefix: "accel",
    drivers: &["intel_vpu"],
    kind: AcceleratorKind::Npu,
    vendor: "intel",
    model: None,
    figures: &[
        Ask {
            quantity: Quantity::Utilisation,
            at: BUSY,
            scale: Scale::per(WHOLE),
            how: How::Share { per_second: 1_000_000 },
        },
        number(Quantity::BusyTime, BUSY, MICRO),
        number(Quantity::MemoryUsed, At::Device("npu_memory_utilization"), Scale::ONE),
        number(Quantity::Clock, At::Device("freq/current_freq"), MEGA),
        number(Quantity::Clock, At::Device("npu_current_frequency_mhz"), MEGA),
    ],
    own: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerators::family::FamilySensor;
    use crate::accelerators::tests::{card, value};
    use crate::tree::Tree;

    const NPU: &str = "devices/pci0000:00/0000:00:0b.0";

    fn npu(status: &str) -> Tree {
        let files = [
            ("vendor", "0x8086"),
            ("device", "0x7d1d"),
            ("npu_busy_time_us", "1000000"),
            ("npu_memory_utilization", "4096"),
        ];
        let tree = card("class/accel/accel0", "intel_vpu", NPU, status, &files);
        tree.sys(&format!("{NPU}/npu_current_frequency_mhz"), "1400\n");
        tree
    }

    #[test]
    fn its_work_is_a_counter_and_a_share() {
        let tree = npu("active");
        let mut sensor = FamilySensor::of(&FAMILY);
        tree.proc("uptime", "10.00 1\n");
        tree.read(&mut sensor);
        tree.proc("uptime", "11.00 1\n");
        tree.sys(&format!("{NPU}/npu_busy_time_us"), "1400000\n");
        let seen = tree.read(&mut sensor);
        let of = |metric, source| value(&seen, metric, "0000:00:0b.0", source);
        assert_eq!(of("busy_seconds_total", "measured"), Some(1.4));
        assert_eq!(of("utilisation_ratio", "estimated"), Some(0.4));
        assert_eq!(of("memory_used_bytes", "measured"), Some(4096.0));
        assert_eq!(of("clock_hertz", "measured"), Some(1.4e9));
        assert_eq!(of("state", "active"), Some(1.0));
    }

    #[test]
    fn one_at_work_is_asked_each_second_and_one_at_rest_so_that_it_can_sleep() {
        let tree = npu("active");
        for (file, text) in [("control", "auto"), ("runtime_usage", "0"), ("autosuspend_delay_ms", "10")] {
            tree.sys(&format!("{NPU}/power/{file}"), &format!("{text}\n"));
        }
        let mut sensor = FamilySensor::of(&FAMILY);
        let mut asked = |second: u32, busy: u32| {
            tree.proc("uptime", &format!("{second}.00 1\n"));
            tree.sys(&format!("{NPU}/npu_busy_time_us"), &format!("{busy}\n"));
            value(&tree.read(&mut sensor), "busy_seconds_total", "0000:00:0b.0", "measured").is_some()
        };
        // A rest of ten milliseconds and two seconds: every third second.
        let idle: Vec<bool> = (0..6).map(|second| asked(second, 0)).collect();
        assert_eq!(idle, [true, false, false, true, false, false]);
        let busy: Vec<bool> = (6..10).map(|second| asked(second, second * 500_000)).collect();
        assert_eq!(busy, [true; 4]);
    }
}
