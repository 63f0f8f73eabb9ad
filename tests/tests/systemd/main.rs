//! Packages and units on a Debian that systemd boots: installed, joined, killed, starved, sized, removed.

mod fleet;
mod machine;

use fleet::Fleet;
use std::time::Duration;

/// systemd notices a stall by the watchdog's 30 s, and has the agent's core written and a new one started.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn long_an_installed_host_joins_streams_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    fleet.streams(20).await?;
    fleet.accounts_for_every_tick().await?;
    Ok(())
}

#[tokio::test]
async fn long_kills_and_stalls_lose_no_sampled_tick() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    let machine = &fleet.machine;
    for unit in ["dsmil-agent", "dsmil-aggregator"] {
        fleet.streams(5).await?;
        let before = machine.run(&format!("systemctl show --property MainPID --value {unit}"))?;
        machine.run(&format!("kill -9 {before}"))?;
        let back =
            format!("systemctl is-active {unit} && test $(systemctl show -p MainPID --value {unit}) != {before}");
        machine.until("systemd has started it anew", SOON, &back).await?;
    }
    for unit in ["dsmil-agent", "dsmil-aggregator"] {
        fleet.streams(5).await?;
        machine.run(&format!("systemctl kill --signal STOP {unit}"))?;
        let noticed = format!("journalctl --unit {unit} --grep 'Watchdog timeout'");
        machine.until("the watchdog has noticed a stall", NOTICED_WITHIN, &noticed).await?;
        machine.until("and started it anew", SOON, &format!("systemctl is-active {unit}")).await?;
    }
    fleet.streams(20).await?;
    fleet.accounts_for_every_tick().await?;
    Ok(())
}
