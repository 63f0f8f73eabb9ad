//! What we read from a certificate: its name, its validity, its kind of key.

use crate::key::{self, PUBLIC_KEY_LEN, key_fingerprint, sha384, verify};
use dsmil_authority::Fingerprint;
use rustls::pki_types::CertificateDer;
use rustls::sign::public_key_to_spki;
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::spiffe::{SpiffeError, SpiffeId, TrustDomain};

/// When a certificate is valid, in Unix seconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

/// What a certificate says of itself. Nothing of it is to be believed before somebody has vouched for the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its common name, for people; empty where there is none.
    pub name: String,
    /// The fingerprint of its key.
    pub key: Fingerprint,
    /// SHA-384 of its subject, as bundles name retired issuers.
    pub subject: Fingerprint,
    /// When it is valid.
    pub validity: Validity,
}

impl Facts {
    /// Reads a certificate (DER) with an ML-DSA-87 key.
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let certificate = CertificateDer::from(der);
        Ok(Self {
            name: name.unwrap_or_default().to_owned(),
            key: key_fingerprint(&public_key(&certificate)?),
            subject: sha384(parsed.subject().as_raw()),
            validity: validity(&certificate)?,
        })
    }
}

/// Whether the holder of `signer`'s key has signed `certificate` (both DER), in the signer's name.
pub fn is_signed_by(certificate: &[u8], signer: &[u8]) -> bool {
    let (Ok((_, parsed)), Ok(key)) =
        (X509Certificate::from_der(certificate), public_key(&CertificateDer::from(signer)))
    else {
        return false;
    };
    let names_it = matches!((issuer_hash(certificate), subject_hash(signer)), (Ok(named), Ok(name)) if named == name);
    names_it && verify(&key, parsed.tbs_certificate.as_ref(), &parsed.signature_value.data)
}

/// Why a certificate is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not an X.509 certificate.
    #[error("not a readable X.509 version 3 certificate")]
    Malformed,
    /// Its key is of another kind.
    #[error("the certificate's key is not ML-DSA-87")]
    OtherKey,
    /// SPIFFE wants exactly one URI.
    #[error("the certificate names {0} URIs, where an identity of the fleet names exactly one")]
    NotOneName(usize),
    /// The URI is no SPIFFE ID of ours.
    #[error("the certificate's URI is no SPIFFE ID of a fleet")]
    Name(#[from] SpiffeError),
}

/// The one SPIFFE ID in a leaf. Says nothing about whether the leaf is to be trusted.
pub(crate) fn spiffe_id(cert: &CertificateDer<'_>) -> Result<SpiffeId, CertificateError> {
    Ok(only_uri(cert)?.parse()?)
}

/// The trust domain that a root names in its own URI.
pub(crate) fn trust_domain(root: &CertificateDer<'_>) -> Result<TrustDomain, CertificateError> {
    let uri = only_uri(root)?;
    let domain = uri.strip_prefix("spiffe://").ok_or(SpiffeError::Scheme)?;
    Ok(TrustDomain::new(domain)?)
}

/// When a certificate is valid.
pub(crate) fn validity(cert: &CertificateDer<'_>) -> Result<Validity, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(cert).map_err(|_| CertificateError::Malformed)?;
    let validity = parsed.validity();
    Ok(Validity { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
}

/// Whether the leaf's own key, which signs the handshake, is an ML-DSA-87 key.
pub(crate) fn holds_ml_dsa_87_key(leaf: &CertificateDer<'_>) -> Result<bool, CertificateError> {
    match public_key(leaf) {
        Ok(_) => Ok(true),
        Err(CertificateError::OtherKey) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The raw ML-DSA-87 key of a certificate.
pub(crate) fn public_key(certificate: &CertificateDer<'_>) -> Result<Vec<u8>, CertificateError> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| CertificateError::Malformed)?;
    let found = parsed.subject_public_key_info();
    let blank = public_key_to_spki(&key::ALGORITHM, [0; PUBLIC_KEY_LEN]);
    // All that stands before the key in its DER: lengths and algorithm.
    let header = &blank[..blank.len() - PUBLIC_KEY_LEN];
    let raw = found.strip_prefix(header).filter(|raw| raw.len() == PUBLIC_KEY_LEN);
    raw.map(<[u8]>::to_vec).ok_or(CertificateError::OtherKey)
}

/// SHA-384 of a certificate's subject, as bundles name retired issuers.
pub(crate) fn subject_hash(certificate: &[u8]) -> Result<Fingerprint, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    Ok(sha384(parsed.subject().as_raw()))
}

/// SHA-384 of the name of whoever has signed a certificate, or claims it.
pub(crate) fn issuer_hash(certificate: &[u8]) -> Result<Fingerprint, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    Ok(sha384(parsed.issuer().as_raw()))
}

fn only_uri(cert: &CertificateDer<'_>) -> Result<String, CertificateError> {
    let parsed = EndEntityCert::try_from(cert).map_err(|_| CertificateError::Malformed)?;
    let mut uris = parsed.valid_uri_names();
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => Ok(uri.to_owned()),
        (first, more) => Err(CertificateError::NotOneName(usize::from(first.is_some()) + more)),
    }
}
