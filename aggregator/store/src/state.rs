//! The aggregator's own small durable state: its name, API token hashes, what it knows of hosts. Keys and values by space.
//!
//! One file, one thread, `synchronous=FULL`. A damaged state is refused, not guessed at: what is in it (who may do what)
//! has no second copy to be asked for.

use crate::queue::{Queue, Refused, Taken};
use crate::sqlite::{self, Format, Mode, OpenFailure};
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;

/// "DSMs". `value` is checked by its CRC on every read: a flipped bit in a token hash must not pass for another token.
const FORMAT: Format = Format {
    application_id: 0x4453_4D73,
    migrations: &[&[
        "CREATE TABLE entry(space TEXT NOT NULL, key TEXT NOT NULL, crc32c INTEGER NOT NULL, value BLOB NOT NULL);
         CREATE UNIQUE INDEX entry_name ON entry(space, key);",
    ]],
};

/// Bytes of one value: tokens and registry entries are far smaller, and `list` holds a whole space in memory.
pub const MAX_VALUE_LEN: usize = 64 << 10;
/// Bytes of a space's or key's name.
pub const MAX_KEY_LEN: usize = 256;
/// Requests that may wait.
const MAX_WAITING: usize = 1024;

/// Why the state could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StateError {
    /// Too many requests wait already.
    #[error("the state database is busy; try again")]
    Busy,
    /// The program is ending.
    #[error("the state database is closed: the program is ending")]
    Stopped,
    /// A name or value over the limits.
    #[error("a key is 1 to {MAX_KEY_LEN} bytes, a value at most {MAX_VALUE_LEN}")]
    TooLarge,
    /// An entry is not as it was written.
    #[error("the entry {space}/{key} of the state database is damaged: write it again")]
    DamagedEntry {
        /// Its space.
        space: String,
        /// Its key.
        key: String,
    },
    /// The file is of another version, or another program's.
    #[error(
        "the state database {path} is not of a version this program knows: run the program that made it, or move it away"
    )]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// SQLite failed.
    #[error("the state database {path} failed; if it is damaged, restore it from a backup or move it away")]
    Db {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: Arc<rusqlite::Error>,
    },
}

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// A handle to the state; clones are the same one.
#[derive(Clone)]
pub struct State {
    jobs: Arc<Queue<Job>>,
    path: Arc<Path>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("path", &self.path).finish_non_exhaustive()
    }
}

impl State {
    /// Opens or makes the state at `path` and starts its thread. Needs a tokio runtime.
    pub fn open(path: &Path, supervisor: &Supervisor) -> Result<Self, StateError> {
        let db = sqlite::open(path, &FORMAT, Mode::Durable { max_pages: None }).map_err(|e| match e {
            OpenFailure::Sql(source) => StateError::Db { path: path.into(), source: Arc::new(source) },
            OpenFailure::Version { .. } | OpenFailure::Foreign(_) => StateError::Unknown { path: path.into() },
        })?;
        let jobs: Arc<Queue<Job>> = Arc::new(Queue::new(usize::MAX, MAX_WAITING));
        let (stop, ending, taking) = (supervisor.stop(), Arc::clone(&jobs), Arc::clone(&jobs));
        supervisor.thread("state", OnFailure::Stop, move || {
            while let Taken::Items(jobs) = taking.take(usize::MAX, None) {
                jobs.into_iter().for_each(|job| job(&db));
            }
            Ok::<(), StateError>(())
        });
        supervisor.spawn("state-stop", OnFailure::Note, async move {
            stop.requested().await;
            ending.close();
            Ok::<(), StateError>(())
        });
        Ok(Self { jobs, path: path.into() })
    }

    /// The value of `key` in `space`.
    pub async fn get(&self, space: &str, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let (s, k) = names(space, key)?;
        let read = move |db: &Connection| {
            db.prepare_cached("SELECT crc32c, value FROM entry WHERE space = ?1 AND key = ?2")?
                .query_row(params![s, k], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?)))
                .optional()
        };
        let Some((crc, value)) = self.run(read).await? else { return Ok(None) };
        sound(space, key, crc, value).map(Some)
    }

    /// Writes a value; on disk when it returns.
    pub async fn put(&self, space: &str, key: &str, value: &[u8]) -> Result<(), StateError> {
        let (space, key) = names(space, key)?;
        if value.len() > MAX_VALUE_LEN {
            return Err(StateError::TooLarge);
        }
        let value = value.to_vec();
        self.run(move |db| {
            db.prepare_cached(
                "INSERT INTO entry(space, key, crc32c, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT(space, key) DO UPDATE SET crc32c = excluded.crc32c, value = excluded.value",
            )?
            .execute(params![space, key, checksum(&space, &key, &value), value])
            .map(drop)
        })
        .await
    }

    /// Removes a value; says whether there was one. On disk when it returns.
    pub async fn remove(&self, space: &str, key: &str) -> Result<bool, StateError> {
        let (space, key) = names(space, key)?;
        self.run(move |db| {
            let gone = db.prepare_cached("DELETE FROM entry WHERE space = ?1 AND key = ?2")?.execute([space, key])?;
            Ok(gone > 0)
        })
        .await
    }

    /// Every key and value of `space`, by key.
    pub async fn list(&self, space: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let (name, _) = names(space, "-")?;
        let read = move |db: &Connection| {
            db.prepare_cached("SELECT key, crc32c, value FROM entry WHERE space = ?1 ORDER BY key")?
                .query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<Result<Vec<(String, u32, Vec<u8>)>, _>>()
        };
        let entries = self.run(read).await?.into_iter();
        entries.map(|(key, crc, value)| Ok((key.clone(), sound(space, &key, crc, value)?))).collect()
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StateError> {
        let (done, answer) = oneshot::channel();
        // A caller who has gone away wants no answer.
        let job: Job = Box::new(move |db| drop(done.send(work(db))));
        self.jobs.push(job, 1).map_err(|refused| match refused {
            Refused::Full => StateError::Busy,
            Refused::Closed => StateError::Stopped,
        })?;
        let outcome = answer.await.map_err(|_| StateError::Stopped)?;
        outcome.map_err(|e| StateError::Db { path: self.path.to_path_buf(), source: Arc::new(e) })
    }
}

fn names(space: &str, key: &str) -> Result<(String, String), StateError> {
    let fits = |name: &str| (1..=MAX_KEY_LEN).contains(&name.len());
    if fits(space) && fits(key) { Ok((space.into(), key.into())) } else { Err(StateError::TooLarge) }
}

fn checksum(space: &str, key: &str, value: &[u8]) -> u32 {
    let name = crc32c::crc32c_append(crc32c::crc32c(space.as_bytes()), &[0]);
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c_append(name, key.as_bytes()), &[0]), value)
}

fn sound(space: &str, key: &str, crc: u32, value: Vec<u8>) -> Result<Vec<u8>, StateError> {
    if checksum(space, key, &value) == crc {
        Ok(value)
    } else {
        Err(StateError::DamagedEntry { space: space.into(), key: key.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_runtime::clock::Clock;
    use dsmil_runtime::supervise::Drained;
    use std::time::Duration;

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart_and_a_flipped_bit_is_no_value() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("state.sqlite");
        let open = || {
            let supervisor = Supervisor::new(Clock::real());
            (State::open(&path, &supervisor).expect("opens"), supervisor)
        };
        let (state, supervisor) = open();
        state.put("token", "a", b"1").await.expect("written");
        state.put("token", "a", b"2").await.expect("written over");
        state.put("token", "b", b"3").await.expect("written");
        state.put("other", "a", b"4").await.expect("written");
        assert!(state.remove("token", "b").await.expect("removed"));
        assert!(!state.remove("token", "b").await.expect("gone"));
        assert!(matches!(state.put("token", "", b"").await, Err(StateError::TooLarge)));
        assert!(matches!(state.put("token", "x", &[0; MAX_VALUE_LEN + 1]).await, Err(StateError::TooLarge)));
        assert_eq!(supervisor.drain(Duration::from_secs(10)).await, Drained::Clean);
        assert!(matches!(state.get("token", "a").await, Err(StateError::Stopped)));

        let (state, supervisor) = open();
        assert_eq!(state.get("token", "a").await.expect("read"), Some(b"2".to_vec()));
        assert_eq!(state.list("token").await.expect("read"), vec![("a".to_string(), b"2".to_vec())]);
        state.run(|db| db.execute("UPDATE entry SET value = x'33' WHERE space = 'token'", [])).await.expect("flipped");
        assert!(matches!(state.get("token", "a").await, Err(StateError::DamagedEntry { .. })));
        assert_eq!(state.get("other", "a").await.expect("read"), Some(b"4".to_vec()));
        supervisor.drain(Duration::from_secs(10)).await;
    }
}
