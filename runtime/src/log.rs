//! Logs: one line an event on standard error, where systemd's journal and a terminal both read them.

use serde::{Deserialize, Deserializer, Serialize};
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

/// How much a daemon says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Only what needs a person.
    Error,
    /// And what may need one.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And why.
    Debug,
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err(format!("log level {text:?} is none of error, warn, info, debug")),
        }
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Sets the level of this process's log, once there is one.
static LEVEL: OnceLock<Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts logging for this process. A second call changes nothing.
pub fn start(level: Level) {
    let (threshold, handle) = reload::Layer::new(filter(level));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let registry = Registry::default().with(threshold);
    // systemd stamps lines itself; a pipe to a file keeps ours.
    let started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        registry.with(lines.without_time()).try_init()
    } else {
        registry.with(lines).try_init()
    };
    match started {
        // Nobody else has set it: logging starts once.
        Ok(()) => drop(LEVEL.set(handle)),
        Err(reason) => tracing::debug!(%reason, "logging is already running"),
    }
}

/// Changes how much is said from now on. Nothing happens where logging was not started.
pub fn set_level(level: Level) {
    if let Some(handle) = LEVEL.get() {
        // It fails when the subscriber is gone, and that of a process never is.
        let _ = handle.reload(filter(level));
    }
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    }
}
