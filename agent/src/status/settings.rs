//! The fleet's settings on this host, as the status tells it.

use dsmil_protocol::health::{Health, SettingsFault};
use serde::{Deserialize, Serialize};

/// Which settings of the fleet count here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsStatus {
    /// The version in force; 0: agent.toml counts alone.
    pub in_force: u64,
    /// For whom those are that count: `all`, `group NAME` or `host NAME`.
    pub target: Option<String>,
    /// The version on trial, if one is.
    pub on_trial: Option<u64>,
    /// Seconds until the trial's minute is over.
    pub trial_left_s: Option<u64>,
    /// What was refused last.
    pub refused: Option<RefusedStatus>,
    /// Sensors in the settings that this agent does not have.
    pub unknown_sensors: Vec<String>,
}

/// Settings that were refused, or that the host was not well with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedStatus {
    /// Their version; 0 if they could not be believed so far.
    pub version: u64,
    /// The short name of the reason.
    pub fault: String,
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl SettingsStatus {
    pub(crate) fn of(health: &Health, target: Option<String>, trial_left_s: Option<u64>) -> Self {
        let refused = health.refused.as_ref().map(|refused| {
            let fault = SettingsFault::from_number(refused.fault);
            RefusedStatus {
                version: refused.version,
                fault: fault.name().into(),
                what: refused.detail.clone(),
                remedy: fault.remedy().into(),
            }
        });
        Self {
            in_force: health.in_force,
            target,
            on_trial: (health.on_trial > 0).then_some(health.on_trial),
            trial_left_s,
            refused,
            unknown_sensors: health.unknown_sensors.clone(),
        }
    }
}
