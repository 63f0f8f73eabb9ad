//! Logs: one line an event on standard error, where systemd's journal and a terminal both read them.

use serde::{Deserialize, Deserializer, Serialize};
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
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
    // The journal stamps lines itself and knows levels (`journalctl -p err`); a pipe to a file keeps ours.
    let started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        let plain = fmt::format().without_time().with_level(false).with_ansi(false);
        registry.with(lines.event_format(ForJournal(plain))).try_init()
    } else {
        registry.with(lines).try_init()
    };
    match started {
        // Nobody else has set it: logging starts once.
        Ok(()) => drop(LEVEL.set(handle)),
        Err(reason) => tracing::debug!(%reason, "logging is already running"),
    }
}

/// Lines with their priority before them, as sd-daemon(3) has the journal read them.
struct ForJournal<F>(F);

impl<S, N, F> FormatEvent<S, N> for ForJournal<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        write!(to, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, to, event)
    }
}

/// syslog(3)'s number.
fn priority(level: tracing::Level) -> u8 {
    match level {
        tracing::Level::ERROR => 3,
        tracing::Level::WARN => 4,
        tracing::Level::INFO => 6,
        _ => 7,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_journal_is_told_how_much_a_line_matters() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let plain = fmt::format().without_time().with_level(false).with_ansi(false);
        let to = Arc::new(file.reopen().expect("the same file"));
        let lines = fmt::layer().with_writer(to).event_format(ForJournal(plain));
        tracing::subscriber::with_default(Registry::default().with(lines), || {
            tracing::error!(path = "x", "cannot be read");
            tracing::info!("running");
        });
        let text = std::fs::read_to_string(file.path()).expect("lines");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [r#"<3>dsmil_runtime::log::tests: cannot be read path="x""#, "<6>dsmil_runtime::log::tests: running"]
        );
    }
}
