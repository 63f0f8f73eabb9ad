//! The agent's unix socket: one question a line, one JSON document in answer.
//!
//! It works when the aggregator does not, and is for the people and scripts of the host: whoever may open the socket
//! (mode 0660: the agent's user and group) may ask. Nothing can be changed through it.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::{ClientError, ask};
pub use server::{LocalError, LocalSocket, serve};

use crate::status::{GapsReport, Latest, SpoolReport, Status};
use serde::{Deserialize, Serialize};

/// The version of questions and answers.
pub const VERSION: u8 = 1;
/// Bytes of the longest answer: whoever asks reads no more.
pub const MAX_ANSWER_LEN: usize = 8 << 20;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// The whole host in short.
    Status,
    /// Every gap that is not acknowledged.
    Gaps,
    /// What waits, boot by boot, and what was set aside.
    Spool,
    /// The newest tick: every metric with its value. An agent older than this verb says that it does not know it.
    Latest,
}

impl Verb {
    /// Every verb there is.
    pub const ALL: &'static [Self] = &[Self::Status, Self::Gaps, Self::Spool, Self::Latest];

    /// Its name in a question.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Gaps => "gaps",
            Self::Spool => "spool",
            Self::Latest => "latest",
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Verb::Status`].
    Status(Box<Status>),
    /// To [`Verb::Gaps`].
    Gaps(GapsReport),
    /// To [`Verb::Spool`].
    Spool(SpoolReport),
    /// To [`Verb::Latest`].
    Latest(Latest),
    /// The question was not understood, or cannot be answered now.
    Error(Trouble),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// For programs.
    pub code: TroubleCode,
    /// For people, with the remedy.
    pub message: String,
}

/// Why there is no answer, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleCode {
    /// Not a line of JSON of the right shape, too long, or too late.
    BadQuestion,
    /// A version that this agent does not speak.
    UnknownVersion,
    /// A verb that this agent does not know.
    UnknownVerb,
    /// The agent cannot say at present.
    Unavailable,
}

/// A question as it is on the wire. The verb is text, so that an unknown one can be named in the answer.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    version: u8,
    verb: String,
}

/// An answer as it is on the wire.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u8,
    #[serde(flatten)]
    reply: Reply,
}
