//! Where a program of the fleet is while it runs: started, stopped, killed, and started again.

use super::Process;
use anyhow::Context;
use std::process::ExitStatus;
use std::time::Duration;

/// A place for one program, empty while it does not run.
#[derive(Debug)]
pub(super) struct Slot {
    /// What it is, for the error when it is not there.
    what: String,
    process: Option<Process>,
}

impl Slot {
    pub(super) fn empty(what: impl Into<String>) -> Self {
        Self { what: what.into(), process: None }
    }

    /// Takes a program that was just started. One that was there before is killed.
    pub(super) fn fill(&mut self, process: Process) -> &mut Process {
        self.process.insert(process)
    }

    /// The running program.
    pub(super) fn running(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("{} is not running", self.what))
    }

    /// Asks it to stop, and waits until it has. The place is empty then, however it ended.
    pub(super) async fn stop(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let status = self.running()?.stop(within).await;
        self.clear();
        status
    }

    /// Ends it at once, without a word.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.running()?.kill()?;
        self.clear();
        Ok(())
    }

    /// Lets go of a program that has ended.
    pub(super) fn clear(&mut self) {
        self.process = None;
    }
}
