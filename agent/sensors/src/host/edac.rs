//! Errors that the memory corrected, and those that it could not; node_exporter's collector `edac`.
//!
//! Format: the kernel's `Documentation/admin-guide/RAS/main.rst` and `Documentation/ABI/testing/sysfs-devices-edac`; counts that the
//! kernel keeps. The rows (`csrow*`) are there where the kernel is built with the older interface too.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use dsmil_protocol::metric::Scale;

const CONTROLLERS: &str = "devices/system/edac/mc";
/// Controllers and rows that are read: two per socket and eight each, on eight sockets.
const MAX_CONTROLLERS: usize = 64;
const MAX_ROWS: usize = 64;
const COUNT: Form = Form::counter(Scale::ONE);
const CORRECTED: &str = "node_edac_csrow_correctable_errors_total";
const UNCORRECTED: &str = "node_edac_csrow_uncorrectable_errors_total";

/// Reads `/sys/devices/system/edac/mc`.
#[derive(Default)]
pub(crate) struct Edac {
    files: Attributes,
}

impl Sensor for Edac {
    fn name(&self) -> &'static str {
        "edac"
    }

    fn source(&self) -> &'static str {
        "/sys/devices/system/edac/mc"
    }

    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(CONTROLLERS) {
            Err(RootError::Missing) => return Ok(()), // No driver for this memory, or memory that corrects nothing.
            listed => listed.map_err(SensorError::at(CONTROLLERS))?,
        };
        for (name, number) in numbered(&names, "mc").take(MAX_CONTROLLERS) {
            let directory = [CONTROLLERS, "/", name];
            let controller = ("controller", number);
            self.files.enter(&directory);
            let counts = [
                ("ce_count", "node_edac_correctable_errors_total", None),
                ("ue_count", "node_edac_uncorrectable_errors_total", None),
                // Of no row in particular.
                ("ce_noinfo_count", CORRECTED, Some("unknown")),
                ("ue_noinfo_count", UNCORRECTED, Some("unknown")),
            ];
            for (file, metric, row) in counts {
                let count = self.files.unsigned(root, file);
                match row {
                    Some(row) => out.push(metric, &[controller, ("csrow", row)], COUNT, count),
                    None => out.push(metric, &[controller], COUNT, count),
                }
            }
            let rows = root.list_sys(&directory.concat()).unwrap_or_default();
            for (name, row) in numbered(&rows, "csrow").take(MAX_ROWS) {
                self.files.enter(&[CONTROLLERS, "/mc", number, "/", name]);
                for (file, metric) in [("ce_count", CORRECTED), ("ue_count", UNCORRECTED)] {
                    let count = self.files.unsigned(root, file);
                    out.push(metric, &[controller, ("csrow", row)], COUNT, count);
                }
            }
        }
        Ok(())
    }
}

/// The names that are `prefix` and a number, with that number.
fn numbered<'a>(names: &'a [String], prefix: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    names.iter().filter_map(move |name| {
        let number = name.strip_prefix(prefix)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some((name.as_str(), number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn controllers_and_their_rows() {
        let tree = Tree::new();
        assert!(tree.read(&mut Edac::default()).names().is_empty());
        for (file, count) in [
            ("ce_count", "5\n"),
            ("ue_count", "1\n"),
            ("ce_noinfo_count", "2\n"),
            ("csrow3/ce_count", "3\n"),
            ("mc_name", "x"),
        ] {
            tree.sys(&format!("{CONTROLLERS}/mc0/{file}"), count);
        }
        tree.sys(&format!("{CONTROLLERS}/power/control"), "auto\n");
        let seen = tree.read(&mut Edac::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_edac_correctable_errors_total{controller=\"0\"}"), Some(5.0));
        assert_eq!(seen.value("node_edac_uncorrectable_errors_total{controller=\"0\"}"), Some(1.0));
        let row = |kind: &str, row| format!("node_edac_csrow_{kind}_errors_total{{controller=\"0\",csrow=\"{row}\"}}");
        assert_eq!(seen.value(&row("correctable", "unknown")), Some(2.0));
        assert_eq!(seen.value(&row("correctable", "3")), Some(3.0));
        for absent in [row("uncorrectable", "3"), row("uncorrectable", "unknown")] {
            assert!(seen.has(&absent) && seen.value(&absent).is_none(), "{absent}");
        }
        assert_eq!(seen.names().len(), 6);
    }
}
