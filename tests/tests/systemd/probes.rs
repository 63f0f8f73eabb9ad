//! Probes under systemd: started by the agent's question, in a sandbox of their own, gone with the agent.

use crate::SOON;
use crate::fleet::Fleet;
use anyhow::{Context, ensure};
use serde_json::Value;

/// The kind that is asked on every host; a machine of ours has no other thing to read.
const KMSG: &str = "dsmil-probe@kmsg";
/// The kind that asks the message bus, which lets in only whom it knows.
const SYSTEMD: &str = "dsmil-probe@systemd";

#[tokio::test]
async fn long_a_probe_is_started_by_the_agent_that_asks_and_has_the_rights_of_its_kind() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    let machine = &fleet.machine;
    machine.until("the agent's question starts it", SOON, &format!("systemctl is-active {KMSG}.service")).await?;
    let status: Value = machine.json("dsmilctl host status --json || true")?;
    let sensors = status["status"]["sensors"].as_array().context("sensors")?;
    let kmsg = sensors.iter().find(|sensor| sensor["name"] == "kmsg").context("the probe is a sensor")?;
    // The kernel's log is not a container's to read: what the probe says of it has come all the way.
    ensure!(kmsg["metrics"].as_u64() > Some(0), "{kmsg}");
    ensure!(kmsg["trouble"].as_str().is_some_and(|trouble| trouble.contains("/dev/kmsg")), "{kmsg}");
    // Nobody is started for what this machine has not.
    for other in ["nvml", "rapl"] {
        machine.run(&format!("systemctl is-active dsmil-probe@{other}.socket"))?;
        let started = machine.outcome(&format!("systemctl is-active dsmil-probe@{other}.service"))?;
        ensure!(!started.status.success(), "{other} runs");
    }
    let pid = machine.run(&format!("systemctl show --property MainPID --value {KMSG}.service"))?;
    let of = |what: &str| machine.run(&format!("grep '^{what}:' /proc/{pid}/status"));
    ensure!(!of("Uid")?.contains("\t0\t") && of("NoNewPrivs")?.ends_with('1') && of("Seccomp")?.ends_with('2'));
    // systemd's range for users that it makes (its "Users, Groups, UIDs and GIDs").
    let user: u32 = machine.run(&format!("ps --no-headers -o uid {pid}"))?.trim().parse()?;
    ensure!((61_184..=65_519).contains(&user), "{user}");
    let network = |pid: &str| machine.run(&format!("readlink /proc/{pid}/ns/net"));
    ensure!(network(&pid)? != network("1")?, "it is on the machine's network");
    // Killed, it is started again by the next question; with the agent its socket goes.
    machine.run(&format!("kill -KILL {pid}"))?;
    let is_new =
        format!("pid=$(systemctl show --property MainPID --value {KMSG}); test $pid != 0 && test $pid != {pid}");
    machine.until("a new one answers", SOON * 4, &is_new).await?;
    machine.run("systemctl stop dsmil-agent")?;
    let socket = machine.outcome(&format!("systemctl is-active {KMSG}.socket"))?;
    ensure!(!socket.status.success(), "its socket is still there");
    Ok(())
}

#[tokio::test]
async fn long_a_service_that_failed_is_told_by_a_probe_that_is_a_user_like_others() -> anyhow::Result<()> {
    let fleet = Fleet::installed().await?;
    let machine = &fleet.machine;
    machine.run("systemd-run --quiet --unit=broken --property=Type=oneshot --remain-after-exit false || true")?;
    // It is asked twice a minute.
    let told = "dsmilctl host doctor | grep -F broken.service";
    machine.until("dsmilctl names it", SOON * 4, told).await?;
    let pid = machine.run(&format!("systemctl show --property MainPID --value {SYSTEMD}.service"))?;
    ensure!(machine.run(&format!("ps --no-headers -o user:32 {pid}"))?.trim() == "dsmil-probe-systemd");
    let capabilities = machine.run(&format!("grep '^CapEff:' /proc/{pid}/status"))?;
    ensure!(capabilities.ends_with("0000000000000000"), "{capabilities}");
    let status: Value = machine.json("dsmilctl host status --json || true")?;
    let sensors = status["status"]["sensors"].as_array().context("sensors")?;
    let units = sensors.iter().find(|sensor| sensor["name"] == "systemd").context("the probe is a sensor")?;
    // Five states of every unit that Debian has.
    ensure!(units["metrics"].as_u64() > Some(200) && units["trouble"].is_null(), "{units}");
    Ok(())
}
