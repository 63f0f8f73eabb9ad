//! Temperatures, power, and what it comes from.

use super::super::readings::{Reading, Readings};
use serde::Serialize;

/// A thermometer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct Temperature {
    /// Of what.
    pub(in super::super) name: String,
    pub(in super::super) celsius: Option<f64>,
    /// At which its maker says that it is too hot.
    pub(in super::super) critical_celsius: Option<f64>,
}

pub(super) fn temperatures(readings: &Readings) -> Vec<Temperature> {
    let of_chip = |reading: &Reading| {
        let (chip, sensor) = (reading.label("chip"), reading.label("sensor"));
        let at = [("chip", chip), ("sensor", sensor)];
        let label = |name: &str, label: &str, at: &[(&str, &str)]| {
            readings.with(name, at).map(|reading| reading.label(label).to_owned()).filter(|text| !text.is_empty())
        };
        let chip = label("node_hwmon_chip_names", "chip_name", &at[..1]).unwrap_or_else(|| chip.to_owned());
        let sensor = label("node_hwmon_sensor_label", "label", &at).unwrap_or_else(|| sensor.to_owned());
        Temperature {
            name: format!("{chip} {sensor}"),
            celsius: reading.value,
            critical_celsius: readings
                .with("node_hwmon_temp_crit_celsius", &at)
                .and_then(|r| r.value)
                .filter(|c| *c > 0.0),
        }
    };
    let of_zone = |reading: &Reading| {
        let name = format!("{} {}", reading.label("type"), reading.label("zone"));
        Temperature { name, celsius: reading.value, critical_celsius: None }
    };
    let chips = readings.of("node_hwmon_temp_celsius").iter().map(of_chip);
    chips.chain(readings.of("node_thermal_zone_temp").iter().map(of_zone)).collect()
}

/// A part of the machine whose energy is counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct Power {
    /// Which.
    pub(in super::super) domain: String,
    pub(in super::super) watts: Option<f64>,
}

pub(super) fn power(readings: &Readings) -> Vec<Power> {
    let (first, last) = ("node_rapl_", "_joules_total");
    let families = readings.named(first, last).flat_map(|(name, all)| {
        let domain = name.strip_prefix(first).and_then(|name| name.strip_suffix(last)).unwrap_or(name);
        all.iter().map(move |reading| (domain, reading))
    });
    let of = |(domain, reading): (&str, &Reading)| {
        let domain = format!("{domain} {}", reading.label("index"));
        Power { domain: domain.trim().to_owned(), watts: reading.per_s }
    };
    families.map(of).collect()
}

/// A battery, or the mains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in super::super) struct Supply {
    pub(in super::super) name: String,
    /// How full it is, of 1; absent of the mains.
    pub(in super::super) charge: Option<f64>,
    /// Whether it is there; absent of batteries.
    pub(in super::super) is_online: Option<bool>,
}

pub(super) fn supplies(readings: &Readings) -> Vec<Supply> {
    let name = |reading: &Reading| reading.label("power_supply").to_owned();
    let battery = |reading: &Reading| Supply {
        name: name(reading),
        charge: reading.value.map(|percent| percent / 100.0),
        is_online: None,
    };
    let mains = |reading: &Reading| Supply {
        name: name(reading),
        charge: None,
        is_online: reading.value.map(|online| online > 0.0),
    };
    let batteries = readings.of("node_power_supply_capacity").iter().map(battery);
    batteries.chain(readings.of("node_power_supply_online").iter().map(mains)).collect()
}
