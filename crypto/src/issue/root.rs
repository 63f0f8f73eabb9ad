//! The fleet's root: certifies issuers and signs trust bundles. Its key belongs offline.

use super::{DAY, IssueError, issuer_params, root_params, sign, uri};
use crate::csr::CheckedCsr;
use crate::files;
use crate::identity::{IdentityError, Validity};
use crate::key::{SigningKey, sha384};
use crate::spiffe::TrustDomain;
use crate::x509;
use dsmil_authority::{Fingerprint, SignedBundle};
use rustls::pki_types::CertificateDer;
use std::path::Path;
use std::time::Duration;

/// How long an issuer's certificate is valid, if its root is valid for so long.
pub const ISSUER_LIFETIME: Duration = Duration::from_secs(3 * 365 * DAY);

/// The root with its key.
#[derive(Debug)]
pub struct FleetRoot {
    certificate: CertificateDer<'static>,
    trust_domain: TrustDomain,
    validity: Validity,
    key: SigningKey,
}

impl FleetRoot {
    /// Makes a root for a trust domain, valid from a day before `now` (Unix seconds) for ten years.
    pub fn create(trust_domain: &TrustDomain, now: i64) -> Result<Self, IssueError> {
        let key = SigningKey::generate()?;
        let mut params = root_params("DSMIL fleet root", ROOT_DEPTH, now)?;
        params.subject_alt_names = vec![uri(trust_domain.uri())?];
        Self::new(params.self_signed(&key)?.der().clone(), key)
    }

    /// Reads a root with its key from PEM files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, IssueError> {
        let certificate = files::read_one(certificate).map_err(IdentityError::from)?;
        let key = SigningKey::from_pkcs8(&files::read_key(key).map_err(IdentityError::from)?)?;
        if x509::public_key(&certificate).map_err(IdentityError::from)? == key.public_key() {
            Self::new(certificate, key)
        } else {
            Err(IssueError::KeyMismatch)
        }
    }

    fn new(certificate: CertificateDer<'static>, key: SigningKey) -> Result<Self, IssueError> {
        let trust_domain = x509::trust_domain(&certificate).map_err(IdentityError::from)?;
        let validity = x509::validity(&certificate).map_err(IdentityError::from)?;
        Ok(Self { certificate, trust_domain, validity, key })
    }

    /// Writes certificate and key as PEM files, the key with mode 0600.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), IssueError> {
        files::write_key(key, &self.key.pkcs8()?).map_err(IdentityError::from)?;
        Ok(files::write_chain(certificate, std::slice::from_ref(&self.certificate)).map_err(IdentityError::from)?)
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What join tokens name it by.
    pub fn fingerprint(&self) -> Fingerprint {
        sha384(&self.certificate)
    }

    /// The fleet it is the root of.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// When it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Certifies the holder of a key as an issuer. Called again for the same key by another root it gives the same
    /// subject, so that either certificate leads to the issuer's leaves.
    pub fn certify_issuer(
        &self,
        name: &str,
        request: &CheckedCsr,
        now: i64,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let params = issuer_params(name, &request.fingerprint(), self.validity, now)?;
        sign(&params, request, &self.certificate, &self.key)
    }

    /// Signs a trust bundle.
    pub fn sign_bundle(&self, bundle: &mut SignedBundle) -> Result<(), IssueError> {
        let signature = self.key.sign(&bundle.statement())?;
        bundle.sign(self.fingerprint(), signature);
        Ok(())
    }
}

/// Issuers below it, and leaves below those.
const ROOT_DEPTH: u8 = 1;
