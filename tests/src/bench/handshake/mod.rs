//! What a handshake of the fleet link costs, beside a classical one in the same run: machines are shared, and only what was
//! measured side by side can be compared.
//!
//! Both ends are ours and in this process, each on a thread of its own; `classical` and `ends` make them, `serial` measures
//! one handshake after the other, the kinds in turn, `crowd` as many as one thread can take.

pub(super) mod classical;
mod crowd;
mod ends;
mod serial;

use super::{Row, Target};
use crate::enrol::enrol;
use crate::fleet::{Centre, Fleet, Parents, Ports};
use anyhow::{Context, ensure};
use classical::Classical;
use crowd::{CLIENTS, Served, crowd};
use dsmil_aggregator::config::Config;
use dsmil_aggregator::credentials::{Credentials, time_source};
use dsmil_crypto::policy::{KeyExchange, Link, SessionCache};
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use ends::Ends;
use serial::{Bench, Sample};
use std::time::Duration;

/// Handshakes of each kind; the slowest three are beyond p99.
const ROUNDS: usize = 300;
/// Rounds before these, which do not count: code is loaded, sessions are there to be resumed.
const WARM_UP: usize = 5;
/// How long agents crowd an aggregator, for each kind.
const CROWD_FOR: Duration = Duration::from_secs(4);
/// Sessions that the aggregator's end remembers: as many as that of a fleet of 1,000 hosts.
const SESSIONS: usize = 2_000;
/// What a full handshake may cost beside a classical one, in time and in CPU.
const FULL: Target = Target::AtMost(2.2);
/// What a resumed handshake may cost beside a full classical one.
const RESUMED: Target = Target::Under(1.0);
/// How long threads may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Kinds of handshakes, in the order in which they take turns. "Judged": the fleet link as programs use it, where either
/// end judges the other's certificate once more after the handshake.
const KINDS: [&str; 6] = ["classical", "full", "resumed", "full, hybrid", "full, judged", "resumed, judged"];

pub(super) fn figures() -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> anyhow::Result<Vec<Row>> {
    let clock = Clock::real();
    let supervisor = Supervisor::new(clock.clone());
    let links = Links::make(&clock).await?;
    let kinds = [
        links.classical(true)?,
        links.fleet(KeyExchange::Pure, true)?,
        links.fleet(KeyExchange::Pure, true)?.remembering()?,
        links.fleet(KeyExchange::Hybrid, true)?,
        links.judged(true)?,
        links.judged(true)?.remembering()?,
    ];
    let mut bench = Bench::new(kinds.into(), &clock, &supervisor).await?;
    let mut samples = [const { Vec::new() }; KINDS.len()];
    for round in 0..WARM_UP + ROUNDS {
        for (kind, samples) in samples.iter_mut().enumerate() {
            let sample = bench.shake(kind).await.with_context(|| format!("handshake: {}", KINDS[kind]))?;
            if round >= WARM_UP {
                samples.push(sample);
            }
        }
    }
    drop(bench);
    let kinds = samples.map(|samples| Kind::of(&samples));
    let [_, full, resumed, _, _, judged] = &kinds;
    let is_resumed = |kind: &Kind| kind.most_bytes < full.bytes() / 2.0;
    ensure!(
        is_resumed(resumed) && is_resumed(judged),
        "a session was not resumed: there were certificates on the wire"
    );

    let crowds = [
        ("classical, full", links.classical(false)?),
        ("full, judged", links.judged(false)?),
        // Each agent remembers its session.
        ("resumed, judged", links.judged(true)?),
    ];
    let mut served = Vec::with_capacity(crowds.len());
    for (name, ends) in crowds {
        served.push((name, crowd(&ends, CROWD_FOR, &clock, &supervisor).await?));
    }
    supervisor.drain(DRAIN_WITHIN).await;
    let mut rows = beside(&kinds);
    rows.extend(
        KINDS
            .iter()
            .zip(&kinds)
            .filter(|(name, _)| !name.ends_with(", judged"))
            .flat_map(|(name, kind)| kind.rows(name)),
    );
    rows.extend(served.iter().map(|(name, served)| crowded(name, served)));
    Ok(rows)
}

/// Who meets whom.
pub(super) struct Links {
    pub(super) aggregator: Link,
    pub(super) agent: Link,
    pub(super) classical: Classical,
}

impl Links {
    /// Identities as a centre makes them; no program runs.
    pub(super) async fn make(clock: &Clock) -> anyhow::Result<Self> {
        let fleet = Fleet::new(&Parents::default(), "dsmil-bench", clock)?;
        let host = HostName::new("h1")?;
        let centre = Centre::init(&fleet, std::slice::from_ref(&host), Ports::free()?)?;
        let config = Config::load(centre.config())?;
        let (identities, trust) = enrol(&config, &[host], clock).await?;
        let identity = identities.into_iter().next().context("nobody was enrolled")?;
        let aggregator = Credentials::new(&config, trust.bytes(), clock)?.link();
        let agent = Link { identity, trust, key_exchange: KeyExchange::Pure, time: time_source(clock) };
        let classical = Classical::new(clock.wall_ms().div_euclid(1_000), fleet.disk())?;
        Ok(Self { aggregator, agent, classical })
    }

    fn fleet(&self, key_exchange: KeyExchange, resumable: bool) -> anyhow::Result<Ends> {
        let sessions = if resumable { SessionCache::new(SESSIONS) } else { SessionCache::none() };
        let [aggregator, agent] = [&self.aggregator, &self.agent].map(|link| Link { key_exchange, ..link.clone() });
        Ends::fleet(&aggregator, &agent, &sessions)
    }

    fn judged(&self, resumable: bool) -> anyhow::Result<Ends> {
        Ok(self.fleet(KeyExchange::Pure, resumable)?.judging(&self.aggregator, &self.agent))
    }

    fn classical(&self, resumable: bool) -> anyhow::Result<Ends> {
        let like = self.fleet(KeyExchange::Pure, false)?.aggregator.config;
        Ends::classical(&self.classical, &like, resumable)
    }
}

/// What the samples of one kind say. Times are in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Kind {
    took: [f64; 2],
    agent_cpu: f64,
    aggregator_cpu: f64,
    /// Of both ends; not the sum of two medians.
    cpu: f64,
    sent: f64,
    received: f64,
    most_bytes: f64,
}

impl Kind {
    fn of(samples: &[Sample]) -> Self {
        let sorted = |figure: &dyn Fn(&Sample) -> f64| {
            let mut figures: Vec<f64> = samples.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures
        };
        let median = |figure: &dyn Fn(&Sample) -> f64| percentile(&sorted(figure), 50);
        let took = sorted(&|s| ms(s.took));
        Self {
            took: [percentile(&took, 50), percentile(&took, 99)],
            agent_cpu: median(&|s| ms(s.agent)),
            aggregator_cpu: median(&|s| ms(s.aggregator)),
            cpu: median(&|s| ms(s.agent + s.aggregator)),
            sent: median(&|s| s.sent as f64),
            received: median(&|s| s.received as f64),
            most_bytes: percentile(&sorted(&|s| (s.sent + s.received) as f64), 100),
        }
    }

    fn bytes(&self) -> f64 {
        self.sent + self.received
    }

    fn rows(&self, name: &str) -> Vec<Row> {
        let [p50, p99] = self.took;
        let per_core = 1_000.0 / self.aggregator_cpu;
        vec![
            Row::told(format!("handshake, {name}: time, p50"), p50, "ms").note(format!("p99 {p99:.2} ms")),
            Row::told(format!("handshake, {name}: CPU of the aggregator"), self.aggregator_cpu, "ms")
                .note(format!("{per_core:.0} a second and core; the agent's {:.2} ms", self.agent_cpu)),
            Row::told(format!("handshake, {name}: bytes"), self.bytes(), "B")
                .note(format!("agent to aggregator {}, back {}", self.sent, self.received)),
        ]
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Of sorted figures; none are 0.
pub(super) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// The kinds beside a full classical handshake.
fn beside([classical, full, resumed, hybrid, full_judged, resumed_judged]: &[Kind; KINDS.len()]) -> Vec<Row> {
    let pair = |name: &str, kind: &Kind, target: Option<Target>| {
        let ratio = |what: &str, how: &str, ours: f64, theirs: f64| {
            let (name, times) = (format!("handshake, {name} / full classical, {what}"), ours / theirs);
            let row = match target {
                Some(target) => Row::aimed(name, times, "×", target),
                None => Row::told(name, times, "×"),
            };
            row.note(format!("{how} {ours:.2} ms beside {theirs:.2} ms"))
        };
        [ratio("time", "p50", kind.took[0], classical.took[0]), ratio("CPU", "both ends, p50", kind.cpu, classical.cpu)]
    };
    let pairs = [
        pair("full", full, Some(FULL)),
        pair("resumed", resumed, Some(RESUMED)),
        pair("full and judged", full_judged, None),
        pair("resumed and judged", resumed_judged, None),
        pair("full hybrid", hybrid, None),
    ];
    pairs.into_iter().flatten().collect()
}

fn crowded(name: &str, served: &Served) -> Row {
    let (handshakes, cpu, took) = (served.handshakes as f64, served.cpu.as_secs_f64(), served.took.as_secs_f64());
    let (rate, busy) = (handshakes / took, 100.0 * cpu / took);
    Row::told(format!("handshakes a core, {name}, crowded"), handshakes / cpu, "1/s").note(format!(
        "a second of the aggregator's thread; {CLIENTS} threads of agents, {rate:.0}/s, the thread {busy:.0} % busy"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_is_there() {
        let figures: Vec<f64> = (0..300u32).map(f64::from).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&figures, percent)), [150.0, 297.0, 299.0]);
        assert_eq!(percentile(&[7.0], 99), 7.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }

    #[test]
    fn kinds_stand_beside_the_classical_one() {
        let kind = |micros: u64| {
            let (cpu, took) = (Duration::from_micros(micros), Duration::from_micros(3 * micros));
            Kind::of(&[Sample { took, agent: cpu, aggregator: 2 * cpu, sent: 1, received: 2 }; 3])
        };
        let rows = beside(&[1_000, 2_000, 900, 2_500, 2_300, 1_200].map(kind));
        let values: Vec<_> = rows.iter().map(|row| row.value.map(|value| (value * 100.0).round())).collect();
        assert_eq!(values, [200.0, 200.0, 90.0, 90.0, 230.0, 230.0, 120.0, 120.0, 250.0, 250.0].map(Some));
        assert_eq!(rows[0].note.as_deref(), Some("p50 6.00 ms beside 3.00 ms"));
        let holds: Vec<_> = rows.iter().filter_map(|row| row.holds).collect();
        assert_eq!(holds, [true; 4], "only the handshake alone has targets");
    }
}
