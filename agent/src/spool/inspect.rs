//! What a spool holds that no agent has open: for the field engineer, when the daemon is not running.
//!
//! It works on a private copy of file and log, so that nothing is changed: opening a database that was left by a killed
//! process would otherwise recover its log.

use super::database::{OpenFailure, beside};
use super::index::Index;
use super::replace::set_aside_files;
use super::salvage::Salvage;
use super::step::Step;
use super::{Database, PAGE, boot_entries, gaps};
use crate::status::{GapsReport, SpoolReport, SpoolStatus};
use dsmil_salvage::Image;
use std::path::{Path, PathBuf};

/// The largest spool that can be configured; a larger file is none.
const MAX_CAPACITY: u64 = 64 << 30;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// As the agent would report it; its capacity is not known.
    pub spool: SpoolReport,
    /// Gaps that are not acknowledged.
    pub gaps: GapsReport,
    /// What is wrong with the file; then this is what could be salvaged.
    pub damage: Option<String>,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no spool.
    #[error("there is no spool at {}: name its path with --spool (`spool.path` in agent.toml)", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("the spool at {} cannot be read or copied: use root, or a user of the agent's group", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not even a copy can be opened.
    #[error("a copy of the spool at {} cannot be opened", path.display())]
    Unusable {
        /// The path.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Reads the spool at `path`, which no agent has open, without changing anything.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let unreadable = |source| InspectError::Unreadable { path: path.to_owned(), source };
    let unusable = |source| InspectError::Unusable { path: path.to_owned(), source };
    if !path.exists() {
        return Err(InspectError::Missing { path: path.to_owned() });
    }
    let folder = tempfile::Builder::new().prefix("dsmilctl-").tempdir().map_err(unreadable)?;
    let copy = folder.path().join("spool.sqlite");
    std::fs::copy(path, &copy).map_err(unreadable)?;
    if beside(path, "-wal").exists() {
        std::fs::copy(beside(path, "-wal"), beside(&copy, "-wal")).map_err(unreadable)?;
    }
    let (db, index, damage) = match load(&copy) {
        Ok((db, index)) => (db, index, None),
        Err(OpenFailure::Damaged(damage)) => {
            let fresh = folder.path().join("salvaged.sqlite");
            salvage(&copy, &fresh).map_err(unusable)?;
            let (db, index) = load(&fresh).map_err(|error| unusable(error.into()))?;
            (db, index, Some(damage.to_string()))
        }
        Err(error) => return Err(unusable(error.into())),
    };
    read(path, &db, index, damage).map_err(|error| unusable(error.into()))
}

fn load(path: &Path) -> Result<(Database, Index), OpenFailure> {
    let db = Database::open(path, MAX_CAPACITY)?;
    let index = Index::load(&db.conn)?;
    Ok((db, index))
}

fn salvage(copy: &Path, fresh: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut salvage = Salvage::start(fresh, MAX_CAPACITY, None)?;
    salvage.take_pages(&Image::open(copy))?;
    salvage.finish()?;
    Ok(())
}

fn read(path: &Path, db: &Database, mut index: Index, damage: Option<String>) -> Result<Inspection, rusqlite::Error> {
    let used_bytes = db.pages()?.1 * PAGE;
    let status = SpoolStatus {
        path: path.to_owned(),
        writable: false,
        used_bytes,
        capacity_bytes: 0,
        tmpfs_full: false,
        batches_waiting: index.batches,
        ticks_waiting: index.waiting(),
        ticks_pending: index.pending,
        boot_ticks: index.boots.values().next_back().map(|boot| boot.account),
        totals: index.current_totals(),
        set_aside: set_aside_files(path).into_iter().map(|(_, path)| path).collect(),
    };
    let boots = boot_entries(&index);
    let step = Step { db: &db.conn, index: &mut index, max_gaps: 0 };
    let spool = SpoolReport { spool: status, boots, rejected: step.rejected()? };
    Ok(Inspection { spool, gaps: GapsReport::of(&gaps::list(&step, usize::MAX >> 1)?), damage })
}
