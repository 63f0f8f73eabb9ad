//! An aggregator's issuer: signs the leaves of agents, and those of its aggregator.

use super::{IssueError, leaf_params, sign, uri};
use crate::csr::{self, CheckedCsr};
use crate::files;
use crate::identity::{Credential, Identity, IdentityError, Validity};
use crate::key::SigningKey;
use crate::spiffe::{Role, SpiffeId, TrustDomain};
use crate::x509;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::pki_types::CertificateDer;
use std::path::Path;
use std::time::Duration;

/// How long a leaf is valid: renewed from half of it on.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// An agent's leaf is valid from so long before it is issued: the aggregator's own clock may be set back a little later,
/// and the first second of its leaf is the earliest time that a host with a dead clock believes in.
pub const LEAF_BACKDATED: i64 = 24 * 60 * 60;

/// The key of an issuer, before or after a root has certified it.
#[derive(Debug)]
pub struct IssuerKey(SigningKey);

impl IssuerKey {
    /// Makes a new one.
    pub fn generate() -> Result<Self, IssueError> {
        Ok(Self(SigningKey::generate()?))
    }

    /// Reads it from a PEM file.
    pub fn load(path: &Path) -> Result<Self, IssueError> {
        let key = files::read_key(path).map_err(IdentityError::from)?;
        Ok(Self(SigningKey::from_pkcs8(&key)?))
    }

    /// Writes it as a PEM file of mode 0600.
    pub fn save(&self, path: &Path) -> Result<(), IssueError> {
        Ok(files::write_key(path, &self.0.pkcs8()?).map_err(IdentityError::from)?)
    }

    /// What a root certifies it by.
    pub fn request(&self) -> Result<Vec<u8>, IssueError> {
        Ok(csr::request(&self.0)?)
    }

    /// Whether a certificate is of this key.
    pub fn fits(&self, certificate: &[u8]) -> bool {
        x509::public_key(&CertificateDer::from(certificate)).is_ok_and(|found| found == self.0.public_key())
    }
}

/// An issuer that a root has certified.
#[derive(Debug)]
pub struct FleetIssuer {
    certificates: Vec<CertificateDer<'static>>,
    trust_domain: TrustDomain,
    validity: Validity,
    key: IssuerKey,
}

impl FleetIssuer {
    /// Takes a key and the certificates that roots have made for it, as a trust bundle lists them; one at least.
    pub fn new(certificates: &[Vec<u8>], trust_domain: TrustDomain, key: IssuerKey) -> Result<Self, IssueError> {
        let first = certificates.first().ok_or(IssueError::KeyMismatch)?;
        if !certificates.iter().all(|certificate| key.fits(certificate)) {
            return Err(IssueError::KeyMismatch);
        }
        let validity = x509::validity(&CertificateDer::from(first.as_slice())).map_err(IdentityError::from)?;
        let certificates = certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
        Ok(Self { certificates, trust_domain, validity, key })
    }

    /// When its leaves can be valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Makes an aggregator's key and leaf: for servers only, with the DNS name that agents ask for. Valid from the issuer's
    /// first second: a host that boots in 1970 takes that for the time.
    pub fn issue_aggregator(&self, name: &str, now: i64, lifetime: Duration) -> Result<Identity, IssueError> {
        let id = SpiffeId::new(self.trust_domain.clone(), Role::Aggregator, name)?;
        let dns = SanType::DnsName(self.trust_domain.aggregator_dns_name().try_into()?);
        let key = SigningKey::generate()?;
        let (usage, from) = (ExtendedKeyUsagePurpose::ServerAuth, self.validity.not_before);
        let mut params = leaf_params(name, usage, self.validity, from, now, lifetime)?;
        params.subject_alt_names = vec![uri(id.to_string())?, dns];
        let leaf = sign(&params, &key, &self.certificates[0], &self.key.0)?;
        Ok(Identity::new(Credential { chain: vec![leaf], key: key.pkcs8()? })?)
    }

    /// Makes an agent's leaf for the key of a request: for clients only, named after the host.
    pub fn issue_agent(
        &self,
        host: &str,
        request: &CheckedCsr,
        now: i64,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let id = SpiffeId::new(self.trust_domain.clone(), Role::Agent, host)?;
        let from = now.saturating_sub(LEAF_BACKDATED).max(self.validity.not_before);
        let mut params = leaf_params(host, ExtendedKeyUsagePurpose::ClientAuth, self.validity, from, now, lifetime)?;
        params.subject_alt_names = vec![uri(id.to_string())?];
        sign(&params, request, &self.certificates[0], &self.key.0)
    }
}

#[cfg(test)]
impl FleetIssuer {
    /// A leaf that no method above would issue.
    pub(crate) fn forge(
        &self,
        subject: &impl rcgen::PublicKeyData,
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> CertificateDer<'static> {
        let now = self.validity.not_before + LEAF_BACKDATED;
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let mut params = leaf_params("h1", usage, self.validity, self.validity.not_before, now, LEAF_LIFETIME)
            .expect("params of a leaf");
        params.subject_alt_names = vec![uri(format!("{}/agent/h1", self.trust_domain.uri())).expect("a URI")];
        change(&mut params);
        sign(&params, subject, &self.certificates[0], &self.key.0).expect("signed")
    }
}
