//! The probes of this host beside the agent, each with the rights that its unit gives it: an agent that is measured has
//! everything on that it would have where it is installed.

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
pub(super) struct Probes(Vec<Process>);

/// What probes have taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
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
            fleet.launcher().start_with(&format!("probe-{kind}"), &program, &args, &rights(kind)?)
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

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Their names and process ids; an error if one has ended.
    pub(super) fn ids(&mut self) -> anyhow::Result<Vec<(String, u32)>> {
        let id = |process: &mut Process| process.check_alive().map(|()| (process.name().to_owned(), process.id()));
        self.0.iter_mut().map(id).collect()
    }

    /// What they have taken; an error if one has ended.
    pub(super) fn taken(&mut self) -> anyhow::Result<Taken> {
        let mut sum = Taken::default();
        for process in &mut self.0 {
            process.check_alive()?;
            sum.memory += Memory::of(process.id())?.all;
            sum.cpu += cpu_time_with_children(process.id())?;
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
