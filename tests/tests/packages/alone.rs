//! The agent in a tree with nothing but itself: no C library, no loader, no /etc, no /proc.

use crate::made::{outcome, output};
use anyhow::ensure;
use dsmil_runtime::clock::Clock;
use e2e::fleet::{Fleet, Parents, Program};
use std::path::Path;
use std::process::Command;

/// The agent as the only file of its world; users may have no other root but in a user namespace of their own.
fn alone(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--map-root-user").arg(format!("--root={}", root.display())).arg("/dsmil-agent").args(args).env_clear();
    command
}

#[test]
fn the_agent_runs_in_a_tree_with_no_libc() -> anyhow::Result<()> {
    let fleet = Fleet::new(&Parents::default(), "dsmil-alone", &Clock::real())?;
    let root = tempfile::tempdir()?;
    std::fs::copy(fleet.launcher().path(Program::Agent), root.path().join("dsmil-agent"))?;

    let version = output(&mut alone(root.path(), &["--version"]))?;
    ensure!(version.starts_with("dsmil-agent "), "{version}");

    // It looks at what is there, and says what is missing.
    let checked = outcome(&mut alone(root.path(), &["check"]))?;
    let said = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    ensure!(checked.status.code() == Some(1), "{:?}: {said}", checked.status);
    ensure!(said.contains("/etc/dsmil/agent.toml"), "{said}");

    // A program that needs a C library does not even start there.
    std::fs::copy("/bin/true", root.path().join("dsmil-agent"))?;
    ensure!(!outcome(&mut alone(root.path(), &[]))?.status.success(), "the tree is not as bare as it should be");
    Ok(())
}
