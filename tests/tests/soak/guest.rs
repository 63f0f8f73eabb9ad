//! A host within this process, with the agent's own way of joining, sending and renewing, and metrics that come and go.

use anyhow::{Context, ensure};
use dsmil_agent::config::AgentConfig;
use dsmil_agent::credentials::{Credentials, Want};
use dsmil_agent::join::{JoinError, JoinOptions, join};
use dsmil_agent::run::{self, Parts, Running};
use dsmil_agent::sampler::{Row, Source};
use dsmil_agent::spool::{Spool, SpoolConfig};
use dsmil_agent::uplink::UplinkConfig;
use dsmil_protocol::ids::{BootId, HostName, Tick};
use dsmil_protocol::metric::{MetricSet, Scale};
use dsmil_protocol::session::Speaker;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{Drained, Supervisor};
use dsmil_sensors::Form;
use dsmil_sensors::root::Root;
use e2e::fleet::{Centre, Fleet};
use e2e::sim::SimSource;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long joining, and stopping, may take; the centre may have been paused a moment ago.
const PATIENCE: Duration = Duration::from_secs(45);
/// What a spool may take, bytes: room for a hoard.
const CAPACITY: u64 = 128 << 20;

/// A host that has joined.
pub(crate) struct Guest {
    host: HostName,
    folder: PathBuf,
    spool: PathBuf,
    /// How often its metrics change.
    every: Option<Duration>,
    clock: Clock,
    running: Option<(Running, Credentials, Supervisor)>,
}

impl Guest {
    /// A host of the centre's fleet file; it has not joined yet.
    pub(crate) fn new(fleet: &Fleet, host: &str, every: Option<Duration>, clock: &Clock) -> anyhow::Result<Self> {
        Ok(Self {
            host: HostName::new(host)?,
            folder: fleet.disk().join("config").join(host),
            spool: fleet.ram().join(format!("{host}.sqlite")),
            every,
            clock: clock.clone(),
            running: None,
        })
    }

    /// Joins, again if need be, and returns the token.
    pub(crate) async fn join(&self, centre: &Centre<'_>) -> anyhow::Result<String> {
        let tokens = centre.tokens(std::slice::from_ref(&self.host))?;
        let token = tokens.into_iter().next().context("no token was made")?.token;
        self.join_with(&token).await?;
        Ok(token)
    }

    /// Joins with a token.
    pub(crate) async fn join_with(&self, token: &str) -> Result<(), JoinError> {
        let (dir, state) = (self.folder.clone(), self.folder.clone());
        let options = JoinOptions { dir, state, again: true, within: PATIENCE };
        join(token, &options, &self.clock, &mut |_| {}).await.map(drop)
    }

    /// Has it come from a boot that is over with so many ticks which nobody has seen yet. They look like noise: each takes
    /// eight bytes a metric, wherever it is kept.
    pub(crate) fn hoard(&self, ticks: u64) -> anyhow::Result<()> {
        let config = SpoolConfig { path: self.spool.clone(), capacity_bytes: CAPACITY, batch_ticks: 10 };
        let (mut spool, _) = Spool::open(config, BootId([0x5A; 16]), self.clock.clone())?;
        let set = Arc::clone(SimSource::of(1, &self.host).set());
        let ended_ms = self.clock.wall_ms() - 1_000;
        for tick in 1..=ticks {
            let age_ms = i64::try_from((ticks - tick) * 1_000)?;
            let values = (0..set.metrics().len() as u64).map(|column| Some(noise(tick << 16 | column))).collect();
            let row = Row { tick: Tick(tick), wall_ms: ended_ms - age_ms, set: Arc::clone(&set), values };
            spool.push(&row, None)?;
        }
        Ok(spool.seal().map(drop)?)
    }

    /// Ticks that wait to be acknowledged.
    pub(crate) fn waiting(&self) -> anyhow::Result<u64> {
        let (running, ..) = self.running.as_ref().context("it does not run")?;
        Ok(running.spool.lock().status().ticks_waiting)
    }

    /// Starts it, as after a restart of its agent.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let config = AgentConfig::load(&self.folder.join("agent.toml"))?;
        let credentials = Credentials::load(config.credential_files(), config.key_exchange(), self.clock.clone())?;
        let supervisor = Supervisor::new(self.clock.clone());
        let running = run::start(Parts {
            source: Restless::new(&self.host, self.every, &self.clock)?,
            spool: SpoolConfig {
                path: self.spool.clone(),
                capacity_bytes: CAPACITY,
                batch_ticks: config.spool.batch_ticks,
            },
            uplink: UplinkConfig {
                host: config.host.clone(),
                boot: Root::host()?.boot_id().context("the boot id cannot be read")?,
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
            clock: self.clock.clone(),
            supervisor: supervisor.clone(),
        })?;
        self.running = Some((running, credentials, supervisor));
        Ok(())
    }

    /// Has it ask for a new identity.
    pub(crate) fn renew(&self) -> anyhow::Result<()> {
        let (_, credentials, _) = self.running.as_ref().context("it does not run")?;
        credentials.renew_soon(Want::Identity, "the soak drill");
        Ok(())
    }

    /// Stops it: what waits is sent. Nothing if it does not run.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let Some((running, _, supervisor)) = self.running.take() else { return Ok(()) };
        drop(running);
        ensure!(supervisor.drain(PATIENCE).await == Drained::Clean, "{} does not end", self.host);
        Ok(())
    }
}

/// The 64 bits of a number, well stirred (SplitMix64; Steele, Lea and Flood, 2014).
fn noise(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A simulated host's sensors, and a container's interface that is another one every now and then: what is sampled is
/// described anew each time, as nobody has described it before.
struct Restless {
    usual: SimSource,
    every: Option<Duration>,
    clock: Clock,
    interface: Option<u64>,
    set: Arc<MetricSet>,
}

/// What there is of each interface.
const PER_INTERFACE: [&str; 4] = ["receive_packets", "receive_bytes", "transmit_packets", "transmit_bytes"];

impl Restless {
    fn new(host: &HostName, every: Option<Duration>, clock: &Clock) -> anyhow::Result<Self> {
        let usual = SimSource::of(1, host);
        let set = Arc::clone(usual.set());
        let mut source = Self { usual, every, clock: clock.clone(), interface: None, set };
        source.describe(0)?;
        Ok(source)
    }

    /// Has the set name the interface that is there.
    fn describe(&mut self, interface: u64) -> anyhow::Result<()> {
        let device = format!("veth{interface:x}");
        let mut metrics = self.usual.set().metrics().to_vec();
        for name in PER_INTERFACE {
            let name = format!("node_network_{name}_total");
            metrics.push(Form::counter(Scale::ONE).metric(&name, &[("device", &device)]));
        }
        self.set = Arc::new(MetricSet::new(metrics)?);
        self.interface = Some(interface);
        Ok(())
    }
}

impl Source for Restless {
    async fn collect(&mut self, tick: Tick) -> Row {
        let interface = self.every.map_or(0, |every| tick.0 / every.as_secs().max(1));
        if self.interface != Some(interface) {
            self.describe(interface).expect("the catalogue and four names beside it are a valid set");
        }
        let mut values = self.usual.values(tick);
        values.extend((1..).map(|n| Some(tick.0 * n)).take(PER_INTERFACE.len()));
        Row { tick, wall_ms: self.clock.wall_ms(), set: Arc::clone(&self.set), values }
    }
}
