//! A child program: started with a log of its own, watched, signalled, and gone when it is dropped.

use super::guard;
use super::user::User;
use anyhow::{Context, bail};
use dsmil_runtime::clock::Clock;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// How often a child is looked at that is to end.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Lines of a log that explain a death.
const TAIL_LINES: usize = 15;
/// Bytes at a log's end that those lines are looked for in.
const TAIL_BYTES: usize = 16 << 10;

/// The workspace's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The host's.
    Agent,
    /// The centre's.
    Aggregator,
    /// The simulator.
    Sim,
    /// The command line.
    Ctl,
    /// The demo, which also guards all others.
    Demo,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Agent, Self::Aggregator, Self::Sim, Self::Ctl, Self::Demo];

    /// Its file's name.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Agent => "dsmil-agent",
            Self::Aggregator => "dsmil-aggregator",
            Self::Sim => "dsmil-sim",
            Self::Ctl => "dsmilctl",
            Self::Demo => "dsmil-demo",
        }
    }
}

/// Starts programs: where they lie, as whom they run, where they log.
#[derive(Clone, Debug)]
pub struct Launcher {
    pub(super) programs: PathBuf,
    /// Programs that were put in the place of ours.
    pub(super) others: Vec<(Program, PathBuf)>,
    pub(super) user: Option<User>,
    pub(super) logs: PathBuf,
    pub(super) clock: Clock,
}

impl Launcher {
    /// Where a program lies.
    pub fn path(&self, program: Program) -> PathBuf {
        let other = self.others.iter().find(|(replaced, _)| *replaced == program);
        other.map_or_else(|| self.programs.join(program.file_name()), |(_, path)| path.clone())
    }

    fn command<A: AsRef<OsStr>>(&self, program: &Path, args: &[A]) -> Command {
        let mut command = guard::command(&self.path(Program::Demo), program);
        // A group of its own: Ctrl-C at the terminal is for us, and we end the children in order.
        command.args(args).stdin(Stdio::null()).current_dir("/").process_group(0);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Starts a program. Standard output goes to `<name>.out`, standard error to `<name>.log`, after what is there.
    pub fn start<A: AsRef<OsStr>>(&self, name: &str, program: Program, args: &[A]) -> anyhow::Result<Process> {
        self.start_other(name, &self.path(program), args)
    }

    /// The same for a program that is none of ours: any path that the user may start.
    pub fn start_other<A: AsRef<OsStr>>(&self, name: &str, program: &Path, args: &[A]) -> anyhow::Result<Process> {
        self.spawn(name, program, self.command(program, args))
    }

    fn spawn(&self, name: &str, program: &Path, mut command: Command) -> anyhow::Result<Process> {
        let (out, log) = (self.logs.join(format!("{name}.out")), self.logs.join(format!("{name}.log")));
        let child = command.stdout(append(&out)?).stderr(append(&log)?).spawn();
        let child = child.with_context(|| explain_start(program))?;
        Ok(Process { name: name.into(), child, out, log, clock: self.clock.clone() })
    }

    /// The same with capabilities beside, as `AmbientCapabilities=` of a unit gives them to a user: `CAP_SYSLOG`, … Only root can
    /// give any; whoever else starts it starts it without.
    pub fn start_with<A: AsRef<OsStr>>(
        &self,
        name: &str,
        program: &Path,
        args: &[A],
        capabilities: &[String],
    ) -> anyhow::Result<Process> {
        let Some(user) = self.user.filter(|_| !capabilities.is_empty()) else {
            return self.start_other(name, program, args);
        };
        let plain = self.command(program, args);
        let raised = capabilities.iter().map(|name| format!("+{}", name.to_lowercase().replace("cap_", "")));
        let raised = raised.collect::<Vec<_>>().join(",");
        // It changes user itself: one that has changed already has nothing left to give.
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid), "--clear-groups".to_owned()]);
        command.args([format!("--inh-caps={raised}"), format!("--ambient-caps={raised}"), "--".to_owned()]);
        command.arg(plain.get_program()).args(plain.get_args());
        command.stdin(Stdio::null()).current_dir("/").process_group(0);
        self.spawn(name, program, command)
    }

    /// Runs a program to its end and returns what it printed; anything but success is an error.
    pub fn output<A: AsRef<OsStr>>(&self, program: Program, args: &[A]) -> anyhow::Result<String> {
        let output = self.outcome(program, args)?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("{} failed ({}): {}", program.file_name(), output.status, complaint.trim());
        }
        String::from_utf8(output.stdout).with_context(|| format!("{} printed no UTF-8", program.file_name()))
    }

    /// Runs a program to its end, whatever that is.
    pub fn outcome<A: AsRef<OsStr>>(&self, program: Program, args: &[A]) -> anyhow::Result<Output> {
        let program = self.path(program);
        self.command(&program, args).output().with_context(|| explain_start(&program))
    }
}

fn explain_start(program: &Path) -> String {
    let program = program.display();
    format!("{program} cannot be started; if its folder is mounted noexec, set TMPDIR to a folder that is not")
}

fn append(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("{} cannot be written", path.display()))
}

/// A running program, killed and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    log: PathBuf,
    clock: Clock,
}

impl Process {
    /// What it was started as.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: TERM, KILL, STOP, CONT.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("not a process id")?;
        kill_process(pid, signal).with_context(|| format!("{} cannot be signalled", self.name))
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("{} cannot be waited for", self.name))
    }

    /// An error with the log's last lines if it has ended.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}); its last words:\n{}", self.name, self.log_tail()),
        }
    }

    /// Waits for its end.
    pub async fn wait(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = self.clock.mono() + within;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if self.clock.mono() >= deadline {
                bail!("{} did not end within {within:?}; its last words:\n{}", self.name, self.log_tail());
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        if self.ended()?.is_none() {
            self.signal(Signal::TERM)?;
        }
        self.wait(within).await
    }

    /// Ends it at once, without a word.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        self.child.wait().with_context(|| format!("{} cannot be waited for", self.name))
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// Where it logs.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The log's last lines, indented.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        tail(&String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL_BYTES)..]))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.kill();
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    if last.is_empty() {
        return "  (it said nothing)".into();
    }
    last.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_end() {
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let tail = tail(&text);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.starts_with("  line 85\n") && tail.ends_with("  line 99"), "{tail}");
        assert_eq!(super::tail(""), "  (it said nothing)");
    }
}
