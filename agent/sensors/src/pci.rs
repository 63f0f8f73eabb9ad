//! Devices on the PCI bus, as the kernel's core sees them: no driver is asked.
//!
//! Format: the kernel's `Documentation/ABI/testing/sysfs-bus-pci` and `Documentation/PCI/sysfs-pci.rst`. `vendor` and `class` are what
//! the kernel read when it found the device; `config` asks the device itself, and one that has fallen off the bus answers with
//! ones only (PCI Express Base Specification, "Completion Status": an unsupported request reads as all ones).

use crate::root::{Root, RootError};
use dsmil_protocol::probe::PciAddress;

const DEVICES: &str = "bus/pci/devices";
/// The class of displays and of the accelerators beside them (`0x0302`, 3D controller), without subclass and interface.
const DISPLAY: &[u8] = b"0x03";
/// What a vendor's number reads as where nobody answers.
const NOBODY: [u8; 2] = [0xFF, 0xFF];

/// Whether a device is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It answers on the bus.
    Answers,
    /// The kernel lists it, and it does not answer.
    Silent,
    /// The kernel does not list it.
    Gone,
}

/// The graphics cards and accelerators of a vendor, by its number in PCI's list of vendors.
pub fn cards(root: &Root, vendor: u16) -> Result<Vec<PciAddress>, RootError> {
    let names = match root.list_sys(DEVICES) {
        Err(RootError::Missing) => return Ok(Vec::new()), // A machine without such a bus.
        listed => listed?,
    };
    let (mut buffer, vendor) = (Vec::new(), format!("{vendor:#06x}"));
    let mut is = |name: &str, file: &str, start: &[u8]| {
        root.sys(&format!("{DEVICES}/{name}/{file}"), &mut buffer).is_ok_and(|value| value.starts_with(start))
    };
    let cards = names.iter().filter(|name| is(name, "vendor", vendor.as_bytes()) && is(name, "class", DISPLAY));
    Ok(cards.filter_map(|name| name.parse().ok()).collect())
}

/// Whether the kernel lists a device. The device is not asked.
pub fn is_listed(root: &Root, device: PciAddress) -> bool {
    let mut buffer = Vec::new();
    !matches!(root.sys(&format!("{DEVICES}/{device}/vendor"), &mut buffer), Err(RootError::Missing))
}

/// Whether a device is there. This asks the device, and wakes one that sleeps deeply: ask about one that is in trouble only.
pub fn presence(root: &Root, device: PciAddress) -> Presence {
    let mut buffer = Vec::new();
    match root.sys(&format!("{DEVICES}/{device}/config"), &mut buffer) {
        Ok(config) if config.starts_with(&NOBODY) => Presence::Silent,
        Err(RootError::Missing) => Presence::Gone,
        // Whether it answers cannot be told without the right to read it, and then nothing is claimed.
        Ok(_) | Err(_) => Presence::Answers,
    }
}

/// The driver that a device is bound to.
pub fn driver(root: &Root, device: PciAddress) -> Option<String> {
    let place = root.resolve_sys(&format!("{DEVICES}/{device}/driver")).ok()?;
    place.rsplit('/').next().map(str::to_owned)
}

/// An attribute of a device's power management: `runtime_status`, `control`.
pub fn power(root: &Root, device: PciAddress, file: &str) -> Option<String> {
    let mut buffer = Vec::new();
    let value = root.sys(&format!("{DEVICES}/{device}/power/{file}"), &mut buffer).ok()?;
    Some(String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn cards_are_told_from_what_else_is_on_the_bus() {
        let tree = Tree::new();
        assert_eq!(cards(&tree.root(), 0x10de), Ok(Vec::new()), "no bus");
        let devices = [
            ("0000:01:00.0", "0x10de", "0x030000"),
            ("0000:01:00.1", "0x10de", "0x040300"), // The sound of a screen.
            ("0000:3b:00.0", "0x10de", "0x030200"),
            ("0000:00:02.0", "0x8086", "0x030000"),
            ("nonsense", "0x10de", "0x030000"),
        ];
        for (name, vendor, class) in devices {
            tree.sys(&format!("bus/pci/devices/{name}/vendor"), &format!("{vendor}\n"));
            tree.sys(&format!("bus/pci/devices/{name}/class"), &format!("{class}\n"));
        }
        let found: Vec<String> = cards(&tree.root(), 0x10de).expect("a list").iter().map(ToString::to_string).collect();
        assert_eq!(found, ["0000:01:00.0", "0000:3b:00.0"]);
    }

    #[test]
    fn who_has_fallen_off_the_bus_answers_with_ones() {
        let tree = Tree::new();
        let device: PciAddress = "0000:01:00.0".parse().expect("an address");
        assert_eq!(presence(&tree.root(), device), Presence::Gone);
        assert!(!is_listed(&tree.root(), device));
        tree.sys("bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
        assert!(is_listed(&tree.root(), device));
        tree.file("sys/bus/pci/devices/0000:01:00.0/config", &[0xFF; 64]);
        assert_eq!(presence(&tree.root(), device), Presence::Silent);
        tree.file("sys/bus/pci/devices/0000:01:00.0/config", &[0xDE, 0x10, 0, 0]);
        assert_eq!(presence(&tree.root(), device), Presence::Answers);
        tree.sys("bus/pci/drivers/nvidia/module/version", "1\n");
        tree.link("sys/bus/pci/devices/0000:01:00.0/driver", "../../drivers/nvidia");
        assert_eq!(driver(&tree.root(), device).as_deref(), Some("nvidia"));
        assert_eq!(power(&tree.root(), device, "control"), None);
        tree.sys("bus/pci/devices/0000:01:00.0/power/control", "auto\n");
        assert_eq!(power(&tree.root(), device, "control").as_deref(), Some("auto"));
    }
}
