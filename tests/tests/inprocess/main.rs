//! Agent and aggregator joined for real, with clocks that a test can step and peers that break the rules.

mod poison;
mod world;

use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_runtime::clock::{Clock, WallShift};
use dsmil_store::ledger::LossReason;
use dsmil_store::read::Query;
use world::{BOOT, RunningCentre, World};

const HOUR_NS: i64 = 3_600_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_sampled_is_stored_shown_and_accounted_for() {
    let (world, clock) = (World::new().await, Clock::real());
    let centre = world.centre(None, &clock).await;
    let host = world.host(centre.address(), &clock).await;
    centre.more(5).await;
    let name = HostName::new("h1").expect("a name");
    let shown = centre.running.live.get(&name).expect("a host");
    assert_eq!(shown.boot, Some(BOOT));
    let latest = shown.latest.expect("latest values");
    assert_eq!(latest.values, vec![Some(latest.tick.0)]);
    assert!((latest.time_ms - clock.wall_ms()).abs() < 10_000);
    host.stop().await;
    centre.until("everything accounted for", |c| c.totals().waiting == 0).await;
    centre.assert_whole();
    centre.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn restarts_of_both_sides_lose_nothing_and_store_nothing_twice() {
    let (world, clock) = (World::new().await, Clock::real());
    let centre = world.centre(None, &clock).await;
    let address = centre.address();
    let host = world.host(address, &clock).await;
    centre.more(3).await;
    let before = centre.totals().stored;
    centre.stop().await;
    let centre = world.centre(Some(address), &clock).await;
    assert!(centre.totals().stored >= before, "what was acknowledged is there again");
    centre.more(3).await;
    host.kill();
    let host = world.host(address, &clock).await;
    centre.more(4).await;
    host.stop().await;
    centre.until("everything accounted for", |c| c.totals().waiting == 0).await;
    let totals = centre.totals();
    assert_eq!(totals.expected, totals.stored + totals.lost, "{totals:?}");
    let known = totals.lost_by.get(&LossReason::AgentDown).copied().unwrap_or(0);
    assert_eq!(totals.lost, known, "only the seconds without an agent are missing, by name: {totals:?}");
    assert_eq!(centre.overlapped(), 0);
    centre.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_host_that_claims_less_than_the_fleet_file_says_is_stored_as_the_fleet_file_says() {
    let (world, clock) = (World::new().await, Clock::real());
    let fleet = "[[host]]\nname = \"h1\"\nclassification = 3\n";
    std::fs::write(world.disk.path().join("fleet.toml"), fleet).expect("written");
    let centre = world.centre(None, &clock).await;
    let host = world.host(centre.address(), &clock).await;
    centre.more(2).await;
    host.stop().await;
    centre.until("everything accounted for", |c| c.totals().waiting == 0).await;
    centre.assert_whole();
    let ledgers = centre.running.store.warm().ledgers();
    assert!(ledgers.iter().all(|(key, _)| key.classification.level() == 3), "{ledgers:?}");
    centre.stop().await;
}

/// Every stored time of the host, in the order of the answer.
async fn times(centre: &RunningCentre) -> Vec<i64> {
    let query = Query {
        tenant: TenantId::new("demo").expect("a tenant"),
        host: HostName::new("h1").expect("a name"),
        clearance: dsmil_store::Classification::default(),
        from_ms: 0,
        to_ms: i64::MAX / 2,
    };
    let mut reading = centre.running.store.read(query, |_| vec![0]);
    let mut times = Vec::new();
    while let Some(part) = reading.next().await.expect("an answer") {
        times.extend(part.times_ms);
    }
    times
}

async fn steps(step: impl Fn(i64)) {
    let clock = Clock::real();
    for hours in [1, -1, 0] {
        step(hours * HOUR_NS);
        clock.sleep(std::time::Duration::from_secs(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_host_whose_wall_clock_steps_is_stored_at_the_right_times() {
    let world = World::new().await;
    let clock = Clock::real();
    let (host_clock, shift): (Clock, WallShift) = Clock::shifted();
    let centre = world.centre(None, &clock).await;
    let host = world.host(centre.address(), &host_clock).await;
    centre.more(2).await;
    steps(|ns| shift.set(ns)).await;
    host.stop().await;
    centre.until("everything accounted for", |c| c.totals().waiting == 0).await;
    centre.assert_whole();
    let times = times(&centre).await;
    assert!(times.windows(2).all(|w| (900..1100).contains(&(w[1] - w[0]))), "a second apart each: {times:?}");
    assert!((times[0] - clock.wall_ms()).abs() < 60_000);
    centre.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_aggregator_whose_wall_clock_steps_rejects_and_reorders_nothing() {
    let world = World::new().await;
    let (clock, shift) = Clock::shifted();
    let centre = world.centre(None, &clock).await;
    let host = world.host(centre.address(), &Clock::real()).await;
    centre.more(2).await;
    steps(|ns| shift.set(ns)).await;
    host.stop().await;
    centre.until("everything accounted for", |c| c.totals().waiting == 0).await;
    centre.assert_whole();
    let times = times(&centre).await;
    assert!(times.is_sorted(), "{times:?}");
    centre.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_host_that_boots_in_1970_gets_in_and_is_stored_at_the_right_times() {
    let world = World::new().await;
    let clock = Clock::real();
    let (host_clock, shift) = Clock::shifted();
    shift.set(-clock.wall_ns());
    assert!(host_clock.wall_ms() < 60_000, "it believes in 1970");
    let centre = world.centre(None, &clock).await;
    let host = world.host(centre.address(), &host_clock).await;
    centre.more(4).await;
    host.stop().await;
    centre.until("everything accounted for", |c| c.totals().waiting == 0).await;
    centre.assert_whole();
    let times = times(&centre).await;
    assert!((times[0] - clock.wall_ms()).abs() < 60_000, "{times:?}");
    centre.stop().await;
}
