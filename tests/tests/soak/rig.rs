//! The fleet of the soak drill.

use crate::guest::Guest;
use crate::life::Plan;
use anyhow::{Context, ensure};
use dsmil_agent::status::LinkState;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use e2e::fleet::{AgentProc, Centre, Fleet, Ledger, Parents, Ports, Relay, SimOptions, SimProc, eventually};
use e2e::sim::NAME_PREFIX;
use std::time::Duration;

/// Folders of drills begin so.
const NAME: &str = "dsmil-soak";
/// Until everybody has a link and what waited is stored: handshakes of a debug build on a busy machine among them.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// Whose ticks are older than the hour.
const HISTORIAN: &str = "historian";
/// 40 MiB, two kilobytes each: the journal's writer keeps 32 MiB of pages, each of its readers 2.
const HOARD_TICKS: u64 = 20_000;
/// Why seconds may be missing in the end: hosts were stopped, and a machine may be busy.
const REASONS: [&str; 3] = ["agent_down", "tick_missed", "host_suspended"];

/// Runs the drill on a fleet of its own, and tells the aggregator's last words if it fails.
pub(crate) fn drill(plan: &Plan, body: impl AsyncFnOnce(&mut Rig<'_>) -> anyhow::Result<()>) {
    dsmil_runtime::log::start(dsmil_runtime::log::Level::Error);
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), NAME, &clock).expect("a fleet's folders");
    // Guests and relay have threads of their own; the programs are started by this one, which lasts as long as they.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.expect("a runtime").block_on(async {
        let mut rig = Rig::new(&fleet, &clock, plan).await?;
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
    pub(crate) centre: Centre<'f>,
    /// A real agent that is left alone.
    pub(crate) steady: AgentProc<'f>,
    /// A real agent behind the relay.
    pub(crate) cut: AgentProc<'f>,
    pub(crate) relay: Relay,
    /// The simulated hosts.
    pub(crate) sim: SimProc<'f>,
    /// Its metrics come and go.
    pub(crate) restless: Guest,
    /// It joins anew each time.
    pub(crate) newcomer: Guest,
    /// It is revoked.
    pub(crate) outcast: Guest,
    /// It brings a backlog.
    historian: Guest,
    hosts: u64,
}

impl<'f> Rig<'f> {
    async fn new(fleet: &'f Fleet, clock: &Clock, plan: &Plan) -> anyhow::Result<Self> {
        let simulated = (1..=plan.hosts).map(|number| HostName::new(format!("{NAME_PREFIX}{number:04}")));
        let simulated = simulated.collect::<Result<Vec<_>, _>>()?;
        let others = ["steady", "cut", "restless", "newcomer", "outcast", HISTORIAN].map(HostName::new);
        let others = others.into_iter().collect::<Result<Vec<_>, _>>()?;
        let ports = Ports::free()?;
        let mut centre = Centre::init(fleet, &[&others[..], &simulated[..]].concat(), ports)?;
        centre.start().await?;
        let [steady, cut] = [&others[0], &others[1]].map(|host| AgentProc::join(fleet, &centre, host));
        let (steady, cut) = (steady?, cut?);
        let relay = Relay::start(ports.quic, &Supervisor::new(clock.clone())).await?;
        let through = vec![toml::Value::from(relay.address.to_string())];
        cut.configure(|table| drop(table.insert("aggregators".into(), through.into())))?;
        let sim = SimProc::new(fleet, &centre, &simulated, SimOptions { seed: 1, ..SimOptions::default() })?;
        let guest = |host: &str, every| Guest::new(fleet, host, every, clock);
        Ok(Self {
            clock: clock.clone(),
            centre,
            steady,
            cut,
            relay,
            sim,
            restless: guest("restless", Some(plan.changes_every()))?,
            newcomer: guest("newcomer", None)?,
            outcast: guest("outcast", None)?,
            historian: guest(HISTORIAN, None)?,
            // The outcast has no link, the newcomer not always.
            hosts: simulated.len() as u64 + 3,
        })
    }

    /// Starts everybody and waits until they have a link. The outcast was revoked before it said a word, so no tick of it is
    /// ever waited for.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        self.steady.start()?;
        self.cut.start()?;
        self.sim.start()?;
        self.outcast.join(&self.centre).await?;
        self.centre.cli(&["host", "revoke", "outcast", "--reason", "stolen"])?;
        self.outcast.start()?;
        self.restless.join(&self.centre).await?;
        self.restless.start()?;
        self.all_up().await?;
        self.fill_caches().await
    }

    /// Has more come in than any cache of pages holds, and read again.
    async fn fill_caches(&mut self) -> anyhow::Result<()> {
        self.historian.hoard(HOARD_TICKS)?;
        self.historian.join(&self.centre).await?;
        self.historian.start()?;
        let historian = &self.historian;
        let sent = eventually(&self.clock, "the hoard is stored", SETTLED_WITHIN, || async {
            Ok(historian.waiting()? < HOARD_TICKS / 100)
        });
        sent.await?;
        let (end, hour) = (self.clock.wall_ms() / 1000, 3_600);
        for age in [6, 5, 4, 3, 2, 1] {
            let (from, to) = (end - age * hour, end - (age - 1) * hour);
            let selector = format!("node_load1%7Bhost%3D%22{HISTORIAN}%22%7D");
            let path = format!("/prometheus/api/v1/query_range?query={selector}&start={from}&end={to}&step=60");
            self.centre.api().text(&path).await?;
        }
        self.historian.stop().await
    }

    /// Waits until everybody has a link who should. It asks once a second: this is part of the load.
    pub(crate) async fn all_up(&self) -> anyhow::Result<()> {
        let deadline = self.clock.mono() + SETTLED_WITHIN;
        loop {
            let up = self.centre.pipeline().await?.ingest.hosts_up;
            if up >= self.hosts {
                return Ok(());
            }
            ensure!(self.clock.mono() < deadline, "{up} of {} hosts have a link after {SETTLED_WITHIN:?}", self.hosts);
            self.clock.sleep(Duration::from_secs(1)).await;
        }
    }

    /// Whether the agent behind the relay says that it has a link.
    pub(crate) fn is_linked(&self) -> bool {
        self.cut.status().is_ok_and(|status| status.link.state == LinkState::Connected)
    }

    /// Stops everybody and looks at the account: nothing waits, nothing is there twice, and what is missing nobody sampled.
    pub(crate) async fn settle(&mut self) -> anyhow::Result<Ledger> {
        self.relay.mend();
        self.all_up().await?;
        for guest in [&mut self.restless, &mut self.newcomer, &mut self.outcast] {
            guest.stop().await?;
        }
        let simulated = self.sim.stop().await?;
        for agent in [&mut self.steady, &mut self.cut] {
            ensure!(agent.stop().await?.success(), "an agent failed at its end");
        }
        ensure!(simulated.ticks_waiting == 0, "simulated hosts kept ticks: {simulated:?}");
        let ledger = self.centre.until("every tick is stored or lost", SETTLED_WITHIN, |all| all.waiting == 0).await?;
        ensure!(ledger.expected == ledger.stored + ledger.lost && ledger.duplicates == 0, "{ledger:?}");
        let unknown = ledger.lost_by.keys().find(|reason| !REASONS.contains(&reason.as_str()));
        ensure!(unknown.is_none(), "ticks are lost for other reasons than {REASONS:?}: {ledger:?}");
        self.centre.stop().await?;
        Ok(ledger)
    }
}
