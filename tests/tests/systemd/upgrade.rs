//! From the packages of the commit before to ours and back, in mid-stream; and upgrades that do not come to their end.

use crate::fleet::Fleet;
use crate::machine::{BEFORE, PACKAGES};
use crate::{SERVICES, is_back, main_pid};
use anyhow::ensure;

/// A disk with 4 MB left where the programs go: less than any of them.
const FULL_DISK: &str = "mkdir /small && mount -t tmpfs -o size=1g small /small && cp -a /usr/bin/. /small && \
     mount -o remount,size=$(($(du --summarize --block-size=1 /small | cut -f 1) + 4000000)) /small && \
     mount --bind /small /usr/bin";

/// As dpkg-query prints it.
fn version(fleet: &Fleet, package: &str) -> anyhow::Result<String> {
    fleet.machine.run(&format!("dpkg-query --show --showformat '${{db:Status-Abbrev}}${{Version}}' {package}"))
}

#[tokio::test]
async fn long_upgrades_and_downgrades_in_mid_stream_lose_nothing() -> anyhow::Result<()> {
    let fleet = Fleet::installed_from(BEFORE).await?;
    let machine = &fleet.machine;
    let mount = "findmnt --noheadings --output ID /mnt/dsmil-ram/agent";
    let mounted = machine.run(mount)?;
    // The agent first or the aggregator first: neither waits for the other.
    for (packages, order) in [(PACKAGES, [0, 1]), (BEFORE, [1, 0]), (PACKAGES, [1, 0]), (BEFORE, [0, 1])] {
        for package in order.map(|index| SERVICES[index]) {
            fleet.streams(5).await?;
            let (before, old) = (main_pid(machine, package)?, version(&fleet, package)?);
            machine.run(&format!("apt-get install --yes --allow-downgrades {packages}/{package}_*.deb"))?;
            is_back(machine, package, &before).await?;
            ensure!(version(&fleet, package)? != old, "{package} is still at {old}");
        }
    }
    ensure!(machine.run(mount)? == mounted, "the spool's memory was given up on the way");
    fleet.streams(10).await?;
    fleet.accounts_for_every_tick().await?;
    Ok(())
}

#[tokio::test]
async fn long_an_upgrade_that_does_not_come_to_its_end_leaves_the_old_one_running() -> anyhow::Result<()> {
    let fleet = Fleet::installed_from(BEFORE).await?;
    let machine = &fleet.machine;
    fleet.streams(5).await?;
    let pids = SERVICES.map(|unit| main_pid(machine, unit));
    let is_as_it_was = |when: &str| -> anyhow::Result<()> {
        for (unit, before) in SERVICES.iter().zip(&pids) {
            let now = main_pid(machine, unit)?;
            ensure!(
                before.as_ref().is_ok_and(|before| *before == now),
                "{unit} does not run on {when}: {}",
                machine.words()
            );
        }
        Ok(())
    };

    // No room: apt says so, and the files of the old one are whole.
    machine.run(FULL_DISK)?;
    for package in SERVICES {
        let failed = machine.outcome(&format!("apt-get install --yes {PACKAGES}/{package}_*.deb"))?;
        ensure!(!failed.status.success(), "there was room for {package}");
        machine.run(&format!("dpkg --verify {package}"))?;
    }
    is_as_it_was("after a full disk")?;
    fleet.streams(5).await?;
    machine.run("mount -o remount,size=1g /usr/bin")?;

    // Killed at some moment, whichever it is: unpacking takes about half a second.
    for moment in ["0.05", "0.1", "0.2", "0.4"] {
        for package in SERVICES {
            machine.outcome(&format!("timeout --signal KILL {moment} dpkg --unpack {PACKAGES}/{package}_*.deb"))?;
        }
        is_as_it_was(&format!("killed after {moment} s"))?;
    }
    fleet.streams(5).await?;

    // Unpacked and not configured: that is how one is found that was killed between the two.
    machine.run(&format!("dpkg --unpack {PACKAGES}/*.deb"))?;
    is_as_it_was("between unpacking and configuring")?;
    fleet.streams(5).await?;
    machine.run("dpkg --configure --pending")?;
    for (unit, before) in SERVICES.iter().zip(pids) {
        is_back(machine, unit, &before?).await?;
    }
    fleet.streams(10).await?;
    fleet.accounts_for_every_tick().await?;
    Ok(())
}
