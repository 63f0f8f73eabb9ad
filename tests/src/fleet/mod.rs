//! A throw-away fleet of real programs: folders, ports, identities, a centre, agents, a simulator.
//!
//! The demo runs one, tests break them. Reading order: [`Fleet`] (folders and programs), `process`, `centre`, `host`, `relay`,
//! `usage`.

mod centre;
pub mod guard;
mod host;
mod process;
mod relay;
mod slot;
pub mod usage;
mod user;

pub use centre::{Centre, Delay, HostEntry, Ledger, Pipeline, Ports, Token};
pub use host::{AgentProc, SimOptions, SimProc};
pub use process::{Launcher, Process, Program};
pub use relay::Relay;
pub use user::User;

use anyhow::{Context, ensure};
use dsmil_runtime::clock::Clock;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How often a condition is looked at that is to come true.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The type of a tmpfs as statfs(2) tells it (`TMPFS_MAGIC` in linux/magic.h).
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Where a fleet's folders are made.
#[derive(Clone, Debug)]
pub struct Parents {
    /// On a disk.
    pub disk: PathBuf,
    /// On a tmpfs.
    pub ram: PathBuf,
}

impl Default for Parents {
    fn default() -> Self {
        Self { disk: std::env::temp_dir(), ram: "/dev/shm".into() }
    }
}

/// The folders of one fleet and what starts its programs. Dropped, the folders are gone.
#[derive(Debug)]
pub struct Fleet {
    disk: TempDir,
    ram: TempDir,
    launcher: Launcher,
}

impl Fleet {
    /// Folders under `parents` whose names begin with `name`; those of fleets of that name that were killed are removed first. If
    /// we are root, programs run as somebody else.
    pub fn new(parents: &Parents, name: &str, clock: &Clock) -> anyhow::Result<Self> {
        ensure_tmpfs(&parents.ram)?;
        sweep(parents, name);
        let prefix = format!("{name}-{}-", rustix::process::getpid());
        let (disk, ram) = (folder(&parents.disk, &prefix)?, folder(&parents.ram, &prefix)?);
        let user = User::for_children();
        let beside = programs_beside_us()?;
        let programs = if user.is_some() { within_reach(&beside, disk.path())? } else { beside };
        let logs = disk.path().join("logs");
        for own in [&logs, &disk.path().join("config")] {
            std::fs::create_dir(own).with_context(|| format!("{} cannot be made", own.display()))?;
        }
        let fleet =
            Self { disk, ram, launcher: Launcher { programs, others: Vec::new(), user, logs, clock: clock.clone() } };
        for theirs in ["centre", "hosts"] {
            fleet.folder_for_children(&fleet.disk.path().join(theirs))?;
        }
        for theirs in ["hot", "agents", "sim"] {
            fleet.folder_for_children(&fleet.ram.path().join(theirs))?;
        }
        Ok(fleet)
    }

    /// Has another build of a program run in this fleet.
    pub fn put(&mut self, program: Program, build: &Path) -> anyhow::Result<()> {
        // Copied to where any user can start it.
        let to = self.disk().join(format!("other-{}", program.file_name()));
        std::fs::copy(build, &to).with_context(|| format!("{} cannot be copied", build.display()))?;
        std::fs::set_permissions(&to, PermissionsExt::from_mode(0o755))?;
        self.launcher.others.push((program, to));
        Ok(())
    }

    /// What starts its programs.
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// As whom the programs run; nothing: as ourselves.
    pub fn user(&self) -> Option<User> {
        self.launcher.user
    }

    /// Its folder on the disk.
    pub fn disk(&self) -> &Path {
        self.disk.path()
    }

    /// Its folder on the tmpfs.
    pub fn ram(&self) -> &Path {
        self.ram.path()
    }

    fn clock(&self) -> &Clock {
        &self.launcher.clock
    }

    /// Leaves the folders where they are, for a look, and says where that is.
    pub fn keep(self) -> (PathBuf, PathBuf) {
        (self.disk.keep(), self.ram.keep())
    }

    /// Makes a folder that the children may write into.
    fn folder_for_children(&self, path: &Path) -> anyhow::Result<()> {
        let made = std::fs::create_dir(path).and_then(|()| self.launcher.user.map_or(Ok(()), |user| user.own(path)));
        made.with_context(|| format!("{} cannot be made", path.display()))
    }
}

/// Waits until `look` says yes, and fails when it has not done so `within` that time, or as soon as it fails.
pub async fn eventually<F: Future<Output = anyhow::Result<bool>>>(
    clock: &Clock,
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let deadline = clock.mono() + within;
    while !look().await? {
        ensure!(clock.mono() < deadline, "not within {within:?}: {what}");
        clock.sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Removes what fleets of this name left behind that were killed: folders named after a process that is no more.
fn sweep(parents: &Parents, name: &str) {
    let prefix = format!("{name}-");
    for parent in [&parents.disk, &parents.ram] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let file_name = entry.file_name();
            let owner = file_name.to_str().and_then(|name| name.strip_prefix(&prefix)?.split('-').next());
            let is_number = |owner: &str| !owner.is_empty() && owner.bytes().all(|b| b.is_ascii_digit());
            if owner.is_some_and(|owner| is_number(owner) && !Path::new("/proc").join(owner).exists()) {
                // Another user's is another user's affair.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

fn ensure_tmpfs(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let stat = rustix::fs::statfs(path).with_context(|| {
        format!("{shown} cannot be used; as root: mkdir -p {shown} && mount -t tmpfs tmpfs {shown}")
    })?;
    let is_tmpfs = u64::try_from(stat.f_type).is_ok_and(|kind| kind == TMPFS_MAGIC);
    ensure!(
        is_tmpfs,
        "{shown} is no tmpfs; as root: mount -t tmpfs tmpfs {shown}, or name a folder on one (--ram-dir)"
    );
    Ok(())
}

/// A new folder that everybody may enter: the programs run as somebody else.
fn folder(parent: &Path, prefix: &str) -> anyhow::Result<TempDir> {
    let made = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
    let made = made.with_context(|| format!("no folder can be made in {}", parent.display()))?;
    std::fs::set_permissions(made.path(), PermissionsExt::from_mode(0o755))?;
    Ok(made)
}

/// The folder with our own program; tests lie one below their fellows.
fn programs_beside_us() -> anyhow::Result<PathBuf> {
    let us = std::env::current_exe().context("our own program cannot be found")?;
    let mut folder = us.parent().context("our own program lies nowhere")?;
    if folder.ends_with("deps") {
        folder = folder.parent().unwrap_or(folder);
    }
    for program in Program::ALL {
        let name = program.file_name();
        ensure!(folder.join(name).is_file(), "{} has no {name}: cargo build --workspace --bins", folder.display());
    }
    Ok(folder.to_owned())
}

/// The programs again where another user can start them: a checkout may lie below a folder that is closed to others.
fn within_reach(from: &Path, disk: &Path) -> anyhow::Result<PathBuf> {
    let bin = disk.join("bin");
    std::fs::create_dir(&bin).with_context(|| format!("{} cannot be made", bin.display()))?;
    for program in Program::ALL {
        let (from, to) = (from.join(program.file_name()), bin.join(program.file_name()));
        std::fs::copy(&from, &to)
            .with_context(|| format!("{} cannot be copied to {}", from.display(), bin.display()))?;
        std::fs::set_permissions(&to, PermissionsExt::from_mode(0o755))?;
    }
    Ok(bin)
}

/// Reads a TOML file, changes it and writes it somewhere else.
fn rewrite(from: &Path, to: &Path, change: impl FnOnce(&mut toml::Table)) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(from).with_context(|| format!("{} cannot be read", from.display()))?;
    let mut table: toml::Table = text.parse().with_context(|| format!("{} is no TOML", from.display()))?;
    change(&mut table);
    std::fs::write(to, toml::to_string(&table)?).with_context(|| format!("{} cannot be written", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_on_a_disk_is_no_tmpfs_and_the_error_says_what_to_do() {
        let error = ensure_tmpfs(Path::new("/proc")).expect_err("no tmpfs").to_string();
        assert!(error.contains("mount -t tmpfs tmpfs /proc"), "{error}");
        ensure_tmpfs(Path::new("/dev/shm")).expect("a tmpfs");
    }

    #[test]
    fn only_what_a_dead_process_left_is_swept() {
        let parent = tempfile::tempdir().expect("a folder");
        let make = |name: &str| {
            let path = parent.path().join(name);
            std::fs::create_dir(&path).expect("a folder");
            path
        };
        // No process has a number above the kernel's limit of 2^22.
        let dead = make("x-4194305-abc");
        let alive = [make(&format!("x-{}-abc", std::process::id())), make("x-abc"), make("y-4194305-abc"), make("x--")];
        sweep(&Parents { disk: parent.path().into(), ram: parent.path().into() }, "x");
        assert!(!dead.exists());
        assert!(alive.iter().all(|path| path.exists()), "{alive:?}");
    }

    #[tokio::test]
    async fn waiting_ends_with_a_word() {
        let (clock, hand) = Clock::manual();
        let error = eventually(&clock, "pigs fly", Duration::from_secs(1), || {
            hand.advance(Duration::from_secs(1));
            std::future::ready(Ok(false))
        });
        assert_eq!(error.await.expect_err("they do not").to_string(), "not within 1s: pigs fly");
    }
}
