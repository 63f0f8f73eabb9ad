//! Google's Coral on PCI Express, by the driver apex.
//!
//! Format: `src/apex_driver.c` of Google's gasket-driver, which is outside of the kernel's tree: `temp` is in thousandths of a degree.

use super::family::{At, Family, number};
use super::schema::{AcceleratorKind, Quantity};
use dsmil_protocol::metric::Scale;

pub(super) const FAMILY: Family = Family {
    name: "coral",
    source: "/sys/class/apex/apex_*",
    class: "class/apex",
    prefix: "apex_",
    drivers: &["apex"],
    kind: AcceleratorKind::Tpu,
    vendor: "google",
    model: None,
    figures: &[number(Quantity::Temperature, At::Listed("temp"), Scale::per(1000))],
    own: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerators::family::FamilySensor;
    use crate::accelerators::tests::{card, value};

    #[test]
    fn its_temperature_is_below_the_class() {
        let files = [("vendor", "0x1ac1"), ("device", "0x089a")];
        let tree = card("class/apex/apex_0", "apex", "devices/pci0000:00/0000:01:00.0", "active", &files);
        tree.sys("class/apex/apex_0/temp", "45550\n");
        let seen = tree.read(&mut FamilySensor::of(&FAMILY));
        assert_eq!(value(&seen, "temperature_celsius", "0000:01:00.0", "measured"), Some(45.55));
    }
}
