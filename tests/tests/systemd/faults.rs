//! What befalls a running host: kills, stalls, a full tmpfs, a bad configuration.

use crate::fleet::Fleet;
use crate::{SERVICES, SOON, is_back, main_pid};
use anyhow::ensure;
use std::time::Duration;

/// systemd notices a stall by the watchdog's 30 s.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn long_kills_and_stalls_lose_no_sampled_tick() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    let machine = &fleet.machine;
    for unit in SERVICES {
        fleet.streams(5).await?;
        let before = main_pid(machine, unit)?;
        machine.run(&format!("kill -9 {before}"))?;
        is_back(machine, unit, &before).await?;
    }
    for unit in SERVICES {
        fleet.streams(5).await?;
        let before = main_pid(machine, unit)?;
        machine.run(&format!("systemctl kill --signal STOP {unit}"))?;
        let noticed = format!("journalctl --unit {unit} --grep 'Watchdog timeout'");
        machine.until("the watchdog has noticed a stall", NOTICED_WITHIN, &noticed).await?;
        is_back(machine, unit, &before).await?;
    }
    // In any order, and both at once.
    for order in [["dsmil-agent", "dsmil-aggregator"], ["dsmil-aggregator", "dsmil-agent"]] {
        fleet.streams(5).await?;
        order.iter().try_for_each(|unit| machine.run(&format!("systemctl restart {unit}")).map(drop))?;
    }
    fleet.streams(10).await?;
    fleet.accounts_for_every_tick().await?;
    Ok(())
}

#[tokio::test]
async fn long_a_full_tmpfs_is_said_and_survived() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    let machine = &fleet.machine;
    fleet.streams(5).await?;
    let before = main_pid(machine, "dsmil-agent")?;
    // The centre is away, so that the spool has to grow, and somebody else has taken its room.
    machine.run(
        "systemctl stop dsmil-aggregator && dd if=/dev/zero of=/mnt/dsmil-ram/agent/filler bs=64k 2>/dev/null; true",
    )?;
    // This kernel would not enforce the limit of memory; what is charged to the agent has to be within it all the same.
    let number = |line: &str| -> anyhow::Result<u64> { Ok(machine.run(line)?.trim().parse()?) };
    let own = number(&format!("awk '/^Pss:/ {{ print $2 * 1024 }}' /proc/{before}/smaps_rollup"))?;
    let tmpfs = number("df --output=used --block-size=1 /mnt/dsmil-ram/agent | tail -n 1")?;
    let limit = number("systemctl show --property MemoryMax --value dsmil-agent")?;
    ensure!(own + tmpfs < limit, "{own} bytes of its own and {tmpfs} on the tmpfs, of {limit}");
    machine.until("dsmilctl says so", SOON, "dsmilctl host status | grep -i 'tmpfs'").await?;
    machine.run("rm /mnt/dsmil-ram/agent/filler && systemctl start dsmil-aggregator")?;
    fleet.streams(20).await?;
    ensure!(main_pid(machine, "dsmil-agent")? == before, "the agent was started anew: {}", machine.words());
    fleet.accounts_for_every_tick().await?;
    Ok(())
}

#[tokio::test]
async fn long_a_bad_configuration_changes_nothing_while_it_runs() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    let machine = &fleet.machine;
    for (unit, file) in SERVICES.iter().zip(["agent.toml.d/bad.toml", "aggregator.toml.d/bad.toml"]) {
        fleet.streams(5).await?;
        let before = main_pid(machine, unit)?;
        machine.run(&format!("echo 'lgo = \"debug\"' > /etc/dsmil/{file} && systemctl reload {unit}"))?;
        let said = format!("journalctl --unit {unit} --priority err --grep 'did you mean .log'");
        machine.until("the log names the key that was meant", SOON, &said).await?;
        ensure!(main_pid(machine, unit)? == before, "{}", machine.words());
        let check = machine.outcome(&format!("{unit} check"))?;
        ensure!(!check.status.success(), "`check` finds nothing wrong");
        machine.run(&format!("rm /etc/dsmil/{file} && systemctl reload {unit}"))?;
    }
    fleet.streams(5).await?;
    fleet.accounts_for_every_tick().await?;
    Ok(())
}
