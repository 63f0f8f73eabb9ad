//! HEALTH: what has become of the fleet's settings on a host. Said in sessions of version 2 and later.

use crate::frame::MessageType;
use crate::message::{MAX_TEXT_LEN, Message};
use serde::{Deserialize, Serialize};

/// Sensors that a host may name as unknown to it, and bytes of a name: settings name no more, and no longer ones.
const MAX_UNKNOWN: usize = 64;

/// HEALTH: how an agent does with its settings; said once it was taken in, and whenever it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The version in force; 0 if agent.toml counts alone.
    pub in_force: u64,
    /// The version on trial; 0 if none is.
    pub on_trial: u64,
    /// What was refused last, until newer settings are on trial.
    pub refused: Option<RefusedSettings>,
    /// Sensors in the settings in force or on trial that the agent does not have.
    pub unknown_sensors: Vec<String>,
}

/// Settings that a host has refused, or returned from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSettings {
    /// Their version; 0 if they cannot be believed so far.
    pub version: u64,
    /// [`SettingsFault::number`].
    pub fault: u16,
    /// For people: what exactly.
    pub detail: String,
}

/// Why settings did not come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsFault {
    /// They are not what an order key has signed for this host.
    Untrusted,
    /// Ticks were missed while they were on trial.
    TicksMissed,
    /// The spool did not take ticks while they were on trial.
    SpoolRefused,
    /// The link was up before and did not come back, or nothing was acknowledged.
    LinkLost,
    /// The agent ended while they were on trial, and not on purpose.
    AgentEnded,
    /// They could not be written down.
    NotKept,
    /// A reason of a newer agent.
    Unknown,
}

impl SettingsFault {
    /// Every fault, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Untrusted,
        Self::TicksMissed,
        Self::SpoolRefused,
        Self::LinkLost,
        Self::AgentEnded,
        Self::NotKept,
        Self::Unknown,
    ];

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        match self {
            Self::Untrusted => 1,
            Self::TicksMissed => 2,
            Self::SpoolRefused => 3,
            Self::LinkLost => 4,
            Self::AgentEnded => 5,
            Self::NotKept => 6,
            Self::Unknown => 0xFFFF,
        }
    }

    /// The fault of a number; [`SettingsFault::Unknown`] for one that this program does not know.
    pub fn from_number(number: u16) -> Self {
        Self::ALL.into_iter().find(|fault| fault.number() == number).unwrap_or(Self::Unknown)
    }

    /// A short name for logs and for `config show`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::TicksMissed => "ticks_missed",
            Self::SpoolRefused => "spool_refused",
            Self::LinkLost => "link_lost",
            Self::AgentEnded => "agent_ended",
            Self::NotKept => "not_kept",
            Self::Unknown => "unknown",
        }
    }

    /// What to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Untrusted => {
                "Somebody offers settings that no order key has signed for this host: `dsmil-aggregator security log`."
            }
            Self::TicksMissed => "The host is too busy for these settings: push longer intervals or fewer sensors.",
            Self::SpoolRefused => "The spool had no room: push a larger spool_mib, or look at its tmpfs.",
            Self::LinkLost => "Look at the host's link, then push the settings again.",
            Self::AgentEnded => "The agent was killed or crashed: look at its log, then push the settings again.",
            Self::NotKept => "Make the folder of the agent's identity writable: `dsmil-agent check`.",
            Self::Unknown => "The agent is newer than this program. Upgrade to read its reason.",
        }
    }
}

impl Message for Health {
    const TYPE: MessageType = MessageType::Health;

    fn is_bounded(&self) -> bool {
        self.refused.as_ref().is_none_or(|refused| refused.detail.len() <= MAX_TEXT_LEN)
            && self.unknown_sensors.len() <= MAX_UNKNOWN
            && self.unknown_sensors.iter().all(|name| name.len() <= MAX_UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn health() -> Health {
        let refused = RefusedSettings { version: 9, fault: 2, detail: "7 of 30".into() };
        Health { in_force: 7, on_trial: 300, refused: Some(refused), unknown_sensors: vec!["gpu".into()] }
    }

    #[test]
    fn health_is_read_whole_or_refused() {
        let bytes = health().encode();
        assert_eq!(Health::decode(&bytes), Ok(health()));
        for end in 0..bytes.len() {
            assert_eq!(Health::decode(&bytes[..end]), Err(ErrorCode::PayloadMalformed), "cut at {end}");
        }
        assert!(Health::decode(&[&bytes[..], &[0]].concat()).is_err(), "a byte too many");
    }

    #[test]
    fn bounds_hold_against_an_agent_that_ignores_them() {
        let refused = |health: &Health| Health::decode(&postcard::to_allocvec(health).expect("memory")).is_err();
        assert!(refused(&Health { unknown_sensors: vec![String::new(); MAX_UNKNOWN + 1], ..health() }));
        assert!(refused(&Health { unknown_sensors: vec!["x".repeat(MAX_UNKNOWN + 1)], ..health() }));
        let detail = "x".repeat(MAX_TEXT_LEN + 1);
        assert!(refused(&Health { refused: Some(RefusedSettings { version: 1, fault: 1, detail }), ..health() }));
    }

    #[test]
    fn faults_read_back_and_newer_ones_are_unknown() {
        for fault in SettingsFault::ALL {
            assert_eq!(SettingsFault::from_number(fault.number()), fault);
            assert!(!fault.remedy().is_empty());
        }
        assert_eq!(SettingsFault::from_number(99), SettingsFault::Unknown);
    }
}
