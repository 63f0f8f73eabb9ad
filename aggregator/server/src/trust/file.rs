//! Drafts and bundles as files: read within a limit, written whole or not at all.

use super::draft::TrustDraft;
use super::error::DraftError;
use dsmil_authority::MAX_BUNDLE_LEN;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

/// Bytes of a draft: a bundle at its largest, three roots and eight requests, all in base64, are 250 KB.
const MAX_DRAFT_LEN: usize = 512 << 10;

/// What the pending draft is called; it lies beside the state.
pub const DRAFT_FILE: &str = "trust.draft";

impl TrustDraft {
    /// Reads the draft of a file; nothing where there is no file.
    pub fn load(path: &Path) -> Result<Option<Self>, DraftError> {
        match read(path, MAX_DRAFT_LEN) {
            Ok(text) => Self::parse(&text).map(Some),
            Err(DraftError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it to a file.
    pub fn save(&self, path: &Path) -> Result<(), DraftError> {
        write_whole(path, self.text().as_bytes())
    }
}

/// Reads the bytes of a signed bundle.
pub fn read_bundle(path: &Path) -> Result<Vec<u8>, DraftError> {
    read(path, MAX_BUNDLE_LEN)
}

fn read(path: &Path, most: usize) -> Result<Vec<u8>, DraftError> {
    let failed = |source| DraftError::File { path: path.into(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > most { Err(DraftError::TooLarge(path.into())) } else { Ok(bytes) }
}

/// Writes a file that is no secret, whole or not at all. Written by root it belongs to whom its folder belongs to: the
/// aggregator runs as somebody else.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DraftError> {
    let failed = |source| DraftError::File { path: path.into(), source };
    let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = folder.join(format!(".{}.new", name.to_string_lossy()));
    let written = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        hand_over(&beside, folder)?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(failed)
}

/// What root makes in a folder of somebody else is to be that one's.
pub fn hand_over(path: &Path, folder: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(folder)?;
    chown(path, Some(owner.uid()), Some(owner.gid()))
}
