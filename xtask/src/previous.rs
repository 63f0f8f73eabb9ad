//! The commit before this one, built and packed by its own `dist`: what an upgrade begins with.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{cargo, output, succeed};
use crate::workspace;

/// Packages of debug programs of `HEAD^`, with a version below ours. A clone of its own under target/previous keeps what it
/// built from one time to the next.
pub(crate) fn packages() -> anyhow::Result<PathBuf> {
    let clone = workspace::target().join("previous");
    let commit = output(Command::new("git").args(["rev-parse", "--verify", "HEAD^"]).current_dir(workspace::root()))?;
    if !clone.join(".git").is_dir() {
        let mut command = Command::new("git");
        command.args(["clone", "--quiet", "--shared", "--no-checkout"]).arg(workspace::root()).arg(&clone);
        output(&mut command)?;
    }
    let mut checkout = Command::new("git");
    output(checkout.args(["checkout", "--quiet", "--force", "--detach", commit.trim()]).current_dir(&clone))?;
    let packages = clone.join("target/dist-previous");
    succeed(&mut there(&clone, &["build", "--workspace", "--bins"]))?;
    succeed(&mut there(&clone, &["xtask", "probe"]))?;
    let programs = format!("target/{}/debug", workspace::TARGET);
    let mut dist = there(&clone, &["xtask", "dist", "--debug", "--version-suffix", "~previous"]);
    succeed(dist.args(["--programs", &programs, "--into"]).arg(&packages))?;
    Ok(packages)
}

/// Cargo in the clone, with a target folder of its own, whatever ours is.
fn there(clone: &Path, args: &[&str]) -> Command {
    let mut command = cargo(args);
    command.current_dir(clone).env_remove("CARGO_TARGET_DIR");
    command
}
