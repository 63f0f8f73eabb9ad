//! Which device a file below `/dev` belongs to, and whether it may be asked now.
//!
//! Format: `power/control`, `power/autosuspend_delay_ms` and `power/runtime_status` of the kernel's
//! `Documentation/ABI/testing/sysfs-devices-power`, `runtime_usage` of its `drivers/base/power/sysfs.c`. The kernel's core answers
//! them, no driver is asked.

use dsmil_sensors::root::Root;
use std::time::Duration;

/// What is added to the rest after which a device sleeps: it is to fall asleep before it is asked again.
const MARGIN: Duration = Duration::from_secs(2);

/// A name below /dev that belongs to a device: its class below /sys, and the name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node<'a> {
    pub(super) class: &'static str,
    pub(super) name: &'a str,
}

/// Where such names are in /dev and below /sys, and how they begin.
const CLASSES: [(&str, &str, &str); 3] = [
    ("/dev/dri/", "class/drm", "renderD"),
    ("/dev/dri/", "class/drm", "card"),
    ("/dev/accel/", "class/accel", "accel"),
];

impl<'a> Node<'a> {
    /// The one that a descriptor's link leads to.
    ///
    /// A container may have a card under another's name; then the wrong card's sleep is respected. Figures are not mistaken: they
    /// say themselves whose they are.
    pub(super) fn of_link(target: &'a [u8]) -> Option<Self> {
        let target = std::str::from_utf8(target).ok()?;
        CLASSES.iter().find_map(|(folder, class, prefix)| {
            let name = target.strip_prefix(folder)?;
            is_numbered(name, prefix).then_some(Self { class, name })
        })
    }
}

/// Whether this host has any such device.
pub(super) fn is_any(root: &Root) -> bool {
    CLASSES.iter().any(|(_, class, prefix)| {
        root.list_sys(class).is_ok_and(|names| names.iter().any(|name| is_numbered(name, prefix)))
    })
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    let number = name.strip_prefix(prefix).unwrap_or_default();
    (1..=8).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// A device, and when it may be asked.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Its directory below /sys, without links.
    directory: String,
    asked: Option<Duration>,
}

impl Place {
    /// The device of a node (`class/drm/renderD128`); nothing if it has gone.
    pub(super) fn of(root: &Root, node: &str) -> Option<Self> {
        let directory = root.resolve_sys(&format!("{node}/device")).ok()?;
        Some(Self { directory, asked: None })
    }

    /// Its name: the address on the PCI bus, or the platform's name of it. The sensors of accelerators call it the same.
    pub(super) fn id(&self) -> &str {
        self.directory.rsplit('/').next().unwrap_or_default()
    }

    /// Whether both are the same device.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.directory == other.directory
    }

    /// Whether it may be asked at this moment, and then it counts as asked: not while it sleeps, and not so often that our
    /// questions are what keeps it awake, unless it was found at work.
    pub(super) fn may_be_asked(&mut self, root: &Root, now: Duration, at_work: bool) -> bool {
        let mut buffer = Vec::new();
        let mut power = |file: &str| {
            let value = root.sys(&format!("{}/power/{file}", self.directory), &mut buffer).ok()?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        if !matches!(power("runtime_status").as_deref(), None | Some("active" | "unsupported")) {
            return false;
        }
        let may_sleep = power("control").as_deref() == Some("auto");
        let held = power("runtime_usage").and_then(|users| users.parse::<i64>().ok()).is_some_and(|users| users > 0);
        let rest = power("autosuspend_delay_ms").and_then(|rest| rest.parse().ok()).map(Duration::from_millis);
        if let (true, false, Some(rest), Some(asked)) = (may_sleep && !held, at_work, rest, self.asked)
            && now.saturating_sub(asked) < rest + MARGIN
        {
            return false;
        }
        self.asked = Some(now);
        true
    }
}
