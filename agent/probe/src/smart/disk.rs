//! Which disks there are, and whether one may be asked: looked up in /sys, where no driver is asked and no disk wakes.
//!
//! Format: the kernel's `Documentation/ABI/stable/sysfs-block`, `Documentation/block/stat.rst`,
//! `Documentation/ABI/testing/sysfs-devices-power`; of NVMe controllers `drivers/nvme/host/sysfs.c` (`transport`, `state`).

use dsmil_sensors::root::{Root, RootError};
use std::time::Duration;

pub(super) const NVME: &str = "class/nvme";
pub(super) const BLOCK: &str = "block";
/// Fields of `stat` that count finished requests: read, written, discarded.
const FINISHED: [usize; 3] = [0, 4, 11];

/// How smartctl is to talk to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    Nvme,
    /// An ATA disk at the kernel's own driver.
    Sat,
    /// A SAS disk, or one behind a USB bridge: smartctl finds out.
    Other,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// As smartctl_exporter names it: `sda`, `nvme0`.
    pub(super) name: String,
    /// What smartctl opens.
    pub(super) node: String,
    pub(super) interface: Interface,
    /// Its directory below /sys.
    place: String,
    is_rotating: bool,
}

/// What is known of a disk without asking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// It, or what it is attached to, sleeps or is about to.
    pub(super) is_asleep: bool,
    /// It is there and takes commands.
    pub(super) is_live: bool,
    /// After so much rest it falls asleep: who asks it more often keeps it awake.
    pub(super) falls_asleep_after: Option<Duration>,
    /// Requests that it has finished, where rest is something it could find: of a disk that rotates.
    pub(super) finished: Option<u64>,
}

/// All disks that can have something to say, `max` at most, and whether there are more: no RAM disks, loops, mappings of others,
/// disks of a virtual machine's host or of another machine, and nothing whose medium is taken out.
pub(super) fn list(root: &Root, max: usize) -> Result<(Vec<Disk>, bool), RootError> {
    let names = |folder| match root.list_sys(folder) {
        Err(RootError::Missing) => Ok(Vec::new()),
        listed => listed,
    };
    let (controllers, blocks) = (names(NVME)?, names(BLOCK)?);
    let nvme = controllers.iter().filter_map(|name| controller(root, name));
    let scsi = blocks.iter().filter_map(|name| scsi(root, name));
    let mut disks: Vec<Disk> = nvme.chain(scsi).take(max + 1).collect();
    let has_more = disks.len() > max;
    disks.truncate(max);
    Ok((disks, has_more))
}

/// The controller `nvme0`. One of another machine is that machine's to watch.
fn controller(root: &Root, name: &str) -> Option<Disk> {
    if number(name, "nvme").is_none() || word(root, &format!("{NVME}/{name}/transport"))? != "pcie" {
        return None;
    }
    // Its first namespace: unlike the controller itself, a user of the group disk may open it.
    let entries = root.list_sys(&format!("{NVME}/{name}")).unwrap_or_default();
    let namespace = entries.iter().find(|entry| number(entry, &format!("{name}n")).is_some());
    Some(Disk {
        name: name.to_owned(),
        node: format!("/dev/{}", namespace.map_or(name, String::as_str)),
        interface: Interface::Nvme,
        place: format!("{NVME}/{name}"),
        is_rotating: false,
    })
}

/// `sda`, of SATA, SAS or USB.
fn scsi(root: &Root, name: &str) -> Option<Disk> {
    let letters = name.strip_prefix("sd")?;
    if !(1..=8).contains(&letters.len()) || !letters.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let place = format!("{BLOCK}/{name}");
    let is = |file: &str, expected: &str| word(root, &format!("{place}/{file}")).is_some_and(|word| word == expected);
    if is("removable", "1") || is("size", "0") {
        return None;
    }
    let vendor = word(root, &format!("{place}/device/vendor"))?;
    let interface = if vendor == "ATA" { Interface::Sat } else { Interface::Other };
    let is_rotating = is("queue/rotational", "1");
    Some(Disk { name: name.to_owned(), node: format!("/dev/{name}"), interface, place, is_rotating })
}

/// The number that follows `prefix`, if nothing else does.
fn number(name: &str, prefix: &str) -> Option<u32> {
    let digits = name.strip_prefix(prefix)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn word(root: &Root, path: &str) -> Option<String> {
    let mut buffer = Vec::new();
    root.sys(path, &mut buffer).ok().map(|word| String::from_utf8_lossy(word).into_owned())
}

impl Disk {
    /// Looks at it without asking it.
    pub(super) fn look(&self, root: &Root) -> Look {
        let device = format!("{}/device", self.place);
        // Of a controller, `device` is what it is attached to; of a disk, itself.
        let mut here = root.resolve_sys(&device).unwrap_or_default();
        let mut look =
            Look { is_asleep: false, is_live: true, falls_asleep_after: None, finished: self.finished(root) };
        while !here.is_empty() {
            let power = |file: &str| word(root, &format!("{here}/power/{file}"));
            match power("runtime_status").as_deref() {
                Some("suspended" | "suspending" | "resuming") => look.is_asleep = true,
                Some("active") if power("control").as_deref() == Some("auto") => {
                    // Negative: it is not to sleep. Not to be read: it sleeps the moment it is idle, whoever asks.
                    let rest = power("autosuspend_delay_ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
                    look.falls_asleep_after = look.falls_asleep_after.max(rest);
                }
                _ => {}
            }
            here = here.rsplit_once('/').map(|(above, _)| above.to_owned()).unwrap_or_default();
        }
        let state = match self.interface {
            Interface::Nvme => word(root, &format!("{}/state", self.place)).is_none_or(|state| state == "live"),
            _ => word(root, &format!("{device}/state")).is_none_or(|state| state == "running"),
        };
        look.is_live = state;
        look
    }

    fn finished(&self, root: &Root) -> Option<u64> {
        let line = self.is_rotating.then(|| word(root, &format!("{}/stat", self.place))).flatten()?;
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let counts = FINISHED.iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok());
        Some(counts.fold(0, u64::wrapping_add))
    }
}
