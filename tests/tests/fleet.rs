//! A fleet of real programs that are killed: nothing that was sampled is lost, nothing is stored twice, and what is
//! stored is what was sampled.

use dsmil_protocol::ids::{HostName, Tick};
use dsmil_runtime::clock::Clock;
use e2e::fleet::{AgentProc, Centre, Fleet, Ledger, Parents, Ports, SimOptions, SimProc};
use e2e::sim::SimSource;
use serde_json::Value;
use std::collections::HashSet;
use std::time::Duration;

const SEED: u64 = 42;
const PATIENCE: Duration = Duration::from_secs(60);
/// A counter that differs from tick to tick.
const METRIC: &str = "node_context_switches_total";

#[tokio::test]
async fn killed_on_both_sides_a_fleet_accounts_for_every_tick_and_stores_what_was_sampled() {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-test", &clock).expect("folders");
    let [real, simulated] = ["real", "sim-1"].map(|name| HostName::new(name).expect("a name"));
    let ports = Ports::free().expect("ports");
    let mut centre = Centre::init(&fleet, &[real.clone(), simulated.clone()], ports).expect("init");
    centre.start().await.expect("the centre starts");
    let mut agent = AgentProc::join(&fleet, &centre, &real).expect("an agent");
    let mut sim = SimProc::new(
        &fleet,
        &centre,
        std::slice::from_ref(&simulated),
        SimOptions { seed: SEED, ..SimOptions::default() },
    )
    .expect("a simulator");
    agent.start().expect("the agent starts");
    sim.start().expect("the simulator starts");
    more(&centre, 10).await;

    // All at once, without a word; then the hosts first, so that they wait for a centre that is not there.
    agent.kill().expect("it ran");
    sim.kill().expect("it ran");
    centre.kill().expect("it ran");
    agent.start().expect("the agent starts again");
    sim.start().expect("the simulator starts again");
    centre.start().await.expect("the centre starts again");
    more(&centre, 10).await;

    let sampled = agent.status().expect("a status").spool.totals.ticks_taken;
    assert!(agent.stop().await.expect("the agent stops").success());
    let summary = sim.stop().await.expect("the simulator stops");
    assert_eq!((summary.ticks_waiting, summary.ticks_evicted, summary.ticks_damaged), (0, 0, 0), "{summary:?}");
    let whole = |ledger: &Ledger| ledger.waiting == 0 && ledger.stored >= sampled + summary.ticks_taken;
    let ledger = centre.until("every sampled tick is stored", PATIENCE, whole).await.expect("whole");
    assert_eq!(ledger.expected, ledger.stored + ledger.lost, "{ledger:?}");
    assert_eq!(ledger.duplicates, 0, "{ledger:?}");
    // The seconds in which nobody sampled are named, and nothing else is lost.
    assert!(ledger.lost_by.keys().all(|reason| reason == "agent_down"), "{ledger:?}");

    let stored = samples(&centre, &simulated).await;
    assert_eq!(stored.len() as u64, summary.ticks_taken, "each tick once");
    let source = SimSource::of(SEED, &simulated);
    let now = clock.boot().as_secs();
    let possible: HashSet<u64> = (now.saturating_sub(600)..=now).map(|tick| value(&source, tick)).collect();
    let distinct: HashSet<u64> = stored.iter().copied().collect();
    assert_eq!(distinct.len(), stored.len(), "each tick is another one");
    assert!(distinct.is_subset(&possible), "what is stored was sampled");
    centre.stop().await.expect("the centre stops");
}

/// Waits until so many ticks more are stored than now.
async fn more(centre: &Centre<'_>, ticks: u64) {
    let before = centre.pipeline().await.expect("a pipeline").ledger.stored;
    let more = centre.until("more is stored", PATIENCE, |ledger| ledger.stored >= before + ticks).await;
    more.expect("ticks flow");
}

/// Every stored sample of the metric.
async fn samples(centre: &Centre<'_>, host: &HostName) -> Vec<u64> {
    let query = format!("/prometheus/api/v1/query?query={METRIC}%7Bhost=%22{host}%22%7D%5B10m%5D");
    let answer: Value = centre.api().json(&query).await.expect("an answer");
    let series = answer["data"]["result"].as_array().expect("series");
    let points = series.iter().flat_map(|series| series["values"].as_array().expect("points"));
    points.map(|point| point[1].as_str().expect("a number").parse().expect("a whole number")).collect()
}

fn value(source: &SimSource, tick: u64) -> u64 {
    let column = source.set().metrics().iter().position(|metric| metric.name == METRIC).expect("a metric");
    source.values(Tick(tick))[column].expect("always there")
}
