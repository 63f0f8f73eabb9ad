//! Asking the agent for its newest tick and its status, and making a picture's data of both.

use super::super::ask::{AskError, ask};
use super::model::Model;
use super::readings::Readings;
use dsmil_agent::local::{Reply, Verb};
use dsmil_agent::status::{Latest, Status};
use std::path::Path;

/// What was said of a host at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    host: String,
    latest: Latest,
    status: Option<Status>,
}

impl Told {
    /// A tick that came by another road than the agent's socket.
    pub(crate) fn from_afar(host: String, latest: Latest) -> Self {
        Self { host, latest, status: None }
    }
}

/// Asks once.
pub(super) fn told(socket: &Path) -> Result<Told, AskError> {
    let other = || AskError::Unavailable("it answered another question".into());
    let Reply::Latest(latest) = ask(socket, Verb::Latest)? else { return Err(other()) };
    let Reply::Status(status) = ask(socket, Verb::Status)? else { return Err(other()) };
    Ok(Told { host: status.host.to_string(), latest, status: Some(*status) })
}

/// Follows a host from tick to tick.
#[derive(Debug, Default)]
pub(super) struct Follower {
    readings: Readings,
}

impl Follower {
    /// The picture's data after what was told.
    pub(super) fn take(&mut self, told: Told) -> Model {
        let Told { host, latest, status } = told;
        self.readings = Readings::after(&self.readings, latest);
        Model::of(host, &self.readings, status)
    }
}

/// What an agent could have said, for tests.
#[cfg(test)]
pub(super) fn told_of(latest: Latest, status: Status) -> Told {
    Told { host: status.host.to_string(), latest, status: Some(status) }
}
