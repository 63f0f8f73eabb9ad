//! aws-lc for ML-KEM-1024 and ML-DSA-87: what is built without the feature `oqs`.
//!
//! The names are those of `oqs`, so that the rest of the crate does not ask which of the two it has.

use aws_lc_rs::signature::{KeyPair as _, ML_DSA_87_SIGNING, PqdsaKeyPair};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{KeyProvider, SupportedKxGroup};
use rustls::pki_types::SignatureVerificationAlgorithm;
use zeroize::Zeroizing;

/// The group MLKEM1024 (0x0202).
pub(crate) static ML_KEM_1024: &dyn SupportedKxGroup = kx_group::MLKEM1024;

/// Verifies signatures under 2.16.840.1.101.3.4.3.19 (`id-ml-dsa-87`).
pub(crate) static ML_DSA_87: &dyn SignatureVerificationAlgorithm = webpki::aws_lc_rs::ML_DSA_87;

/// Reads keys for rustls' configurations.
pub(crate) fn tls_keys() -> &'static dyn KeyProvider {
    default_provider().key_provider
}

/// Name and version.
pub(crate) fn version() -> String {
    VERSION.to_owned()
}

/// A test holds it against the lock file.
pub(crate) const VERSION: &str = "aws-lc-rs 1.19.0";

/// An ML-DSA-87 key.
pub(crate) struct SigningKey {
    pair: PqdsaKeyPair,
    /// As it was read: aws-lc cannot write the expanded form, in which a build with liboqs leaves keys.
    pkcs8: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    /// Makes a key.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        let pair = PqdsaKeyPair::generate(&ML_DSA_87_SIGNING)?;
        let pkcs8 = Zeroizing::new(pair.to_pkcs8v1()?.as_ref().to_vec());
        Ok(Self { pair, pkcs8 })
    }

    /// Reads a PKCS #8 key in any form of RFC 9881.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = PqdsaKeyPair::from_pkcs8(&ML_DSA_87_SIGNING, pkcs8)?;
        Ok(Self { pair, pkcs8: Zeroizing::new(pkcs8.to_vec()) })
    }

    /// The key as PKCS #8: as it was read, or its seed if it was generated.
    pub(crate) fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.pkcs8.clone()
    }

    /// The public key as FIPS 204 encodes it: 2592 bytes.
    pub(crate) fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Signs a message: 4627 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; ML_DSA_87_SIGNING.signature_len()];
        let len = self.pair.sign(message, &mut signature)?;
        signature.truncate(len);
        Ok(signature)
    }
}

/// Why a key cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Not a key, one of another kind, or one whose parts do not fit.
    #[error("no ML-DSA-87 key, or a damaged one: give the file that the key was written to")]
    Rejected(#[from] aws_lc_rs::error::KeyRejected),
    /// No key, or no signature.
    #[error("aws-lc failed")]
    AwsLc(#[from] aws_lc_rs::error::Unspecified),
}
