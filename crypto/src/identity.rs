//! Identities: certificates with their keys.

use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::files;
pub use crate::files::FileError;
use crate::key::{KeyError, SigningKey, key_fingerprint};
use crate::spiffe::SpiffeId;
use crate::x509;
pub use crate::x509::{CertificateError, Facts, Validity, is_signed_by};
use dsmil_authority::Fingerprint;

/// A certificate chain, leaf first, and the private key of the leaf.
#[derive(Debug)]
pub struct Credential {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Credential {
    /// Reads a chain and its key from PEM files. The key's file must be readable by its owner only.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, FileError> {
        Ok(Self { chain: files::read_chain(certificate)?, key: files::read_key(key)? })
    }

    /// The same for a key that the service manager passed, and so decided who may read it.
    pub fn load_passed(certificate: &Path, key: &Path) -> Result<Self, FileError> {
        Ok(Self { chain: files::read_chain(certificate)?, key: files::read_passed_key(key)? })
    }

    /// Writes both as PEM files, each whole or not at all; the key first and with mode 0600.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), FileError> {
        files::write_key(key, &self.key)?;
        files::write_chain(certificate, &self.chain)
    }

    /// The certificate that belongs to the key.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }
}

impl Clone for Credential {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Who this process is on the fleet link.
#[derive(Clone, Debug)]
pub struct Identity {
    credential: Credential,
    id: SpiffeId,
    validity: Validity,
}

impl Identity {
    /// Reads an identity from one PEM file with certificate and key, which only its owner can read.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let (chain, key) = files::read_identity(path)?;
        Self::new(Credential { chain, key })
    }

    /// Takes a chain whose leaf carries a SPIFFE ID of ours.
    pub fn new(credential: Credential) -> Result<Self, IdentityError> {
        let id = x509::spiffe_id(credential.leaf())?;
        let validity = x509::validity(credential.leaf())?;
        Ok(Self { credential, id, validity })
    }

    /// Writes both into one PEM file of mode 0600, whole or not at all: a renewal that is cut short must not leave the new
    /// certificate beside the old key.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        Ok(files::write_identity(path, &self.credential.chain, &self.credential.key)?)
    }

    /// A leaf that was issued for `key`.
    pub fn of_key(leaf: Vec<u8>, key: &SigningKey) -> Result<Self, IdentityError> {
        let chain = vec![CertificateDer::from(leaf)];
        if x509::public_key(&chain[0])? != key.public_key() {
            return Err(CertificateError::OtherKey.into());
        }
        Self::new(Credential { chain, key: key.pkcs8()? })
    }

    /// The key of the leaf, to sign with.
    pub fn key(&self) -> Result<SigningKey, IdentityError> {
        Ok(SigningKey::from_pkcs8(&self.credential.key)?)
    }

    /// The fingerprint of the leaf's key, as registries know it.
    pub fn key_fingerprint(&self) -> Result<Fingerprint, IdentityError> {
        Ok(key_fingerprint(&x509::public_key(self.credential.leaf())?))
    }

    /// The name in the leaf.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// When the leaf is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Chain and key.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }
}

/// Why an identity could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate is not one of ours.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key is of another kind, or cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}
