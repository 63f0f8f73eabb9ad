//! Asking the agent, and what an answer means that is none.

use dsmil_agent::local::{self, ClientError, Reply, Trouble, TroubleCode, Verb};
use std::path::Path;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nobody was asked, or nobody answered.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The agent is of an older release.
    #[error(
        "the agent that runs is older than this dsmilctl and does not know `{}`: install the same release of both, then \
         `systemctl restart dsmil-agent`",
        .0.name()
    )]
    TooOld(Verb),
    /// The agent has nothing to say.
    #[error("the agent cannot answer: {0}")]
    Unavailable(String),
}

/// Asks the agent at `socket`; what it says is an answer to the question.
pub(super) fn ask(socket: &Path, verb: Verb) -> Result<Reply, AskError> {
    match local::ask(socket, verb)? {
        Reply::Error(Trouble { code: TroubleCode::UnknownVerb, .. }) => Err(AskError::TooOld(verb)),
        Reply::Error(Trouble { message, .. }) => Err(AskError::Unavailable(message)),
        reply => Ok(reply),
    }
}
