//! The aggregator's own small durable state: who may join, who is enrolled, the trust bundle, the fleet's settings, and what was
//! done about it.
//!
//! One SQLite file, one thread, `synchronous=FULL`: what a call promised is on disk when it returns. Other processes may
//! have the file open at the same time (the command line beside a running aggregator does): everything that is decided
//! is decided and written in one `BEGIN IMMEDIATE` transaction, and [`State::revision`] tells that somebody committed.
//!
//! What is in here has no second copy to be asked for, so nothing is guessed at: rows that decide anything have a
//! checksum, and one that is not as it was written is refused by name. It stands for nobody until it is written again.

mod bundles;
mod hosts;
mod join;
mod log;
mod renew;
mod schema;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod tokens;

pub use bundles::{BundleRow, MAX_BUNDLE_LEN};
pub use hosts::{HostRow, Revocation};
pub use join::{Join, JoinOutcome, REPEAT_WITHIN};
pub use log::{EventKind, LogQuery, MAX_DETAIL_LEN, MAX_LOG_ROWS, MAX_TEXT_LEN, SecurityEvent, UnknownKind};
pub use renew::{Renew, RenewOutcome};
pub use settings::{MAX_SETTINGS_LEN, SETTINGS_KEPT, SettingsReport, SettingsReportRow, SettingsRow};
pub use table::{DamagedRow, Listed};
pub use tokens::{MAX_TOKEN_DEVICES, NewToken, SPENT_TOKENS_KEPT, TokenRow, TokenUse};

use crate::sqlite::{self, Mode, OpenFailure};
use dsmil_protocol::ids::TenantId;
use dsmil_runtime::queue::{Queue, Refused, Taken};
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use rustix::fs::{FlockOperation, flock};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Requests that may wait.
const MAX_WAITING: usize = 1024;

/// Why the state could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StateError {
    /// Too many requests wait already, or another program has held the file for seconds.
    #[error("the state database is busy; try again")]
    Busy,
    /// The program is ending.
    #[error("the state database is closed: the program is ending")]
    Stopped,
    /// A value is over its limit.
    #[error("{what} is over its limit of {max}")]
    TooLarge {
        /// Which value.
        what: &'static str,
        /// The most it may be, in its own unit.
        max: u64,
    },
    /// A row is not as it was written.
    #[error(transparent)]
    Damaged(#[from] DamagedRow),
    /// The file is of another version, or another program's.
    #[error(
        "the state database {path} is not of a version this program knows: run the program that made it, or move it away"
    )]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// The folder of the file cannot be used.
    #[error("the folder of the state database {path} cannot be opened or locked; look at its rights")]
    Folder {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: Arc<std::io::Error>,
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

/// Why a piece of work on the database came to nothing; [`StateError`] with the file's name left out.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Damaged(#[from] DamagedRow),
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
}

/// Tells two moments of the file apart: equal means that nobody committed anything in between.
///
/// Of one [`State`] only; those of two handles cannot be compared. Ask for it before you read what you keep: a commit
/// that comes between the two is then seen the next time, and never missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// `PRAGMA data_version`: changes with every commit of another connection.
    others: i64,
    /// Rows changed by our own connection.
    own: u64,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle to the state of one tenant; clones are the same one.
#[derive(Clone)]
pub struct State {
    jobs: Arc<Queue<Job>>,
    path: Arc<Path>,
    tenant: TenantId,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("path", &self.path).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl State {
    /// Opens or makes the state at `path` and starts its thread. Needs a tokio runtime.
    ///
    /// Everything that is asked of it is of `tenant`.
    pub fn open(path: &Path, tenant: TenantId, supervisor: &Supervisor) -> Result<Self, StateError> {
        let mut db = open_alone(path)?;
        let jobs: Arc<Queue<Job>> = Arc::new(Queue::new(usize::MAX, MAX_WAITING));
        let (stop, ending, taking) = (supervisor.stop(), Arc::clone(&jobs), Arc::clone(&jobs));
        supervisor.thread("state", OnFailure::Stop, move || {
            while let Taken::Items(jobs) = taking.take(usize::MAX, None) {
                jobs.into_iter().for_each(|job| job(&mut db));
            }
            Ok::<(), StateError>(())
        });
        supervisor.spawn("state-stop", OnFailure::Note, async move {
            stop.requested().await;
            ending.close();
            Ok::<(), StateError>(())
        });
        Ok(Self { jobs, path: path.into(), tenant })
    }

    /// The tenant whose state this is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// What tells whether this or another program committed something; cheap enough for once a second.
    pub async fn revision(&self) -> Result<Revision, StateError> {
        self.read(|db, _| {
            let others = db.pragma_query_value(None, "data_version", |row| row.get(0))?;
            Ok(Revision { others, own: db.total_changes() })
        })
        .await
    }

    /// Reads with one statement.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &TenantId) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StateError> {
        let tenant = self.tenant.clone();
        self.run(move |db| work(db, &tenant)).await
    }

    /// Reads and writes in one transaction that nobody else's comes between. On disk when it returns; what fails leaves
    /// nothing behind.
    ///
    /// It goes on when its caller has gone away: who asks again finds out what became of it.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &TenantId) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StateError> {
        let tenant = self.tenant.clone();
        self.run(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcome = work(&tx, &tenant)?;
            tx.commit()?;
            Ok(outcome)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StateError> {
        let (done, answer) = oneshot::channel();
        // A caller who has gone away wants no answer.
        let job: Job = Box::new(move |db| drop(done.send(work(db))));
        self.jobs.push(job, 1).map_err(|refused| match refused {
            Refused::Full => StateError::Busy,
            Refused::Closed => StateError::Stopped,
        })?;
        match answer.await.map_err(|_| StateError::Stopped)? {
            Ok(outcome) => Ok(outcome),
            Err(Fault::Damaged(row)) => Err(row.into()),
            Err(Fault::Sql(source)) => Err(failed(&self.path, source)),
        }
    }
}

/// Opens the file while nobody else does: two programs that both found no file, or an old one, would make it twice.
fn open_alone(path: &Path) -> Result<Connection, StateError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let refused = |source: std::io::Error| StateError::Folder { path: path.into(), source: Arc::new(source) };
    let lock = std::fs::File::open(folder).map_err(refused)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|e| refused(e.into()))?;
    // The lock is let go when `lock` is dropped.
    let db = sqlite::open(path, &schema::FORMAT, Mode::Durable { max_pages: None }).map_err(|e| match e {
        OpenFailure::Sql(source) => failed(path, source),
        OpenFailure::Version { .. } | OpenFailure::Foreign(_) => StateError::Unknown { path: path.into() },
    })?;
    db.execute_batch(settings::TABLES).map_err(|source| failed(path, source))?;
    Ok(db)
}

fn failed(path: &Path, source: rusqlite::Error) -> StateError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StateError::Busy,
        _ => StateError::Db { path: path.into(), source: Arc::new(source) },
    }
}
