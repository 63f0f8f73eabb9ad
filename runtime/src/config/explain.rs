//! Errors of a configuration: the file, the line, the key, and the remedy.

use super::Document;
use super::layers::MAX_DROP_INS;
use std::fmt;
use std::path::PathBuf;

/// A line of a file, or the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; none where what is meant is not written.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ", line {line}"))
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The main file could not be read.
    #[error("cannot read {}: {made_by} makes one, --config names another", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The command that makes one.
        made_by: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A drop-in or the folder of them could not be read.
    #[error("cannot read {}: make it readable for the daemon's user, or remove it", path.display())]
    DropIn {
        /// The file or the folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is too long to be a configuration.
    #[error("{} is longer than any configuration: is it another file?", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// More drop-ins than anybody has.
    #[error("{} has more than {MAX_DROP_INS} drop-ins: put them together", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// A key is unknown.
    #[error("{place}: there is no key `{key}` {}{}", table_named(table), hint(key, known))]
    UnknownKey {
        /// Where it is.
        place: Place,
        /// The table it stands in; empty for the top.
        table: String,
        /// The key.
        key: String,
        /// All keys that are known there.
        known: Vec<String>,
    },
    /// A key that has no default is not there.
    #[error("{place}: the key `{key}` is missing and has no default: add it")]
    MissingKey {
        /// The main file.
        place: Place,
        /// The key.
        key: String,
    },
    /// A value that cannot be.
    #[error("{place}, `{key}`: {what}")]
    Value {
        /// Where it is.
        place: Place,
        /// The whole key.
        key: String,
        /// What is wrong and what would be right.
        what: String,
    },
    /// Not TOML.
    #[error("{place}: this is not TOML: {what}")]
    Syntax {
        /// Where it is.
        place: Place,
        /// What is wrong.
        what: String,
    },
}

fn table_named(table: &str) -> String {
    if table.is_empty() { "here".into() } else { format!("in [{table}]") }
}

fn hint(key: &str, known: &[String]) -> String {
    match nearest(key, known) {
        Some(key) => format!(": did you mean `{key}`?"),
        None => format!("; the keys are {}", known.join(", ")),
    }
}

impl Document {
    /// Makes an error of the TOML reader one for people.
    pub(super) fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message();
        let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
        if message.starts_with("missing field") {
            return ConfigError::MissingKey { place: self.nowhere(), key: quoted.next().unwrap_or_default() };
        }
        let place = self.place(at);
        let whole = self.key_at(at);
        if message.starts_with("unknown field") {
            let key = quoted.next().unwrap_or_default();
            let table = whole.strip_suffix(&key).unwrap_or_default().trim_end_matches('.').to_owned();
            return ConfigError::UnknownKey { place, table, key, known: quoted.collect() };
        }
        ConfigError::Value { place, key: whole.to_owned(), what: message.to_owned() }
    }

    /// The whole key of what is written at `at`: the innermost, where it lies in a table.
    fn key_at(&self, at: usize) -> &str {
        let is_there = |span: &std::ops::Range<usize>| span.start <= at && at < span.end.max(span.start + 1);
        let there = self.entries.iter().filter(|entry| is_there(&entry.key) || is_there(&entry.value));
        there.max_by_key(|entry| entry.name.len()).map_or("", |entry| &entry.name)
    }
}

/// The known key with the least edits, if they are few enough to be a slip of the hand.
fn nearest<'k>(key: &str, known: &'k [String]) -> Option<&'k str> {
    let distance = |other: &String| edits(key.as_bytes(), other.as_bytes());
    let best = known.iter().min_by_key(|other| distance(other))?;
    (distance(best) <= 1 + key.len() / 3).then_some(best)
}

/// The Levenshtein distance.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
