//! From `apt install` to `apt purge`.

use crate::fleet::Fleet;
use crate::machine::{BEFORE, Machine, PACKAGES};
use crate::{SERVICES, is_back, main_pid};
use anyhow::ensure;

/// Everything that could be ours on a machine, one path a line: by name, or of an owner who is gone. apt's own notes of what it
/// did are not ours.
const LEFT_BEHIND: &str = "find / -xdev \\( -iname '*dsmil*' -o -nouser -o -nogroup \\) \
     -not -path '/proc/*' -not -path '/packages*' -not -path '/var/log/*' -not -path '/var/cache/*'; \
     grep -h dsmil /etc/passwd /etc/group /etc/shadow /proc/mounts | grep --invert-match packages || true";

#[tokio::test]
async fn long_an_installed_host_joins_streams_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    let machine = &fleet.machine;
    fleet.streams(20).await?;
    let failed = machine.run("systemctl --failed --plain --no-legend")?;
    ensure!(failed.is_empty(), "{failed}");

    let before = fleet.accounts_for_every_tick().await?;
    // Removed, it is still who it is; installed again, it goes on as if nothing had been.
    machine.run("apt-get remove --yes dsmil-agent")?;
    let gone = machine.outcome("systemctl is-active dsmil-agent || mountpoint -q /mnt/dsmil-ram/agent")?;
    ensure!(!gone.status.success(), "something of the agent runs on: {}", machine.words());
    machine.run("test -s /etc/dsmil/agent.toml && test -s /var/lib/dsmil/agent/agent.pem")?;
    machine.run(&format!("apt-get install --yes {PACKAGES}/dsmil-agent_*.deb"))?;
    fleet.streams(5).await?;
    fleet.accounts_since(&before).await?;

    // Without the agent the centre stands as it did.
    machine.run("apt-get purge --yes dsmil-agent")?;
    machine.run("systemctl is-active dsmil-aggregator && test -s /etc/dsmil/aggregator.toml")?;
    machine.run("apt-get purge --yes dsmil-aggregator dsmilctl dsmil-probe")?;
    let left = machine.run(LEFT_BEHIND)?;
    ensure!(left.is_empty(), "left behind:\n{left}");
    Ok(())
}

#[tokio::test]
async fn long_a_host_that_has_not_joined_is_no_failed_host() -> anyhow::Result<()> {
    let machine = Machine::boot().await?;
    machine.run(&format!("apt-get install --yes {PACKAGES}/dsmil-agent_*.deb"))?;
    machine.run("systemctl is-enabled dsmil-agent")?;
    let failed = machine.run("systemctl --failed --plain --no-legend")?;
    ensure!(failed.is_empty(), "{failed}");
    let mounted = machine.outcome("mountpoint -q /mnt/dsmil-ram/agent")?;
    ensure!(!mounted.status.success(), "memory is set aside for an agent that does not run");
    Ok(())
}

#[tokio::test]
async fn long_an_rpm_does_the_same() -> anyhow::Result<()> {
    let machine = Machine::boot().await?;
    // Debian's own packages are not in rpm's list, so nothing that they bring could be found there.
    machine.run(&format!("rpm --install --nodeps {BEFORE}/*.rpm"))?;
    machine.run("systemctl is-enabled dsmil-agent dsmil-aggregator")?;
    let fleet = Fleet::founded(machine)?;
    let machine = &fleet.machine;
    for package in SERVICES {
        fleet.streams(5).await?;
        let before = main_pid(machine, package)?;
        machine.run(&format!("rpm --upgrade --nodeps {PACKAGES}/{package}-0*.rpm"))?;
        is_back(machine, package, &before).await?;
    }
    fleet.streams(5).await?;
    fleet.accounts_for_every_tick().await?;

    machine.run("rpm --erase $(rpm --query dsmil-probe >/dev/null && echo dsmil-probe) dsmil-agent")?;
    let gone = machine.outcome("systemctl is-active dsmil-agent || mountpoint -q /mnt/dsmil-ram/agent")?;
    ensure!(!gone.status.success(), "something of the agent runs on: {}", machine.words());
    machine.run("test -s /etc/dsmil/agent.toml && test -s /var/lib/dsmil/agent/agent.pem")?;
    machine.run("systemctl is-active dsmil-aggregator && rpm --verify --nodeps dsmil-aggregator")?;
    Ok(())
}
