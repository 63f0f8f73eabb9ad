//! A small Debian in a folder, for the drills of packages and units: made once, kept under target/debian, never written to.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{cargo, tools, workspace};

/// The release that our packages are for.
const SUITE: &str = "bookworm";
/// systemd as process 1 with its bus, and what the drills look with.
const INCLUDED: [&str; 6] = ["systemd-sysv", "dbus", "iproute2", "procps", "curl", "rpm"];
/// Raised when the above changes, so that nobody boots an older tree.
const VERSION: u32 = 2;

/// The folder. Makes it where it is not there: two minutes, root and Debian's archive, from where this machine's own
/// packages come.
pub(crate) fn tree() -> anyhow::Result<PathBuf> {
    let tree = workspace::target().join(format!("debian/{SUITE}-{VERSION}"));
    if tree.is_dir() {
        return Ok(tree);
    }
    ensure!(rustix::process::geteuid().is_root(), "only root can make the Debian that the drills boot");
    tools::ensure(&tools::DEBIAN)?;
    println!("making {} …", tree.display());
    let half = tree.with_extension("half");
    if half.exists() {
        fs::remove_dir_all(&half).with_context(|| format!("cannot remove {}", half.display()))?;
    }
    fs::create_dir_all(&half).with_context(|| format!("cannot make {}", half.display()))?;
    let include = format!("--include={}", INCLUDED.join(","));
    cargo::output(Command::new("debootstrap").args(["--variant=minbase", &include, SUITE]).arg(&half).arg(mirror()?))?;
    // Whole or not at all: a tree that was cut short has another name.
    fs::rename(&half, &tree).with_context(|| format!("cannot make {}", tree.display()))?;
    Ok(tree)
}

/// Where apt gets packages of this release from.
fn mirror() -> anyhow::Result<String> {
    let format = ["indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"];
    let targets = cargo::output(Command::new("apt-get").args(format))?;
    let site = targets.lines().find_map(|line| line.split_once(' ').filter(|(_, release)| *release == SUITE));
    let site = site.map(|(site, _)| site.to_owned());
    site.with_context(|| {
        format!("apt has no lists of Debian {SUITE}: run apt-get update; on another system, add its archive")
    })
}
