//! Rockchip's NPUs, by the driver of its own kernels. What they work is told to root only (`/sys/kernel/debug`): without that right
//! there is no utilisation.
//!
//! Format: the kernel's `Documentation/ABI/testing/sysfs-class-devfreq` (`cur_freq`: Hz), and `drivers/rknpu/rknpu_debugger.c` of
//! Rockchip's kernel (`load`: a percentage for each core).

use super::derive::{How, WHOLE};
use super::family::{Ask, At, Family, number};
use super::schema::{AcceleratorKind, Quantity};
use dsmil_protocol::metric::Scale;

pub(super) const FAMILY: Family = Family {
    name: "rockchip",
    source: "/sys/class/devfreq of the driver RKNPU, /sys/kernel/debug/rknpu/load",
    class: "class/devfreq",
    prefix: "",
    drivers: &["RKNPU", "rknpu"],
    kind: AcceleratorKind::Npu,
    vendor: "rockchip",
    model: None,
    figures: &[
        Ask {
            quantity: Quantity::Utilisation,
            at: At::Sys("kernel/debug/rknpu/load"),
            scale: Scale::per(WHOLE),
            how: How::Percentages,
        },
        number(Quantity::Clock, At::Listed("cur_freq"), Scale::ONE),
    ],
    own: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerators::family::FamilySensor;
    use crate::accelerators::tests::{card, value};

    #[test]
    fn its_cores_are_one_figure_and_a_gpu_is_not_it() {
        let tree = card("class/devfreq/fdab0000.npu", "RKNPU", "devices/platform/fdab0000.npu", "active", &[]);
        tree.sys("class/devfreq/fdab0000.npu/cur_freq", "1000000000\n");
        tree.sys("class/devfreq/dmc/cur_freq", "528000000\n");
        let mut sensor = FamilySensor::of(&FAMILY);
        let seen = tree.read(&mut sensor);
        assert_eq!(value(&seen, "clock_hertz", "fdab0000.npu", "measured"), Some(1e9));
        assert!(seen.names().iter().all(|name| !name.contains("utilisation") && !name.contains("dmc")));
        tree.sys("kernel/debug/rknpu/load", "NPU load:  Core0: 60%, Core1: 30%, Core2:  0%,\n");
        let seen = tree.read(&mut FamilySensor::of(&FAMILY));
        assert_eq!(value(&seen, "utilisation_ratio", "fdab0000.npu", "measured"), Some(0.3));
    }
}
