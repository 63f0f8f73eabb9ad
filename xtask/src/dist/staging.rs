//! A package laid out as a folder, as it will lie on a host.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Context;

use crate::cargo;

/// The folder, and what of it is the package's own.
pub(super) struct Layout {
    root: PathBuf,
    entries: Vec<Entry>,
}

/// A file or folder that belongs to the package; folders on the way to it belong to the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// From the root, without a slash in front.
    pub(super) path: String,
    /// Its permissions.
    pub(super) mode: u32,
    /// Bytes of a file; none of a folder.
    pub(super) size: Option<u64>,
}

impl Layout {
    /// An empty one, whatever was in the folder.
    pub(super) fn new(root: PathBuf) -> anyhow::Result<Self> {
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        set_mode(&root, 0o755)?;
        Ok(Self { root, entries: Vec::new() })
    }

    /// The folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What is the package's own, in the order of paths.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A folder that is the package's own.
    pub(super) fn folder(&mut self, path: &str) -> anyhow::Result<()> {
        self.make_folders(path)?;
        self.add(path, 0o755, None);
        Ok(())
    }

    /// A file of these bytes.
    pub(super) fn file(&mut self, path: &str, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
        let place = self.place(path)?;
        fs::write(&place, bytes).with_context(|| format!("cannot write {}", place.display()))?;
        self.finish(path, mode)
    }

    /// A file of these bytes compressed, with `.gz` behind its name.
    pub(super) fn compressed(&mut self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let place = self.place(path)?;
        fs::write(&place, bytes).with_context(|| format!("cannot write {}", place.display()))?;
        // Without name and time, which would differ from one run to the next.
        cargo::output(Command::new("gzip").args(["-9", "--no-name", "--force"]).arg(&place))?;
        self.finish(&format!("{path}.gz"), 0o644)
    }

    /// A copy of a file.
    pub(super) fn copy(&mut self, from: &Path, path: &str, mode: u32) -> anyhow::Result<()> {
        let place = self.place(path)?;
        fs::copy(from, &place).with_context(|| format!("cannot copy {}", from.display()))?;
        self.finish(path, mode)
    }

    /// Gives everything in the folder one time, as Unix seconds.
    pub(super) fn date(&self, time_s: u64) -> anyhow::Result<()> {
        date(&self.root, SystemTime::UNIX_EPOCH + Duration::from_secs(time_s))
    }

    fn place(&self, path: &str) -> anyhow::Result<PathBuf> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.make_folders(folder)?;
        }
        Ok(self.root.join(path))
    }

    /// One by one, since the mode of a folder must not depend on who makes it.
    fn make_folders(&self, path: &str) -> anyhow::Result<()> {
        let mut folder = self.root.clone();
        for part in path.split('/') {
            folder.push(part);
            if !folder.is_dir() {
                fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
                set_mode(&folder, 0o755)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, path: &str, mode: u32) -> anyhow::Result<()> {
        let place = self.root.join(path);
        set_mode(&place, mode)?;
        let size = fs::metadata(&place)?.len();
        self.add(path, mode, Some(size));
        Ok(())
    }

    fn add(&mut self, path: &str, mode: u32, size: Option<u64>) {
        let entry = Entry { path: path.to_owned(), mode, size };
        let at = self.entries.partition_point(|other| other.path < entry.path);
        self.entries.insert(at, entry);
    }
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn date(path: &Path, time: SystemTime) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            date(&entry?.path(), time)?;
        }
    }
    // A folder after what is in it.
    File::open(path)?.set_modified(time).with_context(|| format!("cannot set the time of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn a_layout_has_what_was_put_into_it_with_its_mode_and_time() {
        let mut layout = Layout::new(workspace::target().join("tmp-xtask-layout")).unwrap();
        layout.file("usr/bin/b", b"12345", 0o755).unwrap();
        layout.folder("etc/a").unwrap();
        layout.file(r"usr/a\x2db", b"", 0o644).unwrap();
        layout.date(1_000_000_000).unwrap();

        let paths: Vec<_> = layout.entries().iter().map(|entry| (entry.path.as_str(), entry.size)).collect();
        assert_eq!(paths, [("etc/a", None), (r"usr/a\x2db", Some(0)), ("usr/bin/b", Some(5))]);
        for (path, mode) in [("usr", 0o755), ("usr/bin/b", 0o755), ("etc/a", 0o755), (r"usr/a\x2db", 0o644)] {
            let metadata = fs::metadata(layout.root().join(path)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
            let age = metadata.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(age.as_secs(), 1_000_000_000, "{path}");
        }
        fs::remove_dir_all(layout.root()).unwrap();
    }
}
