//! The fleet file: which hosts there are, which devices they carry, and what they may therefore say.

use dsmil_protocol::ids::{DeviceId, HostName};
use dsmil_protocol::session::aggregator::Grant;
use dsmil_protocol::tlv::{Classification, Compartments};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The shipped example: 104 devices on ten hosts.
pub const EXAMPLE: &str = include_str!("../fleet/dsmil-104.toml");
/// Bytes of a fleet file: a million hosts would not be written by hand, ten thousand are under this.
const MAX_FILE_LEN: u64 = 16 << 20;

/// Where a device stands in the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Layer {
    /// Control, TPM, power, storage and the like.
    System,
    /// Clearances, sessions, audit.
    Security,
    /// Layers 2 to 9.
    Numbered(Classification),
    /// Exercises.
    Exercise,
    /// Gateways to the outside.
    External,
    /// The emergency stop.
    Stop,
    /// Not in use.
    Reserved,
}

impl Layer {
    /// The clearance of its data.
    pub fn classification(self) -> Classification {
        match self {
            Self::Numbered(level) => level,
            _ => Classification::UNCLASS,
        }
    }
}

impl TryFrom<String> for Layer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(match text.as_str() {
            "system" => Self::System,
            "security" => Self::Security,
            "exercise" => Self::Exercise,
            "external" => Self::External,
            "stop" => Self::Stop,
            "reserved" => Self::Reserved,
            number => number
                .parse()
                .ok()
                .and_then(Classification::new)
                .filter(|level| level.level() >= 2)
                .map(Self::Numbered)
                .ok_or_else(|| {
                    format!(
                        "layer {text:?} is none of \"2\" to \"9\", system, security, exercise, external, stop, reserved"
                    )
                })?,
        })
    }
}

/// One device of the layout.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    id: u16,
    /// Its layer.
    pub layer: Layer,
    /// What it is for.
    pub role: String,
    /// Whether it may be put to sleep.
    #[serde(default)]
    pub may_sleep: bool,
}

/// One host of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its group, if any.
    pub group: Option<String>,
    /// What it may say.
    pub grant: Grant,
}

/// The whole fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    hosts: BTreeMap<HostName, Host>,
    devices: BTreeMap<DeviceId, Device>,
}

/// The fleet as it is now; clones are handles to the same, and a reload is seen by all.
#[derive(Clone, Debug)]
pub struct FleetHandle(Arc<RwLock<Arc<Fleet>>>);

impl FleetHandle {
    /// A handle to `fleet`.
    pub fn new(fleet: Fleet) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(fleet))))
    }

    /// The fleet as it is now.
    pub fn get(&self) -> Arc<Fleet> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes another fleet in its place. Sessions are judged by it from their next HELLO on.
    pub fn replace(&self, fleet: Fleet) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fleet);
    }
}

/// Why a fleet file was refused.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// It cannot be read.
    #[error("the fleet file {path} cannot be read; create it, or set `fleet` in aggregator.toml")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no fleet file.
    #[error("the fleet file is not valid TOML of the expected form")]
    Syntax(#[from] toml::de::Error),
    /// It is larger than a fleet file may be.
    #[error("the fleet file has more than {MAX_FILE_LEN} bytes")]
    TooLarge,
    /// A name twice.
    #[error("host {0} is there twice")]
    HostTwice(HostName),
    /// An id twice.
    #[error("device {0} is described twice")]
    DeviceTwice(u16),
    /// A device on two hosts.
    #[error("device {device} is on {first} and on {second}; a device is on one host")]
    DevicePlacedTwice {
        /// The device.
        device: u16,
        /// One host.
        first: HostName,
        /// The other.
        second: HostName,
    },
    /// A device on a host that nobody described.
    #[error("device {device} of host {host} is not described; add a [[device]] with its layer")]
    DeviceUnknown {
        /// The device.
        device: u16,
        /// The host.
        host: HostName,
    },
    /// A compartment that does not exist.
    #[error("compartment {name:?} of host {host} is none of SOC, DEV, LAB, CRYPTO (KINETIC is refused always)")]
    Compartment {
        /// The name.
        name: String,
        /// The host.
        host: HostName,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    host: Vec<HostEntry>,
    #[serde(default)]
    device: Vec<Device>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostEntry {
    name: HostName,
    group: Option<String>,
    #[serde(default)]
    devices: BTreeSet<u16>,
    classification: Option<Classification>,
    #[serde(default = "soc")]
    compartments: Vec<String>,
}

fn soc() -> Vec<String> {
    vec!["SOC".into()]
}

impl Fleet {
    /// Reads a fleet file.
    pub fn load(path: &Path) -> Result<Self, FleetError> {
        let unreadable = |source| FleetError::Unreadable { path: path.to_path_buf(), source };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_LEN {
            return Err(FleetError::TooLarge);
        }
        Self::parse(&std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// Reads a fleet file's text.
    pub fn parse(text: &str) -> Result<Self, FleetError> {
        let file: File = toml::from_str(text)?;
        let mut fleet = Self::default();
        for device in file.device {
            let id = device.id;
            if fleet.devices.insert(DeviceId(id), device).is_some() {
                return Err(FleetError::DeviceTwice(id));
            }
        }
        let mut placed: BTreeMap<u16, HostName> = BTreeMap::new();
        for entry in file.host {
            for device in &entry.devices {
                if let Some(first) = placed.insert(*device, entry.name.clone()) {
                    return Err(FleetError::DevicePlacedTwice { device: *device, first, second: entry.name });
                }
            }
            let name = entry.name.clone();
            let host = fleet.host_of(entry)?;
            if fleet.hosts.insert(name.clone(), host).is_some() {
                return Err(FleetError::HostTwice(name));
            }
        }
        Ok(fleet)
    }

    fn host_of(&self, entry: HostEntry) -> Result<Host, FleetError> {
        let mut highest = Classification::UNCLASS;
        for device in &entry.devices {
            let unknown = || FleetError::DeviceUnknown { device: *device, host: entry.name.clone() };
            highest = highest.max(self.devices.get(&DeviceId(*device)).ok_or_else(unknown)?.layer.classification());
        }
        let mut mask = 0;
        for name in entry.compartments {
            mask |= match name.as_str() {
                "SOC" => Compartments::SOC.0,
                "DEV" => Compartments::DEV.0,
                "LAB" => Compartments::LAB.0,
                "CRYPTO" => Compartments::CRYPTO.0,
                _ => return Err(FleetError::Compartment { name, host: entry.name }),
            };
        }
        let grant = Grant {
            host: entry.name,
            devices: entry.devices.into_iter().map(DeviceId).collect(),
            clearance: entry.classification.unwrap_or(highest),
            compartments: Compartments(mask),
        };
        Ok(Host { group: entry.group, grant })
    }

    /// A host, if the fleet has it.
    pub fn host(&self, name: &HostName) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// The hosts, by name.
    pub fn hosts(&self) -> impl Iterator<Item = (&HostName, &Host)> {
        self.hosts.iter()
    }

    /// The devices, by number.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceId, &Device)> {
        self.devices.iter().map(|(id, device)| (*id, device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_example_holds_what_it_promises() {
        let fleet = Fleet::parse(EXAMPLE).expect("the shipped example");
        let ids: Vec<u16> = fleet.devices().map(|(id, _)| id.0).collect();
        assert_eq!(ids, (0..104).collect::<Vec<_>>());
        for (id, device) in fleet.devices() {
            assert!(!(id.0 == 47 || (53..=62).contains(&id.0)) || !device.may_sleep, "{id:?} never sleeps");
        }
        let l7 = fleet.host(&HostName::new("l7-1").expect("a name")).expect("a host");
        assert_eq!(l7.grant.clearance.level(), 7, "the highest layer among its devices");
        assert!(l7.grant.devices.contains(&DeviceId(47)));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let device = "[[device]]\nid = 1\nlayer = \"3\"\nrole = \"x\"\n";
        let host = |name: &str| format!("[[host]]\nname = \"{name}\"\ndevices = [1]\n");
        let refused = |text: String| Fleet::parse(&text).expect_err("a contradiction");
        assert!(matches!(refused(host("a")), FleetError::DeviceUnknown { device: 1, .. }));
        assert!(matches!(refused(device.repeat(2)), FleetError::DeviceTwice(1)));
        let twice = refused(format!("{device}{}{}", host("a"), host("b")));
        assert!(matches!(twice, FleetError::DevicePlacedTwice { device: 1, .. }));
        assert!(matches!(refused("[[host]]\nname = \"a\"\n".repeat(2)), FleetError::HostTwice(_)));
        let kinetic = refused("[[host]]\nname = \"a\"\ncompartments = [\"KINETIC\"]\n".into());
        assert!(matches!(kinetic, FleetError::Compartment { .. }));
        assert!(matches!(refused("[[host]]\nname = \"A b\"\n".into()), FleetError::Syntax(_)));
        assert!(matches!(refused("[[hots]]\nname = \"a\"\n".into()), FleetError::Syntax(_)));
    }
}
