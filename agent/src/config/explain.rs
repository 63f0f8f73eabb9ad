//! Errors of a configuration file: the file, the line, the key, and the remedy.

use std::path::{Path, PathBuf};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: `dsmil-agent join TOKEN` makes one, --config names another", path.display())]
    Unreadable {
        /// The file.
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
    /// A key is unknown.
    #[error("{}, line {line}: there is no key `{key}` here{}", path.display(), hint(suggestion.as_deref(), known))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The known key that is most like it.
        suggestion: Option<String>,
        /// All keys that are known there.
        known: Vec<String>,
    },
    /// A key that has no default is not there.
    #[error("{}: the key `{key}` is missing and has no default: add it", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A value that cannot be.
    #[error("{}, line {line}, `{key}`: {what}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong and what would be right.
        what: String,
    },
    /// Not TOML.
    #[error("{}, line {line}: this is not TOML: {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

fn hint(suggestion: Option<&str>, known: &[String]) -> String {
    match suggestion {
        Some(key) => format!(": did you mean `{key}`?"),
        None => format!("; the keys are {}", known.join(", ")),
    }
}

/// Makes an error of the TOML reader one for people.
pub(super) fn explain(error: &toml::de::Error, text: &str, path: &Path) -> ConfigError {
    let path = path.to_owned();
    let at = error.span().map_or(0, |span| span.start);
    let line = line_of(text, at);
    let message = error.message();
    let quoted: Vec<String> = message.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    if message.starts_with("unknown field") {
        let mut known = quoted.into_iter();
        let key = known.next().unwrap_or_default();
        let known: Vec<String> = known.collect();
        let suggestion = nearest(&key, &known);
        return ConfigError::UnknownKey { path, line, key, suggestion, known };
    }
    if message.starts_with("missing field") {
        return ConfigError::MissingKey { path, key: quoted.into_iter().next().unwrap_or_default() };
    }
    let what = message.to_owned();
    match key_at(text, at) {
        // A document that is TOML fails for a value only.
        Some(key) if text.parse::<toml::Table>().is_ok() => ConfigError::Value { path, line, key, what },
        _ => ConfigError::Syntax { path, line, what },
    }
}

/// A value that TOML and its type allow, and we do not.
pub(super) fn wrong(text: &str, path: &Path, key: &'static str, what: String) -> ConfigError {
    let is_key =
        |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
    let line = text.lines().position(is_key).map_or(1, |index| index + 1);
    ConfigError::Value { path: path.to_owned(), line, key: key.to_owned(), what }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// The key whose value stands at `at`: the last line up to there that has an `=` after a bare key.
fn key_at(text: &str, at: usize) -> Option<String> {
    let end = text.as_bytes()[at.min(text.len())..].iter().position(|b| *b == b'\n').map_or(text.len(), |n| at + n);
    let bare = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    text.get(..end)?.lines().rev().find_map(|line| {
        let (key, _) = line.split_once('=')?;
        Some(key.trim()).filter(|key| bare(key)).map(str::to_owned)
    })
}

/// The known key with the least edits, if they are few enough to be a slip of the hand.
fn nearest(key: &str, known: &[String]) -> Option<String> {
    let distance = |other: &String| edits(key.as_bytes(), other.as_bytes());
    let best = known.iter().min_by_key(|other| distance(other))?;
    (distance(best) <= 1 + key.len() / 3).then(|| best.clone())
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
