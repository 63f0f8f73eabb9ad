//! A file that only takes up room, beside the journal: on a full disk even deleting from a database needs some, and without
//! any retention could not make room for what comes.

use crate::sqlite::{beside, remove};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Room for the write-ahead log and the pages of one slice of a pruning, several times over.
const BYTES: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// Takes up the room, if there is any; else the next [`Ballast::renew`] tries again.
    pub(super) fn beside(journal: &Path) -> Self {
        let ballast = Self { path: beside(journal, ".ballast") };
        ballast.renew();
        ballast
    }

    /// Gives the room to whoever asks next; says whether there was any.
    pub(super) fn release(&self) -> bool {
        let held = self.path.metadata().is_ok_and(|file| file.len() == BYTES);
        held && remove(&self.path).is_ok()
    }

    /// Takes the room up again. A disk without room, or a file system that cannot promise any, leaves us without.
    pub(super) fn renew(&self) {
        if self.path.metadata().is_ok_and(|file| file.len() == BYTES) {
            return;
        }
        let made =
            File::create(&self.path).is_ok_and(|file| fallocate(file, FallocateFlags::empty(), 0, BYTES).is_ok());
        if !made {
            // Half a ballast would only be in the way.
            let _ = remove(&self.path);
        }
    }
}
