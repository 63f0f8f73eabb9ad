//! One attribute of a monitoring chip: what its file's name says of its metric's name, unit and pace.
//!
//! Names and units of files: the kernel's `Documentation/hwmon/sysfs-interface.rst` and
//! `Documentation/ABI/testing/sysfs-class-hwmon`. Names and units of metrics: node_exporter's, its oddities included, as the rules
//! that people wrote go by them (`temp1_crit_alarm` is one of `_celsius`, humidity is a hundred times too small).

use crate::reading::Form;
use dsmil_protocol::metric::Scale;

/// The kinds that node_exporter knows.
const KINDS: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    CLOCK,
];

/// The kind of a GPU's clock.
pub(super) const CLOCK: &str = "freq";

/// What an attribute is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Its value is another each second.
    Measurement,
    /// The same, of a GPU's clock, which goes by its label.
    Clock,
    /// A limit, a mode or an alarm: there are many, and they hardly ever change.
    Setting,
    /// Words for a sensor.
    Label,
}

/// A file's name, taken apart: `temp12_max_hyst` is of kind `temp`, number 12, element `max_hyst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileName<'a> {
    kind: &'a str,
    number: u32,
    element: &'a str,
}

impl<'a> FileName<'a> {
    /// Takes it apart; none if it is no attribute of a kind that is known.
    pub(super) fn read(file: &'a str) -> Option<Self> {
        let first_digit = file.find(|c: char| c.is_ascii_digit()).unwrap_or(file.len());
        let (kind, rest) = file.split_at(first_digit);
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, rest) = rest.split_at(end);
        let element = match rest {
            "" => "",
            rest => rest.strip_prefix('_').filter(|element| !element.is_empty())?,
        };
        // Written and never read: the kernel has no other attribute that a reader may not open.
        let readable = !element.ends_with("reset_history");
        let number = if number.is_empty() { 0 } else { number.parse().ok()? };
        (KINDS.contains(&kind) && readable).then_some(Self { kind, number, element })
    }

    /// The value of the label `sensor`.
    pub(super) fn sensor(&self) -> String {
        format!("{}{}", self.kind, self.number)
    }

    /// What it is for.
    pub(super) fn role(&self) -> Role {
        match (self.kind, self.element) {
            (_, "label") => Role::Label,
            (CLOCK, "input") => Role::Clock,
            ("vrm" | "beep_enable" | "update_interval", _) => Role::Setting,
            (_, "input" | "average" | "") => Role::Measurement,
            _ => Role::Setting,
        }
    }

    /// Whether the file is the sensor itself: `pwm1` beside `pwm1_enable`.
    pub(super) fn is_bare(&self) -> bool {
        self.element.is_empty()
    }

    /// Whether any number but 1 means no.
    pub(super) fn is_switch(&self) -> bool {
        self.kind == "beep_enable"
    }

    /// The metric's name and form. `with_bare` says that the sensor also has a file of its bare name, which then has the bare
    /// metric name too.
    pub(super) fn metric(&self, with_bare: bool) -> (String, Form) {
        match self.kind {
            "beep_enable" => return ("node_hwmon_beep_enabled".into(), COUNT),
            "vrm" => return ("node_hwmon_voltage_regulator_version".into(), COUNT),
            "update_interval" => return ("node_hwmon_update_interval_seconds".into(), MILLI),
            _ => {}
        }
        let mut name = format!("node_hwmon_{}", self.kind);
        if self.element != "input" || with_bare {
            if !self.element.is_empty() {
                name.push('_');
            }
            name.push_str(&clean(self.element));
        }
        let (unit, form) = self.unit();
        name.push_str(unit);
        (name, form)
    }

    /// What the metric's name ends with, and how the number is to be read.
    fn unit(&self) -> (&'static str, Form) {
        match (self.kind, self.element) {
            (_, "fault" | "alarm") => ("", COUNT),
            (_, "beep") => ("_enabled", COUNT),
            ("in" | "cpu", _) => ("_volts", MILLI),
            ("temp", "type") => ("", COUNT),
            ("temp", _) => ("_celsius", MILLI),
            ("curr", _) => ("_amps", MILLI),
            ("energy", _) => ("_joule_total", ENERGY),
            ("power", "accuracy") | ("humidity", _) => ("", MICRO),
            ("power", "average_interval" | "average_interval_min" | "average_interval_max") => ("_seconds", MILLI),
            ("power", _) => ("_watt", MICRO),
            ("fan", "input" | "min" | "max" | "target") => ("_rpm", COUNT),
            (CLOCK, "input") => ("_freq_mhz", MICRO),
            _ => ("", COUNT),
        }
    }
}

/// A counter, and the only unsigned number among them.
pub(super) const ENERGY: Form = Form::counter(Scale::per(1_000_000));
const COUNT: Form = Form::signed_gauge(Scale::ONE);
const MILLI: Form = Form::signed_gauge(Scale::per(1000));
const MICRO: Form = Form::signed_gauge(Scale::per(1_000_000));

/// Kernel text as node_exporter writes it in a name: small letters, and `_` for what a metric's name may not have.
pub(super) fn clean(text: &str) -> String {
    let replaced: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':' || c == '_' { c } else { '_' })
        .collect();
    replaced.trim_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(file: &str) -> Option<String> {
        FileName::read(file).map(|file| file.metric(false).0)
    }

    #[test]
    fn a_files_name_says_the_metrics_name() {
        for (file, metric) in [
            ("temp1_input", "node_hwmon_temp_celsius"),
            ("temp12_max_hyst", "node_hwmon_temp_max_hyst_celsius"),
            ("temp1_crit_alarm", "node_hwmon_temp_crit_alarm_celsius"),
            ("temp1_alarm", "node_hwmon_temp_alarm"),
            ("temp1_type", "node_hwmon_temp_type"),
            ("in0_input", "node_hwmon_in_volts"),
            ("in0_beep", "node_hwmon_in_beep_enabled"),
            ("cpu0_vid", "node_hwmon_cpu_vid_volts"),
            ("fan2_input", "node_hwmon_fan_rpm"),
            ("fan2_pulses", "node_hwmon_fan_pulses"),
            ("fan2_fault", "node_hwmon_fan_fault"),
            ("pwm1", "node_hwmon_pwm"),
            ("pwm1_auto_point1_temp", "node_hwmon_pwm_auto_point1_temp"),
            ("curr1_lcrit", "node_hwmon_curr_lcrit_amps"),
            ("power1_average", "node_hwmon_power_average_watt"),
            ("power1_average_interval", "node_hwmon_power_average_interval_seconds"),
            ("power1_accuracy", "node_hwmon_power_accuracy"),
            ("energy1_input", "node_hwmon_energy_joule_total"),
            ("humidity1_input", "node_hwmon_humidity"),
            ("intrusion0_alarm", "node_hwmon_intrusion_alarm"),
            ("freq1_input", "node_hwmon_freq_freq_mhz"),
            ("beep_enable", "node_hwmon_beep_enabled"),
            ("vrm", "node_hwmon_voltage_regulator_version"),
            ("update_interval", "node_hwmon_update_interval_seconds"),
        ] {
            assert_eq!(name(file).as_deref(), Some(metric), "{file}");
        }
        assert_eq!(
            FileName::read("fan1_input").map(|file| file.metric(true).0).as_deref(),
            Some("node_hwmon_fan_input_rpm")
        );
    }

    #[test]
    fn other_files_are_no_attributes() {
        for file in
            ["name", "uevent", "in1x", "in1_", "temp_reset_history", "temp1_reset_history", "in99999999999_input", ""]
        {
            assert_eq!(FileName::read(file), None, "{file:?}");
        }
        assert_eq!(FileName::read("temp01_input").map(|file| file.sensor()).as_deref(), Some("temp1"));
        assert_eq!(FileName::read("vrm").map(|file| file.sensor()).as_deref(), Some("vrm0"));
    }

    #[test]
    fn text_is_cleaned_as_node_exporter_does() {
        assert_eq!(clean("pci0000:00"), "pci0000:00");
        assert_eq!(clean("0000:00:18.3"), "0000:00:18_3");
        assert_eq!(clean(" Package id 0\u{b0}"), "package_id_0");
        assert_eq!(clean("--"), "");
    }
}
