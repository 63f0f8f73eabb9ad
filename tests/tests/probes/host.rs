//! What the host of a drill has: cards on its bus, a kernel that says something, an agent that asks the drill's probes.

use crate::rig::Rig;
use dsmil_protocol::ids::HostName;
use dsmil_protocol::probe::ProbeKind;
use e2e::fleet::{AgentProc, Centre, Ports, Process};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How the host calls itself.
pub(crate) const NAME: &str = "gpu-host";

/// Cards on the bus of the host that everybody sees.
pub(crate) fn cards(rig: &Rig, count: u8) {
    rig.tree.proc("sys/kernel/hostname", &format!("{NAME}\n"));
    rig.tree.sys("bus/pci/drivers/nvidia/module/version", "535.104.05\n");
    rig.tree.sys("module/nvidia/version", "535.104.05\n");
    for bus in 1..=count {
        let card = format!("bus/pci/devices/0000:{bus:02x}:00.0");
        for (file, text) in
            [("vendor", "0x10de"), ("class", "0x030200"), ("power/runtime_status", "active"), ("power/control", "on")]
        {
            rig.tree.sys(&format!("{card}/{file}"), &format!("{text}\n"));
        }
        rig.tree.file(&format!("sys/{card}/config"), &[0xDE, 0x10, 0x35, 0x23]);
        rig.tree.link(&format!("sys/{card}/driver"), "../../drivers/nvidia");
    }
}

/// Records of the kernel in its log, from that sequence number on.
pub(crate) fn say(log: &Path, first: u64, messages: &[String]) -> anyhow::Result<()> {
    let records: Vec<String> =
        messages.iter().zip(first..).map(|(text, at)| format!("4,{at},{at},-;{text}\n")).collect();
    Ok(OpenOptions::new().create(true).append(true).open(log)?.write_all(records.concat().as_bytes())?)
}

/// Starts the probes of the cards and of the kernel's log, which has one line so far; where that log is.
pub(crate) async fn probes(rig: &mut Rig) -> anyhow::Result<(PathBuf, [Process; 2])> {
    let log = rig.fleet.disk().join("kmsg");
    say(&log, 1, &["Linux version 6.1.0".to_owned()])?;
    let library = rig.library()?;
    let nvml = rig.start(ProbeKind::Nvml, &["--library".as_ref(), &library]).await?;
    let kmsg = rig.start(ProbeKind::Kmsg, &["--kmsg".as_ref(), &log]).await?;
    Ok((log, [nvml, kmsg]))
}

/// Starts a centre, and the agent of its only host, which asks the drill's probes. Its devices are those of the tree, where the cards
/// are; the rest is this machine.
pub(crate) async fn fleet(rig: &Rig) -> anyhow::Result<(Centre<'_>, AgentProc<'_>)> {
    let host = HostName::new("h1")?;
    let mut centre = Centre::init(&rig.fleet, std::slice::from_ref(&host), Ports::free()?)?;
    centre.start().await?;
    let mut agent = AgentProc::join(&rig.fleet, &centre, &host)?;
    let folder = rig.sockets.to_string_lossy().into_owned();
    let sys = rig.tree.path().join("sys").to_string_lossy().into_owned();
    agent.configure(|table| {
        table.insert("probes".into(), toml::Table::from_iter([("folder".to_owned(), folder.into())]).into());
        table.insert("root".into(), toml::Table::from_iter([("sys".to_owned(), sys.into())]).into());
    })?;
    agent.start()?;
    Ok((centre, agent))
}
