//! The hardware's watchdogs: whether they are armed, and what they have done; node_exporter's collector `watchdog`, since its release
//! 1.6.
//!
//! Format: the kernel's `Documentation/ABI/testing/sysfs-class-watchdog`. Reading does not feed the dog.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use dsmil_protocol::metric::Scale;
use std::borrow::Cow;

const CLASS: &str = "class/watchdog";
/// Watchdogs that are read: one by the chipset, one by the board's controller, one by software.
const MAX_WATCHDOGS: usize = 16;
const NUMBER: Form = Form::signed_gauge(Scale::ONE);
const NUMBERS: [(&str, &str); 7] = [
    ("bootstatus", "node_watchdog_bootstatus"),
    ("fw_version", "node_watchdog_fw_version"),
    ("nowayout", "node_watchdog_nowayout"),
    ("timeleft", "node_watchdog_timeleft_seconds"),
    ("timeout", "node_watchdog_timeout_seconds"),
    ("pretimeout", "node_watchdog_pretimeout_seconds"),
    ("access_cs0", "node_watchdog_access_cs0"),
];
const WORDS: [&str; 5] = ["options", "identity", "state", "status", "pretimeout_governor"];

/// Reads `/sys/class/watchdog`.
#[derive(Default)]
pub(crate) struct Watchdog {
    files: Attributes,
}

impl Sensor for Watchdog {
    fn name(&self) -> &'static str {
        "watchdog"
    }

    fn source(&self) -> &'static str {
        "/sys/class/watchdog"
    }

    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(CLASS) {
            Err(RootError::Missing) => return Ok(()), // Nobody watches here.
            listed => listed.map_err(SensorError::at(CLASS))?,
        };
        for name in names.iter().take(MAX_WATCHDOGS) {
            self.files.enter(&[CLASS, "/", name]);
            for (file, metric) in NUMBERS {
                if let Some(number) = self.files.signed(root, file) {
                    out.push(metric, &[("name", name)], NUMBER, Some(number));
                }
            }
            let words = WORDS.map(|file| self.files.text(root, file).map(Cow::into_owned).unwrap_or_default());
            let mut labels = vec![("name", name.as_str())];
            labels.extend(WORDS.iter().zip(&words).map(|(label, word)| (*label, word.as_str())));
            out.push("node_watchdog_info", &labels, Form::gauge(Scale::ONE), Some(1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn a_watchdog_says_how_long_it_waits() {
        let tree = Tree::new();
        assert!(tree.read(&mut Watchdog::default()).names().is_empty());
        for (file, text) in [
            ("timeout", "30\n"),
            ("bootstatus", "0\n"),
            ("identity", "iTCO_wdt\n"),
            ("state", "active\n"),
            ("status", "0x8000\n"),
        ] {
            tree.sys(&format!("class/watchdog/watchdog0/{file}"), text);
        }
        let seen = tree.read(&mut Watchdog::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_watchdog_timeout_seconds{name=\"watchdog0\"}"), Some(30.0));
        let info = "node_watchdog_info{name=\"watchdog0\",options=\"\",identity=\"iTCO_wdt\",state=\"active\",status=\"0x8000\",pretimeout_governor=\"\"}";
        assert_eq!(seen.value(info), Some(1.0));
        assert_eq!(seen.names().len(), 3);
    }
}
