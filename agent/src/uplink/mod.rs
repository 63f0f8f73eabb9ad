//! The way to the aggregator: connect, say what waits, and come back when the link is lost.
//!
//! `caller` connects with the credentials in force, `lanes` writes the streams, `drive` runs one session, `ending` says what
//! an end means; this loop decides when to try.

mod caller;
mod drive;
mod ending;
mod lanes;

use crate::addresses::Addresses;
use crate::credentials::{Credentials, Want};
use crate::fleet_settings::SettingsDesk;
use crate::sampler::Row;
use crate::spool::{BatchKey, Spool};
use crate::status::LinkBoard;
use caller::Caller;
use drive::Drive;
use dsmil_crypto::policy::PolicyError;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, DeviceId, HostName};
use dsmil_protocol::message::GoodbyeReason;
use dsmil_protocol::session::Speaker;
use dsmil_protocol::session::agent::Closed;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use ending::{End, Pace, handshake_remedy};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A handshake that takes longer is given up.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The same for one that is under way when the agent stops; a restart waits as long where the aggregator is away.
const LAST_CALL: Duration = Duration::from_secs(1);
/// While a renewal is awaited: how often to look whether the clock was set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The spool, shared by sampler, uplink and local socket, all on one thread; nobody holds it across an await.
#[derive(Clone, Debug)]
pub struct SharedSpool(Arc<Mutex<Spool>>);

impl SharedSpool {
    /// Shares `spool`.
    pub fn new(spool: Spool) -> Self {
        Self(Arc::new(Mutex::new(spool)))
    }

    /// The spool, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Spool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far sampling has come; the uplink wakes when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Ticks sampled since the agent started.
    pub ticks: u64,
    /// The batch that was sealed last.
    pub sealed: Option<BatchKey>,
    /// Nothing more will be sampled: send what waits, say goodbye, end.
    pub finished: bool,
}

/// Who this agent is and where it reports.
#[derive(Clone, Debug)]
pub struct UplinkConfig {
    /// The host's name, as in its certificate.
    pub host: HostName,
    /// The running boot.
    pub boot: BootId,
    /// The devices it speaks for.
    pub devices: Vec<DeviceId>,
    /// As whom it speaks.
    pub speaker: Speaker,
    /// Aggregators, `host:port`, tried in turn, until others are named.
    pub aggregators: Vec<String>,
}

/// What the uplink shares with the rest of its host. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The time.
    pub clock: Clock,
    /// Who runs the tasks.
    pub supervisor: Supervisor,
    /// What waits to be sent.
    pub spool: SharedSpool,
    /// How far sampling has come.
    pub progress: watch::Receiver<Progress>,
    /// What was sampled last, for whoever watches.
    pub newest: watch::Receiver<Option<Arc<Row>>>,
    /// Where the link's state is written down.
    pub board: LinkBoard,
    /// Who we are, and whom we trust.
    pub credentials: Credentials,
    /// Whom to call.
    pub addresses: Addresses,
    /// The fleet's settings here.
    pub settings: SettingsDesk,
}

/// The uplink of one host.
#[derive(Debug)]
pub struct Uplink {
    config: UplinkConfig,
    shared: Shared,
}

impl Uplink {
    /// An uplink that has not connected yet. Fails where no renewal would help: an identity of another kind or fleet.
    pub fn new(config: UplinkConfig, shared: Shared) -> Result<Self, PolicyError> {
        match shared.credentials.current().link().client() {
            // A newer bundle may name issuers.
            Ok(_) | Err(PolicyError::Anchors(_)) => Ok(Self { config, shared }),
            Err(error) => Err(error),
        }
    }

    /// Connects, and connects again, until sampling is finished and what waits was sent, or cannot be.
    pub async fn run(mut self) -> std::io::Result<()> {
        // HELLO says what the spool answers for, so there has to be a tick.
        if self.shared.progress.wait_for(|p| p.ticks > 0 || p.finished).await.is_err() {
            return Ok(());
        }
        let mut caller = Caller::new(self.shared.credentials.clone())?;
        let mut pace = Pace::new();
        for turn in 0.. {
            let Some(aggregator) = self.shared.addresses.aggregator(turn) else { break };
            tokio::select! {
                // Whoever stops in the first second is called for all the same: something waits.
                biased;
                () = self.until_renewed() => {}
                () = finished(&self.shared.progress) => break,
            }
            self.shared.board.connecting(&aggregator);
            let Attempt { end, window } = Box::pin(self.attempt(&mut caller, &aggregator)).await;
            if self.shared.progress.borrow().finished {
                break;
            }
            let (cure, wait) = (end.cure(), pace.wait(&end, window));
            let mut changes = self.shared.credentials.changes();
            if let Some(want) = cure {
                self.shared.credentials.renew_soon(want, end.name());
            }
            self.report(end, wait);
            tokio::select! {
                () = self.shared.clock.sleep(wait) => {}
                // What was refused has been replaced.
                _ = changes.changed(), if cure.is_some() => {}
                () = finished(&self.shared.progress) => break,
            }
        }
        Ok(())
    }

    /// Waits while our own clock says that we hold something that has expired and the keeper is about to renew it: being
    /// refused with it would take time and tell us nothing.
    async fn until_renewed(&self) {
        let Shared { credentials, board, clock, .. } = &self.shared;
        let mut changes = credentials.changes();
        while let Some(want) = credentials.awaits_renewal() {
            let what = match want {
                Want::Identity => "the certificate has expired and is being renewed",
                Want::Bundle => "the trust bundle has expired and a newer one is being fetched",
            };
            let facts = credentials.renewal();
            let next_in = facts.next_in.unwrap_or_default();
            match facts.failed {
                Some((_, failure)) if failure.somebody_must_act => board.refused(failure.code, failure.remedy, next_in),
                Some((_, failure)) => board.offline(format!("{what}: {}", failure.what), next_in),
                None => board.offline(what, next_in),
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = clock.sleep(LOOK_AGAIN) => {}
            }
        }
    }

    async fn attempt(&self, caller: &mut Caller, aggregator: &str) -> Attempt {
        let connection = tokio::select! {
            connection = caller.call(aggregator) => connection,
            () = self.shared.clock.sleep(CONNECT_WITHIN) => Err(End::Unreachable("no answer".into())),
            () = self.too_late() => Err(End::Unreachable("stopping".into())),
        };
        match connection {
            Err(end) => Attempt { end, window: None },
            Ok(connection) => {
                let drive = Drive::start(&self.config, connection, self.shared.clone());
                match drive.await {
                    Ok(drive) => drive.run().await,
                    Err(end) => Attempt { end, window: None },
                }
            }
        }
    }

    /// Returns when sampling is finished and a call that was under way then has had its time: a host that is switched off in its
    /// first second takes what it has not sent with it.
    async fn too_late(&self) {
        finished(&self.shared.progress).await;
        self.shared.clock.sleep(LAST_CALL).await;
    }

    fn report(&self, end: End, wait: Duration) {
        match end {
            End::Unreachable(reason) => {
                tracing::debug!(reason, "no link");
                self.shared.board.offline(reason, wait);
            }
            End::Closed(Closed::Refused(code) | Closed::Fault(code)) => self.refused(code.name(), code.remedy(), wait),
            End::Closed(Closed::Goodbye(GoodbyeReason::Stopping)) => {
                self.shared.board.offline("the aggregator said goodbye: it stops", wait);
            }
            End::Closed(Closed::Goodbye(GoodbyeReason::Replaced)) => {
                self.shared.board.offline("another agent of this host took our place; is one running twice?", wait);
            }
            End::Closed(Closed::Goodbye(GoodbyeReason::Refused)) => {
                self.refused(ErrorCode::Revoked.name(), ErrorCode::Revoked.remedy(), wait);
            }
            End::Closed(Closed::Silent) => self.shared.board.offline("the aggregator fell silent", wait),
            End::Handshake { refusal, ours } => self.refused(refusal.as_str(), handshake_remedy(refusal, ours), wait),
            End::Unusable(what) => {
                tracing::warn!(what, "nobody can be connected with");
                self.shared.board.refused("identity_unusable", what, wait);
            }
        }
    }

    fn refused(&self, code: &str, remedy: &str, wait: Duration) {
        tracing::warn!(code, remedy, "the link was refused");
        self.shared.board.refused(code, remedy, wait);
    }
}

/// Returns when nothing more will be sampled.
async fn finished(progress: &watch::Receiver<Progress>) {
    // An error means that the sampler is gone, and then nothing more comes either.
    let _ = progress.clone().wait_for(|p| p.finished).await;
}

/// How an attempt went.
struct Attempt {
    end: End,
    /// The reconnect window, if the aggregator took us in.
    window: Option<Duration>,
}

#[cfg(test)]
mod tests;
