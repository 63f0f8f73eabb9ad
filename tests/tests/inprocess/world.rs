//! A centre and a host in one process: real sockets, real tmpfs, real databases, and clocks that a test can step.

use dsmil_agent::credentials::Credentials;
use dsmil_agent::run::{Parts, Running as Host, StartError};
use dsmil_agent::sampler::{Row, Source};
use dsmil_agent::spool::{SpoolConfig, SpoolError};
use dsmil_agent::uplink::UplinkConfig;
use dsmil_aggregator::config::{Advertise, Config, LinkSection, Listen};
use dsmil_aggregator::credentials::time_source;
use dsmil_aggregator::init::{self, Order};
use dsmil_aggregator::run::{self, Running as Centre};
use dsmil_crypto::identity::Identity;
use dsmil_crypto::policy::{KeyExchange, Link};
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_crypto::trust::Trust;
use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick};
use dsmil_protocol::metric::{Kind, Metric, MetricSet, Repr, Scale};
use dsmil_protocol::session::Speaker;
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{Drained, Supervisor};
use dsmil_store::ledger::Totals;
use e2e::enrol::enrol;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) const BOOT: BootId = BootId([9; 16]);
const PATIENCE: Duration = Duration::from_secs(20);

/// A fleet of one host, set up and not running.
pub(crate) struct World {
    pub(crate) disk: TempDir,
    pub(crate) ram: TempDir,
    config: Config,
    identity: Identity,
    trust: Trust,
}

impl World {
    pub(crate) async fn new() -> Self {
        dsmil_runtime::log::start(dsmil_runtime::log::Level::Info);
        let disk = tempfile::tempdir().expect("a folder on disk");
        let ram = tempfile::tempdir_in("/dev/shm").expect("a folder on tmpfs");
        let (host, anywhere) = (HostName::new("h1").expect("a name"), ([127, 0, 0, 1], 0).into());
        let order = Order {
            folder: disk.path().into(),
            data: disk.path().into(),
            name: "a1".into(),
            tenant: TenantId::new("demo").expect("a tenant"),
            trust_domain: TrustDomain::new("demo.test").expect("a domain"),
            hosts: vec![host.clone()],
            advertise: Advertise::default(),
            https_names: vec!["localhost".into()],
            listen: Listen { quic: anywhere, join: anywhere, https: anywhere },
            link: LinkSection::default(),
            hot: Some(ram.path().join("hot.sqlite")),
        };
        let made = init::run(&order, &Clock::real()).await.expect("init");
        let mut config = Config::load(&made.config).expect("a configuration");
        // Tests restart the centre: nobody waits five seconds for a place in the queue.
        config.agents.reconnect_window_ms = 200;
        let (identities, trust) = enrol(&config, &[host], &Clock::real()).await.expect("enrolled");
        let identity = identities.into_iter().next().expect("one host");
        Self { disk, ram, config, identity, trust }
    }

    /// Starts the centre, at the address it had before if it is given.
    pub(crate) async fn centre(&self, at: Option<SocketAddr>, clock: &Clock) -> RunningCentre {
        let mut config = self.config.clone();
        config.listen.quic = at.unwrap_or(config.listen.quic);
        let supervisor = Supervisor::new(clock.clone());
        let running = run::start(&config, clock, &supervisor).await.expect("the centre starts");
        RunningCentre { running, supervisor, clock: clock.clone() }
    }

    /// The host's end of the link.
    pub(crate) fn link(&self, clock: &Clock) -> Link {
        let (identity, trust) = (self.identity.clone(), self.trust.clone());
        Link { identity, trust, key_exchange: KeyExchange::Pure, time: time_source(clock) }
    }

    /// Starts the host on a runtime of its own, so that it can be killed. One that was killed lets go of the spool when
    /// its threads have ended, which is soon, but not at once.
    pub(crate) async fn host(&self, aggregator: SocketAddr, clock: &Clock) -> RunningHost {
        let until = clock.mono() + PATIENCE;
        loop {
            match self.try_host(aggregator, clock) {
                Ok(host) => return host,
                Err(StartError::Spool(SpoolError::InUse { .. })) if clock.mono() < until => {
                    clock.sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("the host does not start: {error:?}"),
            }
        }
    }

    fn try_host(&self, aggregator: SocketAddr, clock: &Clock) -> Result<RunningHost, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let supervisor = Supervisor::new(clock.clone());
        let Link { identity, trust, key_exchange, .. } = self.link(clock);
        let parts = Parts {
            source: Counting { clock: clock.clone(), set: Arc::new(set("m")) },
            spool: SpoolConfig { path: self.ram.path().join("spool.sqlite"), capacity_bytes: 8 << 20, batch_ticks: 2 },
            uplink: UplinkConfig {
                host: HostName::new("h1").expect("a name"),
                boot: BOOT,
                devices: Vec::new(),
                speaker: speaker(),
                aggregators: vec![aggregator.to_string()],
            },
            credentials: Credentials::new(identity, trust, key_exchange, None, clock.clone()),
            join: Vec::new(),
            clock: clock.clone(),
            supervisor: supervisor.clone(),
        };
        let started = {
            let _tasks_go_there = runtime.enter();
            dsmil_agent::run::start(parts)
        };
        match started {
            Ok(host) => Ok(RunningHost { host, supervisor, runtime }),
            Err(error) => {
                // It may not be dropped, which would wait, where other tasks run.
                runtime.shutdown_background();
                Err(error)
            }
        }
    }
}

pub(crate) fn speaker() -> Speaker {
    Speaker {
        tenant: TenantId::new("demo").expect("a tenant"),
        compartments: Compartments::SOC,
        classification: Classification::UNCLASS,
    }
}

pub(crate) struct RunningCentre {
    pub(crate) running: Centre,
    supervisor: Supervisor,
    clock: Clock,
}

impl RunningCentre {
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.quic
    }

    /// The sums over all boots.
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

    /// Ticks that came twice under different names.
    pub(crate) fn overlapped(&self) -> u64 {
        self.running.store.warm().ledgers().iter().map(|(_, ledger)| ledger.overlapped()).sum()
    }

    /// Waits until the condition holds; says what did not.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let until = self.clock.mono() + PATIENCE;
        while !condition(self) {
            assert!(self.clock.mono() < until, "in vain: {what}; {:?}", self.totals());
            self.clock.sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until so many more ticks are stored.
    pub(crate) async fn more(&self, ticks: u64) {
        let goal = self.totals().stored + ticks;
        self.until("more ticks stored", |centre| centre.totals().stored >= goal).await;
    }

    /// Everything stored, nothing lost, nothing twice.
    pub(crate) fn assert_whole(&self) {
        let totals = self.totals();
        assert_eq!((totals.waiting, totals.lost), (0, 0), "{totals:?}");
        assert_eq!(totals.expected, totals.stored);
        assert_eq!(self.overlapped(), 0);
        assert!(self.running.telemetry.faults().is_empty(), "{:?}", self.running.telemetry.faults());
    }

    pub(crate) async fn stop(self) {
        assert_eq!(self.supervisor.drain(PATIENCE).await, Drained::Clean);
    }
}

pub(crate) struct RunningHost {
    pub(crate) host: Host,
    supervisor: Supervisor,
    runtime: Runtime,
}

impl RunningHost {
    /// As SIGTERM does: what waits is sent.
    pub(crate) async fn stop(self) {
        let Self { supervisor, runtime, host } = self;
        drop(host);
        assert_eq!(supervisor.drain(PATIENCE).await, Drained::Clean);
        runtime.shutdown_background();
    }

    /// As SIGKILL does, as far as one process can: nothing is said, nothing is finished.
    pub(crate) fn kill(self) {
        self.runtime.shutdown_background();
    }
}

/// One metric: the tick itself.
struct Counting {
    clock: Clock,
    set: Arc<MetricSet>,
}

impl Source for Counting {
    async fn collect(&mut self, tick: Tick) -> Row {
        Row { tick, wall_ms: self.clock.wall_ms(), set: Arc::clone(&self.set), values: vec![Some(tick.0)] }
    }
}

pub(crate) fn set(name: &str) -> MetricSet {
    let metric =
        Metric { name: name.into(), labels: Vec::new(), kind: Kind::Counter, repr: Repr::U64, scale: Scale::ONE };
    MetricSet::new(vec![metric]).expect("a set")
}
