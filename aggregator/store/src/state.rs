//! The aggregator's own small durable state: its name, API token hashes, what it knows of hosts. Keys and values by space.

use dsmil_runtime::supervise::Supervisor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the state could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StateError {
    /// Too many requests wait already.
    #[error("the state database is busy; try again")]
    Busy,
    /// The program is ending.
    #[error("the state database is closed: the program is ending")]
    Stopped,
    /// SQLite failed.
    #[error("the state database {path} failed")]
    Db {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
}

/// A handle to the state; clones are the same one.
#[derive(Clone, Debug)]
pub struct State {
    _private: (),
}

impl State {
    /// Opens or makes the state at `path`.
    pub fn open(_path: &Path, _supervisor: &Supervisor) -> Result<Self, StateError> {
        Err(StateError::Stopped)
    }

    /// The value of `key` in `space`.
    pub async fn get(&self, _space: &str, _key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Err(StateError::Stopped)
    }

    /// Writes a value; on disk when it returns.
    pub async fn put(&self, _space: &str, _key: &str, _value: &[u8]) -> Result<(), StateError> {
        Err(StateError::Stopped)
    }

    /// Removes a value; says whether there was one.
    pub async fn remove(&self, _space: &str, _key: &str) -> Result<bool, StateError> {
        Err(StateError::Stopped)
    }

    /// Every key and value of `space`, by key.
    pub async fn list(&self, _space: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        Err(StateError::Stopped)
    }
}
