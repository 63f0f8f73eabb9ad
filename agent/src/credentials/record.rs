//! What the keeper did and is going to do, for the status.

use std::time::Duration;

/// Moments on the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// When the join port is asked next; nothing if there is none to ask.
    pub(super) next: Option<Duration>,
    /// When the identity was renewed last.
    pub(super) renewed: Option<Duration>,
    /// The last attempt, if it failed.
    pub(super) failed: Option<(Duration, Failure)>,
    /// Why the last trust bundle was refused, if it was.
    pub(super) bundle_refused: Option<String>,
}

/// Why an attempt to renew failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The short name.
    pub code: String,
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether it stays so until somebody does that.
    pub somebody_must_act: bool,
}

/// How renewing goes; distances are to now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenewalFacts {
    /// Until the join port is asked next; absent if agent.toml names none.
    pub next_in: Option<Duration>,
    /// Since the identity was renewed last by this agent.
    pub renewed_ago: Option<Duration>,
    /// The last attempt and how long ago it was, if it failed.
    pub failed: Option<(Duration, Failure)>,
    /// Why the last trust bundle was refused, if it was.
    pub bundle_refused: Option<String>,
}

impl Record {
    pub(super) fn facts(&self, now: Duration) -> RenewalFacts {
        RenewalFacts {
            next_in: self.next.map(|at| at.saturating_sub(now)),
            renewed_ago: self.renewed.map(|at| now.saturating_sub(at)),
            failed: self.failed.clone().map(|(at, failure)| (now.saturating_sub(at), failure)),
            bundle_refused: self.bundle_refused.clone(),
        }
    }
}
