//! A machine of our own: a small Debian booted by systemd-nspawn, with a network of its own, thrown away at the end.
//!
//! `cargo xtask test --long` makes the tree and the packages, and names them in
//! `DSMIL_DEBIAN`, `DSMIL_PACKAGES` and `DSMIL_PACKAGES_BEFORE`. The tree
//! is never written to: what happens in a machine happens on an overlay in memory.

use anyhow::{Context, bail, ensure};
use dsmil_runtime::clock::Clock;
use e2e::fleet::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A machine without a network card is up in seconds; a busy one takes its time.
const UP_WITHIN: Duration = Duration::from_secs(120);
/// What a command may take, in timeout(1)'s words; the longest installs three packages.
const COMMAND_WITHIN: &str = "120";
/// Where the packages lie in it, and those of the commit before.
pub(crate) const PACKAGES: &str = "/packages";
pub(crate) const BEFORE: &str = "/packages-before";

/// A machine. Dropped, it is switched off.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) clock: Clock,
    nspawn: Child,
    /// Its process 1, as we see it.
    init: u32,
}

impl Machine {
    /// Boots one, and waits until nothing in it is starting any more.
    pub(crate) async fn boot() -> anyhow::Result<Self> {
        let clock = Clock::real();
        // nspawn's own words go to a log, which tells what became of one that did not come up.
        let log = tempfile::NamedTempFile::new()?;
        let mut command = Command::new("setpriv");
        // Killed with this test, whatever becomes of it; and nspawn takes the machine along.
        command.args(["--pdeathsig", "KILL", "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"]);
        command.args(["--volatile=overlay", "--private-network", "--console=pipe", "--hostname=h1"]);
        command.arg("--directory").arg(of_environment("DSMIL_DEBIAN")?);
        for (name, place) in [("DSMIL_PACKAGES", PACKAGES), ("DSMIL_PACKAGES_BEFORE", BEFORE)] {
            command.arg(format!("--bind-ro={}:{place}", of_environment(name)?.display()));
        }
        command.stdin(Stdio::null()).stdout(log.reopen()?).stderr(log.reopen()?);
        let mut nspawn = command.spawn().context("setpriv or systemd-nspawn cannot be started")?;
        let looked = wait_for_init(&clock, &mut nspawn).await;
        let init = looked.with_context(|| std::fs::read_to_string(log.path()).unwrap_or_default())?;
        let machine = Self { clock, nspawn, init };
        machine.until("the machine is up", UP_WITHIN, "systemctl is-system-running").await?;
        Ok(machine)
    }

    /// Runs a line of shell as root in it, and returns what it printed; anything but success is an error.
    pub(crate) fn run(&self, line: &str) -> anyhow::Result<String> {
        let output = self.outcome(line)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if !output.status.success() {
            bail!("`{line}` failed ({}):\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }

    /// The same, to an end that the caller judges.
    pub(crate) fn outcome(&self, line: &str) -> anyhow::Result<Output> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--all", "--", "timeout", COMMAND_WITHIN, "sh", "-c", line]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null()).output().context("nsenter cannot be started")
    }

    /// What a line of shell prints, read as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, line: &str) -> anyhow::Result<T> {
        let text = self.run(line)?;
        serde_json::from_str(&text).with_context(|| format!("`{line}` printed {text}"))
    }

    /// Waits until a line of shell succeeds.
    pub(crate) async fn until(&self, what: &str, within: Duration, line: &str) -> anyhow::Result<()> {
        let look = || std::future::ready(self.outcome(line).map(|output| output.status.success()));
        eventually(&self.clock, what, within, look).await.with_context(|| self.words())
    }

    /// The last words of both services.
    pub(crate) fn words(&self) -> String {
        let line = "systemctl --no-pager --lines=15 status 'dsmil-*' 'mnt-dsmil*'";
        let output = self.outcome(line);
        output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // nspawn powers its machine off in order, and then nothing of it is left on ours.
        let nspawn = i32::try_from(self.nspawn.id()).ok().and_then(Pid::from_raw);
        let asked = nspawn.map(|nspawn| kill_process(nspawn, Signal::TERM));
        if !matches!(asked, Some(Ok(()))) {
            let _ = self.nspawn.kill();
        }
        let _ = self.nspawn.wait();
    }
}

fn of_environment(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os(name).map(PathBuf::from);
    path.with_context(|| format!("{name} is not set: these drills are started by `cargo xtask test --long`"))
}

/// The process 1 of a machine: nspawn's only child, once it is systemd.
async fn wait_for_init(clock: &Clock, nspawn: &mut Child) -> anyhow::Result<u32> {
    let mut init = None;
    eventually(clock, "systemd-nspawn starts its machine", UP_WITHIN, || {
        let looked = (|| {
            ensure!(nspawn.try_wait()?.is_none(), "systemd-nspawn ended");
            let id = nspawn.id();
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
            init = children.split_whitespace().next().and_then(|child| child.parse::<u32>().ok());
            let name = init.and_then(|init| std::fs::read_to_string(format!("/proc/{init}/comm")).ok());
            Ok(name.is_some_and(|name| name.trim() == "systemd"))
        })();
        std::future::ready(looked)
    })
    .await?;
    init.context("systemd-nspawn has no child")
}
