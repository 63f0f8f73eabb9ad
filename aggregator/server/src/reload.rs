//! SIGHUP: the configuration and the files that it names are read and checked again. All of it is good and counts, or none.

use crate::api::Tokens;
use crate::config::{Advertise, Config};
use crate::fleet::{Fleet, FleetHandle};
use crate::join::Told;
use crate::live::Live;
use crate::retention::Retention;
use crate::run::{https_server, tokens};
use anyhow::Context;
use dsmil_crypto::https::HttpsServer;
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::token::TokenHash;
use dsmil_runtime::config::{Environment, Key, Reload, on_hangup};
use dsmil_runtime::supervise::Supervisor;
use dsmil_runtime::{config_keys, log};
use ipnet::IpNet;
use std::path::Path;
use tokio::sync::watch;

/// The parts of a running aggregator that take new values. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Handles {
    /// Which hosts there are.
    pub fleet: FleetHandle,
    /// What is known of them.
    pub live: Live,
    /// Who may ask the API.
    pub tokens: Tokens,
    /// From where without a post-quantum key exchange.
    pub classical_from: watch::Sender<Vec<IpNet>>,
    /// The API's certificate.
    pub https: watch::Sender<HttpsServer>,
    /// The time that TLS goes by.
    pub time: TimeSource,
    /// What joining hosts are told.
    pub told: watch::Sender<Told>,
    /// How long the journal keeps.
    pub retention: Retention,
}

/// What was read anew, and who takes it.
#[derive(Debug)]
pub struct Anew {
    handles: Handles,
    config: Config,
    fleet: Fleet,
    tokens: Vec<TokenHash>,
    https: HttpsServer,
}

/// Every key of aggregator.toml, and what SIGHUP does with it.
pub static KEYS: &[Key<Config, Anew>] = config_keys!(Config, Anew:
    name;
    tenant;
    fleet => |anew| anew.replace_fleet();
    log => |anew| log::set_level(anew.config.log);
    state;
    listen.quic;
    listen.join;
    listen.https;
    advertise.agents => |anew| anew.tell();
    advertise.join => |anew| anew.tell();
    link.policy;
    join.max_offline_days;
    identity.issuers;
    identity.https_certificate => |anew| anew.show_certificate();
    identity.https_key => |anew| anew.show_certificate();
    identity.endpoint_keys;
    warm.journal;
    warm.max_mib;
    warm.retention_days => |anew| anew.handles.retention.set(anew.config.warm.retention_days);
    hot.path;
    hot.max_mib;
    api.tokens => |anew| anew.handles.tokens.set(anew.tokens.clone());
    api.clearance;
    api.allow_classical_from => |anew| {
        anew.handles.classical_from.send_replace(anew.config.api.allow_classical_from.clone());
    };
    agents.heartbeat_ms;
    agents.window_batches;
    agents.backlog_kib_per_second;
    agents.reconnect_window_ms;
    admission.handshakes_per_second;
    admission.address_handshakes_per_second;
    admission.address_handshakes_burst;
    admission.half_open;
    admission.half_open_per_address;
    admission.half_open_unproven;
    admission.connections;
    admission.sessions_per_minute;
);

/// Reads `path` again at every SIGHUP, for an aggregator that was started with `config`.
///
/// # Errors
/// The signal cannot be received.
pub fn start(
    path: &Path,
    environment: Environment,
    config: Config,
    handles: Handles,
    supervisor: &Supervisor,
) -> std::io::Result<()> {
    let (path, mut reload) = (path.to_owned(), Reload::new(KEYS, config));
    on_hangup(supervisor, move || match Anew::read(&path, &environment, &handles) {
        Ok(anew) => {
            tracing::info!(hosts = anew.fleet.hosts().count(), "the configuration and the fleet file were read again");
            reload.take(anew.config.clone(), &anew);
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(
                error,
                "SIGHUP changed nothing; mend this, see that `dsmil-aggregator check` agrees, send it again"
            );
        }
    })
}

impl Anew {
    fn read(path: &Path, environment: &Environment, handles: &Handles) -> anyhow::Result<Self> {
        let mut config = Config::load(path)?;
        config.find_credentials(environment)?;
        let fleet = Fleet::load(&config.fleet).context("the fleet file is not valid")?;
        let (tokens, https) = (tokens(config.api.tokens.path()?)?, https_server(&config, &handles.time)?);
        Ok(Self { handles: handles.clone(), config, fleet, tokens, https })
    }

    /// Hosts that are new are awaited.
    fn replace_fleet(&self) {
        let Self { handles: Handles { fleet, live, .. }, fleet: new, .. } = self;
        new.hosts().for_each(|(name, _)| live.update(name, |_| {}));
        fleet.replace(new.clone());
    }

    fn tell(&self) {
        // What the link demands stays as it is until the next start.
        let Advertise { agents, join } = self.config.advertise.clone();
        self.handles.told.send_modify(|told| (told.aggregators, told.join) = (agents, join));
    }

    /// Connections that are open keep the certificate that they saw.
    fn show_certificate(&self) {
        self.handles.https.send_replace(self.https.clone());
    }
}
