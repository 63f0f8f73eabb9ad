//! From `apt install` to `apt purge`.

use crate::fleet::Fleet;
use crate::machine::{Machine, PACKAGES};
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
    machine.run("apt-get purge --yes dsmil-aggregator dsmilctl")?;
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
