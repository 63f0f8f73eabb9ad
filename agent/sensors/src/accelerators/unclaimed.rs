//! Accelerators on the PCI bus that no driver family here speaks for: without a driver, or with one that tells nothing. Nobody would
//! know that they are there.
//!
//! Format: the kernel's `Documentation/ABI/testing/sysfs-bus-pci`; classes and vendors are those of the PCI code and id assignment
//! specification.

use super::FAMILIES;
use super::schema::{Accelerator, AcceleratorKind, AcceleratorState, push};
use crate::attributes::Attributes;
use crate::pci::{Presence, presence};
use crate::reading::Reading;
use crate::root::{Root, RootError};
use crate::runtime_pm::{Gate, Power};
use crate::sensor::{Sensor, SensorError};
use dsmil_protocol::probe::PciAddress;
use std::collections::BTreeMap;

const DEVICES: &str = "bus/pci/devices";
/// Devices that are remembered: 16 GPUs in the largest servers.
const MAX_DEVICES: usize = 64;
/// Classes: displays, processing accelerators, and other peripherals of the system.
const DISPLAY: &[u8] = b"0x03";
const PROCESSING: &[u8] = b"0x12";
const PERIPHERAL: &[u8] = b"0x0880";
/// Who makes accelerators. A display controller of another vendor is one (a board's, a virtual machine's).
const VENDORS: [(&str, &str); 4] = [("0x10de", "nvidia"), ("0x1002", "amd"), ("0x1022", "amd"), ("0x8086", "intel")];
/// Coral calls itself a system peripheral.
const CORAL: (&str, &str) = ("0x1ac1", "0x089a");
/// NVIDIA's own driver: a probe speaks for these.
const PROBED: &str = "nvidia";
/// The driver that hands a device on to a virtual machine, whose it is then: it is not to be asked anything.
const HANDED_ON: &str = "vfio-pci";

/// Reads `/sys/bus/pci/devices`.
#[derive(Default)]
pub(super) struct Unclaimed {
    /// Those that were seen in this boot and not claimed since.
    seen: BTreeMap<PciAddress, Card>,
    /// Everything on the bus at the last look, and what of it may be an accelerator: a server has hundreds of devices that are none.
    listed: Vec<String>,
    candidates: Vec<String>,
    files: Attributes,
}

/// An accelerator on the bus.
struct Card {
    kind: AcceleratorKind,
    vendor: &'static str,
    model: String,
    driver: String,
    removable: bool,
}

impl Sensor for Unclaimed {
    fn name(&self) -> &'static str {
        "accelerator_pci"
    }

    fn source(&self) -> &'static str {
        "/sys/bus/pci/devices"
    }

    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(DEVICES) {
            Err(RootError::Missing) => Vec::new(), // A machine without such a bus.
            listed => listed.map_err(SensorError::at(DEVICES))?,
        };
        if names != self.listed {
            self.candidates = names.iter().filter(|name| may_be_one(root, name, &mut self.files)).cloned().collect();
            self.listed = names;
        }
        let mut gone = std::mem::take(&mut self.seen);
        for (name, address) in self.candidates.iter().filter_map(|name| Some((name, name.parse().ok()?))) {
            gone.remove(&address);
            if let Some(card) = Card::find(root, name, &mut self.files)
                && self.seen.len() < MAX_DEVICES
            {
                card.push(address, card.state(root, address), out);
                self.seen.insert(address, card);
            }
        }
        // Pulled out, or fallen off.
        for (address, card) in gone.into_iter().filter(|(_, card)| !card.removable) {
            card.push(address, AcceleratorState::Lost, out);
            self.seen.insert(address, card);
        }
        Ok(())
    }
}

/// Whether a device's class is one of those that accelerators have.
fn may_be_one(root: &Root, name: &str, files: &mut Attributes) -> bool {
    files.enter(&[DEVICES, "/", name]);
    let class = files.bytes(root, "class").unwrap_or_default();
    [DISPLAY, PROCESSING, PERIPHERAL].iter().any(|one| class.starts_with(one))
}

impl Card {
    /// The device of this name, if it is an accelerator that nobody else speaks for. No driver is asked.
    fn find(root: &Root, name: &str, files: &mut Attributes) -> Option<Self> {
        files.enter(&[DEVICES, "/", name]);
        let class = files.bytes(root, "class")?;
        let (display, processing) = (class.starts_with(DISPLAY), class.starts_with(PROCESSING));
        let vendor = files.text(root, "vendor")?.into_owned();
        let device = files.text(root, "device")?.into_owned();
        let of = VENDORS.iter().find(|(number, _)| *number == vendor).map(|(_, name)| *name);
        let (kind, vendor_name) = match of {
            _ if (vendor.as_str(), device.as_str()) == CORAL => (AcceleratorKind::Tpu, "google"),
            Some(name) if display => (AcceleratorKind::Gpu, name),
            of if processing => (AcceleratorKind::Npu, of.unwrap_or("")),
            _ => return None,
        };
        let driver = root.resolve_sys(&format!("{DEVICES}/{name}/driver")).unwrap_or_default();
        let driver = driver.rsplit('/').next().unwrap_or("").to_owned();
        if driver == PROBED || FAMILIES.iter().any(|family| family.drivers.contains(&driver.as_str())) {
            return None;
        }
        let number = |text: &str| text.trim_start_matches("0x").to_owned();
        let model = format!("{}:{}", number(&vendor), number(&device));
        let removable = files.text(root, "removable").as_deref() == Some("removable");
        Some(Self { kind, vendor: vendor_name, model, driver, removable })
    }

    /// What can be told without a driver: that it sleeps, that it does not answer any more, or nothing.
    fn state(&self, root: &Root, address: PciAddress) -> AcceleratorState {
        let power = Gate::before(&[DEVICES, "/", &address.to_string()]).look(root, true).power;
        match power {
            Power::Asleep => AcceleratorState::Suspended,
            Power::Failed => AcceleratorState::Unknown,
            Power::Awake if self.driver == HANDED_ON => AcceleratorState::Unknown,
            Power::Awake if presence(root, address) == Presence::Silent => AcceleratorState::Lost,
            Power::Awake => AcceleratorState::Unknown,
        }
    }

    fn push(&self, address: PciAddress, state: AcceleratorState, out: &mut Reading) {
        let address = address.to_string();
        let accelerator = Accelerator {
            accelerator: &address,
            kind: self.kind,
            vendor: self.vendor,
            model: &self.model,
            driver: &self.driver,
            pci: &address,
            device: "",
        };
        push(out, &accelerator, state, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerators::tests::{drive, value};
    use crate::tree::Tree;

    fn device(tree: &Tree, address: &str, vendor: &str, class: &str, status: &str) {
        for (file, text) in
            [("vendor", vendor), ("device", "0x1eb8"), ("class", class), ("power/runtime_status", status)]
        {
            tree.sys(&format!("{DEVICES}/{address}/{file}"), &format!("{text}\n"));
        }
    }

    #[test]
    fn whoever_has_no_voice_is_named() {
        let tree = Tree::new();
        let mut sensor = Unclaimed::default();
        assert!(tree.read(&mut sensor).names().is_empty());
        device(&tree, "0000:01:00.0", "0x10de", "0x030200", "active");
        device(&tree, "0000:02:00.0", "0x10de", "0x030200", "suspended");
        device(&tree, "0000:03:00.0", "0x1da3", "0x120000", "active"); // Of a maker that nobody here knows.
        device(&tree, "0000:04:00.0", "0x10de", "0x040300", "active"); // Sound.
        device(&tree, "0000:05:00.0", "0x1a03", "0x030000", "active"); // A board's display.
        device(&tree, "0000:06:00.0", "0x10de", "0x030000", "active");
        device(&tree, "0000:07:00.0", "0x1002", "0x030000", "active");
        drive(&tree, &format!("{DEVICES}/0000:06:00.0"), "nvidia");
        drive(&tree, &format!("{DEVICES}/0000:07:00.0"), "amdgpu");
        tree.file(&format!("sys/{DEVICES}/0000:02:00.0/config"), &[0xFF; 64]);
        let seen = tree.read(&mut sensor);
        assert_eq!(seen.error, None);
        assert_eq!(seen.names().len(), 3 * 5, "{:?}", seen.names());
        assert_eq!(value(&seen, "state", "0000:01:00.0", "unknown"), Some(1.0));
        assert_eq!(value(&seen, "state", "0000:02:00.0", "suspended"), Some(1.0), "asleep, and so not asked");
        assert_eq!(value(&seen, "state", "0000:03:00.0", "unknown"), Some(1.0));
    }

    #[test]
    fn whoever_falls_off_the_bus_is_lost_until_it_is_back_or_claimed() {
        let tree = Tree::new();
        device(&tree, "0000:01:00.0", "0x10de", "0x030200", "active");
        device(&tree, "0000:02:00.0", "0x10de", "0x030200", "active");
        tree.sys(&format!("{DEVICES}/0000:02:00.0/removable"), "removable\n");
        let mut sensor = Unclaimed::default();
        tree.read(&mut sensor);
        for address in ["0000:01:00.0", "0000:02:00.0"] {
            std::fs::remove_dir_all(tree.path().join("sys").join(DEVICES).join(address)).expect("the device");
        }
        for _ in 0..2 {
            let seen = tree.read(&mut sensor);
            assert_eq!(value(&seen, "state", "0000:01:00.0", "lost"), Some(1.0));
            assert_eq!(seen.names().len(), 5, "an external one was unplugged");
        }
        device(&tree, "0000:01:00.0", "0x10de", "0x030200", "active");
        tree.file(&format!("sys/{DEVICES}/0000:01:00.0/config"), &[0xFF; 64]);
        assert_eq!(value(&tree.read(&mut sensor), "state", "0000:01:00.0", "lost"), Some(1.0), "listed and silent");
        tree.file(&format!("sys/{DEVICES}/0000:01:00.0/config"), &[0xDE, 0x10]);
        assert_eq!(value(&tree.read(&mut sensor), "state", "0000:01:00.0", "lost"), Some(0.0));
        drive(&tree, &format!("{DEVICES}/0000:01:00.0"), "nvidia");
        assert!(tree.read(&mut sensor).names().is_empty(), "the probe speaks for it");
    }
}
