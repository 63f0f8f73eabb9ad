//! Room on the tmpfs: a ballast file that is given up when the tmpfs is full, and how much is free.
//!
//! On a full tmpfs SQLite can neither insert nor delete nor move its log into its file. The ballast is what lets it: when
//! it goes, the log can be emptied, the file stops growing, and the spool lives on within the pages it has.

use super::database::{beside, remove};
use rustix::fs::{FallocateFlags, statvfs};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The ballast's size: a share of the spool, at least enough for a log and some pages, at most what the largest tick
/// and its batch need.
const BALLAST: (u64, u64) = (128 << 10, 1 << 20);
/// What must be free besides before a new ballast takes its place.
const SPARE: u64 = 256 << 10;

/// The ballast.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
    is_there: bool,
}

impl Ballast {
    /// The ballast of a spool; takes its place if there is room.
    pub(super) fn new(spool: &Path, capacity_bytes: u64) -> Self {
        let bytes = (capacity_bytes / 16).clamp(BALLAST.0, BALLAST.1);
        let path = beside(spool, ".ballast");
        let is_there = std::fs::metadata(&path).is_ok_and(|meta| meta.len() == bytes);
        let mut ballast = Self { path, bytes, is_there };
        ballast.restore();
        ballast
    }

    /// Bytes it takes, or would.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives its room to the spool.
    pub(super) fn release(&mut self) {
        // If it cannot be removed, the tmpfs stays full and the spool says so.
        self.is_there = remove(&self.path).is_err();
    }

    /// Takes its room back, if there is enough. Returns whether it is there.
    pub(super) fn restore(&mut self) -> bool {
        if !self.is_there && free_bytes(&self.path) >= 2 * self.bytes + SPARE {
            self.is_there = self.allocate().is_ok();
            if !self.is_there {
                self.release();
            }
        }
        self.is_there
    }

    fn allocate(&self) -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o640).open(&self.path)?;
        // On tmpfs this takes the pages, not just the name.
        Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.bytes)?)
    }
}

/// Bytes that are free where `path` lies; none if nobody can say.
pub(super) fn free_bytes(path: &Path) -> u64 {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    statvfs(folder).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}
