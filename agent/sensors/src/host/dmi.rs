//! What the firmware says of the machine: maker, model, version of the firmware; node_exporter's collector `dmi`.
//!
//! Format: the kernel's `Documentation/ABI/testing/sysfs-class-dmi`. Serial numbers and the machine's UUID are left out:
//! only root may read them, and they say who a machine is, not what.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading, label};
use crate::root::Root;
use crate::sensor::{Sensor, SensorError};
use dsmil_protocol::metric::Scale;

/// Files and their labels, in node_exporter's order. Which of them a machine has depends on its firmware.
const FILES: [(&str, &str); 16] = [
    ("bios_date", "bios_date"),
    ("bios_release", "bios_release"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("board_asset_tag", "board_asset_tag"),
    ("board_name", "board_name"),
    ("board_vendor", "board_vendor"),
    ("board_version", "board_version"),
    ("chassis_asset_tag", "chassis_asset_tag"),
    ("chassis_vendor", "chassis_vendor"),
    ("chassis_version", "chassis_version"),
    ("product_family", "product_family"),
    ("product_name", "product_name"),
    ("product_sku", "product_sku"),
    ("product_version", "product_version"),
    ("sys_vendor", "system_vendor"),
];

/// Reads `/sys/class/dmi/id`.
#[derive(Default)]
pub(crate) struct Dmi {
    device: Attributes,
    values: [Vec<u8>; FILES.len()],
}

impl Sensor for Dmi {
    fn name(&self) -> &'static str {
        "dmi"
    }

    fn source(&self) -> &'static str {
        "/sys/class/dmi/id"
    }

    /// The kernel keeps a copy of the firmware's tables.
    fn interval_s(&self) -> u16 {
        60
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        self.device.enter(&["class/dmi/id"]);
        let mut values = Vec::with_capacity(FILES.len());
        for ((file, name), buffer) in FILES.iter().zip(&mut self.values) {
            // An empty value is one too: the maker has left it so.
            if let Ok(value) = root.sys(self.device.path(file), buffer) {
                values.push((*name, label(value)));
            }
        }
        if !values.is_empty() {
            let labels: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, &**value)).collect();
            out.push("node_dmi_info", &labels, Form::gauge(Scale::ONE), Some(1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn the_machine_is_named_without_its_serial_number() {
        let tree = Tree::new();
        let seen = tree.read(&mut Dmi::default());
        assert_eq!((seen.error, seen.names().len()), (None, 0), "a board without such a firmware");
        tree.sys("class/dmi/id/sys_vendor", " Example\n");
        tree.sys("class/dmi/id/product_name", "Box \n");
        tree.sys("class/dmi/id/board_asset_tag", "\n");
        tree.sys("class/dmi/id/product_serial", "0001\n");
        let seen = tree.read(&mut Dmi::default());
        let info = "node_dmi_info{board_asset_tag=\"\",product_name=\"Box\",system_vendor=\"Example\"}";
        assert_eq!((seen.error, seen.names()), (None, vec![info]));
    }

    #[test]
    fn every_label_fits_into_a_metric() {
        let tree = Tree::new();
        FILES.iter().for_each(|(file, _)| tree.sys(&format!("class/dmi/id/{file}"), "x"));
        assert_eq!(tree.read(&mut Dmi::default()).names().len(), 1);
    }
}
