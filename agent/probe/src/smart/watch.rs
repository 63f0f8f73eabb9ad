//! One disk over time: when it is asked again, what it said last, and for how long that counts.
//!
//! A disk is asked so that it can rest. One that sleeps, or would fall asleep, by the kernel's runtime power management is not asked,
//! or less often than it takes to fall asleep. A disk that rotates may have a timer of its own, which nobody can read and which a
//! question may start anew: it is asked once a minute while others use it, and every half an hour, as smartd does, while nobody does.

use super::disk::{Disk, Look};
use super::metrics::{self, Figures, INFO};
use super::report::Report;
use crate::program::Output;
use dsmil_protocol::metric::{Metric, Scale};
use dsmil_protocol::probe::{Fault, Text};
use dsmil_sensors::root::Root;
use dsmil_sensors::{Form, Reading};
use rustix::thread::CapabilitySet;
use std::time::Duration;

/// How often a disk is asked at the most: at every question of the agent, which come once a minute, give or take.
const EVERY: Duration = Duration::from_secs(50);
/// How often a disk is asked that rotates and that nobody else uses: smartd's own interval.
const EVERY_IDLE: Duration = Duration::from_secs(30 * 60);
/// How often a disk is asked at the least, which hangs or which smartctl cannot read.
const EVERY_FAILED: Duration = Duration::from_secs(60 * 60);
/// By how much longer than a disk's rest it is left alone, so that it falls asleep in between.
const MARGIN: Duration = Duration::from_secs(5);
/// For how long counts what a disk has said.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// smartctl's status for a disk at rest: what `--nocheck` in [`ARGUMENTS`] asks for, and the one that nothing else has (smartctl(8)).
const AT_REST: i32 = 3;
/// Bits of smartctl's status that mean that nothing was read; all others are findings about the disk (smartctl(8), EXIT STATUS).
const NOT_READ: i32 = 0b11;
/// What smartctl is told: what smartctl_exporter tells it, and to leave a disk at rest alone.
pub(super) const ARGUMENTS: [&str; 8] = [
    "--json=c",
    "--nocheck=standby,3",
    "--info",
    "--health",
    "--attributes",
    "--tolerance=verypermissive",
    "--format=brief",
    "--log=error",
];
const PLAIN: Form = Form::gauge(Scale::ONE);

/// How a disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nobody knows.
    Unknown,
    /// It has answered.
    Active,
    /// It rests.
    Standby,
    /// It rests so deep that only a reset wakes it.
    Sleep,
    /// smartctl did not come back from it.
    Hung(Fault),
}

/// A disk that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) disk: Disk,
    state: State,
    /// What it said when it answered last.
    figures: Figures,
    answered: Option<Duration>,
    exit_status: Option<u64>,
    looked: Option<Duration>,
    asked: Option<Duration>,
    /// Requests that it had finished when it was asked.
    finished: Option<u64>,
    /// How often it could not be read in a row.
    failures: u32,
}

/// How much room there is in an answer.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) left: usize,
    pub(super) is_short: bool,
}

impl Watched {
    pub(super) fn new(disk: Disk) -> Self {
        Self {
            disk,
            state: State::Unknown,
            figures: Figures::default(),
            answered: None,
            exit_status: None,
            looked: None,
            asked: None,
            finished: None,
            failures: 0,
        }
    }

    /// Whether it is to be asked now; if so, it counts as asked.
    pub(super) fn take_turn(&mut self, root: &Root, now: Duration) -> bool {
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) < EVERY) {
            return false;
        }
        self.looked = Some(now);
        let look = self.disk.look(root);
        if look.is_asleep || !look.is_live {
            // One that hangs may be said to be anything.
            if !matches!(self.state, State::Hung(_)) {
                self.state = if look.is_asleep { State::Standby } else { State::Unknown };
                self.answered = None;
            }
            return false;
        }
        if self.asked.is_some_and(|asked| now.saturating_sub(asked) < self.rest(&look)) {
            return false;
        }
        self.asked = Some(now);
        self.finished = look.finished;
        true
    }

    /// How long it is left alone after a question.
    fn rest(&self, look: &Look) -> Duration {
        let failed = EVERY.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(EVERY_FAILED);
        let to_sleep = look.falls_asleep_after.map_or(Duration::ZERO, |rest| rest.saturating_add(MARGIN));
        let is_idle = look.finished.is_some() && look.finished == self.finished;
        let idle = if is_idle { EVERY_IDLE } else { Duration::ZERO };
        failed.max(to_sleep).max(idle)
    }

    /// Takes what came of asking it. A fault if something is wrong that is not this disk's.
    pub(super) fn take(
        &mut self,
        outcome: Result<&Output, Fault>,
        report: Option<&Report>,
        now: Duration,
    ) -> Result<(), Fault> {
        self.exit_status = None;
        self.answered = None;
        let outcome = self.judge(outcome, report);
        match &outcome {
            Ok(State::Active) => {
                self.answered = Some(now);
                self.failures = 0;
            }
            Ok(State::Standby | State::Sleep) => self.failures = 0,
            Ok(State::Unknown | State::Hung(_)) | Err(_) => self.failures = self.failures.saturating_add(1),
        }
        let (state, fault) = outcome.map_or_else(|fault| (State::Unknown, Err(fault)), |state| (state, Ok(())));
        self.state = state;
        fault
    }

    fn judge(&mut self, outcome: Result<&Output, Fault>, report: Option<&Report>) -> Result<State, Fault> {
        let name = &self.disk.name;
        let failed = |what: &str| Fault::ProgramFailed { what: Text::of(&format!("smartctl on {name}: {what}")) };
        let output = match outcome {
            Ok(output) => output,
            Err(fault @ Fault::Hung { .. }) => {
                tracing::warn!(disk = name, %fault, "smartctl does not come back");
                return Ok(State::Hung(fault));
            }
            Err(fault) => return Err(fault),
        };
        let code = output.code.ok_or_else(|| failed("a signal ended it"))?;
        let report = report.ok_or_else(|| failed("what it prints is not what it documents"))?;
        if code == AT_REST
            && let Some(rest) = report.complaint("Device is in ")
        {
            return rest_of(rest, may_command()).ok_or_else(|| Fault::NoPermission { to: Text::of(&self.disk.node) });
        }
        self.exit_status = u64::try_from(code).ok();
        if code & NOT_READ != 0 {
            let why = report.complaint("").unwrap_or("it does not say why");
            if self.failures == 0 {
                tracing::info!(disk = name, code, why, "smartctl cannot read it");
            }
            let is_denied = ["Permission denied", "Operation not permitted"].iter().any(|word| why.contains(word));
            if is_denied {
                return Err(Fault::NoPermission { to: Text::of(&self.disk.node) });
            }
            return Ok(State::Unknown);
        }
        self.figures = metrics::of(name, report);
        Ok(State::Active)
    }

    /// What it hangs in, if it does.
    pub(super) fn hung(&self) -> Option<&Fault> {
        if let State::Hung(fault) = &self.state { Some(fault) } else { None }
    }

    fn is_fresh(&self, now: Duration) -> bool {
        self.answered.is_some_and(|answered| now.saturating_sub(answered) < FRESH)
    }

    /// Pushes how it is, and all that it said but its table.
    pub(super) fn push_main(&self, now: Duration, room: &mut Room, out: &mut Reading) {
        let labels = [("device", self.disk.name.as_str())];
        let is_fresh = self.is_fresh(now);
        let state = match self.state {
            State::Active => is_fresh.then_some(0),
            State::Standby => Some(1),
            State::Sleep => Some(2),
            State::Unknown | State::Hung(_) => None,
        };
        for (name, bits) in [
            ("smartctl_device_state", state),
            ("smartctl_device_smartctl_exit_status", self.exit_status),
            ("dsmil_disk_health_hung", Some(u64::from(self.hung().is_some()))),
        ] {
            room.push(&PLAIN.metric(name, &labels), bits, out);
        }
        for figure in &self.figures.main {
            let counts = is_fresh || figure.metric.name == INFO;
            room.push(&figure.metric, counts.then_some(figure.bits), out);
        }
    }

    /// Pushes its table.
    pub(super) fn push_attributes(&self, now: Duration, room: &mut Room, out: &mut Reading) {
        let is_fresh = self.is_fresh(now);
        for figure in &self.figures.attributes {
            room.push(&figure.metric, is_fresh.then_some(figure.bits), out);
        }
    }
}

/// How it rests. Of a disk that does not take its question, smartctl says that it sleeps; so also of one that it may not ask.
fn rest_of(said: &str, may_command: bool) -> Option<State> {
    if !said.contains("SLEEP") {
        return Some(State::Standby);
    }
    may_command.then_some(State::Sleep)
}

/// Whether this process, and what it runs, may pass commands to ATA disks.
fn may_command() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|ours| ours.effective.contains(CapabilitySet::SYS_RAWIO))
}

impl Room {
    /// Room for that many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self { left: bytes, is_short: false }
    }

    /// Pushes a metric, or nothing any more from the first one on that does not fit.
    pub(super) fn push(&mut self, metric: &Metric, bits: Option<u64>, out: &mut Reading) {
        // In an answer every text has its length before it; kind, number, scale and value take 24 bytes at most.
        let labels: usize = metric.labels.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let size = metric.name.len() + labels + 24;
        self.is_short |= size > self.left;
        if !self.is_short {
            self.left -= size;
            out.repeat(metric, bits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_nobody_may_ask_is_not_taken_for_one_that_sleeps() {
        let (standby, sleep) = ("Device is in STANDBY mode, exit(3)", "Device is in SLEEP mode, exit(3)");
        assert_eq!([true, false].map(|may| rest_of(standby, may)), [Some(State::Standby), Some(State::Standby)]);
        assert_eq!([true, false].map(|may| rest_of(sleep, may)), [Some(State::Sleep), None]);
    }
}
