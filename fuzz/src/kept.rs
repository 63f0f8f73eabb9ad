//! What the repository keeps of the fuzzer's work: a corpus a target, and a file a fault that was found.

use crate::Target;
use crate::archive;
use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};

/// This crate's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file of a target's corpus.
pub fn corpus_path(target: &Target) -> PathBuf {
    root().join("corpus").join(format!("{}.corpus", target.name))
}

/// A target's corpus; without its file, an error that names it.
pub fn corpus(target: &Target) -> anyhow::Result<Vec<Vec<u8>>> {
    let path = corpus_path(target);
    let file = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    archive::unpack(&file).with_context(|| path.display().to_string())
}

/// The inputs that once showed a fault in a target, each in a file named after it: `TARGET/FAULT`.
pub fn regressions(target: &Target) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    files(&root().join("regressions").join(target.name))
}

/// The files of a folder with their names, none if there is no such folder.
pub fn files(folder: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push((name, fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?));
        }
    }
    found.sort();
    Ok(found)
}
