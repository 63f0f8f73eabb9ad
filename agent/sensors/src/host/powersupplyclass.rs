//! Batteries, chargers and what else feeds the host; node_exporter's collector `powersupplyclass`.
//!
//! Format: the kernel's `Documentation/power/power_supply_class.rst` and `Documentation/ABI/testing/sysfs-class-power`: millionths of a
//! volt, ampere, watt, watt-hour and ampere-hour, tenths of a degree, percent, seconds.
//!
//! A battery answers through the board's controller, which is slow, and changes slowly: it is asked every ten seconds.

use crate::attributes::Attributes;
use crate::reading::{Form, Reading};
use crate::root::{Root, RootError};
use crate::sensor::{Sensor, SensorError};
use dsmil_protocol::metric::Scale;

const CLASS: &str = "class/power_supply";
/// Supplies that are read: two batteries, some chargers, and each wireless mouse.
const MAX_SUPPLIES: usize = 32;
const ONE: Form = Form::signed_gauge(Scale::ONE);
const MICRO: Form = Form::signed_gauge(Scale::per(1_000_000));
const TENTH: Form = Form::signed_gauge(Scale::per(10));

/// Files, what node_exporter calls them, and their unit. The names are as they are: `energy_full` without a unit is in watt-hours.
const NUMBERS: [(&str, &str, Form); 49] = [
    ("authentic", "authentic", ONE),
    ("calibrate", "calibrate", ONE),
    ("capacity", "capacity", ONE),
    ("capacity_alert_max", "capacity_alert_max", ONE),
    ("capacity_alert_min", "capacity_alert_min", ONE),
    ("cycle_count", "cyclecount", ONE),
    ("online", "online", ONE),
    ("present", "present", ONE),
    ("time_to_empty_now", "time_to_empty_seconds", ONE),
    ("time_to_full_now", "time_to_full_seconds", ONE),
    ("current_boot", "current_boot", MICRO),
    ("current_max", "current_max", MICRO),
    ("current_now", "current_ampere", MICRO),
    ("energy_empty", "energy_empty", MICRO),
    ("energy_empty_design", "energy_empty_design", MICRO),
    ("energy_full", "energy_full", MICRO),
    ("energy_full_design", "energy_full_design", MICRO),
    ("energy_now", "energy_watthour", MICRO),
    ("voltage_boot", "voltage_boot", MICRO),
    ("voltage_max", "voltage_max", MICRO),
    ("voltage_max_design", "voltage_max_design", MICRO),
    ("voltage_min", "voltage_min", MICRO),
    ("voltage_min_design", "voltage_min_design", MICRO),
    ("voltage_now", "voltage_volt", MICRO),
    ("voltage_ocv", "voltage_ocv", MICRO),
    ("charge_control_limit", "charge_control_limit", MICRO),
    ("charge_control_limit_max", "charge_control_limit_max", MICRO),
    ("charge_counter", "charge_counter", MICRO),
    ("charge_empty", "charge_empty", MICRO),
    ("charge_empty_design", "charge_empty_design", MICRO),
    ("charge_full", "charge_full", MICRO),
    ("charge_full_design", "charge_full_design", MICRO),
    ("charge_now", "charge_ampere", MICRO),
    ("charge_term_current", "charge_term_current", MICRO),
    ("constant_charge_current", "constant_charge_current", MICRO),
    ("constant_charge_current_max", "constant_charge_current_max", MICRO),
    ("constant_charge_voltage", "constant_charge_voltage", MICRO),
    ("constant_charge_voltage_max", "constant_charge_voltage_max", MICRO),
    ("precharge_current", "precharge_current", MICRO),
    ("input_current_limit", "input_current_limit", MICRO),
    ("power_now", "power_watt", MICRO),
    ("temp", "temp_celsius", TENTH),
    ("temp_alert_max", "temp_alert_max_celsius", TENTH),
    ("temp_alert_min", "temp_alert_min_celsius", TENTH),
    ("temp_ambient", "temp_ambient_celsius", TENTH),
    ("temp_ambient_max", "temp_ambient_max_celsius", TENTH),
    ("temp_ambient_min", "temp_ambient_min_celsius", TENTH),
    ("temp_max", "temp_max_celsius", TENTH),
    ("temp_min", "temp_min_celsius", TENTH),
];
/// The labels of the information beside the name; they are printed in the order of the alphabet, as by node_exporter.
const WORDS: [&str; 11] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "scope",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
];

/// Reads `/sys/class/power_supply`.
#[derive(Default)]
pub(crate) struct Powersupplyclass {
    files: Attributes,
    metric: String,
}

impl Sensor for Powersupplyclass {
    fn name(&self) -> &'static str {
        "powersupplyclass"
    }

    fn source(&self) -> &'static str {
        "/sys/class/power_supply"
    }

    fn interval_s(&self) -> u16 {
        10
    }

    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), SensorError> {
        let names = match root.list_sys(CLASS) {
            Err(RootError::Missing) => return Ok(()), // A virtual machine has none.
            listed => listed.map_err(SensorError::at(CLASS))?,
        };
        for name in names.iter().take(MAX_SUPPLIES) {
            // What the directory does not list need not be asked for: a battery has some fifteen of these.
            let files = root.list_sys(&format!("{CLASS}/{name}")).unwrap_or_default();
            let has = |file: &str| files.binary_search_by(|listed| listed.as_str().cmp(file)).is_ok();
            self.files.enter(&[CLASS, "/", name]);
            for (file, metric, form) in NUMBERS.iter().filter(|(file, ..)| has(file)) {
                // An answer like "no such device" is what many give for what they cannot tell.
                let Some(number) = self.files.signed(root, file) else { continue };
                self.metric.clear();
                self.metric.push_str("node_power_supply_");
                self.metric.push_str(metric);
                out.push(&self.metric, &[("power_supply", name)], *form, Some(number));
            }
            let mut words = vec![("power_supply", name.clone())];
            for file in WORDS.iter().filter(|file| has(file)) {
                words.extend(self.files.text(root, file).map(|word| (*file, word.into_owned())));
            }
            let mut labels: Vec<(&str, &str)> = words.iter().map(|(label, word)| (*label, word.as_str())).collect();
            labels.sort_unstable();
            out.push("node_power_supply_info", &labels, Form::gauge(Scale::ONE), Some(1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn a_battery_and_what_it_does_not_tell() {
        let tree = Tree::new();
        assert!(tree.read(&mut Powersupplyclass::default()).names().is_empty());
        for (file, text) in [
            ("type", "Battery"),
            ("status", "Discharging"),
            ("capacity", "81"),
            ("energy_now", "41270000"),
            ("power_now", "-6830000"),
            ("temp", "-15"),
            ("cycle_count", ""),
            ("serial_number", " "),
            ("uevent", "POWER_SUPPLY_NAME=BAT0"),
        ] {
            tree.sys(&format!("class/power_supply/BAT0/{file}"), &format!("{text}\n"));
        }
        let seen = tree.read(&mut Powersupplyclass::default());
        assert_eq!(seen.error, None);
        let of = |metric: &str| seen.value(&format!("node_power_supply_{metric}{{power_supply=\"BAT0\"}}"));
        assert_eq!(of("capacity"), Some(81.0));
        assert_eq!(of("energy_watthour"), Some(41.27));
        assert_eq!(of("power_watt"), Some(-6.83));
        assert_eq!(of("temp_celsius"), Some(-1.5));
        let info = "node_power_supply_info{power_supply=\"BAT0\",status=\"Discharging\",type=\"Battery\"}";
        assert_eq!(seen.value(info), Some(1.0));
        assert_eq!(seen.names().len(), 5, "{:?}", seen.names());
    }
}
