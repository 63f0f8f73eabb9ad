//! Makes roots and leaves: the fleet's (ML-DSA-87) and those of HTTPS (ECDSA P-256).
//!
//! A leaf is valid from the first second of its root, not from now: the one who checks it may have a clock that is behind,
//! and a host that boots in 1970 takes its root's first second as the time ([`crate::time::TimeSource::floored`]).

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::signature::{KeyPair as _, ML_DSA_87_SIGNING, PqdsaKeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ML_DSA_87, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::files;
use crate::identity::{Credential, Identity, IdentityError, Trust, Validity};
use crate::spiffe::{Role, SpiffeError, SpiffeId, TrustDomain};
use crate::x509;

/// How long a root is valid.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * DAY);

/// How long `init` makes leaves valid, until hosts renew theirs by themselves.
pub const INIT_LEAF_LIFETIME: Duration = Duration::from_secs(365 * DAY);

/// A root is valid from a day before it is made, so that a clock which is set back a little later breaks nothing.
const BACKDATED: i64 = 24 * 60 * 60;

const DAY: u64 = 24 * 60 * 60;

/// The fleet's root: signs the leaves of aggregators and agents. Its key belongs offline.
pub struct FleetRoot {
    trust: Trust,
    key: MlDsa87Key,
}

impl FleetRoot {
    /// Makes a root for a trust domain, valid from a day before `now` (Unix seconds) for ten years.
    pub fn create(trust_domain: &TrustDomain, now: i64) -> Result<Self, IssueError> {
        let key = MlDsa87Key::generate()?;
        let mut params = root_params("DSMIL fleet root", now)?;
        params.subject_alt_names = vec![uri(trust_domain.uri())?];
        let trust = Trust::new(params.self_signed(&key)?.der().clone())?;
        Ok(Self { trust, key })
    }

    /// Reads a root with its key from PEM files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, IssueError> {
        let trust = Trust::load(certificate)?;
        let key = MlDsa87Key::from_pkcs8(&files::read_key(key).map_err(IdentityError::from)?)?;
        let root = webpki::EndEntityCert::try_from(trust.root()).map_err(|_| IssueError::KeyMismatch)?;
        let spki = key.subject_public_key_info();
        if root.subject_public_key_info().as_ref() == spki {
            Ok(Self { trust, key })
        } else {
            Err(IssueError::KeyMismatch)
        }
    }

    /// Writes certificate and key as PEM files, the key with mode 0600.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), IssueError> {
        files::write_key(key, &self.key.pkcs8()?).map_err(IdentityError::from)?;
        Ok(self.trust.save(certificate)?)
    }

    /// What aggregators and agents need of it: the certificate alone.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Makes an aggregator's key and leaf: for servers only, with the DNS name that agents ask for.
    pub fn issue_aggregator(&self, name: &str, now: i64, lifetime: Duration) -> Result<Identity, IssueError> {
        let dns = self.trust.trust_domain().aggregator_dns_name();
        let dns = SanType::DnsName(dns.try_into()?);
        self.issue(Role::Aggregator, name, ExtendedKeyUsagePurpose::ServerAuth, Some(dns), now, lifetime)
    }

    /// Makes an agent's key and leaf: for clients only, named after the host.
    pub fn issue_agent(&self, host: &str, now: i64, lifetime: Duration) -> Result<Identity, IssueError> {
        self.issue(Role::Agent, host, ExtendedKeyUsagePurpose::ClientAuth, None, now, lifetime)
    }

    fn issue(
        &self,
        role: Role,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
        also: Option<SanType>,
        now: i64,
        lifetime: Duration,
    ) -> Result<Identity, IssueError> {
        let id = SpiffeId::new(self.trust.trust_domain().clone(), role, name)?;
        let key = MlDsa87Key::generate()?;
        let mut params = leaf_params(name, usage, self.trust.validity(), now, lifetime)?;
        params.subject_alt_names = [uri(id.to_string())?].into_iter().chain(also).collect();
        let certificate = sign(&params, &key, self.trust.root(), &self.key)?;
        Ok(Identity::new(Credential { chain: vec![certificate], key: key.pkcs8()? })?)
    }
}

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
        let certificate = root_params("DSMIL HTTPS root", now)?.self_signed(&key)?.der().clone();
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
        let mut params = leaf_params(&common, usage, self.validity, now, lifetime)?;
        params.subject_alt_names = names.iter().map(|name| https_name(name)).collect::<Result<_, _>>()?;
        let certificate = sign(&params, &key, &self.certificate, &self.key)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Credential { chain: vec![certificate], key: pkcs8.into() })
    }
}

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
    /// The root's time is over.
    #[error("the root certificate has expired: make a new root and have every leaf issued anew")]
    RootExpired,
    /// The time asked for does not fit into a certificate.
    #[error("the time cannot be written into a certificate: check the clock")]
    Time(#[from] time::error::ComponentRange),
    /// The root's key file belongs to another certificate.
    #[error("the key does not belong to the root certificate: give the two files that were written together")]
    KeyMismatch,
    /// The key file holds no key of the kind.
    #[error("the key file holds no ML-DSA-87 key")]
    Key(#[from] aws_lc_rs::error::KeyRejected),
    /// A key could not be made or used.
    #[error("the cryptographic provider failed")]
    Provider(#[from] aws_lc_rs::error::Unspecified),
    /// A certificate could not be made.
    #[error("the certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// A file, or a certificate in it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

fn root_params(name: &str, now: i64) -> Result<CertificateParams, IssueError> {
    let not_before = now.saturating_sub(BACKDATED);
    let not_after = not_before.saturating_add_unsigned(ROOT_LIFETIME.as_secs());
    let mut params = params(Validity { not_before, not_after })?;
    // The number keeps roots apart: checkers look a root up by its name.
    params.distinguished_name.push(DnType::CommonName, format!("{name} {:08x}", u32::from_be_bytes(crate::random())));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    name: &str,
    usage: ExtendedKeyUsagePurpose,
    root: Validity,
    now: i64,
    lifetime: Duration,
) -> Result<CertificateParams, IssueError> {
    if now > root.not_after {
        return Err(IssueError::RootExpired);
    }
    let not_after = now.saturating_add_unsigned(lifetime.as_secs()).min(root.not_after);
    let mut params = params(Validity { not_before: root.not_before, not_after })?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn params(validity: Validity) -> Result<CertificateParams, IssueError> {
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
    root: &CertificateDer<'_>,
    root_key: &impl SigningKey,
) -> Result<CertificateDer<'static>, IssueError> {
    let issuer = rcgen::Issuer::from_ca_cert_der(root, root_key)?;
    Ok(params.signed_by(subject, &issuer)?.der().clone())
}

fn uri(text: String) -> Result<SanType, IssueError> {
    Ok(SanType::URI(text.try_into()?))
}

fn https_name(text: &str) -> Result<SanType, IssueError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refused = || IssueError::HttpsName(text.to_owned());
    rustls::pki_types::DnsName::try_from(text).map_err(|_| refused())?;
    Ok(SanType::DnsName(text.try_into().map_err(|_| refused())?))
}

/// An ML-DSA-87 key that rcgen can sign with; rcgen's own key type cannot be read back from a file.
struct MlDsa87Key(PqdsaKeyPair);

impl MlDsa87Key {
    fn generate() -> Result<Self, IssueError> {
        Ok(Self(PqdsaKeyPair::generate(&ML_DSA_87_SIGNING)?))
    }

    fn from_pkcs8(key: &PrivateKeyDer<'_>) -> Result<Self, IssueError> {
        Ok(Self(PqdsaKeyPair::from_pkcs8(&ML_DSA_87_SIGNING, key.secret_der())?))
    }

    fn pkcs8(&self) -> Result<PrivateKeyDer<'static>, IssueError> {
        Ok(PrivatePkcs8KeyDer::from(self.0.to_pkcs8v1()?.as_ref().to_vec()).into())
    }
}

impl PublicKeyData for MlDsa87Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ML_DSA_87
    }
}

impl SigningKey for MlDsa87Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut signature = vec![0; ML_DSA_87_SIGNING.signature_len()];
        let len = self.0.sign(message, &mut signature).map_err(|_| rcgen::Error::RemoteKeyError)?;
        signature.truncate(len);
        Ok(signature)
    }
}

#[cfg(test)]
impl FleetRoot {
    /// A leaf that no method above would issue.
    pub(crate) fn forge(
        &self,
        subject: &impl PublicKeyData,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let now = self.trust.validity().not_before + BACKDATED;
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let mut params =
            leaf_params("h1", usage, self.trust.validity(), now, INIT_LEAF_LIFETIME).expect("params of a leaf");
        params.subject_alt_names = vec![uri(format!("{}/agent/h1", self.trust.trust_domain().uri())).expect("a URI")];
        change(&mut params);
        sign(&params, subject, self.trust.root(), &self.key).expect("signed")
    }
}
