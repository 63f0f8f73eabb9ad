//! Whether a device may be asked now: reading must neither wake a device that sleeps nor keep one from falling asleep.
//!
//! Format: `power/control`, `power/autosuspend_delay_ms` and `power/runtime_status` of the kernel's
//! `Documentation/ABI/testing/sysfs-devices-power`, and `power/runtime_usage` of its `drivers/base/power/sysfs.c`. All of them are
//! answered by the kernel's core: no driver is asked.
//!
//! A driver that is asked for a figure wakes its device first. And it counts the device's rest from anew: one that sleeps after five
//! idle seconds and is asked once a second never sleeps. So a device that nothing but the questions keeps awake is asked in one
//! second out of a period that is longer than its rest. The period is counted from boot: whoever else asks, as another sensor for
//! the same device, asks in the same second.

use crate::attributes::Attributes;
use crate::root::Root;
use crate::since_boot::SinceBoot;

/// Seconds by which the period between two questions is longer than the rest after which the device sleeps.
const MARGIN_S: u64 = 2;

/// What the kernel's runtime power management says of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// It is awake, or is of a kind that never sleeps.
    Awake,
    /// It sleeps, is about to, or is being woken for somebody else.
    Asleep,
    /// Its last change of state failed: nobody knows what it would answer.
    Failed,
}

/// What is to be done about a device at this tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// What it is in.
    pub(crate) power: Power,
    /// Whether its driver may be asked.
    pub(crate) ask: bool,
}

/// Looks at one device's power state before its driver is asked anything.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    files: Attributes,
    time: SinceBoot,
}

impl Gate {
    /// The gate before the device whose directory below /sys `parts` make.
    pub(crate) fn before(parts: &[&str]) -> Self {
        let mut gate = Self::default();
        let mut power = parts.to_vec();
        power.push("/power");
        gate.files.enter(&power);
        gate
    }

    /// Whether the device takes part in runtime power management at all.
    pub(crate) fn is_managed(&mut self, root: &Root) -> bool {
        self.files.bytes(root, "runtime_status").is_some_and(|status| status != b"unsupported")
    }

    /// Looks. `at_work` says that the device was found working the last time it was asked, so that it is awake for its work and not
    /// for the questions.
    pub(crate) fn look(&mut self, root: &Root, at_work: bool) -> Look {
        let power = match self.files.bytes(root, "runtime_status") {
            // No such file: a kernel without power management, under which nothing sleeps.
            None | Some(b"active" | b"unsupported") => Power::Awake,
            Some(b"error") => Power::Failed,
            Some(_) => Power::Asleep,
        };
        let ask = power == Power::Awake && (at_work || !self.would_disturb(root));
        Look { power, ask }
    }

    /// Whether a question now could be what keeps the device awake.
    fn would_disturb(&mut self, root: &Root) -> bool {
        if self.files.bytes(root, "control") != Some(b"auto".as_slice()) {
            return false; // It is not allowed to sleep.
        }
        if self.files.unsigned(root, "runtime_usage").is_some_and(|users| users > 0) {
            return false; // Somebody holds it awake: a display, a job, another program.
        }
        // Unreadable (EIO) where a device sleeps the moment it is idle: no question keeps that one awake. Negative: it is not to sleep.
        let Some(rest_ms) = self.files.unsigned(root, "autosuspend_delay_ms") else { return false };
        let period_s = rest_ms.div_ceil(1000) + MARGIN_S;
        self.time.read(root).is_none_or(|now| now.as_secs() % period_s != 0)
    }
}

/// The directory, below /sys, of the device whose power state decides over `device` (a path without links): itself or the nearest
/// one above it that takes part in power management.
///
/// The search ends at an I2C or SPI adapter: such a one sleeps between any two transfers, and nothing behind it sleeps with it.
pub(crate) fn managed_above(root: &Root, device: &str) -> Option<String> {
    let mut here = device;
    loop {
        if is_adapter(here.rsplit('/').next().unwrap_or(here)) {
            return None;
        }
        if Gate::before(&[here]).is_managed(root) {
            return Some(here.to_owned());
        }
        here = here.rsplit_once('/')?.0;
    }
}

/// `i2c-7`, `spi0`
fn is_adapter(name: &str) -> bool {
    let number = name.strip_prefix("i2c-").or_else(|| name.strip_prefix("spi"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    const CARD: &str = "devices/pci0000:00/0000:03:00.0";

    fn card(status: &str, control: &str, usage: &str, rest: &str) -> Tree {
        let tree = Tree::new();
        for (file, text) in
            [("runtime_status", status), ("control", control), ("runtime_usage", usage), ("autosuspend_delay_ms", rest)]
        {
            if !text.is_empty() {
                tree.sys(&format!("{CARD}/power/{file}"), &format!("{text}\n"));
            }
        }
        tree
    }

    fn look(tree: &Tree, at_work: bool) -> (Power, bool) {
        let look = Gate::before(&[CARD]).look(&tree.root(), at_work);
        (look.power, look.ask)
    }

    #[test]
    fn who_sleeps_is_left_asleep() {
        for asleep in ["suspended", "suspending", "resuming", "something new"] {
            assert_eq!(look(&card(asleep, "auto", "0", "5000"), true), (Power::Asleep, false), "{asleep}");
        }
        assert_eq!(look(&card("error", "auto", "0", "5000"), true), (Power::Failed, false));
        for awake in ["unsupported", ""] {
            assert_eq!(look(&card(awake, "", "", ""), false), (Power::Awake, true), "{awake}");
        }
    }

    #[test]
    fn who_could_fall_asleep_is_asked_rarely_enough_to_do_so() {
        let tree = card("active", "auto", "0", "5000");
        assert_eq!(look(&tree, false), (Power::Awake, false), "nobody tells the time");
        let asked: Vec<u32> = (100..130)
            .filter(|second| {
                tree.proc("uptime", &format!("{second}.90 1.00\n"));
                look(&tree, false).1
            })
            .collect();
        assert_eq!(asked, [105, 112, 119, 126], "five seconds of rest, and two more");
    }

    #[test]
    fn who_is_awake_for_another_reason_is_asked_each_time() {
        assert_eq!(look(&card("active", "on", "0", "5000"), false), (Power::Awake, true), "not allowed to sleep");
        assert_eq!(look(&card("active", "auto", "1", "5000"), false), (Power::Awake, true), "held by a display");
        assert_eq!(look(&card("active", "auto", "0", ""), false), (Power::Awake, true), "sleeps at once");
        assert_eq!(look(&card("active", "auto", "0", "-1"), false), (Power::Awake, true), "told not to sleep");
        assert_eq!(look(&card("active", "auto", "0", "5000"), true), (Power::Awake, true), "at work");
    }

    #[test]
    fn the_one_who_decides_is_the_nearest_that_sleeps() {
        let tree = card("active", "auto", "0", "");
        tree.sys("devices/pci0000:00/power/runtime_status", "suspended\n");
        tree.sys(&format!("{CARD}/nvme/nvme0/power/runtime_status"), "unsupported\n");
        tree.sys("devices/platform/i2c.0/power/runtime_status", "suspended\n");
        let above = |device: &str| managed_above(&tree.root(), device);
        assert_eq!(above(&format!("{CARD}/nvme/nvme0")).as_deref(), Some(CARD));
        assert_eq!(above("devices/platform/i2c.0/i2c-1/1-0048"), None, "an adapter sleeps between transfers");
        assert_eq!(above("devices/platform/coretemp.0"), None);
    }
}
