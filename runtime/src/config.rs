//! Configuration files: one reader for every daemon, and errors that say where and what to do.
//!
//! A document is made of layers: the main file, then each `*.toml` of the folder beside it that has its name and `.d`, in
//! order of name. Tables are merged key by key; anything else, arrays too, is replaced by the later layer. Whatever is wrong
//! is named with the file, the line and the whole key of the layer whose value is in force.

mod credential;
mod explain;
mod layers;
mod merge;
mod reload;

pub use credential::{CredentialError, CredentialName, Environment, SecretFile};
pub use explain::{ConfigError, Place};
pub use reload::{Key, Reload, on_hangup};

use layers::Layer;
use merge::Entry;
use serde::de::DeserializeOwned;
use std::path::Path;

/// How a daemon's configuration is read.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// The command that makes the main file, for whoever has none.
    pub made_by: &'static str,
    /// Bytes of a file; a longer one is no configuration.
    pub max_len: u64,
    /// Keys that take `credential:NAME` in the place of a path: files that the daemon only reads.
    pub credentials: &'static [&'static str],
}

/// Tables within tables: ours are two deep.
const MAX_DEPTH: usize = 8;

impl Reader {
    /// Reads a main file and its drop-ins.
    ///
    /// # Errors
    /// A file that cannot be read or is too long, one that is no TOML, or too many of them.
    pub fn read(&self, path: &Path) -> Result<Document, ConfigError> {
        self.document(layers::read(self, path)?)
    }

    /// Takes `text` for the main file at `path`, without drop-ins.
    ///
    /// # Errors
    /// It is no TOML.
    pub fn parse(&self, text: &str, path: &Path) -> Result<Document, ConfigError> {
        self.document(vec![Layer { path: path.to_owned(), start: 0, text: text.to_owned() }])
    }

    fn document(&self, layers: Vec<Layer>) -> Result<Document, ConfigError> {
        let entries = merge::entries(&merge::merge(&layers)?);
        let document = Document { layers, entries };
        document.check_credentials(self.credentials)?;
        Ok(document)
    }
}

/// A configuration as it was written, its layers merged.
#[derive(Debug)]
pub struct Document {
    layers: Vec<Layer>,
    /// Every key of all layers, and where what counts of it stands.
    entries: Vec<Entry>,
}

impl Document {
    /// The files that were read: the main one, then drop-ins in their order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.layers.iter().map(|layer| layer.path.as_path())
    }

    /// What is written, as a configuration.
    ///
    /// # Errors
    /// A key that is unknown or missing, or a value that does not fit it.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let table = toml::Spanned::new(0..0, merge::merge(&self.layers)?);
        T::deserialize(toml::de::Deserializer::from(table)).map_err(|error| self.explain(&error))
    }

    /// A value that its type allows and the daemon does not: `what` is wrong with that of `key`, a whole dotted key.
    pub fn wrong(&self, key: &str, what: impl Into<String>) -> ConfigError {
        let entry = self.entries.iter().find(|entry| entry.name == key);
        let place = entry.map_or_else(|| self.nowhere(), |entry| self.place(entry.key.start));
        ConfigError::Value { place, key: key.to_owned(), what: what.into() }
    }

    /// Refuses `credential:` where a file is written or no file is meant.
    fn check_credentials(&self, allowed: &[&str]) -> Result<(), ConfigError> {
        let misplaced = |entry: &&Entry| entry.is_credential && !allowed.contains(&entry.name.as_str());
        let Some(entry) = self.entries.iter().find(misplaced) else { return Ok(()) };
        let serves = match allowed {
            [] => String::new(),
            keys => format!("; credentials serve {}", keys.join(", ")),
        };
        let what = format!("a credential can only be read, and this is no file that is only read: name a path{serves}");
        Err(self.wrong(&entry.name, what))
    }

    /// The layer in which `at` lies, and the line there.
    fn place(&self, at: usize) -> Place {
        let Some(layer) = self.layers.iter().rfind(|layer| layer.start <= at) else { return self.nowhere() };
        Place { path: layer.path.clone(), line: Some(layer.line(at)) }
    }

    /// No line: what is not written anywhere belongs into the main file.
    fn nowhere(&self) -> Place {
        Place { path: self.layers.first().map(|layer| layer.path.clone()).unwrap_or_default(), line: None }
    }
}

#[cfg(test)]
mod tests;
