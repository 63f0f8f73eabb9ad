//! What each kind of probe is there for: where it reads, what it may speak of, and whether a host has any of it.

use dsmil_protocol::probe::ProbeKind;
use dsmil_sensors::pci;
use dsmil_sensors::root::Root;

/// NVIDIA's number in PCI's list of vendors.
pub(super) const NVIDIA: u16 = 0x10de;
/// There while NVIDIA's driver is.
const NVIDIA_VERSION: &str = "module/nvidia/version";
/// The processors' energy counters.
const POWERCAP: &str = "class/powercap";
/// Where GPUs and NPUs are that the kernel's direct rendering manager drives.
const DRM: [&str; 2] = ["class/drm", "class/accel"];
/// Everything that is used as a disk.
const BLOCK: &str = "block";

/// How the names of a kind's metrics begin. A probe that was taken over is not to speak for the rest of the host.
pub const fn own_names(kind: ProbeKind) -> &'static [&'static str] {
    match kind {
        ProbeKind::Nvml => &["DCGM_FI_", "dsmil_gpu_", "dsmil_accelerator_"],
        ProbeKind::Rapl => &["node_rapl_"],
        ProbeKind::Kmsg => &["dsmil_kernel_", "dsmil_gpu_xid_", "DCGM_FI_DEV_XID_ERRORS"],
        ProbeKind::Fdinfo => &["dsmil_drm_"],
        ProbeKind::Smart => &["smartctl_", "dsmil_disk_health_"],
        ProbeKind::Systemd => &["node_systemd_"],
    }
}

/// Whether a disk of that name may tell of its health: one of SATA, SAS, USB or NVMe, and none that a virtual machine is given.
fn is_of_hardware(disk: &str) -> bool {
    disk.starts_with("sd") || disk.starts_with("nvme")
}

/// Where a kind reads, for whoever looks at the sensor of its name.
pub(super) const fn source(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Nvml => "dsmil-probe: NVIDIA's libnvidia-ml.so.1",
        ProbeKind::Rapl => "dsmil-probe: /sys/class/powercap",
        ProbeKind::Kmsg => "dsmil-probe: /dev/kmsg",
        ProbeKind::Fdinfo => "dsmil-probe: /proc/PID/fdinfo",
        ProbeKind::Smart => "dsmil-probe: disks, by smartctl",
        ProbeKind::Systemd => "dsmil-probe: systemd, by systemctl",
    }
}

/// Whether a host has anything that a probe of this kind could read.
pub fn is_of_use(kind: ProbeKind, root: &Root) -> bool {
    match kind {
        // Where no such card is on the bus, its driver drives one of another kind.
        ProbeKind::Nvml => {
            pci::cards(root, NVIDIA).is_ok_and(|cards| !cards.is_empty())
                || root.sys(NVIDIA_VERSION, &mut Vec::new()).is_ok()
        }
        ProbeKind::Rapl => root.list_sys(POWERCAP).is_ok_and(|zones| !zones.is_empty()),
        ProbeKind::Fdinfo => DRM.into_iter().any(|class| lists_a_device(root, class)),
        ProbeKind::Smart => root.list_sys(BLOCK).is_ok_and(|disks| disks.iter().any(|disk| is_of_hardware(disk))),
        ProbeKind::Kmsg => true,
        ProbeKind::Systemd => root.proc("1/comm", &mut Vec::new()).is_ok_and(|name| name == b"systemd\n"),
    }
}

/// Whether a class has devices; `version` is of the class itself.
fn lists_a_device(root: &Root, class: &str) -> bool {
    root.list_sys(class).is_ok_and(|names| names.iter().any(|name| name != "version"))
}
