//! Temperatures, voltages, fans, currents and power of the monitoring chips; node_exporter's collector `hwmon`.
//!
//! Format: the kernel's `Documentation/hwmon/sysfs-interface.rst` and `Documentation/ABI/testing/sysfs-class-hwmon`; a file a figure.
//! A chip in a device that sleeps is not asked, and says so (`dsmil_hwmon_chip_suspended`).
//!
//! A board's chip has 200 files, each of which costs 10 µs and may cost a slow bus more. What is measured is read each time; limits,
//! modes, alarms and labels, which are most of them, keep their value for ten seconds.

mod attribute;
mod chip;
mod disk;
#[cfg(test)]
mod tests;

use crate::attributes::Attributes;
use crate::reading::Reading;
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::since_boot::{Every, SinceBoot};
use chip::Chip;
pub(crate) use chip::place_label;
use std::time::Duration;

const CLASS: &str = "class/hwmon";
/// Chips that are read. A workstation has five to ten, a server with a chip for each power supply and disk some forty.
const MAX_CHIPS: usize = 128;
/// After this long the chips' files are listed again, though the chips be the same.
const LISTING: Duration = Duration::from_secs(60);

/// Reads `/sys/class/hwmon`.
#[derive(Default)]
pub(crate) struct Hwmon {
    names: Vec<String>,
    chips: Vec<Chip>,
    listed: Every,
    time: SinceBoot,
    files: Attributes,
    buffer: Vec<u8>,
}

impl Sensor for Hwmon {
    fn name(&self) -> &'static str {
        "hwmon"
    }

    fn source(&self) -> &'static str {
        "/sys/class/hwmon"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(CLASS) {
            Err(RootError::Missing) => Vec::new(), // A virtual machine has none.
            listed => listed.map_err(SensorError::at(CLASS))?,
        };
        let now = self.time.read(root);
        if self.listed.is_due(now, LISTING) || names != self.names {
            self.find(root, names);
        }
        for chip in &mut self.chips {
            chip.read(root, now, &mut self.buffer);
            chip.push(out);
        }
        Ok(())
    }
}

impl Hwmon {
    /// Finds the chips of these names. One that is there already stays, with what is known of it.
    fn find(&mut self, root: &Root, names: Vec<String>) {
        let mut before = std::mem::take(&mut self.chips);
        for name in names.iter().take(MAX_CHIPS) {
            let found = Chip::find(root, format!("{CLASS}/{name}"), &mut self.files);
            let same = before.iter().position(|chip| chip.is(&found));
            self.chips.push(same.map_or(found, |at| before.swap_remove(at)));
        }
        self.names = names;
    }
}
