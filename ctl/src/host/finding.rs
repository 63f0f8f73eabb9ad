//! What a look at the host found: how it stands, what it is, and what to do about it.

use serde::Serialize;

/// How what was looked at stands, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It does not work.
    Trouble,
    /// It works, and will not for ever, or not as it should.
    Warning,
    /// It could not be looked at, so nothing is claimed of it.
    Unseen,
    /// It is as it should be.
    Ok,
}

impl State {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Warning => "warning",
            Self::Unseen => "unseen",
            Self::Ok => "ok",
        }
    }

    /// Whether somebody has to look after it.
    pub(super) fn needs_attention(self) -> bool {
        matches!(self, Self::Trouble | Self::Warning)
    }
}

/// One thing that was looked at. Whatever is not as it should be has a remedy: there is no other way to make one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Which check.
    pub(super) check: &'static str,
    pub(super) state: State,
    /// What there is.
    pub(super) what: String,
    /// What to do, with the commands to type between backticks; nothing if there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, state: State::Ok, what: what.into(), remedy: None }
    }

    pub(super) fn unseen(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Unseen, what: what.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn warning(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Warning, what: what.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn trouble(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Trouble, what: what.into(), remedy: Some(remedy.into()) }
    }

    /// It in one line.
    pub(super) fn line(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{} → {remedy}", self.what),
            None => self.what.clone(),
        }
    }
}
