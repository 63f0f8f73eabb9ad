//! How soon a dead host is known to be dead, and whether a live one is ever taken for dead.
//!
//! Two fleets at a time, each with a centre of its own: in one, hosts are killed, stopped and cut off, round after round, and
//! then the centre itself is stopped for a moment and killed; the other's centre is stopped for a minute. What counts is what
//! the API says, asked every 50 ms.

use super::handshake::percentile;
use super::{Row, Target};
use crate::fleet::{AgentProc, Centre, Fleet, Parents, Ports, Relay, SimOptions, SimProc, eventually};
use crate::sim::NAME_PREFIX;
use anyhow::{Context, ensure};
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Simulated hosts of each fleet: one process, with heartbeats spread over their interval.
const SIMULATED: usize = 20;
/// Over so long they start, one after the other: a heartbeat's interval.
const SPREAD_MS: u64 = 2_000;
/// Real agents of the fleet whose hosts die: two for each of the ways.
const REAL: usize = 6;
/// How often hosts die.
const ROUNDS: usize = 4;
/// How often the API is asked.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A host whose death is not known by then counts with this.
const GIVE_UP_AFTER: Duration = Duration::from_secs(15);
/// How long a fleet may take until all hosts are up.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long all hosts have to be up again until the looking ends: whatever the absence has left behind has shown by then.
const CALM_FOR: Duration = Duration::from_secs(6);
/// The pauses of the centre.
const PAUSES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// What a death may take to be known, seconds.
const KNOWN_WITHIN: Target = Target::AtMost(5.0);
/// How long the tasks may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// In which way a host dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Killed,
    Stopped,
    CutOff,
}

impl Death {
    const ALL: [Self; 3] = [Self::Killed, Self::Stopped, Self::CutOff];

    fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::CutOff => "cut off",
        }
    }
}

pub(super) fn figures() -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> anyhow::Result<Vec<Row>> {
    let clock = Clock::real();
    let supervisor = Supervisor::new(clock.clone());
    let parents = Parents::default();
    let fleets = [Fleet::new(&parents, "dsmil-bench", &clock)?, Fleet::new(&parents, "dsmil-bench", &clock)?];
    let mut mortal = Scene::new(&fleets[0], REAL, &clock, &supervisor).await?;
    let mut steady = Scene::new(&fleets[1], 1, &clock, &supervisor).await?;
    let [short, long] = PAUSES;
    let first = async {
        let mut rows = mortal.deaths().await?;
        let seen = mortal.pause(short).await?;
        rows.push(seen.row(&format!("the aggregator was stopped for {} s", short.as_secs())));
        let seen = mortal.restart().await?;
        rows.push(seen.row("the aggregator was killed and started again"));
        anyhow::Ok(rows)
    };
    let second = async {
        let seen = steady.pause(long).await?;
        anyhow::Ok(seen.row(&format!("the aggregator was stopped for {} s", long.as_secs())))
    };
    let (mut rows, row) = tokio::try_join!(first, second)?;
    rows.push(row);
    supervisor.drain(DRAIN_WITHIN).await;
    Ok(rows)
}

/// A fleet that is up.
struct Scene<'f> {
    clock: Clock,
    centre: Centre<'f>,
    sims: SimProc<'f>,
    simulated: Vec<String>,
    agents: Vec<(String, AgentProc<'f>, Relay)>,
}

impl<'f> Scene<'f> {
    async fn new(fleet: &'f Fleet, real: usize, clock: &Clock, supervisor: &Supervisor) -> anyhow::Result<Self> {
        let simulated = names(NAME_PREFIX, SIMULATED)?;
        let real = names("real-", real)?;
        let ports = Ports::free()?;
        let mut centre = Centre::init(fleet, &[simulated.as_slice(), &real].concat(), ports)?;
        centre.start().await?;
        let mut agents = Vec::with_capacity(real.len());
        for host in &real {
            let (agent, relay) = (AgentProc::join(fleet, &centre, host)?, Relay::start(ports.quic, supervisor).await?);
            let aggregators = vec![toml::Value::from(relay.address.to_string())];
            agent.configure(|table| drop(table.insert("aggregators".into(), aggregators.into())))?;
            agents.push((host.to_string(), agent, relay));
        }
        let options = SimOptions { ramp_ms: Some(SPREAD_MS), ..SimOptions::default() };
        let sims = SimProc::new(fleet, &centre, &simulated, options)?;
        let simulated = simulated.iter().map(HostName::to_string).collect();
        let mut scene = Self { clock: clock.clone(), centre, sims, simulated, agents };
        scene.sims.start()?;
        scene.agents.iter_mut().try_for_each(|(_, agent, _)| agent.start())?;
        scene.all_up().await?;
        Ok(scene)
    }

    async fn all_up(&self) -> anyhow::Result<()> {
        let up = async || Ok(self.look().await?.values().all(|state| state == UP));
        eventually(&self.clock, "all hosts are up", UP_WITHIN, up).await
    }

    /// What the API says of each host's link.
    async fn look(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let hosts = self.centre.hosts().await?;
        Ok(hosts.into_iter().map(|host| (host.host, host.link)).collect())
    }

    /// Lets hosts die in every way, again and again, and says how long it took until that was known.
    async fn deaths(&mut self) -> anyhow::Result<Vec<Row>> {
        let mut known: Vec<(Death, f64)> = Vec::new();
        for round in 0..ROUNDS {
            // Not always at the same moment between two heartbeats.
            self.clock.sleep(Duration::from_millis(730) * u32::try_from(round)?).await;
            let victims = self.kill(round)?;
            known.extend(self.until_known(victims).await?);
            self.revive(round)?;
            self.all_up().await?;
        }
        Ok(Death::ALL.map(|death| of_deaths(death, &known)).into())
    }

    /// The simulated hosts die together, killed or stopped in turn, and the real ones in all three ways.
    fn kill(&mut self, round: usize) -> anyhow::Result<BTreeMap<String, Death>> {
        let (of_all, signal) = of_simulated(round);
        let mut victims: BTreeMap<_, _> = self.simulated.iter().map(|host| (host.clone(), of_all)).collect();
        self.sims.process()?.signal(signal)?;
        for (number, (host, agent, relay)) in self.agents.iter_mut().enumerate() {
            let death = of_real(round, number);
            match death {
                Death::Killed => agent.kill()?,
                Death::Stopped => agent.process()?.signal(Signal::STOP)?,
                Death::CutOff => relay.cut(),
            }
            victims.insert(host.clone(), death);
        }
        Ok(victims)
    }

    fn revive(&mut self, round: usize) -> anyhow::Result<()> {
        match of_simulated(round).0 {
            Death::Killed => self.sims.start()?,
            _ => self.sims.process()?.signal(Signal::CONT)?,
        }
        for (number, (_, agent, relay)) in self.agents.iter_mut().enumerate() {
            match of_real(round, number) {
                Death::Killed => agent.start()?,
                Death::Stopped => agent.process()?.signal(Signal::CONT)?,
                Death::CutOff => relay.mend(),
            }
        }
        Ok(())
    }

    /// Asks until all victims are known to be down, and says after how many seconds each was.
    async fn until_known(&self, mut victims: BTreeMap<String, Death>) -> anyhow::Result<Vec<(Death, f64)>> {
        let died = self.clock.mono();
        let mut known = Vec::new();
        while !victims.is_empty() {
            let states = self.look().await?;
            let took = self.clock.mono().saturating_sub(died);
            victims.retain(|host, death| {
                let is_alive = states.get(host).is_some_and(|state| ALIVE.contains(&state.as_str()));
                if !is_alive || took > GIVE_UP_AFTER {
                    known.push((*death, took.as_secs_f64()));
                }
                is_alive && took <= GIVE_UP_AFTER
            });
            self.clock.sleep(LOOK_EVERY).await;
        }
        Ok(known)
    }

    /// Stops the centre for so long, and looks from its first answer on whom it takes for dead.
    async fn pause(&mut self, long: Duration) -> anyhow::Result<Seen> {
        self.centre.process()?.signal(Signal::STOP)?;
        self.clock.sleep(long).await;
        let process = self.centre.process()?;
        process.signal(Signal::CONT)?;
        self.until_calm().await
    }

    /// Kills the centre and starts it, and looks likewise.
    async fn restart(&mut self) -> anyhow::Result<Seen> {
        self.centre.kill()?;
        self.centre.start().await?;
        self.until_calm().await
    }

    /// Looks until all hosts have been up for a while.
    async fn until_calm(&self) -> anyhow::Result<Seen> {
        let began = self.clock.mono();
        let (mut seen, mut up_since) = (Seen::default(), None);
        loop {
            let states = self.look().await?;
            let now = self.clock.mono();
            seen.looks += 1;
            seen.hosts = states.len();
            let dead = states.iter().filter(|(_, state)| !ALIVE.contains(&state.as_str()));
            seen.dead.extend(dead.map(|(host, state)| format!("{host} {state}")));
            let are_up = states.values().all(|state| state == UP);
            let since = *up_since.get_or_insert(now);
            if !are_up {
                up_since = None;
            } else if now > since + CALM_FOR {
                seen.back_after = since.saturating_sub(began);
                return Ok(seen);
            }
            ensure!(now < began + UP_WITHIN + CALM_FOR, "hosts did not come back: {states:?}");
            self.clock.sleep(LOOK_EVERY).await;
        }
    }
}

/// What the API says of a host that it hears.
const UP: &str = "up";
/// What it says of hosts that it does not take for dead: the other ones could not have been heard.
const ALIVE: [&str; 2] = [UP, "awaited"];

/// How the simulated hosts die.
fn of_simulated(round: usize) -> (Death, Signal) {
    if round.is_multiple_of(2) { (Death::Killed, Signal::KILL) } else { (Death::Stopped, Signal::STOP) }
}

/// How a real host dies: another way each time.
fn of_real(round: usize, number: usize) -> Death {
    Death::ALL[(round + number) % Death::ALL.len()]
}

fn names(prefix: &str, count: usize) -> anyhow::Result<Vec<HostName>> {
    let named = |number| HostName::new(format!("{prefix}{number:04}")).context("a name of a host");
    (1..=count).map(named).collect()
}

fn of_deaths(death: Death, known: &[(Death, f64)]) -> Row {
    let mut seconds: Vec<f64> = known.iter().filter(|(way, _)| *way == death).map(|(_, seconds)| *seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let [p50, worst] = [50, 100].map(|percent| percentile(&seconds, percent));
    Row::aimed(format!("a host that was {} is known to be down, worst", death.name()), worst, "s", KNOWN_WITHIN)
        .note(format!("p50 {p50:.2} s; {} deaths", seconds.len()))
}

/// What the API said after the centre was away.
#[derive(Debug, Default)]
struct Seen {
    looks: usize,
    hosts: usize,
    /// Hosts that were said to be down, with the words that were used.
    dead: BTreeSet<String>,
    /// From the end of the absence until all were up to stay.
    back_after: Duration,
}

impl Seen {
    fn row(self, after: &str) -> Row {
        let Self { looks, hosts, dead, back_after } = self;
        let named: String = dead.iter().take(3).map(|host| format!("; {host}")).collect();
        let row = Row::aimed(format!("falsely dead after {after}"), dead.len() as f64, "hosts", Target::AtMost(0.0));
        row.note(format!("of {hosts}, in {looks} answers; all up again after {:.1} s{named}", back_after.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_dies_in_every_way() {
        for number in 0..REAL {
            let ways: Vec<_> = (0..ROUNDS).map(|round| of_real(round, number)).collect();
            assert!(Death::ALL.iter().all(|way| ways.contains(way)), "{number}: {ways:?}");
        }
        assert_ne!(of_simulated(0).0, of_simulated(1).0);
    }

    #[test]
    fn the_worst_counts() {
        let known = [(Death::Killed, 4.0), (Death::Stopped, 6.0), (Death::Killed, 2.0), (Death::Killed, 5.5)];
        let rows = [Death::Killed, Death::Stopped, Death::CutOff].map(|death| of_deaths(death, &known));
        assert_eq!(rows.each_ref().map(|row| row.value), [Some(5.5), Some(6.0), Some(0.0)]);
        assert_eq!(rows[0].holds, Some(false));
        let seen = Seen { dead: BTreeSet::from(["h1 silent".to_owned()]), ..Seen::default() };
        assert_eq!(seen.row("a pause").holds, Some(false));
    }
}
