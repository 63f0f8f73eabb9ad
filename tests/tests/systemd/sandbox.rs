//! The sandbox as the kernel has it, not as the unit says; and sizes that follow the configuration.

use crate::fleet::Fleet;
use crate::machine::Machine;
use crate::{SERVICES, SOON, main_pid};
use anyhow::ensure;

/// A line of shell where a service is, and as its user: in its mounts and its user namespace, with its rights.
fn within(machine: &Machine, unit: &str, user: &str, line: &str) -> anyhow::Result<bool> {
    let pid = main_pid(machine, unit)?;
    let user = format!("setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all --bounding-set=-all");
    let line = format!("nsenter --target {pid} --mount -- {user} sh -c '{line}'");
    Ok(machine.outcome(&line)?.status.success())
}

#[tokio::test]
async fn long_a_service_that_is_taken_over_writes_and_reads_nothing_of_others() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    let machine = &fleet.machine;
    fleet.streams(1).await?;
    machine.run("install -m 600 /dev/null ~root/secret && useradd --create-home jane && install -o jane -m 600 /dev/null ~jane/letter")?;
    let cases = [
        ("dsmil-agent", "dsmil", "/var/lib/dsmil/agent", "/var/lib/dsmil/aggregator"),
        ("dsmil-aggregator", "dsmil-aggregator", "/var/lib/dsmil/aggregator", "/var/lib/dsmil/agent"),
    ];
    for (unit, user, own, other) in cases {
        let may = |line: &str| within(machine, unit, user, line);
        ensure!(may(&format!("touch {own}/x && rm {own}/x"))?, "{unit} cannot write to its own folder");
        for line in [
            "touch /etc/dsmil/x",
            "touch /usr/bin/x",
            "touch /var/x",
            "touch ~root/x",
            "touch ~jane/x",
            "touch /boot/x",
            "echo 1 > /proc/sys/kernel/sysrq",
            "touch /sys/fs/cgroup/x",
            "cat ~root/secret",
            "cat ~jane/letter",
            "cat /etc/shadow",
            "cat /dev/kmsg",
            "mount -t tmpfs none /mnt",
            "ls /dev/mem",
            &format!("ls {other}"),
            "cat /var/lib/dsmil/aggregator/root/root.key",
        ] {
            ensure!(!may(line)?, "{unit}, taken over, can do this: {line}");
        }
        // Not even root could, in there.
        ensure!(
            !within(machine, unit, "root", "touch /usr/bin/x || touch /etc/x")?,
            "{unit} has the host's files to write"
        );
        let pid = main_pid(machine, unit)?;
        let status = machine.run(&format!("cat /proc/{pid}/status"))?;
        for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            ensure!(status.contains(line), "{unit}: no line {line}\n{status}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn long_systemd_finds_nothing_wrong_with_the_units() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    for unit in SERVICES {
        let said = fleet.machine.run(&format!("systemd-analyze verify --man=no {unit}.service 2>&1"))?;
        ensure!(said.is_empty(), "{said}");
        fleet.machine.run(&format!("systemd-analyze security --no-pager --threshold 20 {unit}.service"))?;
    }
    Ok(())
}

#[tokio::test]
async fn long_sizes_follow_the_configuration() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    let machine = &fleet.machine;
    let size =
        |folder: &str| machine.run(&format!("findmnt --noheadings --bytes --output SIZE /mnt/dsmil-ram/{folder}"));
    ensure!(size("agent")? == (129_u64 << 20).to_string() && size("aggregator")? == (513_u64 << 20).to_string());
    fleet.streams(1).await?;

    machine.run("printf '[spool]\\ncapacity_mib = 100\\n' > /etc/dsmil/agent.toml.d/size.toml")?;
    machine.run(
        "systemctl daemon-reload && systemctl reload 'mnt-dsmil\\x2dram-agent.mount' && systemctl restart dsmil-agent",
    )?;
    ensure!(size("agent")? == (201_u64 << 20).to_string(), "{}", machine.words());
    let limit = machine.run("systemctl show --property MemoryMax --value dsmil-agent")?;
    ensure!(limit == (265_u64 << 20).to_string(), "{limit}");
    machine.until("the agent has it", SOON, "dsmilctl host status | grep 'of 100.0 MiB'").await?;
    fleet.streams(10).await?;
    fleet.accounts_for_every_tick().await?;

    // What is kept elsewhere can be written there, and nowhere else.
    machine.run("mkdir /srv/identity && cp -a /var/lib/dsmil/agent/. /srv/identity && chown dsmil: /srv/identity")?;
    machine.run("sed -i s,/var/lib/dsmil/agent/,/srv/identity/, /etc/dsmil/agent.toml && systemctl daemon-reload")?;
    machine.run("systemctl restart dsmil-agent")?;
    ensure!(within(machine, "dsmil-agent", "dsmil", "touch /srv/identity/x")?, "it cannot write where it is told to");
    ensure!(!within(machine, "dsmil-agent", "dsmil", "touch /srv/x")?);
    Ok(())
}
