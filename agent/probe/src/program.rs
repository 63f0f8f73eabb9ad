//! Running a program that somebody else wrote: it gets a deadline, little room for what it says, and nothing of our surroundings.
//!
//! What reads disks or asks services is better done by the programs that are kept for it than done again here. They may wait for
//! ever on a device, print without end, leave children behind or be gone after an upgrade. One is ended, with all its children,
//! when its time is over; the kernel says when it has ended (pidfd_open(2)), so that nobody has to look. One that cannot be ended,
//! because it waits in the kernel, is left behind, and only so many of those.

use crate::waiting;
use dsmil_protocol::probe::{Fault, Text};
use dsmil_runtime::clock::Clock;
use dsmil_sensors::root::Root;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where programs are looked for that are named without a folder: those of the distribution, and no folder that users fill.
const SEARCH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How long one that was killed has to be gone; who waits in the kernel where nothing can end it is not.
const GRACE: Duration = Duration::from_millis(100);
/// Programs that could not be killed and are still there: with so many, no more are started.
const MAX_LEFT: usize = 8;
/// Bytes kept of what a program complains about: a fault has room for a line.
const MAX_COMPLAINT_LEN: usize = 512;
/// Bytes taken at once.
const PIECE_LEN: usize = 16 << 10;

/// What a program is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long it may run.
    pub(crate) deadline: Duration,
    /// Bytes that it may print.
    pub(crate) max_output: usize,
}

/// What a program has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// With what it ended; nothing if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: Vec<u8>,
    /// How its complaints begin.
    pub(crate) stderr: Vec<u8>,
}

impl Output {
    /// What it printed, if it ended with 0: for programs that say nothing else by their code.
    pub(crate) fn of_success(self, program: &Path) -> Result<Vec<u8>, Fault> {
        match self.code {
            Some(0) => Ok(self.stdout),
            Some(code) if self.stderr.trim_ascii().is_empty() => Err(failed(program, &format!("it ended with {code}"))),
            Some(_) => Err(failed(program, &first_line(&self.stderr))),
            None => Err(failed(program, "a signal ended it")),
        }
    }
}

/// Runs programs, one at a time.
#[derive(Debug)]
pub(crate) struct Runner {
    clock: Clock,
    left: Vec<Left>,
}

/// One that could not be killed.
#[derive(Debug)]
struct Left {
    child: Child,
    since: Duration,
}

impl Runner {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, left: Vec::new() }
    }

    /// Runs `program`, a path or the name of one that the distribution has, and waits for its end.
    ///
    /// A fault: it is not there, may not be run, cannot be killed, printed too much or took too long.
    pub(crate) fn run(&mut self, program: &Path, args: &[&str], limits: Limits) -> Result<Output, Fault> {
        // Those that have ended since are taken leave of.
        self.left.retain_mut(|left| matches!(left.child.try_wait(), Ok(None)));
        if self.left.len() >= MAX_LEFT {
            let Left { child, since } = &self.left[0];
            return Err(hung(child.id(), self.clock.mono().saturating_sub(*since)));
        }
        let begun = self.clock.mono();
        let mut child = spawn(program, args).map_err(|error| not_started(program, &error))?;
        let mut watch = match Watch::of(&mut child) {
            Ok(watch) => watch,
            Err(error) => {
                self.end(child, None, begun);
                return Err(failed(program, &error.to_string()));
            }
        };
        let ended = watch.until_end(&self.clock, begun + limits.deadline, limits.max_output);
        // Where it waits is to be seen only while it does.
        let late = || hung(child.id(), self.clock.mono().saturating_sub(begun));
        let fault = match ended {
            Ok(End::Itself) => None,
            Ok(End::Late) => Some(late()),
            Ok(End::Floods) => Some(failed(program, &format!("it prints more than {} bytes", limits.max_output))),
            Err(error) => Some(failed(program, &error.to_string())),
        };
        let code = self.end(child, Some(&watch.end), begun);
        fault.map_or(Ok(Output { code, stdout: watch.stdout.bytes, stderr: watch.stderr.bytes }), Err)
    }

    /// Ends it and whatever it has started, if they have not ended yet. Its code, if it has one.
    fn end(&mut self, mut child: Child, end: Option<&OwnedFd>, since: Duration) -> Option<i32> {
        // It leads a group of its own, whose number is nobody else's as long as we have not taken leave of it.
        let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
        if let Some(end) = end {
            let _ = wait(&mut [PollFd::new(end, PollFlags::IN)], GRACE);
        }
        match child.try_wait() {
            Ok(Some(status)) => status.code(),
            Ok(None) => {
                self.left.push(Left { child, since });
                None
            }
            Err(_) => None,
        }
    }
}

fn spawn(program: &Path, args: &[&str]) -> std::io::Result<Child> {
    Command::new(program)
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("PATH", SEARCH)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// How it came to an end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Itself,
    Late,
    Floods,
}

/// What is listened to while it runs.
struct Watch {
    /// Readable once it has ended.
    end: OwnedFd,
    stdout: Pipe,
    stderr: Pipe,
}

impl Watch {
    fn of(child: &mut Child) -> Result<Self, Errno> {
        let end = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let stdout = Pipe::of(child.stdout.take().map(OwnedFd::from))?;
        let stderr = Pipe::of(child.stderr.take().map(OwnedFd::from))?;
        Ok(Self { end, stdout, stderr })
    }

    fn until_end(&mut self, clock: &Clock, deadline: Duration, max_output: usize) -> Result<End, Errno> {
        loop {
            let left = deadline.saturating_sub(clock.mono());
            if left.is_zero() {
                return Ok(End::Late);
            }
            let mut fds = vec![PollFd::new(&self.end, PollFlags::IN)];
            let pipes = [&self.stdout, &self.stderr];
            fds.extend(pipes.iter().filter_map(|pipe| pipe.fd.as_ref()).map(|fd| PollFd::new(fd, PollFlags::IN)));
            wait(&mut fds, left)?;
            let has_ended = !fds[0].revents().is_empty();
            // What it said before it ended is in the pipe; what its children still say is not waited for.
            while self.stdout.take(max_output.saturating_add(1))? && has_ended {}
            if self.stdout.bytes.len() > max_output {
                return Ok(End::Floods);
            }
            self.stderr.take(MAX_COMPLAINT_LEN)?;
            if has_ended {
                return Ok(End::Itself);
            }
        }
    }
}

/// The reading end of a pipe, and what came out of it.
struct Pipe {
    /// Until nobody writes any more.
    fd: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Pipe {
    fn of(fd: Option<OwnedFd>) -> Result<Self, Errno> {
        if let Some(fd) = &fd {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(Self { fd, bytes: Vec::new() })
    }

    /// Takes a piece of what is there and keeps `max` bytes of all at most. Whether there may be more to keep.
    fn take(&mut self, max: usize) -> Result<bool, Errno> {
        let Some(fd) = &self.fd else { return Ok(false) };
        let mut piece = [0; PIECE_LEN];
        match rustix::io::read(fd, &mut piece) {
            Ok(0) => {
                self.fd = None;
                Ok(false)
            }
            Ok(length) => {
                let room = max.saturating_sub(self.bytes.len());
                self.bytes.extend_from_slice(&piece[..length.min(room)]);
                Ok(room > length)
            }
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Waits for any of them, for so long at most.
fn wait(fds: &mut [PollFd<'_>], patience: Duration) -> Result<(), Errno> {
    let patience = Timespec::try_from(patience).map_err(|_| Errno::INVAL)?;
    match poll(fds, Some(&patience)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

fn not_started(program: &Path, error: &std::io::Error) -> Fault {
    let named = Text::of(&program.to_string_lossy());
    match error.kind() {
        ErrorKind::NotFound => Fault::ProgramMissing { program: named },
        ErrorKind::PermissionDenied => Fault::NoPermission { to: named },
        _ => failed(program, &error.to_string()),
    }
}

fn failed(program: &Path, what: &str) -> Fault {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    Fault::ProgramFailed { what: Text::of(&format!("{name}: {what}")) }
}

fn first_line(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    text.trim().lines().next().unwrap_or_default().to_owned()
}

/// Of a process that has not ended in its time.
fn hung(pid: u32, time: Duration) -> Fault {
    // This machine's own, whatever tree is read: the process is one of ours.
    let own = Root::host().ok();
    let place = pid.to_string();
    Fault::Hung {
        for_s: u32::try_from(time.as_secs()).unwrap_or(u32::MAX),
        state: own.as_ref().and_then(|own| waiting::state(own, &place)),
        wait_channel: own.as_ref().and_then(|own| waiting::channel(own, &place)),
    }
}

#[cfg(test)]
mod tests;
