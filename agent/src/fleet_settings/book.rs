//! What is kept of settings beside the identity: the last good ones, those on trial, and what was refused. One file, written
//! whole or not at all, so that a crash leaves the moment before or the moment after.
//!
//! `"DSAS" | format 1 | CRC-32C of the rest | postcard`.

use dsmil_authority::{FleetSettings, MAX_SETTINGS_LEN, SettingsError, SignedSettings};
use dsmil_protocol::health::RefusedSettings;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

const MAGIC: &[u8; 5] = b"DSAS\x01";
/// Two documents and what was refused.
const MAX_LEN: u64 = 2 * MAX_SETTINGS_LEN as u64 + 1024;

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    /// The settings in force, as they were signed; none: agent.toml counts alone.
    pub(super) good: Option<Vec<u8>>,
    /// Those on trial.
    pub(super) candidate: Option<Vec<u8>>,
    /// What was refused last.
    pub(super) refused: Option<RefusedSettings>,
}

impl Book {
    /// Reads a file; an empty book if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not as it was written.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(MAX_LEN + 1).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is not as it was written");
        let (crc, rest) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk()).ok_or_else(damaged)?;
        if u32::from_be_bytes(*crc) != crc32c::crc32c(rest) {
            return Err(damaged());
        }
        postcard::from_bytes(rest).map_err(|_| damaged())
    }

    /// Writes the file.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let rest = postcard::to_allocvec(self).map_err(io::Error::other)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&[MAGIC, &crc32c::crc32c(&rest).to_be_bytes()[..], &rest].concat())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    }

    /// The newest version that was here; settings that are not newer are not taken.
    pub(super) fn seen(&self) -> u64 {
        let good = self.good.as_deref().and_then(|bytes| open(bytes).ok()).map_or(0, |settings| settings.version);
        good.max(self.refused.as_ref().map_or(0, |refused| refused.version))
    }
}

/// Settings that were verified when they came.
pub(super) fn open(bytes: &[u8]) -> Result<FleetSettings, SettingsError> {
    SignedSettings::decode(bytes)?.open()
}
