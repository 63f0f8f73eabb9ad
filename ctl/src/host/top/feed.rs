//! Asking the agent for its newest tick and its status, and making a picture's data of both.

use super::super::ask::{AskError, ask};
use super::model::Model;
use super::readings::Readings;
use dsmil_agent::local::{Reply, Verb};
use dsmil_agent::status::{Latest, Status};
use std::path::Path;

/// What the agent said at one moment.
#[derive(Clone, Debug)]
pub(super) struct Told {
    latest: Latest,
    status: Status,
}

/// Asks once.
pub(super) fn told(socket: &Path) -> Result<Told, AskError> {
    let other = || AskError::Unavailable("it answered another question".into());
    let Reply::Latest(latest) = ask(socket, Verb::Latest)? else { return Err(other()) };
    let Reply::Status(status) = ask(socket, Verb::Status)? else { return Err(other()) };
    Ok(Told { latest, status: *status })
}

/// Follows a host from tick to tick.
#[derive(Debug, Default)]
pub(super) struct Follower {
    readings: Readings,
}

impl Follower {
    /// The picture's data after what was told.
    pub(super) fn take(&mut self, told: Told) -> Model {
        let Told { latest, status } = told;
        self.readings = Readings::after(&self.readings, latest);
        Model::of(&self.readings, status)
    }
}

/// What an agent could have said, for tests.
#[cfg(test)]
pub(super) fn told_of(latest: Latest, status: Status) -> Told {
    Told { latest, status }
}
