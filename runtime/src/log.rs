//! Logs: one line an event on standard error, where systemd's journal and a terminal both read them.

use std::io::IsTerminal;
use tracing_subscriber::filter::LevelFilter;

/// How much a daemon says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Starts logging for this process. A second call changes nothing.
pub fn start(level: Level) {
    let filter = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // systemd stamps lines itself; a pipe to a file keeps ours.
    let started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
    if let Err(reason) = started {
        tracing::debug!(%reason, "logging is already running");
    }
}
