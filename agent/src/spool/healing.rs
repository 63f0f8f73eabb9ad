//! Transactions, and what is done when they fail: the spool heals itself and goes on.

use super::database::{Database, OpenFailure, PAGE, Trouble, trouble};
use super::index::Index;
use super::replace::{self, ReplaceError};
use super::report::{Damage, OpenReport, SetAside, SpoolConfig, SpoolError};
use super::room::free_bytes;
use super::rows::Ordinal;
use super::salvage::Known;
use super::step::{Failure, Step};
use super::{Spool, chain, gaps};
use std::os::unix::fs::DirBuilderExt;

impl Spool {
    pub(super) fn db_mut(&mut self) -> Result<&mut Database, Failure> {
        self.db.as_mut().ok_or(Failure::Closed)
    }

    /// Runs a transaction; the index follows if it is committed.
    pub(super) fn write<T>(&mut self, act: impl FnOnce(&mut Step<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let db = self.db.as_ref().ok_or(Failure::Closed)?;
        let mut index = self.index.clone();
        let tx = db.conn.unchecked_transaction()?;
        let max_gaps = gaps::max_gaps(self.config.capacity_bytes);
        let out = act(&mut Step { db: &tx, index: &mut index, max_gaps })?;
        tx.commit()?;
        self.index = index;
        Ok(out)
    }

    /// Reads.
    pub(super) fn read<T>(&mut self, act: impl FnOnce(&Step<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let db = self.db.as_ref().ok_or(Failure::Closed)?;
        act(&Step { db: &db.conn, index: &mut self.index, max_gaps: 0 })
    }

    /// Does something, and once more after what stood in its way is removed: a full tmpfs, a damaged file.
    pub(super) fn attempt<T>(&mut self, mut act: impl FnMut(&mut Self) -> Result<T, Failure>) -> Result<T, SpoolError> {
        let failure = match act(self) {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        match &failure {
            Failure::Sql(error) => match trouble(error) {
                Trouble::Full => self.tmpfs_is_full(),
                Trouble::Damaged => {
                    let aside = self.replace(Damage::Corrupt(error.to_string()))?;
                    tracing::error!(damage = %aside.damage, ?aside, "the spool was damaged while it was in use");
                }
                Trouble::InUse | Trouble::Other => return Err(failure.into()),
            },
            Failure::Closed => self.reopen(&mut OpenReport::default())?,
            Failure::Encode(_) => return Err(failure.into()),
        }
        act(self).map_err(|failure| match &failure {
            Failure::Sql(error) if trouble(error) == Trouble::Full => SpoolError::Full,
            _ => failure.into(),
        })
    }

    /// Gives the ballast up, and lets the file grow no more than by a part of it: then every commit finds its pages.
    fn tmpfs_is_full(&mut self) {
        let Some(db) = self.db.as_mut() else { return };
        if free_bytes(&self.config.path) < self.ballast.bytes() {
            self.ballast.release();
            // If the log cannot be moved, nothing is lost but the next push fails as well.
            let _ = db.checkpoint();
            if let Ok((pages, _)) = db.pages() {
                let _ = db.set_limit(Some(pages + self.ballast.bytes() / PAGE / 2));
            }
            if !std::mem::replace(&mut self.tmpfs_full, true) {
                tracing::error!("the spool's tmpfs is full: the spool does not grow, the oldest batches make room");
            }
        }
    }

    /// Opens the file, puts a fresh one in its place if need be, and settles in.
    pub(super) fn reopen(&mut self, report: &mut OpenReport) -> Result<(), SpoolError> {
        usable_folder(&self.config)?;
        // Before the first tick, nobody knows what is in the file.
        let known = (!self.index.boots.is_empty()).then(|| self.known());
        let opened = replace::open(&self.config, known.as_ref()).or_else(|_| {
            self.ballast.release();
            replace::open(&self.config, known.as_ref())
        });
        let (db, index, aside) = opened.map_err(|error| self.unusable(error))?;
        report.leftover_ticks = index.pending;
        report.set_aside = aside;
        self.settle_in(db, index);
        Ok(())
    }

    /// Puts a fresh file in the place of the one in use.
    pub(super) fn replace(&mut self, damage: Damage) -> Result<SetAside, SpoolError> {
        self.ballast.release();
        let known = self.known();
        let replaced = replace::replace(&self.config, Some(&mut self.db), damage, Some(&known));
        let (db, index, aside) = replaced.map_err(|error| self.unusable(error))?;
        self.settle_in(db, index);
        Ok(aside)
    }

    /// Takes a file into use: finds the running boot's place in it, seals what a killed agent left, drops boots that are
    /// over.
    fn settle_in(&mut self, db: Database, index: Index) {
        (self.db, self.index, self.tmpfs_full) = (Some(db), index, false);
        let newest = self.index.boots.keys().next_back().map_or(0, |ordinal| ordinal.0);
        let current = self.index.ordinal(self.boot.1).unwrap_or(Ordinal(newest + 1));
        self.boot.0 = current;
        self.last = self.last.max(self.index.boots.get(&current).map(|boot| boot.account.last));
        let batch_ticks = self.config.batch_ticks;
        let settled = self.write(|step| {
            step.seal(batch_ticks)?;
            Ok(step.drop_old_boots(current)?)
        });
        if let Err(error) = settled {
            // The next push seals them, or finds out what to do about the failure.
            tracing::warn!(error = %chain(&error), "ticks that were left in the spool are not sealed yet");
        }
    }

    fn known(&self) -> Known {
        Known { index: self.index.clone(), set: self.set.clone() }
    }

    fn unusable(&self, error: ReplaceError) -> SpoolError {
        match error {
            ReplaceError::Open(OpenFailure::Sql(error)) if trouble(&error) == Trouble::InUse => {
                SpoolError::InUse { path: self.config.path.clone() }
            }
            other => SpoolError::Unusable(Box::new(other)),
        }
    }
}

/// The folder, made if only it is missing: a tmpfs is empty after each boot.
pub(super) fn usable_folder(config: &SpoolConfig) -> Result<(), SpoolError> {
    let Some(folder) = config.path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Err(SpoolError::Config("the spool's path is a file's name without a folder"));
    };
    let fail = |source| SpoolError::Folder { path: folder.to_owned(), source };
    match std::fs::DirBuilder::new().mode(0o750).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(fail(error)),
        _ => {}
    }
    use rustix::fs::{Access, access};
    access(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).map_err(|error| fail(error.into()))
}
