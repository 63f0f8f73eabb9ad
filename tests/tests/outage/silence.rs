//! Who is down and who only looks it: hosts that die, and a centre that is away itself.

use crate::rig::{Rig, Setup, drill};
use anyhow::ensure;
use rustix::process::Signal;
use std::cell::Cell;
use std::time::Duration;

/// From a host's death until the API says so.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// All hosts have to be up for so long until an absence is over.
const CALM_FOR: Duration = Duration::from_secs(6);

#[test]
fn a_killed_host_is_known_to_be_down_within_5_s_and_nobody_is_because_the_centre_was_away() {
    drill(Setup { seed: 81, sims: 4, ..Setup::default() }, async |rig| {
        rig.start().await?;
        dies(rig).await?;
        rig.start_agent()?;
        rig.caught_up().await?;
        // Sessions outlive the first pause. In the second one the agents give up, and it ends while they are on their way back.
        for seconds in [8, 13] {
            pause(rig, Duration::from_secs(seconds)).await?;
            nobody_is_down(rig).await?;
        }
        let end = rig.settle(&["agent_down"]).await?;
        rig.check_agent_down(&end.detail)
    });
}

#[test]
fn a_centre_that_starts_takes_nobody_for_dead_who_could_not_have_come_yet() {
    drill(Setup { seed: 82, sims: 4, ..Setup::default() }, async |rig| {
        rig.start().await?;
        rig.centre.kill()?;
        rig.centre.start().await?;
        nobody_is_down(rig).await?;
        rig.settle(&[]).await.map(drop)
    });
}

#[test]
fn long_nobody_is_dead_after_a_minute_without_a_centre_except_who_died_meanwhile() {
    drill(Setup { seed: 83, sims: 10, ..Setup::default() }, async |rig| {
        rig.start().await?;
        pause(rig, Duration::from_secs(60)).await?;
        nobody_is_down(rig).await?;
        // The same again, and now one of them does not come back.
        rig.centre.process()?.signal(Signal::STOP)?;
        rig.kill_agent()?;
        rig.pass(Duration::from_secs(60)).await;
        rig.centre.process()?.signal(Signal::CONT)?;
        let host = rig.host.to_string();
        rig.until("the dead host is missed, and it alone", async || {
            let hosts = rig.centre.hosts().await?;
            let down: Vec<_> = hosts.iter().filter(|host| !is_alive(&host.link)).collect();
            ensure!(down.iter().all(|down| down.host == host), "down: {down:?}");
            Ok(!down.is_empty())
        })
        .await?;
        rig.start_agent()?;
        let end = rig.settle(&["agent_down"]).await?;
        rig.check_agent_down(&end.detail)
    });
}

/// The agent is killed, and that is known in time.
async fn dies(rig: &mut Rig<'_>) -> anyhow::Result<()> {
    let died = rig.clock.mono();
    rig.kill_agent()?;
    let host = rig.host.as_str();
    loop {
        let hosts = rig.centre.hosts().await?;
        let took = rig.clock.mono().saturating_sub(died);
        ensure!(took <= KNOWN_WITHIN, "after {took:?} the dead host is shown as one of {hosts:?}");
        let down: Vec<_> = hosts.iter().filter(|host| !is_alive(&host.link)).collect();
        ensure!(down.iter().all(|down| down.host == host), "others are shown as down: {down:?}");
        if !down.is_empty() {
            println!("known after {took:?}");
            return Ok(());
        }
        rig.clock.sleep(LOOK_EVERY).await;
    }
}

async fn pause(rig: &mut Rig<'_>, long: Duration) -> anyhow::Result<()> {
    rig.centre.process()?.signal(Signal::STOP)?;
    rig.pass(long).await;
    rig.centre.process()?.signal(Signal::CONT)
}

/// From now on until all hosts have been up for a while, nobody is shown as down.
async fn nobody_is_down(rig: &Rig<'_>) -> anyhow::Result<()> {
    let up_since = Cell::new(None);
    rig.until("all hosts are up to stay", async || {
        let hosts = rig.centre.hosts().await?;
        let down: Vec<_> = hosts.iter().filter(|host| !is_alive(&host.link)).collect();
        ensure!(down.is_empty(), "nobody died, but these are down: {down:?}");
        let page = rig.centre.api().text("/metrics").await?;
        let zero = page.lines().find(|line| line.starts_with("dsmil_host_up{") && line.ends_with(" 0"));
        ensure!(zero.is_none(), "nobody died, but there is {zero:?}");
        let (now, are_up) = (rig.clock.mono(), hosts.iter().all(|host| host.link == "up"));
        up_since.set(are_up.then(|| up_since.get().unwrap_or(now)));
        Ok(up_since.get().is_some_and(|since| now >= since + CALM_FOR))
    })
    .await
}

/// Whether that is said of a host that is not known to be down.
fn is_alive(link: &str) -> bool {
    ["up", "awaited"].contains(&link)
}
