//! The hot cache: the last hour again, on tmpfs, for fast reading. Losing it loses nothing.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of the hot cache.
#[derive(Clone, Debug)]
pub struct HotConfig {
    /// The database file, on a tmpfs.
    pub path: PathBuf,
    /// The database grows to so many bytes, then its oldest batches go. At most half of the tmpfs less 1 MiB: a full
    /// tmpfs stops even deletes.
    pub max_bytes: u64,
    /// How long a batch is kept.
    pub keep: Duration,
    /// Bytes of batches that may wait to be written; more are left out, and the floor moves.
    pub queue_bytes: usize,
}

impl HotConfig {
    /// The usual settings: an hour, 256 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: 256 << 20, keep: Duration::from_secs(3600), queue_bytes: 16 << 20 }
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotStats {
    /// Batches written.
    pub stored: u64,
    /// Batches left out: full, failed, or too many waiting.
    pub left_out: u64,
    /// Batches removed by age or size.
    pub evicted: u64,
    /// Times the file was made anew: damaged, removed, replaced or truncated.
    pub reopened: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Hot is complete from here on (Unix ms of a batch's first tick).
    pub floor_ms: i64,
}
