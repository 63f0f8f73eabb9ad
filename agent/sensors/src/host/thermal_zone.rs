//! Temperatures of the platform's zones, and how far each cooling device has been turned up; node_exporter's collector
//! `thermal_zone`.
//!
//! Format: the kernel's `Documentation/ABI/testing/sysfs-class-thermal`; `temp` is in thousandths of a degree Celsius.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use dsmil_protocol::metric::Scale;

const CLASS: &str = "class/thermal";
const TEMPERATURE: Form = Form::signed_gauge(Scale::per(1000));
const STATE: Form = Form::signed_gauge(Scale::ONE);
const STATES: [(&str, &str); 2] =
    [("cur_state", "node_cooling_device_cur_state"), ("max_state", "node_cooling_device_max_state")];

/// Reads `/sys/class/thermal`.
#[derive(Default)]
pub(crate) struct ThermalZone {
    device: Attributes,
}

impl Sensor for ThermalZone {
    fn name(&self) -> &'static str {
        "thermal_zone"
    }

    fn source(&self) -> &'static str {
        "/sys/class/thermal"
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(CLASS) {
            Err(RootError::Missing) => return Ok(()), // A machine without zones, as most virtual ones are.
            listed => listed.map_err(SensorError::at(CLASS))?,
        };
        for name in &names {
            self.device.enter(&[CLASS, "/", name]);
            if let Some(zone) = name.strip_prefix("thermal_zone") {
                let temperature = self.device.signed(root, "temp");
                let kind = self.device.text(root, "type").unwrap_or_default();
                out.push("node_thermal_zone_temp", &[("zone", zone), ("type", &kind)], TEMPERATURE, temperature);
            } else if let Some(number) = name.strip_prefix("cooling_device") {
                let states = STATES.map(|(file, _)| self.device.signed(root, file));
                let kind = self.device.text(root, "type").unwrap_or_default();
                for ((_, metric), state) in STATES.iter().zip(states) {
                    out.push(metric, &[("name", number), ("type", &kind)], STATE, state);
                }
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
    fn zones_and_coolers_and_one_that_does_not_answer() {
        let tree = Tree::new();
        assert_eq!(tree.read(&mut ThermalZone::default()).error, None, "no zones are no trouble");
        tree.sys("class/thermal/thermal_zone0/type", "x86_pkg_temp\n");
        tree.sys("class/thermal/thermal_zone0/temp", "-5500\n");
        tree.sys("class/thermal/thermal_zone1/type", "iwlwifi_1\n"); // Its `temp` answers ENODATA while the radio is off.
        tree.sys("class/thermal/cooling_device3/type", "Fan\n");
        tree.sys("class/thermal/cooling_device3/cur_state", "1\n");
        let seen = tree.read(&mut ThermalZone::default());
        assert_eq!(seen.error, None);
        assert_eq!(seen.value("node_thermal_zone_temp{zone=\"0\",type=\"x86_pkg_temp\"}"), Some(-5.5));
        let silent = "node_thermal_zone_temp{zone=\"1\",type=\"iwlwifi_1\"}";
        assert!(seen.has(silent) && seen.value(silent).is_none(), "absent, not 0 °C");
        assert_eq!(seen.value("node_cooling_device_cur_state{name=\"3\",type=\"Fan\"}"), Some(1.0));
        assert_eq!(seen.value("node_cooling_device_max_state{name=\"3\",type=\"Fan\"}"), None);
    }
}
