//! Packages and units on a Debian that systemd boots: installed, joined, killed, starved, sized, upgraded, removed.

mod credentials;
mod faults;
mod fleet;
mod install;
mod machine;
mod probes;
mod sandbox;
mod upgrade;

use machine::Machine;
use std::time::Duration;

/// Until systemd has done what it was told or has noticed something, on a busy machine.
const SOON: Duration = Duration::from_secs(20);
const SERVICES: [&str; 2] = ["dsmil-agent", "dsmil-aggregator"];

/// The process that a unit runs under; 0 while it does not.
fn main_pid(machine: &Machine, unit: &str) -> anyhow::Result<String> {
    machine.run(&format!("systemctl show --property MainPID --value {unit}"))
}

/// Waits until a unit runs under another process than `before`.
async fn is_back(machine: &Machine, unit: &str, before: &str) -> anyhow::Result<()> {
    let pid = format!("systemctl show --property MainPID --value {unit}");
    let line = format!("systemctl is-active {unit} && test $({pid}) != {before}");
    machine.until("systemd has started it anew", SOON, &line).await
}
