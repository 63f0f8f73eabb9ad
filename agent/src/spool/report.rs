//! What the spool tells its owner: keys, findings and failures.

use dsmil_protocol::batch::BatchError;
use dsmil_protocol::ids::{BootId, Tick};
use std::path::PathBuf;

/// Where the spool is and how large it may get.
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// The database; `-wal`, `.ballast` and files that were set aside lie beside it.
    pub path: PathBuf,
    /// Bytes the database may use, at least [`super::MIN_CAPACITY`]; the tmpfs should hold twice as much and 1 MiB.
    pub capacity_bytes: u64,
    /// Ticks in a batch, 1 to [`dsmil_protocol::batch::MAX_TICKS`].
    pub batch_ticks: usize,
}

/// A batch's identity on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchKey {
    /// The boot its ticks count from.
    pub boot: BootId,
    /// Its first tick: its sequence.
    pub first: Tick,
}

/// What was found where the spool was to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Batches that wait, those sealed from leftover ticks included.
    pub batches: u64,
    /// Ticks that a killed agent left unsealed; they are a batch now.
    pub leftover_ticks: u64,
    /// A file that could not be used as it was. Without one and without batches, the spool is fresh.
    pub set_aside: Option<SetAside>,
    /// Why there is no usable file at present; it is tried again each second.
    pub unusable: Option<String>,
}

/// A file that could not be used, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// What was wrong.
    pub damage: Damage,
    /// Where it is now; nothing if there was none, or no room to keep it.
    pub path: Option<PathBuf>,
    /// Ticks that were brought over.
    pub salvaged_ticks: u64,
    /// Ticks that are known to have been in it and could not be read; they are gaps now.
    pub lost_ticks: u64,
}

/// Why a file could not be used, or not any longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// SQLite could not make sense of it.
    #[error("the file is damaged: {0}")]
    Corrupt(String),
    /// Made by another version of this program, or a failed downgrade.
    #[error("the file is of version {found}, this program knows version {known}")]
    Version {
        /// The file's version.
        found: i32,
        /// This program's.
        known: i32,
    },
    /// A database of another program.
    #[error("the file is a database of another program (application id {0:#x})")]
    Foreign(i32),
    /// Somebody removed it, or its log, while it was in use.
    #[error("the file was removed while it was in use")]
    Removed,
    /// Another file has its name.
    #[error("another file took the place of the one in use")]
    Replaced,
    /// Somebody cut it short.
    #[error("the file was truncated")]
    Truncated,
}

/// Why the spool did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The spool's folder cannot be used. The only failure that an agent cannot go on from.
    #[error("the spool's folder {} cannot be used: make it, on a tmpfs, writable by the agent's user", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration asks for what cannot be.
    #[error("{0}")]
    Config(&'static str),
    /// No room, even after evicting. The tick is counted and becomes a gap when there is room.
    #[error("the spool's tmpfs is full and nothing more can be evicted: free space on it")]
    Full,
    /// The spool cannot be read or written at present; ticks are counted and become gaps. It is tried again each second.
    #[error("the spool cannot be read or written at present")]
    Unusable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another process has it open.
    #[error("another agent has the spool {} open: stop it, or set `spool.path` in agent.toml to another path", path.display())]
    InUse {
        /// The spool's file.
        path: PathBuf,
    },
    /// A tick is sampled once, in rising order.
    #[error("tick {} comes after tick {}", tick.0, last.0)]
    OutOfOrder {
        /// The tick that came.
        tick: Tick,
        /// The last one before it.
        last: Tick,
    },
    /// The row cannot be a batch.
    #[error("the row cannot be encoded")]
    Encode(#[from] BatchError),
}
