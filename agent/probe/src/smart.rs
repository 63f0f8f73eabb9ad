//! The health of disks, by smartctl of smartmontools; names and labels are smartctl_exporter's.
//!
//! Source: smartctl(8) of smartmontools 7.3 for what it is told and says ([`report`]); `metrics.go` and `smartctl.go` of
//! smartctl_exporter 0.14 for the names. Its metrics of logs that it does not ask for either (SCT, self-tests, device
//! statistics) are left out. Disks behind a RAID controller are the controller's: smartctl is not told to look for them.
//!
//! No disk is woken. The kernel is asked first whether one sleeps ([`disk`]); then smartctl leaves one alone that rests by itself; and
//! nobody is asked so often that it could not fall asleep ([`watch`]). What a disk said before it went to rest is unread then, and
//! `smartctl_device_state` says that it rests: 0 active, 1 standby, 2 sleep, as in the exporter, where the disk's SCT log says it.
//!
//! A disk may take long, or for ever. So another thread asks, one disk after the other, and a question is answered within a second
//! with what is known by then. One that hangs costs the others ten seconds, and is asked again at growing intervals.

mod disk;
#[cfg(any(test, feature = "reference"))]
mod example;
mod metrics;
mod report;
mod watch;

#[cfg(any(test, feature = "reference"))]
pub(crate) use example::example;

use crate::program::{Limits, Output, Runner};
use crate::source::Source;
use disk::{Disk, Interface};
use dsmil_protocol::metric::Metric;
use dsmil_protocol::probe::{Fault, Text};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use dsmil_sensors::Reading;
use dsmil_sensors::root::{HOST_SYS, Root};
use report::Report;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use watch::{ARGUMENTS, Room, Watched};

/// The program.
const SMARTCTL: &str = "smartctl";
/// Disks that are watched: the figures of so many fit into an answer, with the tables of the first ones.
const MAX_DISKS: usize = 256;
/// Bytes of metrics in an answer, which may have [`dsmil_protocol::probe::MAX_ANSWER_LEN`].
const MAX_BYTES: usize = 768 << 10;
/// How often to look which disks there are: at every question of the agent, which come once a minute, give or take.
const LIST_EVERY: Duration = Duration::from_secs(50);
/// What smartctl is given for a disk. One that answers takes 20 to 500 ms, behind a queue of others' requests some seconds; of a disk
/// with everything it prints 30 kB.
const LIMITS: Limits = Limits { deadline: Duration::from_secs(10), max_output: 256 << 10 };

/// How long a question waits for disks that are being asked: what comes later is told at the next question. The rest of
/// this program takes a reading for hung after 1.3 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Reads all disks.
pub(crate) struct Smart {
    clock: Clock,
    patience: Duration,
    jobs: SyncSender<Vec<Job>>,
    results: Receiver<Said>,
    /// The other thread is asking.
    is_asking: bool,
    disks: Vec<Watched>,
    has_more: bool,
    listed: Option<Duration>,
    /// Which smartctl it is.
    version: Option<Metric>,
    /// What is wrong that is not one disk's.
    fault: Option<Fault>,
}

/// A disk to be asked.
struct Job {
    name: String,
    args: Vec<String>,
}

/// What the thread that asks has to say.
enum Said {
    /// What came of asking a disk.
    Of(String, Result<Output, Fault>),
    /// All of a list were asked.
    Done,
}

impl Smart {
    /// By that program, or by the distribution's; a question waits for so long.
    pub(crate) fn new(program: Option<PathBuf>, clock: Clock, supervisor: &Supervisor, patience: Duration) -> Self {
        let program = program.unwrap_or_else(|| SMARTCTL.into());
        let (jobs, asked) = sync_channel::<Vec<Job>>(1);
        // Room for all of a list: nobody may be there to take them.
        let (sender, results) = sync_channel(MAX_DISKS + 1);
        let time = clock.clone();
        supervisor.thread("disks", OnFailure::Stop, move || {
            let mut runner = Runner::new(time);
            while let Ok(list) = asked.recv() {
                if ask(&mut runner, &program, list, &sender).is_none() {
                    break; // Nobody wants to know any more.
                }
            }
            Ok::<(), Infallible>(())
        });
        Self {
            clock,
            patience,
            jobs,
            results,
            is_asking: false,
            disks: Vec::new(),
            has_more: false,
            listed: None,
            version: None,
            fault: None,
        }
    }

    /// Which disks there are, now and then. One that is still there keeps what it said.
    fn list(&mut self, root: &Root, now: Duration) -> Result<(), Fault> {
        if self.listed.is_some_and(|listed| now.saturating_sub(listed) < LIST_EVERY) {
            return Ok(());
        }
        let unreadable = |error| Fault::Unreadable { what: Text::of(&format!("{HOST_SYS}/{}: {error}", disk::BLOCK)) };
        let (disks, has_more) = disk::list(root, MAX_DISKS).map_err(unreadable)?;
        let mut known = std::mem::take(&mut self.disks);
        let mut of = |disk: Disk| match known.iter().position(|watched| watched.disk == disk) {
            Some(at) => known.swap_remove(at),
            None => Watched::new(disk),
        };
        self.disks = disks.into_iter().map(&mut of).collect();
        self.has_more = has_more;
        self.listed = Some(now);
        Ok(())
    }

    /// Has the disks asked whose turn it is.
    fn ask(&mut self, root: &Root, now: Duration) {
        let due: Vec<Job> =
            self.disks.iter_mut().filter_map(|disk| disk.take_turn(root, now).then(|| job(&disk.disk))).collect();
        if due.is_empty() {
            return;
        }
        // It waits for a list, or has gone with a panic, which ends the process.
        self.is_asking = !matches!(self.jobs.try_send(due), Err(TrySendError::Disconnected(_)));
        self.fault = None;
    }

    /// Takes what the other thread has said, until it is done or patience ends.
    fn take(&mut self) {
        let deadline = self.clock.mono().saturating_add(self.patience);
        while self.is_asking {
            match self.results.recv_timeout(deadline.saturating_sub(self.clock.mono())) {
                Ok(Said::Of(name, outcome)) => self.take_one(&name, outcome),
                Ok(Said::Done) | Err(RecvTimeoutError::Disconnected) => self.is_asking = false,
                Err(RecvTimeoutError::Timeout) => return,
            }
        }
    }

    fn take_one(&mut self, name: &str, outcome: Result<Output, Fault>) {
        // It may have gone in the meantime.
        let Some(watched) = self.disks.iter_mut().find(|watched| watched.disk.name == name) else { return };
        let report = outcome.as_ref().ok().and_then(|output| Report::of(&output.stdout));
        if let Some(report) = &report {
            self.version = Some(metrics::version(report));
        }
        if let Err(fault) = watched.take(outcome.as_ref().map_err(Clone::clone), report.as_ref(), self.clock.mono()) {
            self.fault.get_or_insert(fault);
        }
    }

    fn push(&self, now: Duration, out: &mut Reading) -> Result<(), Fault> {
        let mut room = Room::of(MAX_BYTES);
        for disk in &self.disks {
            disk.push_main(now, &mut room, out);
        }
        if let Some(version) = &self.version {
            room.push(version, Some(1), out);
        }
        for disk in &self.disks {
            disk.push_attributes(now, &mut room, out);
        }
        let is_cut = room.is_short || self.has_more;
        let reported = u32::try_from(out.values().count()).unwrap_or(u32::MAX);
        if is_cut { Err(Fault::TooMany { reported }) } else { Ok(()) }
    }
}

impl Source for Smart {
    fn read(&mut self, root: &Root, out: &mut Reading) -> Result<(), Fault> {
        let begin = self.clock.mono();
        let listed = self.list(root, begin);
        if !self.is_asking {
            self.ask(root, begin);
        }
        self.take();
        let cut = self.push(self.clock.mono(), out);
        listed?;
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        self.disks.iter().find_map(Watched::hung).map_or(cut, |hung| Err(hung.clone()))
    }
}

/// How smartctl is asked about a disk. Where its kind is known, smartctl has not to find it out, for which it might wake the disk.
fn job(disk: &Disk) -> Job {
    let kind = match disk.interface {
        Interface::Nvme => Some("--device=nvme"),
        Interface::Sat => Some("--device=sat"),
        Interface::Other => None,
    };
    let args = ARGUMENTS.into_iter().chain(kind).chain([disk.node.as_str()]).map(str::to_owned).collect();
    Job { name: disk.name.clone(), args }
}

/// Asks one after the other and says what came of it. Nothing if nobody listens any more.
fn ask(runner: &mut Runner, program: &Path, list: Vec<Job>, say: &SyncSender<Said>) -> Option<()> {
    for Job { name, args } in list {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let outcome = runner.run(program, &args, LIMITS);
        // Without the program there is no reason to go on.
        let is_over = matches!(outcome, Err(Fault::ProgramMissing { .. } | Fault::NoPermission { .. }));
        say.send(Said::Of(name, outcome)).ok()?;
        if is_over {
            break;
        }
    }
    say.send(Said::Done).ok()
}

#[cfg(test)]
mod tests;
