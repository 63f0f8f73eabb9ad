//! What all measurements here share: folders, a runtime, the clock, places to run in.

use super::place::Places;
use crate::fleet::{Fleet, Parents};
use anyhow::Context;
use dsmil_runtime::clock::Clock;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How often a condition is looked at that is to come true.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whoever enters a place does so with the whole thread, so everything here is on one thread and waits with it.
#[derive(Debug)]
pub(super) struct Rig {
    pub(super) clock: Clock,
    pub(super) fleet: Fleet,
    pub(super) places: Places,
    runtime: Runtime,
}

impl Rig {
    pub(super) fn new() -> anyhow::Result<Self> {
        let clock = Clock::real();
        let fleet = Fleet::new(&Parents::default(), "dsmil-bench", &clock)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { clock, fleet, places: Places::new(), runtime })
    }

    /// Waits for what `work` comes to.
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Waits until the monotonic clock shows `moment`.
    pub(super) fn sleep_until(&self, moment: Duration) {
        self.wait(self.clock.sleep_until(moment));
    }

    /// Waits until `look` says yes; what it fails of then counts only when the time is up.
    pub(super) fn eventually(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = self.clock.mono() + within;
        loop {
            let failed = match look() {
                Ok(true) => return Ok(()),
                Ok(false) => anyhow::anyhow!("it did not come to that"),
                Err(error) => error,
            };
            if self.clock.mono() > deadline {
                return Err(failed.context(format!("not within {within:?}: {what}")));
            }
            self.wait(self.clock.sleep(LOOK_EVERY));
        }
    }

    /// A new folder for one pipeline.
    pub(super) fn home(&self, name: &str) -> anyhow::Result<Home<'_>> {
        let folder = self.fleet.disk().join(format!("peers-{name}"));
        std::fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Home { rig: self, folder })
    }
}

/// The folder of one pipeline: ours, with folders in it that the programs may write.
#[derive(Debug)]
pub(super) struct Home<'f> {
    pub(super) rig: &'f Rig,
    folder: PathBuf,
}

impl Home<'_> {
    /// Copies a file to where any user can read and start it. Each pipeline has copies of its own: a program that ran
    /// twice from one file would share its pages, and each would seem smaller than it is.
    pub(super) fn take(&self, from: &Path) -> anyhow::Result<PathBuf> {
        let name = from.file_name().with_context(|| format!("{} is no file", from.display()))?;
        let to = self.folder.join(name);
        std::fs::copy(from, &to).with_context(|| format!("{} cannot be copied", from.display()))?;
        std::fs::set_permissions(&to, PermissionsExt::from_mode(0o755))?;
        Ok(to)
    }

    /// Writes a file that the programs read.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644))?;
        Ok(path)
    }

    /// Makes a folder that the programs may write into.
    pub(super) fn data(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        let user = self.rig.fleet.user();
        let made = std::fs::create_dir(&path).and_then(|()| user.map_or(Ok(()), |user| user.own(&path)));
        made.with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(path)
    }
}

/// `--flag=value`, whatever the value is.
pub(super) fn flag(flag: &str, value: impl AsRef<std::ffi::OsStr>) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(flag);
    text.push("=");
    text.push(value);
    text
}
