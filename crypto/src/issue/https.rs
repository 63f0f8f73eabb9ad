//! The root and leaves of the HTTPS side: ECDSA P-256, because browsers verify nothing stronger yet.

use super::{DAY, IssueError, leaf_params, root_params, sign};
use crate::files;
use crate::identity::{Credential, IdentityError, Validity};
use crate::x509;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// How long `init` makes HTTPS leaves valid.
pub const HTTPS_LEAF_LIFETIME: Duration = Duration::from_secs(365 * DAY);

/// The root of the HTTPS side, for installations without certificates of their own.
pub struct HttpsRoot {
    certificate: CertificateDer<'static>,
    validity: Validity,
    key: KeyPair,
}

impl HttpsRoot {
    /// Makes a root, valid from a day before `now` (Unix seconds) for ten years.
    pub fn create(now: i64) -> Result<Self, IssueError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = root_params("DSMIL HTTPS root", 0, now)?.self_signed(&key)?.der().clone();
        let validity = x509::validity(&certificate).map_err(IdentityError::from)?;
        Ok(Self { certificate, validity, key })
    }

    /// Reads a root with its key from PEM files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, IssueError> {
        let Credential { chain, key } = Credential::load(certificate, key).map_err(IdentityError::from)?;
        let key = KeyPair::try_from(&key)?;
        let certificate = chain.into_iter().next().ok_or(IssueError::KeyMismatch)?;
        let validity = x509::validity(&certificate).map_err(IdentityError::from)?;
        let root = webpki::EndEntityCert::try_from(&certificate).map_err(|_| IssueError::KeyMismatch)?;
        let matches = root.subject_public_key_info().as_ref() == key.subject_public_key_info();
        if matches { Ok(Self { certificate, validity, key }) } else { Err(IssueError::KeyMismatch) }
    }

    /// Writes certificate and key as PEM files, the key with mode 0600.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), IssueError> {
        let pkcs8 = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let credential = Credential { chain: vec![self.certificate.clone()], key: pkcs8.into() };
        Ok(credential.save(certificate, key).map_err(IdentityError::from)?)
    }

    /// The certificate, as PEM, for browsers and clients to trust.
    pub fn certificate_pem(&self) -> String {
        files::certificate_pem(&self.certificate)
    }

    /// Makes a server's key and leaf for DNS names and addresses.
    pub fn issue(&self, names: &[&str], now: i64, lifetime: Duration) -> Result<Credential, IssueError> {
        let first = names.first().ok_or(IssueError::NoName)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        // A common name has at most 64 characters (RFC 5280); what clients look at is the list below.
        let common: String = first.chars().take(64).collect();
        let mut params = leaf_params(&common, usage, self.validity, self.validity.not_before, now, lifetime)?;
        params.subject_alt_names = names.iter().map(|name| https_name(name)).collect::<Result<_, _>>()?;
        let certificate = sign(&params, &key, &self.certificate, &self.key)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Credential { chain: vec![certificate], key: pkcs8.into() })
    }
}

fn https_name(text: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refused = || IssueError::HttpsName(text.to_owned());
    rustls::pki_types::DnsName::try_from(text).map_err(|_| refused())?;
    Ok(SanType::DnsName(text.try_into().map_err(|_| refused())?))
}
