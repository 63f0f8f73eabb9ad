//! Root's work for a daemon that is not root: what root makes in a daemon's folder becomes the daemon's.
//!
//! The folder may belong to somebody who wishes root ill, so links are given away themselves and never what they lead to.

use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// Folders within folders that a daemon's own folder has at most; ours have two.
const MAX_DEPTH: usize = 8;

/// Gives `path` to the owner of the folder that it lies in. Nothing happens where we are not root.
///
/// # Errors
/// Where the folder or the file is gone, or the file system knows no owners.
pub fn give_to_folders_owner(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    as_root(|| give(path, &std::fs::symlink_metadata(folder)?))
}

/// Gives everything in `folder` to its owner. Nothing happens where we are not root.
///
/// # Errors
/// Where a file cannot be given, or folders lie deeper in each other than those of a daemon do.
pub fn give_all_to_folders_owner(folder: &Path) -> io::Result<()> {
    as_root(|| give_all(folder, &std::fs::symlink_metadata(folder)?, MAX_DEPTH))
}

fn as_root(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if rustix::process::geteuid().is_root() { work() } else { Ok(()) }
}

fn give_all(folder: &Path, owner: &std::fs::Metadata, depth: usize) -> io::Result<()> {
    let depth = depth.checked_sub(1).ok_or(io::ErrorKind::InvalidInput)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        give(&entry.path(), owner)?;
        // A link's own type, so that a link to a folder is not followed.
        if entry.file_type()?.is_dir() {
            give_all(&entry.path(), owner, depth)?;
        }
    }
    Ok(())
}

fn give(path: &Path, owner: &std::fs::Metadata) -> io::Result<()> {
    lchown(path, Some(owner.uid()), Some(owner.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const NOBODY: u32 = 65_534;

    /// The owner of a path, not of what it leads to.
    fn owner(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).expect("is there").uid()
    }

    #[test]
    fn what_root_makes_becomes_the_folders_owners_and_links_lead_nowhere() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let outside = tempfile::NamedTempFile::new().expect("a file");
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("given");
        let [file, deep, link] = ["file", "sub/deep", "link"].map(|name| folder.path().join(name));
        std::fs::create_dir(folder.path().join("sub")).expect("made");
        std::fs::write(&file, "").and_then(|()| std::fs::write(&deep, "")).expect("written");
        symlink(outside.path(), &link).expect("linked");
        give_to_folders_owner(&file).expect("given");
        assert_eq!((owner(&file), owner(&deep)), (NOBODY, 0));
        give_all_to_folders_owner(folder.path()).expect("given");
        assert_eq!((owner(&deep), owner(&link)), (NOBODY, NOBODY));
        assert_eq!(owner(outside.path()), 0, "a link was followed");
    }
}
