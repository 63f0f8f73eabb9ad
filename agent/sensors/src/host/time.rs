//! Which clock the kernel keeps time by; node_exporter's collector `time`, without the time itself: every tick has it.
//!
//! Format: the kernel's `Documentation/ABI/testing/sysfs-devices-system-clocksource`.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading, label};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use crate::text::fields;
use dsmil_protocol::metric::Scale;

const DIRECTORY: &str = "devices/system/clocksource";
const INFO: Form = Form::gauge(Scale::ONE);

/// Reads `/sys/devices/system/clocksource`.
#[derive(Default)]
pub(crate) struct Time {
    device: Attributes,
}

impl Sensor for Time {
    fn name(&self) -> &'static str {
        "time"
    }

    fn source(&self) -> &'static str {
        "/sys/devices/system/clocksource"
    }

    fn interval_s(&self) -> u16 {
        60
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(DIRECTORY) {
            Err(RootError::Missing) => return Ok(()),
            listed => listed.map_err(SensorError::at(DIRECTORY))?,
        };
        for (name, number) in names.iter().filter_map(|name| Some((name, name.strip_prefix("clocksource")?))) {
            self.device.enter(&[DIRECTORY, "/", name]);
            for clock in self.device.bytes(root, "available_clocksource").into_iter().flat_map(fields) {
                let labels = [("device", number), ("clocksource", &label(clock))];
                out.push("node_time_clocksource_available_info", &labels, INFO, Some(1));
            }
            if let Some(clock) = self.device.text(root, "current_clocksource") {
                let labels = [("device", number), ("clocksource", &clock)];
                out.push("node_time_clocksource_current_info", &labels, INFO, Some(1));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn clocks_that_could_be_and_the_one_that_is() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut Time::default()).names().len(), 0);
        tree.sys("devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet \n");
        tree.sys("devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
        tree.sys("devices/system/clocksource/uevent", "\n");
        let seen = tree.read(&mut Time::default());
        let expected = [
            "node_time_clocksource_available_info{device=\"0\",clocksource=\"tsc\"}",
            "node_time_clocksource_available_info{device=\"0\",clocksource=\"hpet\"}",
            "node_time_clocksource_current_info{device=\"0\",clocksource=\"hpet\"}",
        ];
        assert_eq!((seen.error, seen.names()), (None, expected.to_vec()));
    }
}
