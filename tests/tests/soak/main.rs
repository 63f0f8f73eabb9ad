//! Soak: a small fleet for an hour, in which happens what happens in real life, and whose programs are not to grow.
//!
//! The aggregator and two agents are real programs, fifty hosts are simulated, and some guests are within this process: one
//! whose metrics come and go, one that joins again and again, one that is revoked and does not believe it, and one that
//! brings a backlog in the beginning, larger than any cache, so that caches are full before the hour. What is done to
//! them comes round every five minutes (`life`), so each stretch of the hour is like the one before it, and a program that
//! is larger at its end has kept something (`watch`).
//!
//! `DSMIL_SOAK_MINUTES` shortens the hour, for trying the drill itself: from six minutes on everything happens that happens in
//! the hour, just faster. Allocators take half an hour to settle, so a short run may tell of some MiB that are no leak.
//! `DSMIL_SOAK_HOSTS` is for how many hosts are simulated.

mod guest;
mod life;
mod rig;
mod watch;

use anyhow::ensure;
use life::{Plan, ask, live};
use rig::{Rig, drill};
use watch::{Subject, Watch};

/// An aggregator whose caches are full. What is left is a ledger's range for each time that a host was away (some hundred
/// bytes), and allocators that round up anew when a whole fleet comes back: 3 % of what it has. A leak of 200 bytes a batch
/// is more.
const AGGREGATOR_GROWTH: u64 = 2 << 20;
/// An agent holds nothing that depends on how long it has run; its allocator rounds up too, and a host's metrics come and go.
/// A leak of 150 bytes a tick is more.
const AGENT_GROWTH: u64 = 256 << 10;

#[test]
fn long_memory_is_flat_over_an_hour() {
    let plan = Plan::from_environment();
    drill(&plan, async |rig: &mut Rig<'_>| {
        rig.start().await?;
        let subjects = [
            Subject::new("aggregator", rig.centre.process()?.id(), AGGREGATOR_GROWTH),
            Subject::new("agent", rig.steady.process()?.id(), AGENT_GROWTH),
            Subject::new("agent whose link is cut", rig.cut.process()?.id(), AGENT_GROWTH),
        ];
        let folders = [("hot cache", rig.centre.hot()), ("journal", rig.centre.journal())];
        let mut watch = Watch::new(&plan, &rig.clock, subjects.into(), folders.into())?;
        let (api, clock) = (rig.centre.api().clone(), rig.clock.clone());
        tokio::select! {
            lived = live(rig, &plan) => lived?,
            ended = ask(&api, &clock) => match ended? {},
            ended = watch.run() => match ended? {},
        }
        let verdict = watch.verdict()?;
        // Before anything else can go wrong.
        println!("{verdict}");
        println!("{:?}", rig.settle().await?);
        ensure!(verdict.is_flat(), "memory grows:\n{verdict}");
        Ok(())
    });
}
