//! ML-DSA-87 keys (FIPS 204): of roots, issuers, leaves and orders.
//!
//! Signatures are of the pure form with an empty context, as certificates carry them (RFC 9881).

use crate::backend;
use aws_lc_rs::digest;
use dsmil_authority::Fingerprint;
use rcgen::{PKCS_ML_DSA_87, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::{AlgorithmIdentifier, PrivateKeyDer, PrivatePkcs8KeyDer, alg_id};
use rustls::sign::public_key_to_spki;
use std::fmt;
use std::path::Path;

use crate::files;
use crate::identity::IdentityError;

/// Bytes of a raw public key (FIPS 204, table 2).
pub const PUBLIC_KEY_LEN: usize = 2592;
/// Bytes of a signature (FIPS 204, table 2).
pub const SIGNATURE_LEN: usize = 4627;

/// A private key that signs.
pub struct SigningKey(backend::SigningKey);

impl SigningKey {
    /// Makes a new one.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self(backend::SigningKey::generate().map_err(|_| KeyError::Provider)?))
    }

    /// Reads a key that waits for its certificate, from a PEM file that only its owner can read.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        Ok(Self::from_pkcs8(&files::read_key(path)?)?)
    }

    /// Writes it as a PEM file of mode 0600, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        Ok(files::write_key(path, &self.pkcs8()?)?)
    }

    /// Reads what [`SigningKey::pkcs8`] made.
    pub(crate) fn from_pkcs8(key: &PrivateKeyDer<'_>) -> Result<Self, KeyError> {
        Ok(Self(backend::SigningKey::from_pkcs8(key.secret_der()).map_err(|_| KeyError::NotMlDsa87)?))
    }

    /// The key as it is kept in files.
    pub(crate) fn pkcs8(&self) -> Result<PrivateKeyDer<'static>, KeyError> {
        Ok(PrivatePkcs8KeyDer::from(self.0.to_pkcs8().to_vec()).into())
    }

    /// Its raw public key, [`PUBLIC_KEY_LEN`] bytes.
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key()
    }

    /// The fingerprint of its public key.
    pub fn fingerprint(&self) -> Fingerprint {
        key_fingerprint(self.public_key())
    }

    /// Signs a statement.
    pub fn sign(&self, statement: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0.sign(statement).map_err(|_| KeyError::Provider)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.fingerprint())
    }
}

impl PublicKeyData for SigningKey {
    fn der_bytes(&self) -> &[u8] {
        self.public_key()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ML_DSA_87
    }
}

impl rcgen::SigningKey for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// Whether `signature` over `statement` is by the holder of a raw public key.
pub fn verify(public_key: &[u8], statement: &[u8], signature: &[u8]) -> bool {
    backend::ML_DSA_87.verify_signature(public_key, statement, signature).is_ok()
}

/// SHA-384 of a raw public key's SubjectPublicKeyInfo: the name that registries and bundles know a key by.
pub fn key_fingerprint(public_key: &[u8]) -> Fingerprint {
    sha384(&public_key_to_spki(&alg_id::ML_DSA_87, public_key))
}

/// SHA-384 (FIPS 180-4).
pub fn sha384(bytes: &[u8]) -> Fingerprint {
    let mut hash = [0; Fingerprint::LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA384, bytes).as_ref());
    Fingerprint(hash)
}

/// What the keys of the fleet are, in certificates.
pub(crate) const ALGORITHM: AlgorithmIdentifier = alg_id::ML_DSA_87;

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file holds something else.
    #[error("the key file holds no ML-DSA-87 key")]
    NotMlDsa87,
    /// A key could not be made or used.
    #[error("the cryptographic provider failed")]
    Provider,
}
