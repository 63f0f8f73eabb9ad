//! A fleet to break: one centre, one real agent, some simulated hosts; how it is started, and held to account.

use crate::api::HostDetail;
use crate::audit::Audit;
use anyhow::{Context, ensure};
use dsmil_agent::spool;
use dsmil_agent::status::LinkState;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use e2e::fleet::{AgentProc, Centre, Fleet, Ledger, Parents, Ports, Relay, SimOptions, SimProc, User, eventually};
use e2e::sim::{NAME_PREFIX, Summary};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How often the way back is cut at the most, until the agent has something that it does not know to be stored.
const CUTS: u32 = 5;
/// How long that may take: some batches, and less than a session without a word from the other end lasts.
const CUT_WITHIN: Duration = Duration::from_secs(9);
/// Folders of drills begin so.
const NAME: &str = "dsmil-drill";
/// A fleet that is whole again has every link up, and all that waited stored, within this: a back-off of 15 s, a
/// handshake that hangs for 10 s, a batch that is sent again after 30 s.
pub(crate) const RECOVERED_WITHIN: Duration = Duration::from_secs(70);
/// From the start of an agent's process to its first tick.
const AGENT_STARTS_WITHIN_S: u64 = 4;
/// Seconds that a host's sampler may miss in a drill, by name: the machine is busy with other things as well.
const MAX_MISSED: u64 = 4;

/// What a drill needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// What is random is drawn from this.
    pub(crate) seed: u64,
    /// Simulated hosts.
    pub(crate) sims: usize,
    /// Ticks in a batch.
    pub(crate) batch_ticks: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self { seed: 1, sims: 0, batch_ticks: 2 }
    }
}

/// Runs a drill on a fleet of its own, and tells the last words of all programs if it fails.
pub(crate) fn drill(setup: Setup, body: impl AsyncFnOnce(&mut Rig<'_>) -> anyhow::Result<()>) {
    let given = std::env::var("DSMIL_DRILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let setup = Setup { seed: given.unwrap_or(setup.seed), ..setup };
    println!("seed {}", setup.seed);
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), NAME, &clock).expect("a fleet's folders");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let mut rig = Rig::new(&fleet, &clock, setup).await?;
        let outcome = body(&mut rig).await;
        outcome.with_context(|| format!("seed {}; last words:\n{}", setup.seed, rig.last_words()))
    });
    if let Err(error) = outcome {
        if std::env::var_os("DSMIL_DRILL_KEEP").is_some() {
            eprintln!("left for a look: {:?}", fleet.keep());
        }
        panic!("{error:#}");
    }
}

/// The fleet.
#[derive(Debug)]
pub(crate) struct Rig<'f> {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) centre: Centre<'f>,
    /// The host of the real agent.
    pub(crate) host: HostName,
    pub(crate) agent: AgentProc<'f>,
    /// There if there are simulated hosts.
    pub(crate) sim: Option<SimProc<'f>>,
    /// All hosts.
    pub(crate) hosts: Vec<HostName>,
    /// As whom the programs run, if not as ourselves.
    pub(crate) user: Option<User>,
    /// What simulated values are drawn from.
    pub(crate) seed: u64,
    supervisor: Supervisor,
    quic: u16,
    logs: PathBuf,
    /// Ticks of the agent's deaths, each with that of its next start.
    downs: Vec<(u64, Option<u64>)>,
}

/// What was found in the end.
#[derive(Debug)]
pub(crate) struct End {
    /// The sums over all hosts.
    pub(crate) ledger: Ledger,
    /// The host of the real agent.
    pub(crate) detail: HostDetail,
}

impl<'f> Rig<'f> {
    async fn new(fleet: &'f Fleet, clock: &Clock, setup: Setup) -> anyhow::Result<Self> {
        let host = HostName::new("drilled")?;
        let mut hosts = vec![host.clone()];
        for number in 1..=setup.sims {
            hosts.push(HostName::new(format!("{NAME_PREFIX}{number:04}"))?);
        }
        let ports = Ports::free()?;
        let mut centre = Centre::init(fleet, &hosts, ports)?;
        centre.configure(|table| {
            // The fleet comes back spread over so long; drills have little time.
            let agents = toml::Table::from_iter([("reconnect_window_ms".to_owned(), 1_000.into())]);
            table.insert("agents".into(), agents.into());
        })?;
        // The host joins a centre that runs; the drill starts it again as it likes.
        centre.start().await?;
        let agent = AgentProc::join(fleet, &centre, &host)?;
        centre.stop().await?;
        agent.configure(|table| set(table, "spool", "batch_ticks", setup.batch_ticks.into()))?;
        let batch_ticks = usize::try_from(setup.batch_ticks).ok();
        let options = SimOptions { seed: setup.seed, ramp_ms: Some(500), batch_ticks, ..SimOptions::default() };
        let sim = match &hosts[1..] {
            [] => None,
            simulated => Some(SimProc::new(fleet, &centre, simulated, options)?),
        };
        Ok(Self {
            clock: clock.clone(),
            random: Random(setup.seed),
            centre,
            host,
            agent,
            sim,
            hosts,
            user: fleet.user(),
            seed: setup.seed,
            supervisor: Supervisor::new(clock.clone()),
            quic: ports.quic,
            logs: fleet.disk().join("logs"),
            downs: Vec::new(),
        })
    }

    /// Starts everything and waits until something of each host is stored.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        self.centre.start().await?;
        self.agent.start()?;
        self.sim.as_mut().map_or(Ok(()), SimProc::start)?;
        self.caught_up().await
    }

    /// Lays the agent's link through a relay; before it starts.
    pub(crate) async fn put_relay(&self) -> anyhow::Result<Relay> {
        let relay = Relay::start(self.quic, &self.supervisor).await?;
        let aggregators = vec![toml::Value::from(relay.address.to_string())];
        self.agent.configure(|table| drop(table.insert("aggregators".into(), aggregators.into())))?;
        Ok(relay)
    }

    /// Has the fleet file classify what the real host sends, from the centre's next start on.
    pub(crate) fn classify(&self, level: u8) -> anyhow::Result<()> {
        let path = self.centre.folder().join("fleet.toml");
        let mut fleet: toml::Table = std::fs::read_to_string(&path)?.parse()?;
        let host = fleet.get_mut("host").and_then(|hosts| hosts.get_mut(0)?.as_table_mut());
        let host = host.context("the fleet file names no host")?;
        host.insert("classification".into(), i64::from(level).into());
        Ok(std::fs::write(&path, toml::to_string(&fleet)?)?)
    }

    /// The tick that it is now.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.boot().as_secs()
    }

    /// Kills the agent.
    pub(crate) fn kill_agent(&mut self) -> anyhow::Result<()> {
        self.agent.kill()?;
        self.downs.push((self.tick(), None));
        Ok(())
    }

    /// Starts it again.
    pub(crate) fn start_agent(&mut self) -> anyhow::Result<()> {
        let tick = self.tick();
        self.agent.start()?;
        if let Some((_, until)) = self.downs.last_mut() {
            *until = Some(tick);
        }
        Ok(())
    }

    /// Lets time pass: the length of an outage.
    pub(crate) async fn pass(&self, length: Duration) {
        self.clock.sleep(length).await;
    }

    /// Waits until the centre accounts for a tick of each host that was not there yet when this was called: all have links
    /// that work.
    pub(crate) async fn caught_up(&self) -> anyhow::Result<()> {
        let next = self.tick() + 1;
        for host in &self.hosts {
            self.until(&format!("the centre accounts for tick {next} of {host}"), async || {
                Ok(self.detail(host).await?.accounted_to().is_some_and(|last| last >= next))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until `look` says yes.
    pub(crate) async fn until(&self, what: &str, look: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        eventually(&self.clock, what, RECOVERED_WITHIN, || look()).await
    }

    /// Cuts the way back, and waits until the centre has stored so many ticks that the agent still has, because it does not know of
    /// that.
    ///
    /// Nothing is stored of a metric set that nobody knows, and it is asked for over the way back. One that changes at that moment,
    /// because a process, a mount or an interface came, is waited for with the way open; then the cut is tried again.
    pub(crate) async fn cut_back(&self, relay: &Relay, ticks: usize) -> anyhow::Result<()> {
        let mut left = CUTS;
        loop {
            relay.cut_back();
            let what = format!("{ticks} ticks are stored and not acknowledged");
            let cut = eventually(&self.clock, &what, CUT_WITHIN, || async {
                let stored = self.detail(&self.host).await?.stored()?;
                Ok(self.kept()?.intersection(&stored).count() >= ticks)
            });
            left -= 1;
            match cut.await {
                Err(error) if left == 0 => return Err(error),
                Err(error) => println!("cut again: {error}"),
                Ok(()) => return Ok(()),
            }
            relay.mend();
            self.caught_up().await?;
        }
    }

    /// The ticks that the agent still has: the newest ones.
    pub(crate) fn kept(&self) -> anyhow::Result<BTreeSet<u64>> {
        let spool = self.agent.status()?.spool;
        let last = spool.boot_ticks.context("the spool answers for nothing")?.last.0;
        Ok((last + 1 - spool.ticks_waiting..=last).collect())
    }

    /// Whether the agent says that it has a link.
    pub(crate) fn is_linked(&self) -> bool {
        self.agent.status().is_ok_and(|status| status.link.state == LinkState::Connected)
    }

    /// Waits until all hosts are heard, stops them in order, and holds all accounts against each other: everything that
    /// any host sampled is stored, once; nothing waits; what is lost was not sampled, for one of the `reasons`.
    pub(crate) async fn settle(&mut self, reasons: &[&str]) -> anyhow::Result<End> {
        self.caught_up().await.context("the fleet does not recover")?;
        let sampled = self.stop_hosts().await?;
        let all = |ledger: &Ledger| ledger.waiting == 0 && ledger.expected >= sampled;
        let ledger = self.centre.until("every tick is stored or lost", RECOVERED_WITHIN, all).await?;
        let detail = self.detail(&self.host).await?;
        self.centre.stop().await?;
        let audit = Audit::of(&self.centre.journal(), self.seed)?;
        println!("{sampled} ticks sampled; {ledger:?}");

        // Lost by name although they were sampled: a drill that lets the journal be damaged allows it.
        let gone = ledger.lost_by.get("journal_lost").copied().unwrap_or(0);
        ensure!(ledger.stored + gone == sampled, "{sampled} ticks were sampled: {ledger:?}");
        ensure!(ledger.expected == ledger.stored + ledger.lost, "{ledger:?}");
        ensure!(ledger.duplicates == 0, "ticks are stored twice: {ledger:?}");
        let mut explained = 0;
        for (reason, ticks) in &ledger.lost_by {
            let known = reasons.contains(&reason.as_str());
            let missed = reason == "tick_missed" && *ticks <= MAX_MISSED * self.hosts.len() as u64;
            ensure!(known || missed, "ticks are lost for another reason than {reasons:?}: {ledger:?}");
            explained += ticks;
        }
        ensure!(explained == ledger.lost, "not every loss has a reason: {ledger:?}");
        ensure!(audit.twice == 0, "{} ticks are in the journal twice", audit.twice);
        ensure!(audit.wrong == 0, "{} ticks in the journal are not what was sampled", audit.wrong);
        ensure!(audit.total() == ledger.stored, "the journal holds {} ticks: {ledger:?}", audit.total());
        Ok(End { ledger, detail })
    }

    /// Stops all hosts by SIGTERM and returns how many ticks they say they ever sampled.
    pub(crate) async fn stop_hosts(&mut self) -> anyhow::Result<u64> {
        let status = self.agent.stop().await?;
        ensure!(status.success(), "the agent failed at its end: {status}");
        let spool = spool::inspect(&self.agent.spool())?.spool.spool;
        let totals = spool.totals;
        ensure!(spool.ticks_waiting == 0, "ticks wait in the spool of a stopped agent: {spool:?}");
        ensure!(
            totals.ticks_evicted + totals.ticks_refused + totals.ticks_damaged + totals.ticks_rejected == 0,
            "the spool lost ticks: {totals:?}"
        );
        let mut sampled = totals.ticks_taken;
        if let Some(sim) = &mut self.sim {
            let summary = sim.stop().await?;
            let Summary { ticks_taken, ticks_accounted, ticks_waiting, .. } = summary;
            ensure!(
                ticks_waiting == 0 && ticks_accounted == ticks_taken,
                "simulated hosts kept or lost ticks: {summary:?}"
            );
            sampled += ticks_taken;
        }
        Ok(sampled)
    }

    /// The seconds in which the agent was dead are lost by that name, and no other ones are.
    pub(crate) fn check_agent_down(&self, detail: &HostDetail) -> anyhow::Result<()> {
        let lost = detail.lost_to("agent_down")?;
        let (mut at_least, mut at_most) = (BTreeSet::new(), BTreeSet::new());
        for (from, until) in &self.downs {
            let until = until.context("the agent was not started again")?;
            // It may have sampled the second in which it was killed.
            at_least.extend(from + 1..=until);
            at_most.extend(*from..=until + AGENT_STARTS_WITHIN_S);
        }
        ensure!(lost.is_superset(&at_least), "lost {lost:?}, but without an agent were at least {at_least:?}");
        ensure!(lost.is_subset(&at_most), "lost {lost:?}, but without an agent were at most {at_most:?}");
        Ok(())
    }

    /// What a program logged so far: `aggregator`, `agent-drilled`, `sim`.
    pub(crate) fn log(&self, name: &str) -> String {
        let bytes = std::fs::read(self.logs.join(format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn last_words(&self) -> String {
        const LINES: usize = 25;
        let mut words = String::new();
        for name in ["aggregator", "agent-drilled", "sim"] {
            let log = self.log(name);
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES)..];
            words.extend([name, ":\n  ", &last.join("\n  "), "\n"]);
        }
        words
    }
}

/// Sets a key in a section of a configuration.
pub(crate) fn set(table: &mut toml::Table, section: &str, key: &str, value: toml::Value) {
    let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
    if let Some(section) = section.as_table_mut() {
        section.insert(key.into(), value);
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): the same drill again for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of them; there is one.
    pub(crate) fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        let number = self.below(of.len() as u64);
        &of[usize::try_from(number).expect("below a length")]
    }

    /// A time between the two, in milliseconds.
    pub(crate) fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }
}
