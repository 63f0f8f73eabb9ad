//! The states of systemd's units; node_exporter's collector `systemd`.
//!
//! Source: systemctl(1), which prints the same in all releases, where busctl(1) has no JSON before release 240;
//! org.freedesktop.systemd1(5) for what the properties mean. Names, labels and which units are told: node_exporter 1.5.0,
//! Debian's, which leaves automounts, devices, mounts, scopes, slices and targets out.
//!
//! Whoever answers is process 1, which does nothing else meanwhile: a list costs it some 2 ms, the properties of a unit 0.2 ms
//! (measured on systemd 252). So a service is asked for its type once, and timers and sockets at each reading. What node_exporter
//! tells of services only where it is told to (tasks, starts, restarts) would cost as much for each of them every time, and is
//! left out.

mod properties;
mod units;

use crate::program::{Limits, Runner};
use crate::source::Source;
use dsmil_protocol::metric::Scale;
use dsmil_protocol::probe::{Fault, Text};
use dsmil_runtime::clock::Clock;
use dsmil_sensors::root::Root;
use dsmil_sensors::{Form, Reading};
use properties::Manager;
use std::path::PathBuf;
use std::time::Duration;
use units::{Listed, State, Units};

/// The program that asks.
const PROGRAM: &str = "systemctl";
/// Of a reading: less than the thread that reads is given, so that it says itself what hangs.
const BUDGET: Duration = Duration::from_millis(1100);
/// Bytes of an answer: a list of 10,000 units has 2 MB.
const MAX_OUTPUT: usize = 4 << 20;
const OF_MANAGER: [&str; 2] = ["show", "--property=Version,SystemState"];
const LIST: [&str; 6] = ["list-units", "--all", "--full", "--plain", "--no-legend", "--no-pager"];
const OF_UNITS: [&str; 3] = ["show", "--property=Id,Type,LastTriggerUSec,NAccepted,NConnections,NRefused", "--"];
const GAUGE: Form = Form::gauge(Scale::ONE);

/// Asks systemd.
pub(crate) struct Systemd {
    program: PathBuf,
    clock: Clock,
    runner: Runner,
    /// What all questions of a reading take together.
    budget: Duration,
    units: Units,
}

impl Systemd {
    /// By that program, or by the distribution's.
    pub(crate) fn new(program: Option<PathBuf>, clock: Clock) -> Self {
        let program = program.unwrap_or_else(|| PROGRAM.into());
        Self { program, runner: Runner::new(clock.clone()), clock, budget: BUDGET, units: Units::default() }
    }

    fn ask(&mut self, args: &[&str], until: Duration) -> Result<String, Fault> {
        let limits = Limits { deadline: until.saturating_sub(self.clock.mono()), max_output: MAX_OUTPUT };
        let said = self.runner.run(&self.program, args, limits)?.of_success(&self.program)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

impl Source for Systemd {
    fn read(&mut self, _: &Root, out: &mut Reading) -> Result<(), Fault> {
        let until = self.clock.mono() + self.budget;
        let said = self.ask(&OF_MANAGER, until)?;
        let manager = Manager::of(&said);
        if manager == Manager::default() {
            return Err(Fault::ProgramFailed { what: Text::of("systemctl: it says nothing of its manager") });
        }
        push_manager(&manager, out);
        let list = self.ask(&LIST, until)?;
        let mut listed = units::listed(&list);
        push_summary(&listed, out);
        let is_cut = units::keep_reported(&mut listed);
        let asked = self.units.to_ask(&listed);
        let said = match asked.as_slice() {
            [] => String::new(),
            names => self.ask(&[&OF_UNITS, names].concat(), until)?,
        };
        self.units.take(&listed, &properties::of_units(&said));
        self.units.push(out);
        let reported = u32::try_from(listed.len()).unwrap_or(u32::MAX);
        if is_cut { Err(Fault::TooMany { reported }) } else { Ok(()) }
    }
}

fn push_manager(manager: &Manager<'_>, out: &mut Reading) {
    if let Some((version, thousandths)) = manager.version {
        let form = Form::gauge(Scale::per(1000));
        out.push("node_systemd_version", &[("version", version)], form, Some(thousandths));
    }
    out.push("node_systemd_system_running", &[], GAUGE, manager.is_running.map(u64::from));
}

/// How many of all units in memory are in which state. One that is reloaded is in none of these for a moment: node_exporter has a
/// sixth series for so long, for which a metric set is not changed here.
fn push_summary(all: &[Listed<'_>], out: &mut Reading) {
    for state in State::ALL {
        let count = all.iter().filter(|unit| unit.state == Some(state)).count();
        out.push("node_systemd_units", &[("state", state.name())], GAUGE, Some(count as u64));
    }
}

/// Pushes all that a host with a service, a timer and a socket tells.
#[cfg(any(test, feature = "reference"))]
pub(crate) fn example(out: &mut Reading) {
    push_manager(&Manager::of("Version=252.39-1~deb12u2\nSystemState=running\n"), out);
    let listed = units::listed(
        "dbus.service loaded active running D-Bus\ndbus.socket loaded active running D-Bus\nfstrim.timer loaded active waiting Trim\n",
    );
    push_summary(&listed, out);
    let mut units = Units::default();
    let said = "Type=notify\nId=dbus.service\n\nNConnections=0\nNAccepted=0\nNRefused=0\nId=dbus.socket\n\nLastTriggerUSec=\nId=fstrim.timer\n";
    units.take(&listed, &properties::of_units(said));
    units.push(out);
}

#[cfg(test)]
mod tests;
