//! `dsmil-aggregator init`: a root for the fleet, an issuer below it, the first trust bundle, and a configuration.
//!
//! Run again with more hosts it adds them to the fleet file and touches nothing else; the root is not needed for that.
//! The configuration is written last: a folder that has none was not finished, and is finished by running it again.

use crate::admission::AdmissionSection;
use crate::config::{
    Advertise, AgentSection, ApiSection, Config, HotSection, IdentityFiles, JoinSection, LinkSection, Listen,
    WarmSection,
};
use crate::fleet::{EXAMPLE, Fleet, FleetError};
use crate::run::open_state;
use anyhow::Context;
use dsmil_authority::{Fingerprint, Issuer, OrderKey, TrustBundle};
use dsmil_crypto::csr::CheckedCsr;
use dsmil_crypto::issue::{FleetRoot, HTTPS_LEAF_LIFETIME, HttpsRoot, IssuerKey};
use dsmil_crypto::key::SigningKey;
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_crypto::token::ApiToken;
use dsmil_crypto::trust::{Trust, sign};
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::log::Level;
use dsmil_runtime::owner;
use dsmil_runtime::supervise::Supervisor;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// How long a trust bundle counts unless the one who signs it says otherwise: the root is brought back once a year.
pub const BUNDLE_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// The first order key, beside the root, and what the first bundle calls it.
const ORDER_KEY: (&str, &str) = ("root/orders.key", "orders-1");
/// How long the state's thread gets to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// What `init` is asked to make.
#[derive(Clone, Debug)]
pub struct Order {
    /// The folder of the configuration and the fleet file.
    pub folder: PathBuf,
    /// The folder of keys, state and journal, which the aggregator has to be able to write; may be the same.
    pub data: PathBuf,
    /// The aggregator's name.
    pub name: String,
    /// The tenant.
    pub tenant: TenantId,
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Hosts for the fleet file; none at the first time: the shipped example's.
    pub hosts: Vec<HostName>,
    /// Where hosts reach this aggregator.
    pub advertise: Advertise,
    /// Names and addresses of the API in its certificate.
    pub https_names: Vec<String>,
    /// Where it listens.
    pub listen: Listen,
    /// What the link demands.
    pub link: LinkSection,
    /// The hot cache's file.
    pub hot: Option<PathBuf>,
}

/// What was made.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// The configuration.
    pub config: PathBuf,
    /// The folder with the root's key, to be taken away. Nothing where it was made before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// SHA-384 of the root's certificate: what join tokens pin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_fingerprint: Option<Fingerprint>,
    /// The token for the API, shown this once. Nothing where it was made before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_token: Option<String>,
    /// The certificate that API clients check the API by.
    pub https_root: PathBuf,
    /// The hosts of the fleet file.
    pub hosts: Vec<HostName>,
}

/// Makes what is not there yet.
pub async fn run(order: &Order, clock: &Clock) -> anyhow::Result<Made> {
    let folder = &order.folder;
    let config = folder.join("aggregator.toml");
    let is_new = !config.exists();
    let (api_token, root_fingerprint) = if is_new { Some(centre(order, clock).await?) } else { None }.unzip();
    let fleet = add_hosts(order)?;
    Ok(Made {
        config,
        root: is_new.then(|| order.data.join("root")),
        root_fingerprint,
        api_token,
        https_root: order.data.join("identity/https-root.pem"),
        hosts: fleet.hosts().map(|(name, _)| name.clone()).collect(),
    })
}

/// The API token, and the fingerprint of the root.
async fn centre(order: &Order, clock: &Clock) -> anyhow::Result<(String, Fingerprint)> {
    make_folder(&order.folder)?;
    for sub in ["root", "identity/issuers", "state", "warm"] {
        make_folder(&order.data.join(sub))?;
    }
    let root = order.data.join("root");
    std::fs::set_permissions(&root, PermissionsExt::from_mode(0o700))
        .with_context(|| format!("{} could not be closed to others", root.display()))?;
    let now_s = clock.wall_ns().div_euclid(1_000_000_000);
    let mut config = config(order);
    let text = toml::to_string_pretty(&config)?;
    config.resolve(&order.folder);
    let root = first_bundle(order, &config, now_s, clock).await?;
    https(order, now_s)?;
    let token = ApiToken::generate();
    write(&order.data.join("api-tokens"), 0o600, &format!("{}\n", token.hash()))?;
    hand_over(&order.data)?;
    let fleet = if order.hosts.is_empty() { EXAMPLE } else { EMPTY_FLEET };
    write(&order.folder.join("fleet.toml"), 0o644, fleet)?;
    write(&order.folder.join("aggregator.toml"), 0o644, &text)?;
    Ok((token.secret().to_string(), root))
}

fn fleet_root(order: &Order, now_s: i64) -> anyhow::Result<FleetRoot> {
    let (certificate, key) = (order.data.join("root/root.pem"), order.data.join("root/root.key"));
    if key.exists() && certificate.exists() {
        return FleetRoot::load(&certificate, &key).context("the root that is there cannot be used");
    }
    let root = FleetRoot::create(&order.trust_domain, now_s)?;
    root.save(&certificate, &key)?;
    Ok(root)
}

/// The key that settings of the fleet are signed with. It is taken away with the root: whoever takes over the aggregator
/// must not find it.
fn order_key(order: &Order) -> anyhow::Result<OrderKey> {
    let (file, name) = ORDER_KEY;
    let path = order.data.join(file);
    let key = if path.exists() {
        SigningKey::load(&path).context("the order key that is there cannot be used")?
    } else {
        let key = SigningKey::generate()?;
        key.save(&path)?;
        key
    };
    Ok(OrderKey { name: name.into(), public_key: key.public_key().to_vec() })
}

/// Paths are from the configuration's folder, so that it can be copied as a whole; what is elsewhere is named as a whole.
fn config(order: &Order) -> Config {
    let mut config = Config {
        name: order.name.clone(),
        tenant: order.tenant.clone(),
        fleet: "fleet.toml".into(),
        log: Level::default(),
        state: "state/state.sqlite".into(),
        listen: order.listen.clone(),
        advertise: order.advertise.clone(),
        link: order.link.clone(),
        join: JoinSection::default(),
        identity: IdentityFiles::default(),
        warm: WarmSection::default(),
        hot: order.hot.clone().map_or_else(HotSection::default, |path| HotSection { path, ..HotSection::default() }),
        api: ApiSection::default(),
        agents: AgentSection::default(),
        admission: AdmissionSection::default(),
    };
    if order.data != order.folder {
        config.resolve_data(&order.data);
    }
    config
}

/// The root, an issuer, its certificate, and the bundle that names them. What an interrupted init has published stays: its
/// root may have been taken away. Returns the root's fingerprint.
async fn first_bundle(order: &Order, config: &Config, now_s: i64, clock: &Clock) -> anyhow::Result<Fingerprint> {
    let supervisor = Supervisor::new(clock.clone());
    let published = publish_first(order, config, now_s, clock, &supervisor).await;
    supervisor.drain(DRAIN_WITHIN).await;
    published
}

async fn publish_first(
    order: &Order,
    config: &Config,
    now_s: i64,
    clock: &Clock,
    supervisor: &Supervisor,
) -> anyhow::Result<Fingerprint> {
    let state = open_state(config, supervisor)?;
    if let Some(bundle) = state.bundle().await? {
        let trust = Trust::own(&bundle.bytes).context("the trust bundle that is there cannot be used")?;
        let (root, _) = trust.roots().next().context("the trust bundle that is there names no root")?;
        return Ok(*root);
    }
    let root = fleet_root(order, now_s)?;
    let name = format!("{}-1", order.name);
    let key = IssuerKey::generate()?;
    key.save(&config.identity.issuers.join(format!("{name}.key")))?;
    let certificate = root.certify_issuer(&name, &CheckedCsr::check(&key.request()?)?, now_s)?;
    let bundle = TrustBundle {
        version: 1,
        trust_domain: order.trust_domain.to_string(),
        issued_s: now_s,
        expires_s: now_s.saturating_add_unsigned(BUNDLE_LIFETIME.as_secs()),
        roots: vec![root.certificate().to_vec()],
        issuers: vec![Issuer { name, certificates: vec![certificate.to_vec()] }],
        order_keys: vec![order_key(order)?],
        revoked: Vec::new(),
        retired: Vec::new(),
    };
    let bytes = sign(&bundle, &[&root])?;
    state.publish_bundle(1, bytes, "the first".into(), "init", clock.wall_ms()).await?;
    Ok(root.fingerprint())
}

fn https(order: &Order, now_s: i64) -> anyhow::Result<()> {
    let at = |name: &str| order.data.join("identity").join(name);
    let root = HttpsRoot::create(now_s)?;
    let names: Vec<&str> = order.https_names.iter().map(String::as_str).collect();
    root.issue(&names, now_s, HTTPS_LEAF_LIFETIME)?.save(&at("https.pem"), &at("https.key"))?;
    write(&at("https-root.pem"), 0o644, &root.certificate_pem())
}

/// Puts the hosts that were asked for into the fleet file, as far as they are not there.
fn add_hosts(order: &Order) -> anyhow::Result<Fleet> {
    let path = order.folder.join("fleet.toml");
    let fleet = Fleet::load(&path).context("the fleet file cannot be added to")?;
    let new: Vec<_> = order.hosts.iter().filter(|host| fleet.host(host).is_none()).collect();
    if new.is_empty() {
        return Ok(fleet);
    }
    let mut text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    for host in new {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n[[host]]\nname = \"{host}\"\n");
    }
    let fleet = Fleet::parse(&text).map_err(|error: FleetError| error)?;
    write(&path, 0o644, &text)?;
    Ok(fleet)
}

const EMPTY_FLEET: &str = "# The fleet: the only authority for which hosts there are and who speaks for which device.
# docs/generated/configuration.md tells what a host and a device may have.
";

/// Root makes them for the aggregator's user, to whom the folder belongs. Not the fleet's root: whoever takes over the
/// aggregator must not find it, even before it has been taken away.
fn hand_over(data: &Path) -> anyhow::Result<()> {
    for name in ["identity", "state", "warm", "api-tokens"] {
        let path = data.join(name);
        let given = owner::give_to_folders_owner(&path);
        let given = given.and_then(|()| if path.is_dir() { owner::give_all_to_folders_owner(&path) } else { Ok(()) });
        given.with_context(|| format!("{} could not be given to the owner of its folder", path.display()))?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| {
        format!("{} cannot be made; init needs a folder of its own that it may write to", path.display())
    })
}

fn write(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())).with_context(|| {
        format!("{} could not be written; init needs a folder of its own that it may write to", path.display())
    })
}

/// Where hosts reach an aggregator that listens at `listen`: at `host`, or where none was given, at the listening address,
/// which is loopback if it is unspecified.
pub fn advertised(host: Option<&AdvertisedHost>, listen: &Listen) -> Advertise {
    let at = |address: SocketAddr| match host {
        Some(host) => format!("{}:{}", host.0, address.port()),
        None if address.ip().is_unspecified() => format!("127.0.0.1:{}", address.port()),
        None => address.to_string(),
    };
    Advertise { agents: vec![at(listen.quic)], join: vec![at(listen.join)] }
}

/// A DNS name or an address without a port; an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedHost(String);

impl FromStr for AdvertisedHost {
    type Err = AdvertisedHostError;

    fn from_str(text: &str) -> Result<Self, AdvertisedHostError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if bare.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self(format!("[{bare}]")));
        }
        let refused = match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => AdvertisedHostError::Port(host.into()),
            _ => AdvertisedHostError::Name,
        };
        let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let is_name = (1..=MAX_NAME_LEN).contains(&text.len()) && text.bytes().all(letters);
        if is_name { Ok(Self(text.into())) } else { Err(refused) }
    }
}

/// Why a text is no host to advertise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvertisedHostError {
    /// With a port.
    #[error("give the name without a port: `--advertise {0}`; the ports are those of --quic and --join")]
    Port(String),
    /// Neither.
    #[error("it is neither a DNS name nor an IP address")]
    Name,
}

/// Bytes of a DNS name (RFC 1035, section 2.3.4).
const MAX_NAME_LEN: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;

    fn order(folder: &Path, hosts: &[&str]) -> Order {
        Order {
            folder: folder.into(),
            data: folder.into(),
            name: "a1".into(),
            tenant: TenantId::new("demo").expect("a tenant"),
            trust_domain: TrustDomain::new("demo.test").expect("a domain"),
            hosts: hosts.iter().map(|h| HostName::new(*h).expect("a name")).collect(),
            advertise: Advertise { agents: vec!["127.0.0.1:8100".into()], join: vec!["127.0.0.1:8101".into()] },
            https_names: vec!["localhost".into()],
            listen: Listen::default(),
            link: LinkSection::default(),
            hot: None,
        }
    }

    #[tokio::test]
    async fn a_second_init_adds_hosts_without_the_root_and_changes_nothing_else() {
        let (folder, clock) = (tempfile::tempdir().expect("a folder"), Clock::real());
        let first = run(&order(folder.path(), &["h1"]), &clock).await.expect("init");
        assert!(first.api_token.is_some() && first.root.is_some());
        let config = std::fs::read(&first.config).expect("a configuration");
        std::fs::remove_dir_all(folder.path().join("root")).expect("taken away");
        let second = run(&order(folder.path(), &["h1", "h2"]), &clock).await.expect("init again");
        assert_eq!((second.api_token, second.root, second.root_fingerprint), (None, None, None));
        assert_eq!(second.hosts.len(), 2);
        assert_eq!(std::fs::read(&first.config).expect("still there"), config);
        assert_eq!(Fleet::load(&folder.path().join("fleet.toml")).expect("a fleet").hosts().count(), 2);
    }

    #[tokio::test]
    async fn what_the_aggregator_writes_can_be_kept_apart_from_its_configuration() {
        let (folder, data) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let order = Order { data: data.path().into(), ..order(folder.path(), &["h1"]) };
        let made = run(&order, &Clock::real()).await.expect("init");
        let mut names: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").flatten().collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        let names: Vec<_> = names.iter().map(std::fs::DirEntry::file_name).collect();
        assert_eq!(names, ["aggregator.toml", "fleet.toml"]);
        let config = Config::load(&made.config).expect("a configuration");
        assert_eq!(config.state, data.path().join("state/state.sqlite"));
        assert_eq!(config.fleet, folder.path().join("fleet.toml"));
        assert!(config.identity.issuers.join("a1-1.key").exists() && data.path().join("root/root.key").exists());
        assert_eq!(config.hot.path, HotSection::default().path);
    }

    #[tokio::test]
    async fn without_hosts_the_shipped_example_is_set_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = run(&order(folder.path(), &[]), &Clock::real()).await.expect("init");
        assert_eq!(made.hosts.len(), 10);
    }

    #[tokio::test]
    async fn an_init_that_was_cut_short_is_finished_by_the_next() {
        let (folder, clock) = (tempfile::tempdir().expect("a folder"), Clock::real());
        run(&order(folder.path(), &["h1"]), &clock).await.expect("init");
        std::fs::remove_file(folder.path().join("aggregator.toml")).expect("as if it had never been written");
        std::fs::remove_dir_all(folder.path().join("root")).expect("taken away");
        let made = run(&order(folder.path(), &["h1"]), &clock).await.expect("init again");
        let config = Config::load(&made.config).expect("a valid configuration");
        let supervisor = Supervisor::new(clock.clone());
        let state = open_state(&config, &supervisor).expect("a state");
        let bundle = state.bundle().await.expect("read").expect("a bundle");
        let credentials =
            Credentials::new(&config, &bundle.bytes, &clock).expect("the issuer that is listed has its key");
        assert_eq!(credentials.held().identity.id().to_string(), "spiffe://demo.test/aggregator/a1");
        assert!(!folder.path().join("root/root.key").exists(), "the root of that bundle has been taken away");
        supervisor.drain(DRAIN_WITHIN).await;
    }

    #[test]
    fn an_advertised_host_has_no_port_and_gets_those_of_the_listeners() {
        let listen = Listen::default();
        let told = |host: &str| host.parse().map(|host: AdvertisedHost| advertised(Some(&host), &listen));
        for (host, agents, join) in [
            ("a1.example", "a1.example:8100", "a1.example:8101"),
            ("192.0.2.1", "192.0.2.1:8100", "192.0.2.1:8101"),
            ("2001:db8::1", "[2001:db8::1]:8100", "[2001:db8::1]:8101"),
            ("[2001:db8::1]", "[2001:db8::1]:8100", "[2001:db8::1]:8101"),
        ] {
            let expected = Advertise { agents: vec![agents.into()], join: vec![join.into()] };
            assert_eq!(told(host), Ok(expected), "{host}");
        }
        assert_eq!(told("a1.example:8100"), Err(AdvertisedHostError::Port("a1.example".into())));
        assert_eq!(told("[2001:db8::1]:8100"), Err(AdvertisedHostError::Port("[2001:db8::1]".into())));
        for bad in ["", "a b", "a/b", "a:b", "https://a1.example"] {
            assert_eq!(told(bad), Err(AdvertisedHostError::Name), "{bad:?}");
        }
        assert_eq!(advertised(None, &listen).join, ["127.0.0.1:8101"]);
    }
}
