//! aggregator.toml: where the centre keeps things, where it listens, what it asks of agents.

pub use dsmil_runtime::config::{ConfigError, Document};

use crate::admission::AdmissionSection;
use dsmil_crypto::policy::KeyExchange;
use dsmil_protocol::ids::TenantId;
use dsmil_protocol::message::Settings;
use dsmil_protocol::tlv::Classification;
use dsmil_runtime::config::{CredentialError, Environment, Reader, SecretFile};
use dsmil_runtime::log::Level;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// How it is read. The files that take a credential are only read; issuers and endpoint keys are written by us.
const READER: Reader = Reader {
    made_by: "`dsmil-aggregator init`",
    max_len: 1 << 20,
    credentials: &["identity.https_certificate", "identity.https_key", "api.tokens"],
};
/// The widest network that classical clients may come from: that of a large company (10.0.0.0/8), or of a provider.
const WIDEST_V4: u8 = 8;
/// The same for IPv6: what a provider gets.
const WIDEST_V6: u8 = 32;
/// How long a host may be off and still renew by its key: a day for a fleet that is never off, two years for a depot.
const OFFLINE_DAYS: std::ops::RangeInclusive<u32> = 1..=730;

/// The configuration. Relative paths are taken from the folder of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The aggregator's name in its certificate.
    pub name: String,
    /// The tenant, fixed at `init`: frames of another one are refused.
    pub tenant: TenantId,
    /// The fleet file.
    #[serde(default = "fleet_file")]
    pub fleet: PathBuf,
    /// How much is logged: error, warn, info or debug.
    #[serde(default)]
    pub log: Level,
    /// Hosts, join tokens, trust bundles and the security log: a file on a disk.
    #[serde(default = "state_file")]
    pub state: PathBuf,
    /// Where it listens.
    #[serde(default)]
    pub listen: Listen,
    /// Where hosts reach it: what join tokens and joined hosts are told.
    #[serde(default)]
    pub advertise: Advertise,
    /// What the link to the agents demands.
    #[serde(default)]
    pub link: LinkSection,
    /// How hosts join and renew.
    #[serde(default)]
    pub join: JoinSection,
    /// Certificates and keys.
    #[serde(default)]
    pub identity: IdentityFiles,
    /// The durable journal.
    #[serde(default)]
    pub warm: WarmSection,
    /// The cache on tmpfs.
    #[serde(default)]
    pub hot: HotSection,
    /// The HTTPS API.
    #[serde(default)]
    pub api: ApiSection,
    /// What is asked of agents.
    #[serde(default)]
    pub agents: AgentSection,
    /// How many may come, and how fast.
    #[serde(default)]
    pub admission: AdmissionSection,
}

/// Addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// UDP, for agents.
    pub quic: SocketAddr,
    /// UDP, for hosts that join or renew.
    pub join: SocketAddr,
    /// TCP, for the API.
    pub https: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            quic: (Ipv4Addr::UNSPECIFIED, 8100).into(),
            join: (Ipv4Addr::UNSPECIFIED, 8101).into(),
            // Only this machine, until somebody decides otherwise.
            https: (Ipv4Addr::LOCALHOST, 8443).into(),
        }
    }
}

/// Where hosts reach this aggregator from outside: names or addresses with ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Advertise {
    /// `host:port` of the link, tried in this order.
    pub agents: Vec<String>,
    /// `host:port` of the join port, tried in this order.
    pub join: Vec<String>,
}

/// What the link to the agents demands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSection {
    /// The key exchange: `pure` (post-quantum alone) or `hybrid` (a classical one beside it). All hosts of a fleet have the
    /// same; a joining host is told.
    pub policy: LinkPolicy,
}

/// The key exchange that is demanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkPolicy {
    /// Post-quantum alone.
    #[default]
    Pure,
    /// A classical one beside it.
    Hybrid,
}

impl LinkPolicy {
    /// As TLS takes it.
    pub fn key_exchange(self) -> KeyExchange {
        match self {
            Self::Pure => KeyExchange::Pure,
            Self::Hybrid => KeyExchange::Hybrid,
        }
    }

    /// As a joining host is told.
    pub fn told(self) -> dsmil_protocol::join::LinkPolicy {
        match self {
            Self::Pure => dsmil_protocol::join::LinkPolicy::Pure,
            Self::Hybrid => dsmil_protocol::join::LinkPolicy::Hybrid,
        }
    }
}

/// How hosts join and renew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JoinSection {
    /// So many days after its certificate expired a host may still renew by its key; then it has to join again.
    pub max_offline_days: u32,
}

impl Default for JoinSection {
    fn default() -> Self {
        Self { max_offline_days: 90 }
    }
}

/// Files that say who we are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityFiles {
    /// The folder of our issuers' keys: `NAME.key`, mode 0600. Our own certificate is made with the newest.
    pub issuers: PathBuf,
    /// The leaf shown to API clients. May be a credential.
    pub https_certificate: SecretFile,
    /// Its key. May be a credential.
    pub https_key: SecretFile,
    /// Keys that let agents know this endpoint again after a restart; made at the first start.
    pub endpoint_keys: PathBuf,
}

impl Default for IdentityFiles {
    fn default() -> Self {
        Self {
            issuers: "identity/issuers".into(),
            https_certificate: "identity/https.pem".into(),
            https_key: "identity/https.key".into(),
            endpoint_keys: "identity/endpoint.keys".into(),
        }
    }
}

/// The durable journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmSection {
    /// Its file, on a disk.
    pub journal: PathBuf,
    /// It takes no more than so many MiB; none: to the disk's end.
    pub max_mib: Option<u64>,
    /// Batches older than this are removed.
    pub retention_days: u32,
}

impl Default for WarmSection {
    fn default() -> Self {
        Self { journal: "warm/journal.sqlite".into(), max_mib: None, retention_days: 7 }
    }
}

/// The cache on tmpfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HotSection {
    /// Its file, on a tmpfs.
    pub path: PathBuf,
    /// It takes no more than so many MiB, the write-ahead log apart; at most half of the tmpfs.
    pub max_mib: u64,
}

impl HotSection {
    /// What its tmpfs has to hold, MiB: the log may grow as large as the database before it is folded in.
    pub fn tmpfs_mib(&self) -> u64 {
        self.max_mib.saturating_mul(2).saturating_add(1)
    }
}

impl Default for HotSection {
    fn default() -> Self {
        Self { path: "/mnt/dsmil-ram/aggregator/hot.sqlite".into(), max_mib: 256 }
    }
}

/// The HTTPS API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSection {
    /// Hashes of the bearer tokens that are let in, one a line. May be a credential.
    pub tokens: SecretFile,
    /// The highest classification that the API shows.
    pub clearance: Classification,
    /// Networks (`10.0.0.0/8`) from which clients without a post-quantum key exchange are let in, besides loopback.
    pub allow_classical_from: Vec<IpNet>,
}

impl Default for ApiSection {
    fn default() -> Self {
        Self { tokens: "api-tokens".into(), clearance: Classification::UNCLASS, allow_classical_from: Vec::new() }
    }
}

/// What is asked of agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSection {
    /// Between two heartbeats, milliseconds.
    pub heartbeat_ms: u32,
    /// Batches on the way and not acknowledged, for each agent.
    pub window_batches: u32,
    /// Cap on the backlog of each agent after an outage, KiB a second.
    pub backlog_kib_per_second: u32,
    /// After a restart agents come back spread over so many milliseconds.
    pub reconnect_window_ms: u32,
}

impl Default for AgentSection {
    fn default() -> Self {
        Self { heartbeat_ms: 2_000, window_batches: 64, backlog_kib_per_second: 1024, reconnect_window_ms: 5_000 }
    }
}

impl AgentSection {
    /// As WELCOME says it.
    pub fn settings(&self) -> Settings {
        Settings {
            heartbeat_ms: self.heartbeat_ms,
            window_batches: self.window_batches,
            backlog_bytes_per_second: self.backlog_kib_per_second.saturating_mul(1024),
            reconnect_window_ms: self.reconnect_window_ms,
        }
    }
}

fn fleet_file() -> PathBuf {
    "fleet.toml".into()
}

fn state_file() -> PathBuf {
    "state/state.sqlite".into()
}

impl Config {
    /// Reads and checks a configuration and its drop-ins, and makes its paths absolute.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::of(&Self::document(path)?, path)
    }

    /// A configuration and its drop-ins, as they are written.
    pub fn document(path: &Path) -> Result<Document, ConfigError> {
        READER.read(path)
    }

    /// Checks a document whose main file is at `path`.
    pub fn of(document: &Document, path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = document.get()?;
        if let Some((key, what)) = config.weakness() {
            return Err(document.wrong(key, what));
        }
        if let Err(error) = config.admission.check() {
            return Err(document.wrong(&error.key(), error.what()));
        }
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    /// Looks for the credentials that it asks for. Needed by whoever reads these files; a verb beside a running aggregator
    /// has no credentials, and needs none.
    pub fn find_credentials(&mut self, environment: &Environment) -> Result<(), CredentialError> {
        let mut secrets = self.secrets();
        secrets.iter_mut().for_each(|file| file.find(environment));
        secrets.into_iter().try_for_each(|file| file.path().map(drop))
    }

    fn secrets(&mut self) -> [&mut SecretFile; 3] {
        let identity = &mut self.identity;
        [&mut identity.https_certificate, &mut identity.https_key, &mut self.api.tokens]
    }

    /// A value that would undo what the rest protects: its key, and what to write in its place.
    fn weakness(&self) -> Option<(&'static str, String)> {
        let wide = |net: &&IpNet| match net {
            IpNet::V4(net) => net.prefix_len() < WIDEST_V4,
            IpNet::V6(net) => net.prefix_len() < WIDEST_V6,
        };
        if let Some(net) = self.api.allow_classical_from.iter().find(wide) {
            let why = "clients without a post-quantum key exchange are let in from networks of yours, not from everywhere; \
                       name a network of /8 (IPv6: /32) or smaller";
            return Some(("api.allow_classical_from", format!("{net} is refused: {why}")));
        }
        let days = self.join.max_offline_days;
        if !OFFLINE_DAYS.contains(&days) {
            let why = "a key that lay about for years must not open the door again; 1 to 730 days";
            return Some(("join.max_offline_days", format!("{days} is refused: {why}")));
        }
        None
    }

    /// Makes paths absolute.
    pub(crate) fn resolve(&mut self, folder: &Path) {
        self.fleet = folder.join(&self.fleet);
        self.resolve_data(folder);
    }

    /// Makes the paths absolute that the aggregator writes, or that are secret.
    pub(crate) fn resolve_data(&mut self, folder: &Path) {
        let identity = &mut self.identity;
        for path in [
            &mut self.state,
            &mut self.warm.journal,
            &mut self.hot.path,
            &mut identity.issuers,
            &mut identity.endpoint_keys,
        ] {
            *path = folder.join(&*path);
        }
        self.secrets().into_iter().for_each(|file| file.resolve(folder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_are_a_configuration_and_a_wrong_key_is_not() {
        let mut config: Config = toml::from_str("name = \"a1\"\ntenant = \"demo\"").expect("the least there can be");
        config.resolve(Path::new("/etc/x"));
        assert_eq!(config.fleet, Path::new("/etc/x/fleet.toml"));
        assert_eq!(config.hot.path, HotSection::default().path, "an absolute path stays");
        assert!(config.listen.https.ip().is_loopback());
        assert!(toml::from_str::<Config>("name = \"a1\"\ntenant = \"demo\"\n[warm]\nretention = 3").is_err());
        assert!(toml::from_str::<Config>("name = \"a1\"\ntenant = \"de mo\"").is_err());
    }

    /// What is said of a configuration with these lines more; its folder left out.
    fn load(more: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.toml");
        std::fs::write(&path, format!("name = \"a1\"\ntenant = \"demo\"\n{more}")).expect("written");
        Config::load(&path).map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn what_would_weaken_the_fleet_is_refused_by_name() {
        load("[api]\nallow_classical_from = [\"10.0.0.0/8\", \"2001:db8::/32\"]").expect("networks of somebody's own");
        for (more, said) in [
            (
                "[api]\nallow_classical_from = [\"0.0.0.0/0\"]",
                "a.toml, line 4, `api.allow_classical_from`: 0.0.0.0/0 is",
            ),
            ("[api]\nallow_classical_from = [\"::/0\"]", "a.toml, line 4, `api.allow_classical_from`: ::/0 is refused"),
            ("[join]\nmax_offline_days = 100000", "a.toml, line 4, `join.max_offline_days`: 100000 is refused"),
            ("[join]\n\nmax_offline_days = 0", "a.toml, line 5, `join.max_offline_days`: 0 is refused"),
            (
                "[link]\npolicy = \"classical\"",
                "line 4, `link.policy`: unknown variant `classical`, expected `pure` or",
            ),
            ("[link]\ngroups = [\"x25519\"]", "line 4: there is no key `groups` in [link]; the keys are policy"),
            ("[join]\nopen = true", "line 4: there is no key `open` in [join]; the keys are max_offline_days"),
            (
                "[warm]\nretention_day = 3",
                "line 4: there is no key `retention_day` in [warm]: did you mean `retention_days`?",
            ),
            ("log = \"loud\"", "line 3, `log`: log level \"loud\" is none of error, warn, info, debug"),
            (
                "[admission]\nhalf_open = 1000000",
                "line 4, `admission.half_open`: is 1000000; set it to a number from 4",
            ),
        ] {
            let error = load(more).expect_err("refused");
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn credentials_serve_what_is_only_read() {
        let more = "[api]\ntokens = \"credential:tokens\"\n[identity]\nhttps_key = \"credential:key\"";
        let mut config = load(more).expect("a configuration");
        let none = config.find_credentials(&Environment::default()).expect_err("not run by systemd").to_string();
        assert!(none.starts_with("credential:key: $CREDENTIALS_DIRECTORY is not set"), "{none}");
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["tokens", "key"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        config.find_credentials(&Environment { credentials: Some(folder.path().into()) }).expect("passed");
        assert_eq!(config.api.tokens.path().ok(), Some(folder.path().join("tokens").as_path()));
        let again: Config = toml::from_str(&toml::to_string(&config).expect("TOML")).expect("a configuration");
        assert!(again.api.tokens.path().is_err(), "it is written as it was read");
        for key in ["identity.issuers", "identity.endpoint_keys", "fleet", "state", "warm.journal"] {
            let error = load(&format!("{key} = \"credential:key\"")).expect_err("it is written");
            assert!(error.contains(&format!("line 3, `{key}`: a credential can only be read")), "{error}");
        }
    }
}
