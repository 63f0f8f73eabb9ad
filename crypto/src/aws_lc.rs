//! aws-lc for ML-KEM-1024 and ML-DSA-87: what is built in unless the feature `oqs` asks for liboqs in its place.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::signature::{KeyPair as _, ML_DSA_87_SIGNING, PqdsaKeyPair};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{KeyProvider, SupportedKxGroup};
use rustls::pki_types::SignatureVerificationAlgorithm;

/// Verifies signatures under id-ml-dsa-87 (RFC 9881).
pub(crate) static ML_DSA_87: &dyn SignatureVerificationAlgorithm = webpki::aws_lc_rs::ML_DSA_87;

/// The key exchange (FIPS 203).
pub(crate) static ML_KEM_1024: &dyn SupportedKxGroup = kx_group::MLKEM1024;

/// Reads the keys that sign handshakes.
pub(crate) fn tls_keys() -> &'static dyn KeyProvider {
    default_provider().key_provider
}

/// Name and version. A test holds it against the lock file.
pub(crate) fn version() -> String {
    VERSION.into()
}

pub(crate) const VERSION: &str = "aws-lc-rs 1.19.0";

/// A key that signs.
pub(crate) struct SigningKey(PqdsaKeyPair);

impl SigningKey {
    pub(crate) fn generate() -> Result<Self, Unspecified> {
        PqdsaKeyPair::generate(&ML_DSA_87_SIGNING).map(Self)
    }

    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, aws_lc_rs::error::KeyRejected> {
        PqdsaKeyPair::from_pkcs8(&ML_DSA_87_SIGNING, pkcs8).map(Self)
    }

    pub(crate) fn to_pkcs8(&self) -> Result<Vec<u8>, Unspecified> {
        Ok(self.0.to_pkcs8v1()?.as_ref().to_vec())
    }

    pub(crate) fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut signature = vec![0; ML_DSA_87_SIGNING.signature_len()];
        let len = self.0.sign(message, &mut signature)?;
        signature.truncate(len);
        Ok(signature)
    }
}
