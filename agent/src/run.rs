//! One host's parts joined: a source of rows, the spool, the uplink. The agent runs one, the fleet simulator many.

use crate::addresses::Addresses;
use crate::credentials::{Credentials, Keeper};
use crate::fleet_settings::SettingsDesk;
use crate::sampler::{self, Row, Source};
use crate::settings::link_policy;
use crate::spool::{BatchKey, OpenReport, Spool, SpoolConfig, SpoolError};
use crate::status::{LinkBoard, LinkState};
use crate::uplink::{Progress, Shared, SharedSpool, Uplink, UplinkConfig};
use dsmil_authority::Values;
use dsmil_crypto::policy::PolicyError;
use dsmil_protocol::ids::TickRange;
use dsmil_protocol::join::HostSettings;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch;

/// What one host is made of.
#[derive(Debug)]
pub struct Parts<S> {
    /// Where rows come from.
    pub source: S,
    /// Where they wait.
    pub spool: SpoolConfig,
    /// Where they go.
    pub uplink: UplinkConfig,
    /// Who it is, and whom it trusts.
    pub credentials: Credentials,
    /// Join ports where it renews, `host:port`; without one it cannot.
    pub join: Vec<String>,
    /// The time.
    pub clock: Clock,
    /// Who runs the tasks. When it stops, what waits is sent, within seconds.
    pub supervisor: Supervisor,
}

/// A running host.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its spool.
    pub spool: SharedSpool,
    /// How its link stands.
    pub board: LinkBoard,
    /// Where the centre is reached.
    pub addresses: Addresses,
    /// The fleet's settings here.
    pub settings: SettingsDesk,
    /// What was found when the spool was opened.
    pub opened: OpenReport,
}

impl Running {
    /// How the host stands, in a line for `systemctl status`.
    pub fn standing(&self) -> String {
        let link = self.board.status();
        let aggregator = link.aggregator.as_deref().unwrap_or("any aggregator");
        let link = match link.state {
            LinkState::Connected => format!("connected to {aggregator}"),
            LinkState::Connecting => format!("connecting to {aggregator}"),
            LinkState::Offline { reason, .. } => format!("not connected: {reason}"),
            LinkState::Refused { code, remedy, .. } => format!("refused, {code}: {remedy}"),
        };
        format!("{} ticks wait; {link}", self.spool.lock().status().ticks_waiting)
    }
}

/// Why a host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool's folder cannot be used.
    #[error("the spool could not be opened")]
    Spool(#[from] SpoolError),
    /// The identity cannot be used on the fleet link.
    #[error("the identity cannot be used")]
    Policy(#[from] PolicyError),
}

/// Starts sampling and sending. Needs a tokio runtime.
pub fn start<S: Source + 'static>(parts: Parts<S>) -> Result<Running, StartError> {
    let Parts { mut source, spool, uplink, credentials, join, clock, supervisor } = parts;
    let limits = Limits { capacity_bytes: spool.capacity_bytes, batch_ticks: spool.batch_ticks };
    let (spool, opened) = Spool::open(spool, uplink.boot, clock.clone())?;
    if let Some(aside) = &opened.set_aside {
        tracing::error!(damage = %aside.damage, path = ?aside.path, salvaged = aside.salvaged_ticks, lost = aside.lost_ticks,
            "the spool could not be used as it was and was set aside");
    }
    let spool = SharedSpool::new(spool);
    let board = LinkBoard::new(clock.clone());
    let addresses = Addresses::new(uplink.aggregators.clone(), join.clone());
    let desk = SettingsDesk::open(uplink.host.clone(), credentials.clone(), board.clone(), clock.clone());
    source.follow(desk.watch());
    let (progress, watched) = watch::channel(Progress::default());
    let (newest, seen) = watch::channel(None);
    let shared = Shared {
        clock: clock.clone(),
        supervisor: supervisor.clone(),
        spool: spool.clone(),
        progress: watched,
        newest: seen,
        board: board.clone(),
        credentials: credentials.clone(),
        addresses: addresses.clone(),
        settings: desk.clone(),
    };
    let settings = settings(&uplink, join, &credentials);
    let uplink = Uplink::new(uplink, shared)?;
    // Before the uplink: what has expired is renewed before anybody is called with it.
    let keeper = Keeper::new(credentials, settings, addresses.clone(), &supervisor, clock.clone());
    supervisor.spawn("keeper", OnFailure::Stop, keeper.run());
    supervisor.spawn("uplink", OnFailure::Stop, uplink.run());
    let stop = supervisor.stop();
    let (sampled, kept) = (spool.clone(), desk.clone());
    let mut changes = desk.watch();
    limits.apply(&changes.borrow_and_update(), &mut spool.lock());
    supervisor.spawn("sampler", OnFailure::Stop, async move {
        let sink = |row, missed| {
            if changes.has_changed().unwrap_or(false) {
                limits.apply(&changes.borrow_and_update(), &mut sampled.lock());
            }
            let is_taken = keep(&sampled, &row, missed);
            // Before the uplink wakes: it may have to send the row at once.
            newest.send_replace(Some(Arc::new(row)));
            if let Ok(sealed) = is_taken {
                progress.send_modify(|p| {
                    p.ticks += 1;
                    p.sealed = sealed.or(p.sealed);
                });
            }
            kept.ticked(is_taken.is_ok());
        };
        sampler::run(&clock, &stop, source, sink).await;
        kept.stopping();
        // What is left becomes a short batch, and the uplink sends it before it says goodbye.
        if let Err(error) = sampled.lock().seal() {
            tracing::warn!(%error, "the last ticks could not be sealed; the next start does it");
        }
        progress.send_modify(|p| p.finished = true);
        // The uplink reads the last word before this end of it is gone.
        progress.closed().await;
        Ok::<(), Infallible>(())
    });
    Ok(Running { spool, board, addresses, settings: desk, opened })
}

/// What is said here of the host that the centre says too.
fn settings(uplink: &UplinkConfig, join: Vec<String>, credentials: &Credentials) -> HostSettings {
    HostSettings {
        tenant: uplink.speaker.tenant.clone(),
        host: uplink.host.clone(),
        classification: uplink.speaker.classification,
        compartments: uplink.speaker.compartments,
        devices: uplink.devices.clone(),
        aggregators: uplink.aggregators.clone(),
        join_addresses: join,
        key_exchange: link_policy(credentials.current().link().key_exchange),
    }
}

/// What agent.toml says of the spool.
#[derive(Clone, Copy, Debug)]
struct Limits {
    capacity_bytes: u64,
    batch_ticks: usize,
}

impl Limits {
    /// Has the spool keep to the fleet's settings, as far as they do not exceed these.
    fn apply(&self, values: &Values, spool: &mut Spool) {
        let capacity = values.spool_mib.map_or(u64::MAX, |mib| u64::from(mib) << 20);
        let batch_ticks = values.batch_ticks.map_or(self.batch_ticks, usize::from);
        if let Err(error) = spool.set_limits(capacity.min(self.capacity_bytes), batch_ticks) {
            tracing::warn!(%error, "the spool's limits could not be changed; the next change tries again");
        }
    }
}

/// Keeps one tick, and looks after the spool's file. The batch that it completed; an error if the spool did not take it.
fn keep(spool: &SharedSpool, row: &Row, missed: Option<TickRange>) -> Result<Option<BatchKey>, NotTaken> {
    let mut spool = spool.lock();
    match spool.check_file() {
        Ok(None) => {}
        Ok(Some(aside)) => tracing::error!(damage = %aside.damage, path = ?aside.path, salvaged = aside.salvaged_ticks,
            lost = aside.lost_ticks, "the spool's file could not be used any longer and was replaced"),
        Err(error) => tracing::debug!(%error, "the spool's file could not be looked at"),
    }
    // It is counted by the spool and becomes a gap when there is room.
    spool.push(row, missed).map_err(|error| {
        tracing::warn!(tick = row.tick.0, %error, "a tick could not be kept");
        NotTaken
    })
}

/// The spool did not take a tick; the log says why.
#[derive(Clone, Copy, Debug)]
struct NotTaken;
