//! A peer's program: where it is, with which arguments, started again and again in its place.

use super::place::Place;
use crate::fleet::{Launcher, Process};
use anyhow::Context;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// How long a stopping backend may take to write what it has to its disk.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A program, running or not.
#[derive(Debug)]
pub(super) struct PeerProgram<'f> {
    launcher: &'f Launcher,
    place: Place,
    /// What it is called in its log's name and in complaints.
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    process: Option<Process>,
}

impl<'f> PeerProgram<'f> {
    /// It is not started.
    pub(super) fn new(launcher: &'f Launcher, place: &Place, name: &str, path: PathBuf, args: Vec<OsString>) -> Self {
        Self { launcher, place: place.clone(), name: name.to_owned(), path, args, process: None }
    }

    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let start = || self.launcher.start_other(&self.name, &self.path, &self.args);
        self.process = Some(self.place.within(start)?);
        Ok(())
    }

    /// Ends it at once, without a word.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.process()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    pub(super) async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let status = self.process()?.stop(STOP_WITHIN).await;
        self.process = None;
        status
    }

    /// The running program; an error with its last words if it has ended.
    pub(super) fn process(&mut self) -> anyhow::Result<&mut Process> {
        let process = self.process.as_mut().with_context(|| format!("{} is not running", self.name))?;
        process.check_alive()?;
        Ok(process)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub(super) fn id(&mut self) -> anyhow::Result<u32> {
        Ok(self.process()?.id())
    }
}
