//! `dsmil-aggregator init`: an identity for the fleet, a configuration, and a folder for each host to take home.
//!
//! Run again with more hosts it only adds their folders, as long as the root's key is there.

use crate::config::{AgentSection, ApiSection, Config, HotSection, IdentityFiles, Listen, WarmSection};
use crate::fleet::{EXAMPLE, Fleet, FleetError, Host};
use dsmil_crypto::identity::{Identity, Trust};
use dsmil_crypto::issue::{FleetRoot, HttpsRoot, INIT_LEAF_LIFETIME};
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_crypto::token::ApiToken;
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_protocol::tlv::Classification;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What `init` is asked to make.
#[derive(Clone, Debug)]
pub struct Order {
    /// The folder that everything goes into.
    pub folder: PathBuf,
    /// The aggregator's name.
    pub name: String,
    /// The tenant.
    pub tenant: TenantId,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Hosts to enrol and to make folders for; none: the shipped example's.
    pub hosts: Vec<HostName>,
    /// Where agents reach this aggregator, `host:port`.
    pub advertise: String,
    /// Names and addresses of the API in its certificate.
    pub https_names: Vec<String>,
    /// Where it listens.
    pub listen: Listen,
    /// The hot cache's file.
    pub hot: Option<PathBuf>,
    /// Seconds since 1970.
    pub now: i64,
}

/// What was made.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// The configuration.
    pub config: PathBuf,
    /// The folder with the root's key, to be taken away.
    pub root: PathBuf,
    /// The token for the API, shown this once. Nothing where it was made before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_token: Option<String>,
    /// The certificate that API clients check the API by.
    pub https_root: PathBuf,
    /// A folder for each host.
    pub agents: Vec<PathBuf>,
}

/// Why nothing more was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A file could not be written or read.
    #[error("{path} could not be written; init needs a folder of its own that it may write to")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate could not be made.
    #[error("an identity could not be made")]
    Issue(#[from] dsmil_crypto::issue::IssueError),
    /// An identity could not be read or saved.
    #[error("an identity could not be saved")]
    Identity(#[from] dsmil_crypto::identity::IdentityError),
    /// A key or certificate could not be saved.
    #[error("a key could not be saved")]
    File(#[from] dsmil_crypto::files::FileError),
    /// The root's key is needed and was taken away.
    #[error(
        "{path} is set up already and its root key is not there: bring it back to root/ to add hosts, or init another folder"
    )]
    RootAway {
        /// The folder.
        path: PathBuf,
    },
    /// The fleet file that is there is not one.
    #[error("the fleet file cannot be added to")]
    Fleet(#[from] FleetError),
    /// A configuration could not be written down.
    #[error("the configuration could not be written as TOML")]
    Toml(#[from] toml::ser::Error),
}

/// Makes what is not there yet.
pub fn run(order: &Order) -> Result<Made, InitError> {
    let folder = &order.folder;
    for sub in ["root", "identity", "warm", "agents"] {
        make_folder(&folder.join(sub))?;
    }
    let is_new = !folder.join("aggregator.toml").exists();
    let root = fleet_root(order, is_new)?;
    let api_token = if is_new { Some(centre(order, &root)?) } else { None };
    let fleet = enrol(order)?;
    let asked = |name: &HostName| order.hosts.is_empty() || order.hosts.contains(name);
    let hosts = fleet.hosts().filter(|(name, _)| asked(name));
    let agents = hosts.map(|(name, host)| agent(order, &root, name, host)).collect::<Result<_, _>>()?;
    Ok(Made {
        config: folder.join("aggregator.toml"),
        root: folder.join("root"),
        api_token,
        https_root: folder.join("identity/https-root.pem"),
        agents,
    })
}

fn fleet_root(order: &Order, is_new: bool) -> Result<FleetRoot, InitError> {
    let (certificate, key) = (order.folder.join("root/root.pem"), order.folder.join("root/root.key"));
    if key.exists() {
        return Ok(FleetRoot::load(&certificate, &key)?);
    }
    if !is_new {
        return Err(InitError::RootAway { path: order.folder.clone() });
    }
    let root = FleetRoot::create(&order.trust_domain, order.now)?;
    root.save(&certificate, &key)?;
    Ok(root)
}

/// Everything of the centre itself; the configuration last, because it is what says that `init` was here.
fn centre(order: &Order, root: &FleetRoot) -> Result<String, InitError> {
    let at = |name: &str| order.folder.join("identity").join(name);
    let leaf = root.issue_aggregator(&order.name, order.now, INIT_LEAF_LIFETIME)?;
    leaf.save(&at("aggregator.pem"), &at("aggregator.key"))?;
    root.trust().save(&at("trust.pem"))?;
    let https_root = HttpsRoot::create(order.now)?;
    let names: Vec<&str> = order.https_names.iter().map(String::as_str).collect();
    https_root.issue(&names, order.now, INIT_LEAF_LIFETIME)?.save(&at("https.pem"), &at("https.key"))?;
    write(&at("https-root.pem"), 0o644, &https_root.certificate_pem())?;
    let token = ApiToken::generate();
    write(&order.folder.join("api-tokens"), 0o600, &format!("{}\n", token.hash()))?;
    let fleet = if order.hosts.is_empty() { EXAMPLE } else { EMPTY_FLEET };
    write(&order.folder.join("fleet.toml"), 0o644, fleet)?;
    let config = Config {
        name: order.name.clone(),
        tenant: order.tenant.clone(),
        fleet: "fleet.toml".into(),
        log: "info".into(),
        listen: order.listen.clone(),
        identity: IdentityFiles::default(),
        warm: WarmSection::default(),
        hot: order.hot.clone().map_or_else(HotSection::default, |path| HotSection { path, ..HotSection::default() }),
        api: ApiSection::default(),
        agents: AgentSection::default(),
    };
    write(&order.folder.join("aggregator.toml"), 0o644, &toml::to_string_pretty(&config)?)?;
    Ok(token.secret().to_string())
}

/// Puts the hosts that were asked for into the fleet file, as far as they are not there.
fn enrol(order: &Order) -> Result<Fleet, InitError> {
    let path = order.folder.join("fleet.toml");
    let fleet = Fleet::load(&path)?;
    let mut text = std::fs::read_to_string(&path).map_err(|source| InitError::Io { path: path.clone(), source })?;
    for host in order.hosts.iter().filter(|host| fleet.host(host).is_none()) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[[host]]\nname = \"{host}\"\n");
    }
    write(&path, 0o644, &text)?;
    Ok(Fleet::parse(&text)?)
}

const EMPTY_FLEET: &str = "# The fleet: the only authority for which hosts there are and who speaks for which device.
# docs/generated/configuration.md tells what a host and a device may have.
";

#[derive(Serialize)]
struct AgentFile<'a> {
    host: &'a HostName,
    tenant: &'a TenantId,
    classification: Classification,
    devices: Vec<u16>,
    aggregators: [&'a str; 1],
    identity: AgentIdentity,
}

#[derive(Serialize)]
struct AgentIdentity {
    certificate: &'static str,
    key: &'static str,
    trust: &'static str,
}

fn agent(order: &Order, root: &FleetRoot, host: &HostName, entry: &Host) -> Result<PathBuf, InitError> {
    let folder = order.folder.join("agents").join(host.as_str());
    if folder.join("agent.toml").exists() {
        return Ok(folder);
    }
    make_folder(&folder)?;
    let leaf: Identity = root.issue_agent(host.as_str(), order.now, INIT_LEAF_LIFETIME)?;
    leaf.save(&folder.join("agent.pem"), &folder.join("agent.key"))?;
    let trust: &Trust = root.trust();
    trust.save(&folder.join("trust.pem"))?;
    let file = AgentFile {
        host,
        tenant: &order.tenant,
        classification: entry.grant.clearance,
        devices: entry.grant.devices.iter().map(|device| device.0).collect(),
        aggregators: [&order.advertise],
        identity: AgentIdentity { certificate: "agent.pem", key: "agent.key", trust: "trust.pem" },
    };
    write(&folder.join("agent.toml"), 0o644, &toml::to_string_pretty(&file)?)?;
    Ok(folder)
}

fn make_folder(path: &Path) -> Result<(), InitError> {
    std::fs::create_dir_all(path).map_err(|source| InitError::Io { path: path.into(), source })
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), InitError> {
    let io = |source| InitError::Io { path: path.into(), source };
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)
}

/// The address that agents are told where none was given: the listening one, on loopback if it is unspecified.
pub fn advertised(listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() { format!("127.0.0.1:{}", listen.port()) } else { listen.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(folder: &Path, hosts: &[&str]) -> Order {
        Order {
            folder: folder.into(),
            name: "a1".into(),
            tenant: TenantId::new("demo").expect("a tenant"),
            trust_domain: TrustDomain::new("demo.test").expect("a domain"),
            hosts: hosts.iter().map(|h| HostName::new(*h).expect("a name")).collect(),
            advertise: "127.0.0.1:8100".into(),
            https_names: vec!["localhost".into()],
            listen: Listen::default(),
            hot: None,
            now: 1_800_000_000,
        }
    }

    #[test]
    fn a_second_init_adds_hosts_and_changes_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = run(&order(folder.path(), &["h1"])).expect("init");
        assert!(first.api_token.is_some());
        let config = std::fs::read(&first.config).expect("a configuration");
        let second = run(&order(folder.path(), &["h1", "h2"])).expect("init again");
        assert_eq!(second.api_token, None);
        assert_eq!(std::fs::read(&first.config).expect("still there"), config);
        assert!(folder.path().join("agents/h2/agent.key").exists());
        let fleet = Fleet::load(&folder.path().join("fleet.toml")).expect("a fleet");
        assert_eq!(fleet.hosts().count(), 2, "the new host is enrolled too");
        std::fs::remove_file(folder.path().join("root/root.key")).expect("taken away");
        assert!(matches!(run(&order(folder.path(), &["h3"])), Err(InitError::RootAway { .. })));
    }

    #[test]
    fn without_hosts_the_shipped_example_is_set_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = run(&order(folder.path(), &[])).expect("init");
        assert_eq!(made.agents.len(), 10);
        let l7 = std::fs::read_to_string(folder.path().join("agents/l7-1/agent.toml")).expect("a configuration");
        assert!(l7.contains("classification = 7") && l7.contains("47"), "{l7}");
    }

    #[test]
    fn what_init_makes_is_what_run_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = run(&order(folder.path(), &["h1"])).expect("init");
        let config = Config::load(&made.config).expect("a valid configuration");
        let fleet = Fleet::load(&config.fleet).expect("a valid fleet");
        assert!(fleet.host(&HostName::new("h1").expect("a name")).is_some());
        Identity::load(&config.identity.certificate, &config.identity.key).expect("an identity");
    }
}
