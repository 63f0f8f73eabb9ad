//! `agent.toml`: every key, its default, and what it may say.

mod check;
mod inspect;

pub use check::{Finding, Severity};
pub use dsmil_runtime::config::{ConfigError, Document};
pub use inspect::{CredentialFacts, IdentityFacts, TrustFacts};

use crate::credentials::CredentialFiles;
use crate::settings::{self, COMPARTMENTS};
use dsmil_crypto::policy::KeyExchange;
use dsmil_protocol::batch::MAX_TICKS;
use dsmil_protocol::ids::{DeviceId, HostName, TenantId};
use dsmil_protocol::join::{HostSettings, LinkPolicy, MAX_ADDRESSES};
use dsmil_protocol::message::MAX_DEVICES;
use dsmil_protocol::probe::ProbeKind;
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::config::Reader;
use dsmil_runtime::log::Level;
use dsmil_sensors::root::{HOST_PROC, HOST_SYS};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The configuration of an agent, as packages install it.
pub const DEFAULT_PATH: &str = "/etc/dsmil/agent.toml";
/// The agent's socket, where `dsmilctl` looks for it.
pub const DEFAULT_SOCKET: &str = "/run/dsmil/agent.sock";
/// The spool's database, where `dsmilctl` looks for it.
pub const DEFAULT_SPOOL: &str = "/mnt/dsmil-ram/agent/spool.sqlite";
/// The folder of the probes' sockets, as systemd makes it.
pub const DEFAULT_PROBES: &str = "/run/dsmil-probe";
/// How it is read: a configuration is some kilobytes, and a larger file is none. The agent rewrites its identity and trust,
/// so no key takes a credential.
const READER: Reader = Reader { made_by: "`dsmil-agent join TOKEN`", max_len: 64 << 10, credentials: &[] };
/// Devices of the fleet, 0 to 103.
const DEVICE_COUNT: u16 = 104;
/// The spool's capacity in MiB: below, a large host's row does not fit; above, it is not a buffer any more.
const CAPACITY_MIB: std::ops::RangeInclusive<u64> = 1..=65_536;

/// Everything an agent has to be told.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The host's name, as in the fleet file and in the certificate. No default.
    pub host: HostName,
    /// The tenant of the aggregator. No default.
    pub tenant: TenantId,
    /// Compartments of what this host sends, as in the fleet file: any of SOC, DEV, LAB, CRYPTO. Default: `["SOC"]`.
    #[serde(default = "default_compartments", deserialize_with = "compartments")]
    pub compartments: Compartments,
    /// Classification of what this host sends, as in the fleet file: 0 UNCLASS, 2 TRAINING, 3 SECRET … 9 EXEC.
    /// Default: 0.
    #[serde(default = "default_classification")]
    pub classification: Classification,
    /// Where the aggregators are, `"host:port"` each, tried in this order; a change counts from the next connection on. No
    /// default.
    pub aggregators: Vec<String>,
    /// Their join ports, `"host:port"` each, where the agent renews its certificate. Default: none, and then the agent is
    /// locked out when its certificate ends.
    #[serde(default)]
    pub join: Vec<String>,
    /// The key exchange of the fleet link, as the fleet has it: `"pure"` (post-quantum alone) or `"hybrid"` (with a
    /// classical one beside it). There is no other. Default: `"pure"`.
    #[serde(default, deserialize_with = "link")]
    pub link: LinkPolicy,
    /// Who the agent is, and whom it trusts.
    #[serde(default)]
    pub identity: IdentityConfig,
    /// Devices of the fleet on this host, 0 to 103. Default: none.
    #[serde(default, deserialize_with = "devices")]
    pub devices: Vec<DeviceId>,
    /// Where ticks wait until they are acknowledged.
    #[serde(default)]
    pub spool: SpoolSection,
    /// The agent's own socket, for `dsmilctl`. Default: `/run/dsmil/agent.sock`.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// Where the host's files are.
    #[serde(default)]
    pub root: RootSection,
    /// Who reads what the agent has no right to read.
    #[serde(default)]
    pub probes: ProbesSection,
    /// How much the agent logs: `error`, `warn`, `info` or `debug`. Default: `info`.
    #[serde(default)]
    pub log: Level,
}

/// `[identity]`: files that `dsmil-agent join` makes and the agent rewrites: it has to be able to write their folder.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// The agent's certificate and key, PEM, mode 0600. Default: `agent.pem` beside this file.
    pub file: PathBuf,
    /// The trust bundle: whom the agent trusts. Default: `trust.bundle` beside this file.
    pub trust: PathBuf,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self { file: "agent.pem".into(), trust: "trust.bundle".into() }
    }
}

/// `[spool]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolSection {
    /// The database, on a tmpfs. Default: `/mnt/dsmil-ram/agent/spool.sqlite`.
    pub path: PathBuf,
    /// MiB it may use; the tmpfs must hold twice as much and 1 MiB. Default: 64 (about 4 days at 250 metrics).
    pub capacity_mib: u64,
    /// Ticks in a batch: 10, or 60 on a metered link. Default: 10.
    pub batch_ticks: usize,
}

impl SpoolSection {
    /// What its tmpfs has to hold, MiB: the log may grow as large as the database before it is folded in, and a full tmpfs
    /// could not even be emptied.
    pub fn tmpfs_mib(&self) -> u64 {
        2 * self.capacity_mib + 1
    }
}

impl Default for SpoolSection {
    fn default() -> Self {
        Self { path: DEFAULT_SPOOL.into(), capacity_mib: 64, batch_ticks: 10 }
    }
}

/// `[root]`: for an agent in a container that has the host's mounted elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RootSection {
    /// The host's processes and counters. Default: `/proc`.
    pub proc: PathBuf,
    /// The host's devices. Default: `/sys`.
    pub sys: PathBuf,
    /// The root of the host's filesystem. Default: `/`.
    pub rootfs: PathBuf,
}

impl Default for RootSection {
    fn default() -> Self {
        Self { proc: HOST_PROC.into(), sys: HOST_SYS.into(), rootfs: "/".into() }
    }
}

/// `[probes]`: processes of their own that read what needs rights or a vendor's library.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbesSection {
    /// The folder of their sockets, one a kind: `rapl.sock`. Default: `/run/dsmil-probe`.
    pub folder: PathBuf,
    /// The kinds that are asked: any of nvml, rapl, kmsg, fdinfo, smart, systemd. Default: those whose socket is there when the agent
    /// starts.
    #[serde(deserialize_with = "kinds")]
    pub kinds: Option<Vec<ProbeKind>>,
}

impl Default for ProbesSection {
    fn default() -> Self {
        Self { folder: DEFAULT_PROBES.into(), kinds: None }
    }
}

impl AgentConfig {
    /// Reads and checks a file and its drop-ins. Whether what they name exists, [`AgentConfig::check`] says.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::of(&Self::document(path)?, path)
    }

    /// A file and its drop-ins, as they are written.
    pub fn document(path: &Path) -> Result<Document, ConfigError> {
        READER.read(path)
    }

    /// Checks a document whose main file is at `path`.
    pub fn of(document: &Document, path: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::checked(document)?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    /// Relative paths are taken from the folder of the main file, so that it can be copied as a whole.
    fn resolve(&mut self, folder: &Path) {
        let identity = &mut self.identity;
        let probes = &mut self.probes.folder;
        for path in [&mut identity.file, &mut identity.trust, &mut self.spool.path, &mut self.socket, probes] {
            *path = folder.join(&*path);
        }
    }

    /// Reads and checks a main file's text; `path` is for errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::checked(&READER.parse(text, path)?)
    }

    fn checked(document: &Document) -> Result<Self, ConfigError> {
        let config: Self = document.get()?;
        let wrong = |key, what: String| Err(document.wrong(key, what));
        if config.aggregators.is_empty() {
            return wrong("aggregators", format!("names 1 to {MAX_ADDRESSES} aggregators, \"host:port\" each"));
        }
        for (key, list, port) in [("aggregators", &config.aggregators, 8100), ("join", &config.join, 8101)] {
            if list.len() > MAX_ADDRESSES {
                return wrong(key, format!("names at most {MAX_ADDRESSES} addresses, \"host:port\" each"));
            }
            if let Some(bad) = list.iter().find(|address| !is_host_port(address)) {
                return wrong(key, format!("{bad:?} is not \"host:port\", as in \"aggregator.example:{port}\""));
            }
        }
        if !CAPACITY_MIB.contains(&config.spool.capacity_mib) {
            let (least, most) = (CAPACITY_MIB.start(), CAPACITY_MIB.end());
            return wrong("spool.capacity_mib", format!("is {least} to {most}"));
        }
        if !(1..=MAX_TICKS).contains(&config.spool.batch_ticks) {
            return wrong(
                "spool.batch_ticks",
                format!("is 1 to {MAX_TICKS}; 10 is usual, 60 saves bytes on a metered link"),
            );
        }
        Ok(config)
    }

    /// Where identity and trust are kept.
    pub fn credential_files(&self) -> CredentialFiles {
        CredentialFiles { identity: self.identity.file.clone(), trust: self.identity.trust.clone() }
    }

    /// What the fleet link does.
    pub fn key_exchange(&self) -> KeyExchange {
        settings::key_exchange(self.link)
    }

    /// What is said here that the centre says too.
    pub fn host_settings(&self) -> HostSettings {
        HostSettings {
            tenant: self.tenant.clone(),
            host: self.host.clone(),
            classification: self.classification,
            compartments: self.compartments,
            devices: self.devices.clone(),
            aggregators: self.aggregators.clone(),
            join_addresses: self.join.clone(),
            key_exchange: self.link,
        }
    }

    /// The spool's part, as the spool takes it.
    pub fn spool_config(&self) -> crate::spool::SpoolConfig {
        crate::spool::SpoolConfig {
            path: self.spool.path.clone(),
            capacity_bytes: self.spool.capacity_mib << 20,
            batch_ticks: self.spool.batch_ticks,
        }
    }
}

/// `name:port`, `1.2.3.4:port` or `[v6]:port`; whether the name resolves is seen when it is dialled.
fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_ok = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    };
    host_ok && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn default_compartments() -> Compartments {
    Compartments::SOC
}

fn default_classification() -> Classification {
    Classification::UNCLASS
}

fn default_socket() -> PathBuf {
    DEFAULT_SOCKET.into()
}

fn compartments<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Compartments, D::Error> {
    let mut mask = 0;
    for name in Vec::<String>::deserialize(deserializer)? {
        let Some((_, one)) = COMPARTMENTS.into_iter().find(|(known, _)| *known == name) else {
            let text = format!("compartment {name:?} is none of SOC, DEV, LAB, CRYPTO (KINETIC is refused always)");
            return Err(serde::de::Error::custom(text));
        };
        mask |= one.0;
    }
    Ok(Compartments(mask))
}

fn link<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<LinkPolicy, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = [LinkPolicy::Pure, LinkPolicy::Hybrid].into_iter().find(|policy| settings::link_name(*policy) == name);
    known.ok_or_else(|| serde::de::Error::custom(format!("{name:?} is neither \"pure\" nor \"hybrid\"")))
}

fn kinds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<ProbeKind>>, D::Error> {
    let mut kinds = Vec::new();
    for name in Vec::<String>::deserialize(deserializer)? {
        let Some(kind) = ProbeKind::of_name(&name).filter(|kind| !kinds.contains(kind)) else {
            let known = ProbeKind::ALL.map(ProbeKind::name).join(", ");
            return Err(serde::de::Error::custom(format!("probe {name:?} is none of {known}, or named twice")));
        };
        kinds.push(kind);
    }
    Ok(Some(kinds))
}

fn devices<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<DeviceId>, D::Error> {
    let numbers = Vec::<u16>::deserialize(deserializer)?;
    if let Some(bad) = numbers.iter().find(|number| **number >= DEVICE_COUNT) {
        return Err(serde::de::Error::custom(format!("device {bad} is not one of 0 to {}", DEVICE_COUNT - 1)));
    }
    if numbers.iter().enumerate().any(|(i, number)| numbers[..i].contains(number)) {
        return Err(serde::de::Error::custom("a device is named twice"));
    }
    // 104 different devices are MAX_DEVICES: HELLO holds them all.
    debug_assert!(numbers.len() <= MAX_DEVICES);
    Ok(numbers.into_iter().map(DeviceId).collect())
}

#[cfg(test)]
mod tests;
