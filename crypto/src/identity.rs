//! Identities: certificates with their keys, and the root they are trusted by.

use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::files;
pub use crate::files::FileError;
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::x509;
pub use crate::x509::{CertificateError, Validity};

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
    /// Reads an identity from PEM files; see [`Credential::load`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        Self::new(Credential::load(certificate, key)?)
    }

    /// Takes a chain whose leaf carries a SPIFFE ID of ours.
    pub fn new(credential: Credential) -> Result<Self, IdentityError> {
        let id = x509::spiffe_id(credential.leaf())?;
        let validity = x509::validity(credential.leaf())?;
        Ok(Self { credential, id, validity })
    }

    /// Writes certificate and key as PEM files; see [`Credential::save`].
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), IdentityError> {
        Ok(self.credential.save(certificate, key)?)
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

/// The root whose leaves are trusted on the fleet link, and the trust domain it speaks for.
#[derive(Clone, Debug)]
pub struct Trust {
    root: CertificateDer<'static>,
    trust_domain: TrustDomain,
    validity: Validity,
}

impl Trust {
    /// Reads the root from a PEM file that holds this certificate alone.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let mut chain = files::read_chain(path)?;
        match chain.pop() {
            Some(root) if chain.is_empty() => Self::new(root),
            _ => Err(IdentityError::NotOneRoot),
        }
    }

    /// Trusts a root; the trust domain is the one it names.
    pub fn new(root: CertificateDer<'static>) -> Result<Self, IdentityError> {
        let trust_domain = x509::trust_domain(&root)?;
        let validity = x509::validity(&root)?;
        Ok(Self { root, trust_domain, validity })
    }

    /// Writes the root's certificate as a PEM file.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        Ok(files::write_chain(path, std::slice::from_ref(&self.root))?)
    }

    /// The root's certificate.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// The trust domain it speaks for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// When the root is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

/// Why an identity or a root could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate is not one of ours.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A file of trust must hold the root and nothing else.
    #[error("the file of the fleet's root must hold exactly one certificate")]
    NotOneRoot,
}
