//! No child outlives us, not even if we are killed.
//!
//! A program is started through `dsmil-demo guarded`, which asks the kernel to kill it when its parent is gone and then
//! becomes the program. Whoever starts programs here must do so on a thread that lives as long as they shall:
//! the kernel takes the end of that thread for the end of the parent (prctl(2), PR_SET_PDEATHSIG).

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The first argument that asks for this.
pub const VERB: &str = "guarded";

/// A command for `program`, guarded by the program at `guard`.
pub(super) fn command(guard: &Path, program: &Path) -> Command {
    let mut command = Command::new(guard);
    command.arg(VERB).arg(getpid().to_string()).arg(program);
    command
}

/// Becomes the program that `args` name: the parent's process id, the program, its arguments.
/// Returns only if that fails, and says why.
pub fn become_program(mut args: impl Iterator<Item = OsString>) -> String {
    let (Some(parent), Some(program)) = (args.next(), args.next()) else {
        return format!("{VERB} takes a process id and a program");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("the kernel does not promise to end this with its parent: {error}");
    }
    // It may have gone before we asked.
    if getppid().is_none_or(|now| parent.to_str() != Some(&now.to_string())) {
        return "the parent is gone".into();
    }
    let error = Command::new(&program).args(args).exec();
    format!("{} cannot be started: {error}", Path::new(&program).display())
}
