//! The probes of this host beside the agent, each with the rights that its unit gives it: an agent that is measured has
//! everything on that it would have where it is installed. A probe that has nothing to read on this host is not asked, and ends.

use super::process::{Memory, cpu_time_with_children};
use crate::fleet::{AgentProc, Fleet, Process};
use anyhow::Context;
use dsmil_protocol::probe::ProbeKind;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program; `cargo xtask bench` puts it beside the benchmark.
const PROGRAM: &str = "dsmil-probe";

/// Probes that run.
#[derive(Debug)]
pub(super) struct Probes(Vec<(ProbeKind, Process)>);

/// What probes have taken so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    /// Which.
    pub(super) names: Vec<String>,
    /// Proportional set size of all, bytes.
    pub(super) memory: u64,
    /// CPU time of all, and of the programs that they run.
    pub(super) cpu: Duration,
}

impl Probes {
    /// Starts a probe of each kind, and has `agent` ask them from its next start on. None where the program is not.
    pub(super) fn start(fleet: &Fleet, agent: &AgentProc<'_>) -> anyhow::Result<Self> {
        let beside = std::env::current_exe()?.with_file_name(PROGRAM);
        if !beside.is_file() {
            return Ok(Self(Vec::new()));
        }
        // All kinds run from one file, as where they are installed: they share its pages.
        let program = fleet.disk().join(PROGRAM);
        std::fs::copy(&beside, &program).with_context(|| format!("{} cannot be copied", beside.display()))?;
        let sockets = fleet.disk().join("probes");
        std::fs::create_dir(&sockets).with_context(|| format!("{} cannot be made", sockets.display()))?;
        if let Some(user) = fleet.user() {
            user.own(&sockets)?;
        }
        let start = |kind: ProbeKind| {
            let socket = sockets.join(format!("{kind}.sock"));
            let args: [OsString; 3] = [kind.name().into(), "--socket".into(), socket.into()];
            let started = fleet.launcher().start_with(&format!("probe-{kind}"), &program, &args, &rights(kind)?);
            started.map(|process| (kind, process))
        };
        let started = ProbeKind::ALL.into_iter().map(start).collect::<anyhow::Result<_>>()?;
        agent.configure(|table| {
            let folder = ("folder".to_owned(), sockets.to_string_lossy().into_owned().into());
            let kinds = ProbeKind::ALL.map(|kind| kind.name().into()).to_vec();
            let section = [folder, ("kinds".to_owned(), toml::Value::Array(kinds))];
            table.insert("probes".into(), toml::Table::from_iter(section).into());
        })?;
        Ok(Self(started))
    }

    /// The names and process ids of those that `agent` asks; an error if one of them has ended.
    pub(super) fn asked(&mut self, agent: &AgentProc<'_>) -> anyhow::Result<Vec<(String, u32)>> {
        let sensors = agent.status()?.sensors;
        let is_asked = |kind: &ProbeKind| {
            let sensor = sensors.iter().find(|sensor| sensor.name == kind.name());
            sensor.is_some_and(|sensor| sensor.metrics > 0 || sensor.trouble.is_some())
        };
        let asked = self.0.iter_mut().filter(|(kind, _)| is_asked(kind));
        asked
            .map(|(_, process)| Ok((process.name().to_owned(), process.check_alive().map(|()| process.id())?)))
            .collect()
    }

    /// What those have taken.
    pub(super) fn taken(&mut self, agent: &AgentProc<'_>) -> anyhow::Result<Taken> {
        let mut sum = Taken::default();
        for (name, pid) in self.asked(agent)? {
            sum.memory += Memory::of(pid)?.all;
            sum.cpu += cpu_time_with_children(pid)?;
            sum.names.push(name);
        }
        Ok(sum)
    }
}

/// The capabilities of that kind's unit.
fn rights(kind: ProbeKind) -> anyhow::Result<Vec<String>> {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd");
    let file: PathBuf = units.join(format!("dsmil-probe@{kind}.service.d/rights.conf"));
    let text = match std::fs::read_to_string(&file) {
        // A kind that needs no more than every probe has.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("{} cannot be read", file.display()))?,
    };
    let lines = text.lines().filter_map(|line| line.strip_prefix("AmbientCapabilities="));
    Ok(lines.flat_map(str::split_whitespace).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rights_are_those_of_the_units() {
        assert_eq!(rights(ProbeKind::Kmsg).expect("a unit"), ["CAP_SYSLOG"]);
        assert_eq!(rights(ProbeKind::Rapl).expect("a unit"), ["CAP_DAC_READ_SEARCH"]);
    }
}
