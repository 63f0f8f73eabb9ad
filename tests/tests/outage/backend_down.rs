//! The centre is gone for a while, and the agent is killed meanwhile.

use crate::memory::Memory;
use crate::rig::{Rig, Setup, drill};
use std::time::Duration;

#[test]
fn an_outage_of_the_centre_with_a_killed_agent_costs_only_the_seconds_without_an_agent() {
    drill(Setup { seed: 11, ..Setup::default() }, async |rig| outage(rig, Duration::from_secs(20)).await);
}

#[test]
fn long_an_outage_of_90_seconds_with_a_killed_agent_costs_only_the_seconds_without_an_agent() {
    drill(Setup { seed: 12, batch_ticks: 10, ..Setup::default() }, async |rig| {
        outage(rig, Duration::from_secs(90)).await
    });
}

async fn outage(rig: &mut Rig<'_>, length: Duration) -> anyhow::Result<()> {
    let mut memory = Memory::default();
    rig.start().await?;
    rig.centre.kill()?;
    let end = rig.clock.mono() + length;
    let killed_after = rig.random.millis(2_000..6_000);
    let dead_for = rig.random.millis(2_500..4_500);
    memory.watch(rig, killed_after).await?;
    rig.kill_agent()?;
    memory.watch(rig, dead_for).await?;
    rig.start_agent()?;
    let left = end.saturating_sub(rig.clock.mono());
    memory.watch(rig, left).await?;
    let waiting = rig.agent.status()?.spool.ticks_waiting;
    anyhow::ensure!(waiting + 5 >= (length - dead_for).as_secs(), "only {waiting} ticks wait after {length:?}");
    rig.centre.start().await?;
    rig.until("the agent has a link again", async || Ok(rig.is_linked())).await?;
    memory.watch(rig, Duration::from_secs(2)).await?;
    memory.check()?;
    let end = rig.settle(&["agent_down"]).await?;
    rig.check_agent_down(&end.detail)
}
