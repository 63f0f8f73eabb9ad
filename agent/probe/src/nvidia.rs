//! What is known of NVIDIA's GPUs without their driver and their library: which there are, and the labels that dcgm-exporter has for them.
//!
//! The kernel's log names a GPU by its place on the bus, and must be read while the driver hangs; dashboards choose GPUs by number
//! and host. So the number is worked out as the library does: in the order of the bus.

use dsmil_protocol::probe::PciAddress;
use dsmil_sensors::pci;
use dsmil_sensors::root::Root;

/// NVIDIA's number in PCI's list of vendors.
pub(crate) const VENDOR: u16 = 0x10de;
/// NVIDIA's own driver.
const DRIVER: &str = "nvidia";

/// The GPUs that NVIDIA's driver drives, in the order of the bus. Of cards with another driver, or handed on to a virtual machine,
/// others speak.
pub(crate) fn gpus(root: &Root) -> Vec<PciAddress> {
    let mut gpus = pci::cards(root, VENDOR).unwrap_or_default();
    gpus.retain(|gpu| pci::driver(root, *gpu).as_deref() == Some(DRIVER) && !is_virtual(root, *gpu));
    gpus
}

/// A part of a GPU that a virtual machine may get (SR-IOV): it has the driver's name and no number.
fn is_virtual(root: &Root, gpu: PciAddress) -> bool {
    root.resolve_sys(&format!("bus/pci/devices/{gpu}/physfn")).is_ok()
}

/// How NVIDIA's library and dcgm-exporter write a place on the bus: `00000000:3B:00.0`.
pub(crate) fn bus_id(gpu: PciAddress) -> String {
    let PciAddress { domain, bus, device, function } = gpu;
    format!("{domain:08X}:{bus:02X}:{device:02X}.{function:X}")
}

/// How the host calls itself, dcgm-exporter's label `Hostname`; nothing where the kernel does not say.
pub(crate) fn host_name(root: &Root) -> String {
    let mut buffer = Vec::new();
    let name = root.proc("sys/kernel/hostname", &mut buffer).unwrap_or_default();
    String::from_utf8_lossy(name.trim_ascii()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_sensors::tree::Tree;

    #[test]
    fn gpus_are_those_of_nvidias_driver_as_its_library_numbers_them() {
        let tree = Tree::new();
        assert_eq!((gpus(&tree.root()), host_name(&tree.root())), (Vec::new(), String::new()));
        for driver in ["nvidia", "vfio-pci"] {
            tree.sys(&format!("bus/pci/drivers/{driver}/bind"), "");
        }
        for (place, driver) in [
            ("0000:3b:00.0", "nvidia"),
            ("0000:3b:00.4", "nvidia"),
            ("0000:1a:00.0", "vfio-pci"),
            ("0000:1b:00.0", "nvidia"),
        ] {
            let card = format!("bus/pci/devices/{place}");
            tree.sys(&format!("{card}/vendor"), "0x10de\n");
            tree.sys(&format!("{card}/class"), "0x030200\n");
            tree.link(&format!("sys/{card}/driver"), &format!("../../drivers/{driver}"));
        }
        tree.link("sys/bus/pci/devices/0000:3b:00.4/physfn", "../0000:3b:00.0");
        tree.proc("sys/kernel/hostname", "gpu-7\n");
        let shown: Vec<_> = gpus(&tree.root()).into_iter().map(bus_id).collect();
        assert_eq!(shown, ["00000000:1B:00.0", "00000000:3B:00.0"]);
        assert_eq!(host_name(&tree.root()), "gpu-7");
    }
}
