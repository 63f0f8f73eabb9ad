//! Secrets that systemd passes to a service: `credential:NAME` in the place of a path.
//!
//! `LoadCredential=`, `SetCredential=` and their encrypted kin put files into a folder that only the service can read, and
//! name it in `$CREDENTIALS_DIRECTORY` (systemd.exec(5)). They are read-only: what a daemon rewrites cannot be one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};

/// What stands before a credential's name.
pub(super) const CREDENTIAL_PREFIX: &str = "credential:";
/// The longest name of a file, NAME_MAX of linux/limits.h; systemd allows no longer one.
const MAX_NAME_LEN: usize = 255;

/// What a daemon is told by its environment. `main` reads it, and tests make it up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// Where systemd put this service's credentials.
    pub credentials: Option<PathBuf>,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
        Self { credentials: folder.map(PathBuf::from) }
    }

    /// The file of a credential.
    ///
    /// # Errors
    /// There is no folder of credentials, or it has none of this name.
    pub fn find(&self, name: &CredentialName) -> Result<PathBuf, CredentialError> {
        let folder = self.credentials.as_ref().ok_or_else(|| CredentialError::NoFolder(name.clone()))?;
        let path = folder.join(&name.0);
        if path.is_file() {
            Ok(path)
        } else {
            Err(CredentialError::Missing { name: name.clone(), folder: folder.clone() })
        }
    }
}

/// Why there is no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A name that systemd would not take.
    #[error(
        "{0:?} is no credential's name: 1 to {MAX_NAME_LEN} of printable ASCII without `/` and `:`, and neither `.` nor `..`"
    )]
    Name(String),
    /// Not started by systemd, or without credentials.
    #[error(
        "credential:{0}: $CREDENTIALS_DIRECTORY is not set: start the service by systemd with `LoadCredential={0}:/path/of/the/file`, \
         or name the file itself"
    )]
    NoFolder(CredentialName),
    /// systemd passed others.
    #[error("credential:{name}: {} has none of this name: add `LoadCredential={name}:/path/of/the/file` to the unit", folder.display())]
    Missing {
        /// The credential.
        name: CredentialName,
        /// Where it should be.
        folder: PathBuf,
    },
}

/// The name of a credential: that of a file, and nothing that leads out of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialName(String);

impl CredentialName {
    /// Checks a name by systemd's rule (`credential_name_valid` in its sources): that of a file, and of printable ASCII
    /// without `:`, as names of file descriptors have to be.
    ///
    /// # Errors
    /// It is none.
    pub fn new(name: &str) -> Result<Self, CredentialError> {
        let is_usual = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'/' | b':');
        let fits =
            (1..=MAX_NAME_LEN).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(is_usual);
        if fits { Ok(Self(name.into())) } else { Err(CredentialError::Name(name.into())) }
    }

    /// The name in `credential:NAME`; nothing where `text` does not begin so.
    ///
    /// # Errors
    /// It begins so, and what follows is no name.
    pub fn of(text: &str) -> Option<Result<Self, CredentialError>> {
        text.strip_prefix(CREDENTIAL_PREFIX).map(Self::new)
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file that is only read: a path, or a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile(Written);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    Path(PathBuf),
    /// A credential, and where it was found.
    Credential(CredentialName, Result<PathBuf, CredentialError>),
}

impl SecretFile {
    /// Takes a relative path from `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        if let Written::Path(path) = &mut self.0 {
            *path = folder.join(&*path);
        }
    }

    /// Looks for the credential, if it is one.
    pub fn find(&mut self, environment: &Environment) {
        if let Written::Credential(name, found) = &mut self.0 {
            *found = environment.find(name);
        }
    }

    /// Where it is.
    ///
    /// # Errors
    /// It is a credential that was not found, or that nobody has looked for: by a verb that systemd does not run.
    pub fn path(&self) -> Result<&Path, CredentialError> {
        match &self.0 {
            Written::Path(path) => Ok(path),
            Written::Credential(_, found) => found.as_deref().map_err(Clone::clone),
        }
    }

    /// Whether systemd passed it, and so decided who may read it.
    pub fn is_passed(&self) -> bool {
        matches!(self.0, Written::Credential(_, Ok(_)))
    }
}

impl<P: Into<PathBuf>> From<P> for SecretFile {
    fn from(path: P) -> Self {
        Self(Written::Path(path.into()))
    }
}

impl<'de> Deserialize<'de> for SecretFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match CredentialName::of(&text) {
            Some(name) => {
                let name = name.map_err(serde::de::Error::custom)?;
                Ok(Self(Written::Credential(name.clone(), Err(CredentialError::NoFolder(name)))))
            }
            None => Ok(text.into()),
        }
    }
}

impl Serialize for SecretFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Written::Path(path) => path.serialize(serializer),
            Written::Credential(name, _) => serializer.serialize_str(&format!("{CREDENTIAL_PREFIX}{name}")),
        }
    }
}
