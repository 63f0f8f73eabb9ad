//! Putting a fresh file in the place of one that cannot be used, in steps that may be cut short.
//!
//! Fill `….salvage`; rename the damaged file aside; rename `….salvage` to the spool's name. A start that finds no spool
//! but a `….salvage` does the last step; any other `….salvage` is unfinished and goes.

use super::database::{Database, OpenFailure, beside, remove};
use super::index::Index;
use super::report::{Damage, SetAside, SpoolConfig};
use super::room::free_bytes;
use super::salvage::{Known, Salvage, Salvaged};
use super::step::Failure;
use dsmil_salvage::Image;
use std::path::{Path, PathBuf};

/// Damaged files that are kept for a look; they take room on the tmpfs.
const KEPT: usize = 2;
/// What must be free besides a spool of full size for a damaged file to be kept.
const SPARE: u64 = 1 << 20;
const SALVAGE: &str = ".salvage";
const DAMAGED: &str = ".damaged-";

/// Why there is no usable file.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplaceError {
    #[error("a fresh spool cannot be made")]
    Open(#[from] OpenFailure),
    #[error("a fresh spool cannot be filled")]
    Fill(#[from] Failure),
    #[error("the spool's files cannot be renamed")]
    Rename(#[from] std::io::Error),
}

impl From<rusqlite::Error> for ReplaceError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Fill(error.into())
    }
}

/// Opens the spool's file; one that cannot be used is replaced.
pub(super) fn open(
    config: &SpoolConfig,
    known: Option<&Known>,
) -> Result<(Database, Index, Option<SetAside>), ReplaceError> {
    finish_interrupted(&config.path)?;
    let damage = match load(config) {
        Ok((db, index)) if known.is_some_and(|known| !index.has_all_of(&known.index)) => {
            // We had it open and lost it, and what is there now is not it.
            let (db, index, aside) = replace(config, Some(&mut Some(db)), Damage::Replaced, known)?;
            return Ok((db, index, Some(aside)));
        }
        Ok((db, index)) => return Ok((db, index, None)),
        Err(OpenFailure::Damaged(damage)) => damage,
        Err(other) => return Err(other.into()),
    };
    let (db, index, aside) = replace(config, None, damage, known)?;
    Ok((db, index, Some(aside)))
}

fn load(config: &SpoolConfig) -> Result<(Database, Index), OpenFailure> {
    let db = Database::open(&config.path, config.capacity_bytes)?;
    let index = Index::load(&db.conn)?;
    Ok((db, index))
}

/// Puts a fresh file in the place of the damaged one, which `old` may still have open, with what can be salvaged.
///
/// If no fresh file can be made, `old` stays as it is: of a file that was unlinked, everything is still there.
pub(super) fn replace(
    config: &SpoolConfig,
    old: Option<&mut Option<Database>>,
    damage: Damage,
    known: Option<&Known>,
) -> Result<(Database, Index, SetAside), ReplaceError> {
    let fresh = beside(&config.path, SALVAGE);
    let is_ours = !matches!(damage, Damage::Version { .. } | Damage::Foreign(_));
    let mut salvage = start(config, &fresh, known)?;
    let mut all = !is_ours;
    if let Some(old) = old {
        if let Some(db) = old.as_ref() {
            all = salvage.take_tables(&db.conn)?;
        }
        *old = None;
    }
    if !all {
        salvage.take_pages(&Image::open(&config.path))?;
    }
    let salvaged = match salvage.finish() {
        Ok(salvaged) => salvaged,
        // No room for what was found: an empty spool and an honest account are better than none.
        Err(error) => {
            tracing::warn!(%error, "the damaged spool's content does not fit on the tmpfs");
            remove(&config.path)?;
            start(config, &fresh, known)?.finish()?
        }
    };
    let path = put_aside(config)?;
    std::fs::rename(&fresh, &config.path)?;
    let (db, index) = load(config)?;
    let Salvaged { ticks, lost_ticks } = salvaged;
    Ok((db, index, SetAside { damage, path, salvaged_ticks: ticks, lost_ticks }))
}

fn start(config: &SpoolConfig, fresh: &Path, known: Option<&Known>) -> Result<Salvage, ReplaceError> {
    for suffix in ["", "-wal", "-shm"] {
        remove(&beside(fresh, suffix))?;
    }
    Ok(Salvage::start(fresh, config.capacity_bytes, known)?)
}

fn finish_interrupted(path: &Path) -> std::io::Result<()> {
    let fresh = beside(path, SALVAGE);
    if !path.exists() && fresh.exists() {
        remove(&beside(path, "-wal"))?;
        return std::fs::rename(&fresh, path);
    }
    ["", "-wal", "-shm"].iter().try_for_each(|suffix| remove(&beside(&fresh, suffix)))
}

/// Renames the damaged file aside, or removes it if there is no room for it. Its log is salvaged and goes.
fn put_aside(config: &SpoolConfig) -> std::io::Result<Option<PathBuf>> {
    let path = &config.path;
    let mut aside = None;
    if path.exists() {
        let kept = set_aside_files(path);
        if free_bytes(path) >= config.capacity_bytes + SPARE {
            let number = kept.last().map_or(1, |(number, _)| number + 1);
            let name = beside(path, &format!("{DAMAGED}{number}"));
            std::fs::rename(path, &name)?;
            aside = Some(name);
            for (_, oldest) in kept.iter().take((kept.len() + 1).saturating_sub(KEPT)) {
                remove(oldest)?;
            }
        } else {
            remove(path)?;
        }
    }
    ["-wal", "-shm"].iter().try_for_each(|suffix| remove(&beside(path, suffix)))?;
    Ok(aside)
}

/// The damaged files that lie beside a spool, the oldest first, with their numbers.
pub(super) fn set_aside_files(path: &Path) -> Vec<(u64, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let prefix = [name.as_encoded_bytes(), DAMAGED.as_bytes()].concat();
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let number = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let digits = name.as_encoded_bytes().strip_prefix(prefix.as_slice())?;
        Some((std::str::from_utf8(digits).ok()?.parse().ok()?, entry.path()))
    };
    let mut files: Vec<(u64, PathBuf)> = entries.flatten().filter_map(number).collect();
    files.sort();
    files
}
