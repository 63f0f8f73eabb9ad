//! Either side killed at random moments, again and again.

use crate::rig::{Rig, Setup, drill};

#[test]
fn six_kills_at_random_moments_lose_nothing_and_store_nothing_twice() {
    drill(Setup { seed: 23, sims: 3, batch_ticks: 2 }, async |rig| kills(rig, 6).await);
}

#[test]
fn long_fifty_kills_at_random_moments_lose_nothing_and_store_nothing_twice() {
    drill(Setup { seed: 22, sims: 5, batch_ticks: 5 }, async |rig| kills(rig, 50).await);
}

async fn kills(rig: &mut Rig<'_>, count: u32) -> anyhow::Result<()> {
    rig.start().await?;
    for number in 1..=count {
        let (alive, dead) = (rig.random.millis(100..3_000), rig.random.millis(0..1_800));
        rig.pass(alive).await;
        match rig.random.below(5) {
            0 | 1 => {
                println!("{number}: the centre, after {alive:?}, for {dead:?}");
                rig.centre.kill()?;
                rig.pass(dead).await;
                rig.centre.start().await?;
            }
            2 | 3 => {
                println!("{number}: the agent, after {alive:?}, for {dead:?}");
                rig.kill_agent()?;
                rig.pass(dead).await;
                rig.start_agent()?;
            }
            _ => {
                println!("{number}: the simulated hosts, after {alive:?}, for {dead:?}");
                let clock = rig.clock.clone();
                if let Some(sim) = &mut rig.sim {
                    sim.kill()?;
                    clock.sleep(dead).await;
                    sim.start()?;
                }
            }
        }
    }
    let end = rig.settle(&["agent_down"]).await?;
    rig.check_agent_down(&end.detail)
}
