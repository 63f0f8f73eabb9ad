//! The centre and hosts of a scene within this process, on one wall clock that a test moves: what takes a month takes a
//! second.

use crate::scene::{SOON, Scene};
use anyhow::{Context, ensure};
use dsmil_agent::config::AgentConfig;
use dsmil_agent::credentials::Credentials;
use dsmil_agent::join::{JoinOptions, join};
use dsmil_agent::run::{Parts, Running as RunningHost};
use dsmil_agent::spool::SpoolConfig;
use dsmil_agent::status::LinkState;
use dsmil_agent::uplink::UplinkConfig;
use dsmil_aggregator::run::{self, Running as RunningCentre};
use dsmil_authority::Fingerprint;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, HostName};
use dsmil_protocol::session::Speaker;
use dsmil_runtime::clock::{Clock, WallShift};
use dsmil_runtime::supervise::{Drained, Supervisor};
use dsmil_store::ledger::Totals;
use e2e::fleet::eventually;
use e2e::sim::SimSource;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const HOUR: u64 = 3_600;
pub(crate) const DAY: u64 = 24 * HOUR;

/// A wall clock for everybody in the process.
pub(crate) struct Days {
    pub(crate) clock: Clock,
    shift: WallShift,
}

impl Days {
    pub(crate) fn begin() -> Self {
        dsmil_runtime::log::start(dsmil_runtime::log::Level::Info);
        let (clock, shift) = Clock::shifted();
        Self { clock, shift }
    }

    /// It is so many seconds later than it really is.
    pub(crate) fn later(&self, seconds: u64) {
        self.shift.set(i64::try_from(Duration::from_secs(seconds).as_nanos()).expect("some years"));
    }
}

/// A running centre.
pub(crate) struct Centre {
    pub(crate) running: RunningCentre,
    supervisor: Supervisor,
}

impl Centre {
    pub(crate) async fn start(scene: &Scene<'_>, clock: &Clock) -> anyhow::Result<Self> {
        let supervisor = Supervisor::new(clock.clone());
        let running = run::start(&scene.config()?, clock, &supervisor).await?;
        Ok(Self { running, supervisor })
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        ensure!(self.supervisor.drain(SOON).await == Drained::Clean, "the centre does not end");
        Ok(())
    }

    /// How many peers it has refused for this reason, on a port.
    pub(crate) fn refused(&self, port: &str, reason: &str) -> u64 {
        let totals = self.running.telemetry.refused.totals();
        let is_it = |refused: &dsmil_aggregator::refusals::Refused| {
            refused.port.as_str() == port && refused.reason.as_str() == reason
        };
        totals.into_iter().filter(|(refused, _)| is_it(refused)).map(|(_, count)| count).sum()
    }

    /// The sums over all boots of all hosts.
    pub(crate) fn totals(&self) -> Totals {
        let mut sums = Totals::default();
        for (_, ledger) in self.running.store.warm().ledgers() {
            let totals = ledger.totals();
            sums.expected += totals.expected;
            sums.stored += totals.stored;
            sums.waiting += totals.waiting;
            sums.lost += totals.lost;
            for (reason, ticks) in totals.lost_by {
                *sums.lost_by.entry(reason).or_default() += ticks;
            }
        }
        sums
    }
}

/// A host that has joined.
pub(crate) struct Place {
    pub(crate) host: HostName,
    pub(crate) folder: PathBuf,
    boot: BootId,
    spool: PathBuf,
}

impl Place {
    /// Joins with a new token, into a folder of that name.
    pub(crate) async fn join(scene: &Scene<'_>, host: &str, folder: &str, clock: &Clock) -> anyhow::Result<Self> {
        let (token, _) = scene.token(host)?;
        let place = Self {
            host: HostName::new(host)?,
            folder: scene.fleet.disk().join("config").join(folder),
            boot: BootId([1; 16]),
            spool: scene.fleet.ram().join(format!("{folder}.sqlite")),
        };
        let (dir, state) = (place.folder.clone(), place.folder.clone());
        let options = JoinOptions { dir, state, again: false, within: SOON };
        join(&token, &options, clock, &mut |_| {}).await?;
        Ok(place)
    }

    /// It was switched off and on: another boot, and nothing is left of what was on its tmpfs.
    pub(crate) fn boot_again(&mut self) {
        self.boot.0[0] += 1;
        self.spool.set_extension(format!("{}.sqlite", self.boot.0[0]));
    }

    pub(crate) fn boot(&self) -> BootId {
        self.boot
    }

    pub(crate) fn config(&self) -> anyhow::Result<AgentConfig> {
        Ok(AgentConfig::load(&self.folder.join("agent.toml"))?)
    }

    pub(crate) fn credentials(&self, clock: &Clock) -> anyhow::Result<Credentials> {
        let config = self.config()?;
        Ok(Credentials::load(config.credential_files(), config.key_exchange(), clock.clone())?)
    }

    /// Starts its agent: identity and trust from their files, as after a boot.
    pub(crate) fn start(&self, clock: &Clock) -> anyhow::Result<Host> {
        let (config, credentials) = (self.config()?, self.credentials(clock)?);
        let supervisor = Supervisor::new(clock.clone());
        let running = dsmil_agent::run::start(Parts {
            source: SimSource::of(1, &self.host),
            spool: SpoolConfig { path: self.spool.clone(), capacity_bytes: 8 << 20, batch_ticks: 1 },
            uplink: UplinkConfig {
                host: config.host.clone(),
                boot: self.boot,
                devices: config.devices.clone(),
                speaker: Speaker {
                    tenant: config.tenant.clone(),
                    compartments: config.compartments,
                    classification: config.classification,
                },
                aggregators: config.aggregators.clone(),
            },
            credentials: credentials.clone(),
            join: config.join.clone(),
            clock: clock.clone(),
            supervisor: supervisor.clone(),
        })?;
        Ok(Host { running, credentials, supervisor, clock: clock.clone() })
    }
}

/// A running host.
pub(crate) struct Host {
    pub(crate) running: RunningHost,
    pub(crate) credentials: Credentials,
    supervisor: Supervisor,
    clock: Clock,
}

impl Host {
    pub(crate) fn key(&self) -> anyhow::Result<Fingerprint> {
        Ok(self.credentials.current().identity().key_fingerprint()?)
    }

    pub(crate) fn sampled(&self) -> u64 {
        self.running.spool.lock().status().totals.ticks_taken
    }

    /// Waits until `look` says yes, for [`SOON`].
    pub(crate) async fn until(&self, what: &str, look: impl Fn() -> bool) -> anyhow::Result<()> {
        self.until_within(SOON, what, look).await
    }

    pub(crate) async fn until_within(
        &self,
        within: Duration,
        what: &str,
        look: impl Fn() -> bool,
    ) -> anyhow::Result<()> {
        let waited = eventually(&self.clock, what, within, || std::future::ready(Ok(look())));
        waited.await.with_context(|| format!("{:?}; {:?}", self.running.board.status(), self.credentials.renewal()))
    }

    pub(crate) async fn until_connected(&self) -> anyhow::Result<()> {
        self.until("it is connected", || self.running.board.is_connected()).await
    }

    /// Waits until it says that its renewal was refused with this code, and what to do.
    pub(crate) async fn until_not_renewed(&self, code: ErrorCode) -> anyhow::Result<()> {
        self.until(&format!("its renewal is refused with {code}"), || {
            let failed = self.credentials.renewal().failed;
            failed.is_some_and(|(_, failure)| failure.code == code.name() && failure.remedy == code.remedy())
        })
        .await
    }

    /// What the link was refused with, if it was.
    pub(crate) fn refusal(&self) -> Option<String> {
        match self.running.board.status().state {
            LinkState::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// As SIGTERM does: what waits is sent. Says how many ticks it has sampled since its spool was made.
    pub(crate) async fn stop(self) -> anyhow::Result<u64> {
        let spool = self.running.spool.clone();
        drop(self.running);
        ensure!(self.supervisor.drain(SOON).await == Drained::Clean, "the host does not end");
        Ok(spool.lock().status().totals.ticks_taken)
    }
}
