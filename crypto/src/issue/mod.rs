//! Makes certificates: the fleet's root, its issuers and their leaves (ML-DSA-87), and those of HTTPS (ECDSA P-256).

mod https;
mod issuer;
mod root;

pub use https::{HTTPS_LEAF_LIFETIME, HttpsRoot};
pub use issuer::{FleetIssuer, IssuerKey, LEAF_BACKDATED, LEAF_LIFETIME};
pub use root::{FleetRoot, ISSUER_LIFETIME};

use crate::csr::CsrError;
use crate::identity::{IdentityError, Validity};
use crate::key::KeyError;
use crate::spiffe::SpiffeError;
use dsmil_authority::Fingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber, SigningKey,
};
use rustls::pki_types::CertificateDer;
use std::time::Duration;
use time::OffsetDateTime;

/// How long a root is valid.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY);

/// A root is valid from a day before it is made, so that a clock which is set back a little later breaks nothing.
const BACKDATED: i64 = 24 * 60 * 60;

const DAY: u64 = 24 * 60 * 60;

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The name cannot stand in a certificate of the fleet.
    #[error(transparent)]
    Name(#[from] SpiffeError),
    /// Not a name for HTTPS.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    HttpsName(String),
    /// HTTPS certificates need a name.
    #[error("an HTTPS certificate needs at least one DNS name or IP address")]
    NoName,
    /// The time of whoever signs is over.
    #[error("the certificate to sign with has expired: have a new one made by whoever made it")]
    SignerExpired,
    /// The time asked for does not fit into a certificate.
    #[error("the time cannot be written into a certificate: check the clock")]
    Time(#[from] time::error::ComponentRange),
    /// The key file belongs to another certificate.
    #[error("the key does not belong to the certificate: give the two files that were written together")]
    KeyMismatch,
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A request was refused or could not be made.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// A certificate could not be made.
    #[error("the certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// A file, or a certificate in it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

fn root_params(name: &str, depth: u8, now: i64) -> Result<CertificateParams, IssueError> {
    let not_before = now.saturating_sub(BACKDATED);
    let not_after = not_before.saturating_add_unsigned(ROOT_LIFETIME.as_secs());
    // The number keeps roots apart: checkers look a root up by its name.
    let name = format!("{name} {:08x}", u32::from_be_bytes(crate::random()));
    authority_params(&name, depth, Validity { not_before, not_after })
}

/// The subject is the same whoever signs, and says which key it is.
fn issuer_params(name: &str, key: &Fingerprint, root: Validity, now: i64) -> Result<CertificateParams, IssueError> {
    if now > root.not_after {
        return Err(IssueError::SignerExpired);
    }
    let not_after = now.saturating_add_unsigned(ISSUER_LIFETIME.as_secs()).min(root.not_after);
    let mut params =
        authority_params(&format!("{name} {}", key.short()), 0, Validity { not_before: root.not_before, not_after })?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn authority_params(name: &str, depth: u8, validity: Validity) -> Result<CertificateParams, IssueError> {
    let mut params = certificate_params(validity)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    name: &str,
    usage: ExtendedKeyUsagePurpose,
    signer: Validity,
    not_before: i64,
    now: i64,
    lifetime: Duration,
) -> Result<CertificateParams, IssueError> {
    if now > signer.not_after {
        return Err(IssueError::SignerExpired);
    }
    let not_after = now.saturating_add_unsigned(lifetime.as_secs()).min(signer.not_after);
    let mut params = certificate_params(Validity { not_before, not_after })?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn certificate_params(validity: Validity) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.not_before = OffsetDateTime::from_unix_timestamp(validity.not_before)?;
    params.not_after = OffsetDateTime::from_unix_timestamp(validity.not_after)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Random, as RFC 5280 allows at most 20 bytes and positive; a nonzero first byte keeps the length fixed.
    let mut serial = crate::random::<16>();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn sign(
    params: &CertificateParams,
    subject: &impl PublicKeyData,
    signer: &CertificateDer<'_>,
    signer_key: &impl SigningKey,
) -> Result<CertificateDer<'static>, IssueError> {
    let issuer = rcgen::Issuer::from_ca_cert_der(signer, signer_key)?;
    Ok(params.signed_by(subject, &issuer)?.der().clone())
}

fn uri(text: String) -> Result<SanType, IssueError> {
    Ok(SanType::URI(text.try_into()?))
}
