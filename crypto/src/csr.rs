//! Certificate signing requests (PKCS #10, RFC 2986) with ML-DSA-87 keys.
//!
//! Of a request only the key counts, and that the asker holds it: whoever issues says what the leaf says. Names and
//! extensions in a request are looked at by nobody. Checked by hand, because rcgen 0.14 reads no ML-DSA requests.

use crate::key::{self, KeyError, PUBLIC_KEY_LEN, SigningKey};
use crate::x509::{self, CertificateError};
use dsmil_authority::Fingerprint;
use rcgen::{CertificateParams, PKCS_ML_DSA_87, PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::CertificateDer;
use x509_parser::oid_registry::asn1_rs::{Oid, oid};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

/// Bytes of a request: key and signature of ML-DSA-87 are 7.2 KB of it, and ours hold little else.
pub const MAX_CSR_LEN: usize = 16 << 10;
/// id-ml-dsa-87 (RFC 9881, section 2).
const ML_DSA_87: Oid<'static> = oid!(2.16.840.1.101.3.4.3.19);

/// The same as AlgorithmIdentifier, DER.
const ALGORITHM: &[u8] = &[0x30, 11, 0x06, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13];

/// Makes a request for a key. It names nobody: see above.
pub fn request(key: &SigningKey) -> Result<Vec<u8>, CsrError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(key).map_err(|_| KeyError::Provider)?;
    Ok(request.der().to_vec())
}

/// A request whose signature fits its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedCsr {
    public_key: Vec<u8>,
}

impl CheckedCsr {
    /// Reads and checks a request (DER).
    pub fn check(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR_LEN {
            return Err(CsrError::TooLong);
        }
        let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        let info = &csr.certification_request_info;
        let bare = |algorithm: &x509_parser::x509::AlgorithmIdentifier<'_>| {
            algorithm.algorithm == ML_DSA_87 && algorithm.parameters.is_none()
        };
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        if !bare(&csr.signature_algorithm) || !bare(&info.subject_pki.algorithm) {
            return Err(CsrError::Algorithm);
        }
        let public_key = info.subject_pki.subject_public_key.data.as_ref();
        let signature = csr.signature_value.data.as_ref();
        if public_key.len() != PUBLIC_KEY_LEN || !key::verify(public_key, info.raw, signature) {
            return Err(CsrError::Signature);
        }
        if der != encode(info.raw, signature) {
            return Err(CsrError::Malformed);
        }
        Ok(Self { public_key: public_key.to_vec() })
    }

    /// The key of a certificate (DER) that has been verified: its holder has shown to whoever signed it that he holds it.
    ///
    /// For a root that vouches for the issuers of another.
    pub fn of_certificate(certificate: &[u8]) -> Result<Self, CertificateError> {
        Ok(Self { public_key: x509::public_key(&CertificateDer::from(certificate))? })
    }

    /// The fingerprint of its key.
    pub fn fingerprint(&self) -> Fingerprint {
        key::key_fingerprint(&self.public_key)
    }
}

impl PublicKeyData for CheckedCsr {
    fn der_bytes(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ML_DSA_87
    }
}

/// The one way to write a request down (DER): what its signature covers, and what stands around that. The parser takes
/// others too, and then one request would have several hashes.
fn encode(signed: &[u8], signature: &[u8]) -> Vec<u8> {
    let length = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    // A BIT STRING begins with how many bits of its last byte are not used.
    let [high, low] = length(signature.len() + 1);
    let body = [signed, ALGORITHM, &[0x03, 0x82, high, low, 0], signature].concat();
    let [high, low] = length(body.len());
    [&[0x30, 0x82, high, low], &body[..]].concat()
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Longer than any of ours.
    #[error("the certificate request has more than {MAX_CSR_LEN} bytes")]
    TooLong,
    /// Not PKCS #10.
    #[error("the certificate request is malformed")]
    Malformed,
    /// Another kind of key or signature.
    #[error("the certificate request is not of an ML-DSA-87 key")]
    Algorithm,
    /// The asker does not hold the key.
    #[error("the certificate request's signature does not fit its key")]
    Signature,
    /// A request could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}
