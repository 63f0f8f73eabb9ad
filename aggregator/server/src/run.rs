//! `dsmil-aggregator run`: the parts made and joined.

use crate::admission::Admission;
use crate::api::{self, ApiContext, ApiStats, Tokens};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::fleet::{Fleet, FleetHandle};
use crate::ingest::{Ingest, Parts};
use crate::join::{JoinPort, Told};
use crate::live::{Live, Patience, Standing};
use crate::registry::Registry;
use crate::reload::Handles;
use crate::retention::Retention;
use crate::security_log;
use crate::telemetry::Telemetry;
use anyhow::Context;
use dsmil_crypto::https::HttpsServer;
use dsmil_crypto::identity::Credential;
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::token::TokenHash;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::config::SecretFile;
use dsmil_runtime::supervise::Supervisor;
use dsmil_store::hot::HotConfig;
use dsmil_store::state::{EventKind, LogQuery, MAX_LOG_ROWS, State};
use dsmil_store::warm::WarmConfig;
use dsmil_store::{Store, StoreConfig};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

const MS_PER_DAY: i64 = 86_400_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// A host renews twice a day; one that missed a weekend is still known.
const KNOWN_FOR_DAYS: i64 = 4;

/// A running aggregator: where it listens, and handles to what it keeps.
#[derive(Clone, Debug)]
pub struct Running {
    /// UDP, for agents.
    pub quic: SocketAddr,
    /// UDP, for hosts that join or renew.
    pub join: SocketAddr,
    /// TCP, for the API.
    pub https: SocketAddr,
    /// What is stored.
    pub store: Store,
    /// What is known of hosts now.
    pub live: Live,
    /// Its own counters.
    pub telemetry: Telemetry,
    /// Who is enrolled.
    pub registry: Registry,
    /// Who it is.
    pub credentials: Credentials,
    /// What takes new values at SIGHUP.
    pub handles: Handles,
}

impl Running {
    /// How the fleet stands, in a line for `systemctl status`.
    pub fn standing(&self) -> String {
        let hosts = self.live.all();
        let count = |of| hosts.iter().filter(|(_, host)| host.standing == of).count();
        let (up, awaited) = (count(Standing::Up), count(Standing::Awaited));
        let awaited = if awaited == 0 { String::new() } else { format!(", {awaited} awaited") };
        format!("{up} of {} hosts up{awaited}", hosts.len())
    }
}

/// Starts everything under `supervisor` and returns where it listens. It runs until the supervisor stops it.
pub async fn start(config: &Config, clock: &Clock, supervisor: &Supervisor) -> anyhow::Result<Running> {
    let fleet = FleetHandle::new(Fleet::load(&config.fleet)?);
    let state = open_state(config, supervisor)?;
    let bundle = state.bundle().await?.context(NO_BUNDLE)?;
    let credentials = Credentials::new(config, &bundle.bytes, clock)?;
    let registry = Registry::start(state, credentials.clone(), clock, supervisor).await?;
    let (admission, join_admission) = admissions(config, registry.state(), clock).await?;

    let store = open_store(config, clock, supervisor)?;
    let (settings, telemetry) = (config.agents.settings(), Telemetry::default());
    let live = live(&fleet.get(), Patience::with(&settings), clock, supervisor);
    log_refusals(config, &telemetry, clock, supervisor)?;

    let keys = Arc::new(EndpointKeys::load_or_create(&config.identity.endpoint_keys)?);
    let ingest = Ingest::new(Parts {
        tenant: config.tenant.clone(),
        credentials: credentials.clone(),
        registry: registry.clone(),
        admission: admission.clone(),
        keys: Arc::clone(&keys),
        settings,
        fleet: fleet.clone(),
        store: store.clone(),
        live: live.clone(),
        telemetry: telemetry.clone(),
        clock: clock.clone(),
        supervisor: supervisor.clone(),
    });
    let socket = udp(config.listen.quic, ingest.server()?, &keys)?;
    let quic = socket.local_addr()?;
    ingest.listen(socket);
    let retention = Retention::start(config.warm.retention_days, &store, clock, supervisor);
    let handles = handles(config, &fleet, &live, retention, &credentials)?;
    let port = JoinPort {
        tenant: config.tenant.clone(),
        fleet: fleet.clone(),
        registry: registry.clone(),
        credentials: credentials.clone(),
        told: handles.told.subscribe(),
        max_offline_s: i64::from(config.join.max_offline_days) * SECONDS_PER_DAY,
        admission: join_admission.clone(),
        telemetry: telemetry.clone(),
        clock: clock.clone(),
    };
    let socket = udp(config.listen.join, port.server(&keys)?, &keys)?;
    let join = socket.local_addr()?;
    port.listen(socket, keys, supervisor);

    let listener = tcp(config.listen.https).await?;
    let https = listener.local_addr()?;
    let context = ApiContext {
        tenant: config.tenant.clone(),
        store: store.clone(),
        live: live.clone(),
        fleet: fleet.clone(),
        telemetry: telemetry.clone(),
        registry: registry.clone(),
        credentials: credentials.clone(),
        admission,
        join_admission,
        tokens: handles.tokens.clone(),
        clock: clock.clone(),
        clearance: config.api.clearance,
        started_ms: clock.wall_ms(),
        classical_from: handles.classical_from.subscribe(),
        stats: ApiStats::default(),
    };
    api::serve(listener, handles.https.subscribe(), context, supervisor);
    Ok(Running { quic, join, https, store, live, telemetry, registry, credentials, handles })
}

/// What takes new values later, with those of now.
fn handles(
    config: &Config,
    fleet: &FleetHandle,
    live: &Live,
    retention: Retention,
    credentials: &Credentials,
) -> anyhow::Result<Handles> {
    let time = credentials.time().clone();
    Ok(Handles {
        fleet: fleet.clone(),
        live: live.clone(),
        tokens: Tokens::new(tokens(config.api.tokens.path()?)?),
        classical_from: watch::Sender::new(config.api.allow_classical_from.clone()),
        https: watch::Sender::new(https_server(config, &time)?),
        time,
        told: watch::Sender::new(Told::of(config)),
        retention,
    })
}

/// What is known of hosts: nothing yet, so those of the fleet file are awaited.
fn live(fleet: &Fleet, patience: Patience, clock: &Clock, supervisor: &Supervisor) -> Live {
    let live = Live::new(fleet.hosts().map(|(name, _)| name.clone()), patience, clock.clone());
    live.keep_looking(supervisor);
    live
}

/// The durable state of a configuration: registry, tokens, bundles, security log.
pub fn open_state(config: &Config, supervisor: &Supervisor) -> anyhow::Result<State> {
    make_folder(&config.state)?;
    Ok(State::open(&config.state, config.tenant.clone(), supervisor)?)
}

/// Keeps the security log. Its handle of the state outlives the others' by the last rows.
fn log_refusals(config: &Config, telemetry: &Telemetry, clock: &Clock, supervisor: &Supervisor) -> anyhow::Result<()> {
    let last = Supervisor::new(clock.clone());
    security_log::start(open_state(config, &last)?, last, telemetry.clone(), clock.clone(), supervisor);
    Ok(())
}

/// One for the link and one for the join port: a flood of strangers on the one takes no place of an agent on the other.
async fn admissions(config: &Config, state: &State, clock: &Clock) -> anyhow::Result<(Admission, Admission)> {
    let known = known_addresses(state, clock.wall_ms()).await?;
    let admit = || -> anyhow::Result<Admission> {
        let admission = Admission::new(&config.admission, clock.clone())?;
        admission.recall(known.iter().copied());
        Ok(admission)
    };
    Ok((admit()?, admit()?))
}

/// Where hosts have joined or renewed from in the last days: one that comes back under a flood finds the room that is kept for
/// addresses that are known.
async fn known_addresses(state: &State, now_ms: i64) -> anyhow::Result<Vec<IpAddr>> {
    let since_ms = Some(now_ms.saturating_sub(KNOWN_FOR_DAYS * MS_PER_DAY));
    let mut known = Vec::new();
    for kind in [EventKind::Join, EventKind::Renewal] {
        let query = LogQuery { since_ms, kind: Some(kind), subject: None, limit: MAX_LOG_ROWS };
        let events = state.security_log(query).await?;
        known.extend(events.into_iter().filter_map(|(_, event)| event.from?.parse::<IpAddr>().ok()));
    }
    Ok(known)
}

/// What to do where no bundle was ever published.
pub const NO_BUNDLE: &str = "there is no trust bundle yet: `dsmil-aggregator init` makes the first";

fn udp(address: SocketAddr, server: quinn::ServerConfig, keys: &EndpointKeys) -> anyhow::Result<quinn::Endpoint> {
    endpoint(address, Some(server), keys)
        .with_context(|| format!("cannot listen on UDP {address}; is another aggregator running?"))
}

async fn tcp(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on TCP {address}; is another program there?"))
}

/// The API's side of TLS.
pub(crate) fn https_server(config: &Config, time: &TimeSource) -> anyhow::Result<HttpsServer> {
    Ok(HttpsServer::new(&https_credential(config)?, time.clone())?)
}

/// The certificate that API clients see, and its key.
pub(crate) fn https_credential(config: &Config) -> anyhow::Result<Credential> {
    let (certificate, key): (&SecretFile, &SecretFile) =
        (&config.identity.https_certificate, &config.identity.https_key);
    let load = if key.is_passed() { Credential::load_passed } else { Credential::load };
    Ok(load(certificate.path()?, key.path()?)?)
}

fn open_store(config: &Config, clock: &Clock, supervisor: &Supervisor) -> anyhow::Result<Store> {
    for path in [&config.warm.journal, &config.hot.path] {
        make_folder(path)?;
    }
    let hot = HotConfig { max_bytes: config.hot.max_mib << 20, ..HotConfig::new(&config.hot.path) };
    let warm = WarmConfig { max_bytes: config.warm.max_mib.map(|mib| mib << 20), ..WarmConfig::default() };
    let store = StoreConfig { journal: config.warm.journal.clone(), warm, hot: Some(hot) };
    let (store, report) = Store::open(store, clock, supervisor)?;
    tracing::info!(?report, "store opened");
    Ok(store)
}

fn make_folder(file: &Path) -> anyhow::Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))
}

/// Why the file of API tokens was refused.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("{path} cannot be read; `dsmil-aggregator init` makes it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no hash.
    #[error("line {line} of {path} is no token hash; remove it")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// Reads the hashes of the API tokens, one a line.
pub fn tokens(path: &Path) -> Result<Vec<TokenHash>, TokensError> {
    let text = std::fs::read_to_string(path).map_err(|source| TokensError::Unreadable { path: path.into(), source })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| line.trim().parse().map_err(|_| TokensError::Line { path: path.into(), line: i + 1 }))
        .collect()
}
