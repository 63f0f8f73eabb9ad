//! ML-DSA-87 keys for TLS: who signs `CertificateVerify`.

use std::sync::Arc;

use rustls::crypto::KeyProvider;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::{Signer, public_key_to_spki};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

use super::SigningKey;

/// Reads ML-DSA-87 keys, and no others, for rustls' configurations.
pub(crate) fn tls_keys() -> &'static dyn KeyProvider {
    &TlsKeys
}

/// A key as rustls takes it.
pub(super) fn sign_key_for_tls(key: Arc<SigningKey>) -> Arc<dyn rustls::sign::SigningKey> {
    Arc::new(TlsKey(key))
}

#[derive(Debug)]
struct TlsKeys;

impl KeyProvider for TlsKeys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn rustls::sign::SigningKey>, Error> {
        let key = SigningKey::from_pkcs8(key.secret_der()).map_err(|error| Error::General(error.to_string()))?;
        Ok(sign_key_for_tls(Arc::new(key)))
    }
}

#[derive(Clone, Debug)]
struct TlsKey(Arc<SigningKey>);

impl rustls::sign::SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ML_DSA_87).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(public_key_to_spki(&alg_id::ML_DSA_87, self.0.public_key()))
    }

    /// TLS 1.2's name of the kind of key; there is none for ML-DSA, and TLS 1.3 does not ask.
    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Unknown(0)
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(message).map_err(|error| Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ML_DSA_87
    }
}
