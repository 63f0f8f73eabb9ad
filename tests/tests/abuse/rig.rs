//! A centre to abuse, honest hosts beside it, identities for those who abuse it, and the account that is held in the end.

use crate::watch::{Metrics, Usage};
use anyhow::{Context, ensure};
use dsmil_aggregator::config::Config;
use dsmil_aggregator::credentials::time_source;
use dsmil_crypto::identity::Identity;
use dsmil_crypto::policy::{KeyExchange, Link};
use dsmil_crypto::trust::Trust;
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_protocol::session::Speaker;
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use e2e::enrol::enrol;
use e2e::fleet::{Centre, Fleet, Ledger, Parents, Ports, eventually};
use e2e::sim::{EnrolledConfig, SimHost, Summary, start_enrolled};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Folders of drills begin so.
const NAME: &str = "dsmil-abuse";
/// Beyond this nobody waits for a fleet to settle.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Ticks that are looked at on each side of an attack, and that an attack lasts at least.
const BASELINE: Duration = Duration::from_secs(6);
/// Less than this is not told apart: these hosts send each tick at once, so that everything shows, and a window has a hundred
/// ticks, whose p99 is the slowest one of a debug build on two busy cores. Ticks in batches of ten take 9.9 s as a rule.
const FINEST: Duration = Duration::from_millis(150);
/// A stopping host seals, sends and says goodbye.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Whom a drill needs.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Honest hosts, each 1 Hz.
    pub(crate) honest: usize,
    /// Hosts that are enrolled, and whose identities the drill uses for worse.
    pub(crate) villains: usize,
    /// Hosts of the fleet file that have not joined.
    pub(crate) strangers: usize,
    /// Ticks in a batch; one makes the delay of a tick that of the way alone.
    pub(crate) batch_ticks: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { honest: 16, villains: 0, strangers: 0, batch_ticks: 1 }
    }
}

/// Runs a drill on a fleet of its own, and tells the centre's last words if it fails.
pub(crate) fn drill(setup: &Setup, body: impl AsyncFnOnce(&mut Rig<'_>) -> anyhow::Result<()>) {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), NAME, &clock).expect("a fleet's folders");
    // The guard kills children when the thread that started them ends: this one lasts.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let mut rig = Rig::new(&fleet, &clock, setup).await?;
        let outcome = body(&mut rig).await;
        let words = rig.centre.process().map(|process| process.log_tail()).unwrap_or_default();
        outcome.with_context(|| format!("the aggregator's last words:\n{words}"))
    });
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// The fleet.
pub(crate) struct Rig<'f> {
    pub(crate) clock: Clock,
    pub(crate) fleet: &'f Fleet,
    pub(crate) centre: Centre<'f>,
    /// Where agents connect.
    pub(crate) quic: SocketAddr,
    /// Where hosts join.
    pub(crate) join: SocketAddr,
    pub(crate) trust: Trust,
    /// Identities of those who mean harm.
    pub(crate) villains: Vec<(HostName, Identity)>,
    /// Hosts that may join.
    pub(crate) strangers: Vec<HostName>,
    honest: Vec<(HostName, Identity)>,
    batch_ticks: usize,
    hosts: Option<Hosts>,
    /// The aggregator's process.
    pid: u32,
    /// Where it logs.
    log: PathBuf,
}

/// The honest hosts, on threads of their own.
struct Hosts {
    running: Vec<SimHost>,
    supervisor: Supervisor,
    runtime: Option<Runtime>,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // Waiting for its threads is not allowed where other tasks run.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<'f> Rig<'f> {
    async fn new(fleet: &'f Fleet, clock: &Clock, setup: &Setup) -> anyhow::Result<Self> {
        dsmil_runtime::log::start(dsmil_runtime::log::Level::Error);
        let names = |kind: &str, count: usize| -> anyhow::Result<Vec<HostName>> {
            (1..=count).map(|n| Ok(HostName::new(format!("{kind}-{n:04}"))?)).collect()
        };
        let (honest, villains) = (names("honest", setup.honest)?, names("villain", setup.villains)?);
        let strangers = names("stranger", setup.strangers)?;
        let ports = Ports::free()?;
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let all = [&honest[..], &villains[..], &strangers[..]].concat();
        let centre = Centre::init(fleet, &all, ports)?;
        let config = Config::load(centre.config())?;
        let (identities, trust) = enrol(&config, &[&honest[..], &villains[..]].concat(), clock).await?;
        let mut enrolled = [honest, villains].concat().into_iter().zip(identities);
        Ok(Self {
            clock: clock.clone(),
            fleet,
            centre,
            quic: at(ports.quic),
            join: at(ports.join),
            trust,
            honest: enrolled.by_ref().take(setup.honest).collect(),
            villains: enrolled.collect(),
            strangers,
            batch_ticks: setup.batch_ticks,
            hosts: None,
            pid: 0,
            log: PathBuf::new(),
        })
    }

    /// Starts the centre and the honest hosts, and waits until ticks of all of them are stored.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        self.start_centre().await?;
        self.start_hosts(None).await?;
        self.all_up(PATIENCE).await
    }

    /// Starts the centre, again if need be.
    pub(crate) async fn start_centre(&mut self) -> anyhow::Result<()> {
        self.centre.start().await?;
        let process = self.centre.process()?;
        (self.pid, self.log) = (process.id(), process.log().to_owned());
        Ok(())
    }

    /// Starts the honest hosts, all within `ramp`, or as fast as the simulator does by itself.
    pub(crate) async fn start_hosts(&mut self, ramp: Option<Duration>) -> anyhow::Result<()> {
        let config = EnrolledConfig {
            speaker: speaker()?,
            aggregator: self.quic.to_string(),
            trust: self.trust.clone(),
            spool_dir: self.fleet.ram().join("sim"),
            seed: 1,
            batch_ticks: self.batch_ticks,
            capacity_mib: 8,
            ramp,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let supervisor = Supervisor::new(self.clock.clone());
        let (hosts, clock, theirs) = (self.honest.clone(), self.clock.clone(), supervisor.clone());
        let started = runtime.spawn(async move { start_enrolled(&config, hosts, &clock, &theirs).await });
        let running = started.await.context("the hosts' threads ended")??;
        self.hosts = Some(Hosts { running, supervisor, runtime: Some(runtime) });
        Ok(())
    }

    /// Waits until every honest host is heard of.
    pub(crate) async fn all_up(&self, within: Duration) -> anyhow::Result<()> {
        let wanted = self.honest.len() as u64;
        eventually(&self.clock, "every honest host has a link and stored ticks", within, || async {
            let ingest = self.centre.pipeline().await?.ingest;
            let said = self.summary();
            Ok(ingest.hosts_up >= wanted && said.connected >= wanted && said.ticks_accounted >= wanted)
        })
        .await
    }

    /// What the honest hosts say of themselves.
    pub(crate) fn summary(&self) -> Summary {
        self.hosts.as_ref().map(|hosts| Summary::of(&hosts.running)).unwrap_or_default()
    }

    /// The aggregator's metrics.
    pub(crate) async fn metrics(&self) -> anyhow::Result<Metrics> {
        Metrics::of(self.centre.api()).await
    }

    /// What the aggregator's process has used.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.pid)
    }

    /// The end of a link of such an identity.
    pub(crate) fn link(&self, identity: &Identity) -> Link {
        let time = time_source(&self.clock);
        Link { identity: identity.clone(), trust: self.trust.clone(), key_exchange: KeyExchange::Pure, time }
    }

    /// Runs an attack beside the honest hosts and returns what it did to the aggregator. It fails if they noticed: if one
    /// lost its link, or its ticks took more than twice the time they take without it.
    pub(crate) async fn beside(&self, attack: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Damage> {
        let quiet = self.window(async { Ok(()) }).await?;
        let opened = self.honest_sessions()?;
        ensure!(opened >= self.honest.len(), "the log does not tell of every honest host");
        let mut damage = self.window(attack).await?;
        // One that lost its link and came back has opened another session.
        let kept = self.are_linked().await? && self.honest_sessions()? == opened;
        let after = self.window(async { Ok(()) }).await?;
        // The machine may be busy with other things, too: what these do to ticks shows on both sides.
        let usual = quiet.p99.max(after.p99).max(FINEST);
        damage.usual_cpu = quiet.cores;
        println!(
            "p99 {:?} ({} ticks) beside {:?} and {:?}; rss {} -> at most {} KiB; {:.2} cores beside {:.2}, {:?}{}",
            damage.p99,
            damage.ticks,
            quiet.p99,
            after.p99,
            damage.rss_before >> 10,
            damage.rss_most >> 10,
            damage.cores,
            quiet.cores,
            damage.lasted,
            damage
                .after
                .changed(&damage.before, &["refusals_total", "admission", "frame_faults", "dropped", "delayed"])
        );
        ensure!(kept, "an honest host lost its link");
        ensure!(damage.p99 <= 2 * usual, "ticks took {:?} (99 of 100), otherwise {usual:?}", damage.p99);
        Ok(damage)
    }

    /// Sessions that honest hosts have opened so far, by the aggregator's log.
    fn honest_sessions(&self) -> anyhow::Result<usize> {
        let log = std::fs::read_to_string(&self.log).context("the aggregator's log cannot be read")?;
        Ok(log.lines().filter(|line| line.contains("session opened host=honest-")).count())
    }

    /// Whether every honest host has a link.
    async fn are_linked(&self) -> anyhow::Result<bool> {
        let up = self.centre.hosts().await?;
        let honest = up.iter().filter(|host| host.host.starts_with("honest-") && host.link == "up").count();
        Ok(honest == self.honest.len() && self.summary().connected == self.honest.len() as u64)
    }

    async fn window(&self, attack: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Damage> {
        let (clock, before, usage) = (&self.clock, self.metrics().await?, self.usage()?);
        let from = clock.mono();
        let mut most = usage.rss;
        let watch = async {
            loop {
                clock.sleep(Duration::from_millis(100)).await;
                most = most.max(self.usage()?.rss);
            }
        };
        tokio::select! {
            done = async { tokio::try_join!(attack, async { clock.sleep(BASELINE).await; Ok(()) }) } => { done?; }
            failed = watch => { let failed: anyhow::Result<std::convert::Infallible> = failed; failed?; }
        }
        let (lasted, used, after) = (clock.mono() - from, self.usage()?, self.metrics().await?);
        let (p99, ticks) = after.p99_since(&before);
        let cores = (used.cpu - usage.cpu).as_secs_f64() / lasted.as_secs_f64();
        Ok(Damage { p99, ticks, rss_before: usage.rss, rss_most: most, cores, usual_cpu: 0.0, lasted, before, after })
    }

    /// Waits until nobody holds a half-open place.
    pub(crate) async fn nobody_half_open(&self) -> anyhow::Result<()> {
        eventually(&self.clock, "all half-open places are free again", Duration::from_secs(15), || async {
            Ok(self.metrics().await?.get("dsmil_admission_half_open") == 0.0)
        })
        .await
    }

    /// Stops the honest hosts and holds what they sampled against what the ledger says: everything is stored.
    pub(crate) async fn finish(&mut self) -> anyhow::Result<Ledger> {
        let hosts = self.hosts.take().context("no hosts run")?;
        let drained = hosts.supervisor.clone().drain(STOP_WITHIN).await;
        let said = Summary::of(&hosts.running);
        drop(hosts);
        ensure!(said.ticks_waiting == 0 && said.ticks_taken == said.ticks_accounted, "{drained:?}: {said:?}");
        let whole = |ledger: &Ledger| ledger.stored >= said.ticks_taken && ledger.waiting == 0;
        let ledger = self.centre.until("everything is stored", PATIENCE, whole).await?;
        ensure!(ledger.expected == ledger.stored + ledger.lost, "{ledger:?}");
        // A busy machine may let a sampler miss a second, by name; nothing else is lost.
        let missed = ledger.lost_by.get("tick_missed").copied().unwrap_or(0);
        ensure!(ledger.lost == missed, "ticks were lost: {ledger:?}");
        println!("{} ticks sampled; {ledger:?}", said.ticks_taken);
        Ok(ledger)
    }
}

/// As hosts of the fleet file speak that were given nothing special.
pub(crate) fn speaker() -> anyhow::Result<Speaker> {
    Ok(Speaker {
        tenant: TenantId::new("demo")?,
        compartments: Compartments::SOC,
        classification: Classification::UNCLASS,
    })
}

/// What an attack did to the aggregator.
#[derive(Debug)]
pub(crate) struct Damage {
    /// What 99 of 100 ticks took.
    pub(crate) p99: Duration,
    pub(crate) ticks: u64,
    pub(crate) rss_before: u64,
    pub(crate) rss_most: u64,
    /// Processors used, on average.
    pub(crate) cores: f64,
    /// The same without the attack.
    pub(crate) usual_cpu: f64,
    pub(crate) lasted: Duration,
    pub(crate) before: Metrics,
    pub(crate) after: Metrics,
}

impl Damage {
    /// Fails if the aggregator grew by more.
    pub(crate) fn memory_within(&self, bytes: u64) -> anyhow::Result<()> {
        let grown = self.rss_most - self.rss_before;
        ensure!(grown <= bytes, "the aggregator grew by {} KiB, more than {} KiB", grown >> 10, bytes >> 10);
        Ok(())
    }

    /// Fails if the attack took more processors.
    pub(crate) fn cores_within(&self, cores: f64) -> anyhow::Result<()> {
        let taken = self.cores - self.usual_cpu;
        ensure!(taken <= cores, "the attack took {taken:.2} processors, more than {cores}");
        Ok(())
    }

    /// By how much a sample has grown.
    pub(crate) fn more(&self, of: impl Fn(&Metrics) -> f64) -> f64 {
        of(&self.after) - of(&self.before)
    }
}
