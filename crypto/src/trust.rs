//! The trust bundle in force, and the root that a host pins when it joins.

use std::path::Path;
use std::sync::Arc;

use dsmil_authority::{BundleError, Fingerprint, MAX_BUNDLE_LEN, SignedBundle, TrustBundle, accept};
use rustls::pki_types::CertificateDer;

use crate::files::{self, FileError};
use crate::identity::Identity;
use crate::issue::FleetRoot;
use crate::key::{sha384, verify};
use crate::spiffe::{SpiffeError, TrustDomain};
use crate::x509::{self, CertificateError};

/// A verified trust bundle. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Trust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bundle: TrustBundle,
    bytes: Vec<u8>,
    trust_domain: TrustDomain,
    roots: Vec<(Fingerprint, CertificateDer<'static>)>,
    anchors: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Opens a bundle of our own: one that lies in a place that only we write, and is signed by a root that it names.
    ///
    /// Nothing is said of its time: one that has expired is good for asking for a newer one, and for nothing else.
    pub fn own(bytes: &[u8]) -> Result<Self, TrustError> {
        let signed = SignedBundle::decode(bytes)?;
        let bundle = signed.open()?;
        let roots = roots_of(&bundle);
        signed.verify(&roots, fits)?;
        Self::of(bundle, bytes)
    }

    /// Takes the first bundle of a fleet, by the root that a join token names.
    pub fn pinned(bytes: &[u8], root: &Fingerprint, domain: &TrustDomain, now_s: i64) -> Result<Self, TrustError> {
        let first = Self::own(bytes)?;
        let signed = SignedBundle::decode(bytes)?;
        let pinned: Vec<_> = first.0.roots.iter().filter(|(fingerprint, _)| fingerprint == root).cloned().collect();
        signed.verify(&pinned, fits)?;
        if first.trust_domain() != domain {
            let (found, ours) = (first.bundle().trust_domain.clone(), domain.to_string());
            return Err(BundleError::TrustDomain { found, ours }.into());
        }
        if first.is_expired(now_s) {
            return Err(BundleError::Expired(first.bundle().expires_s).into());
        }
        Ok(first)
    }

    /// Takes a newer bundle in the place of this one.
    pub fn accept(&self, bytes: &[u8], now_s: i64) -> Result<Self, TrustError> {
        let signed = SignedBundle::decode(bytes)?;
        let bundle = accept(&self.0.bundle, &self.0.roots, &signed, now_s, fits)?;
        // One of its own roots must have signed it too, or it could not be opened again after a restart.
        signed.verify(&roots_of(&bundle), fits)?;
        Self::of(bundle, bytes)
    }

    /// Reads [`Trust::own`] from a file.
    pub fn load(path: &Path) -> Result<Self, TrustError> {
        Self::own(&files::read_public(path, MAX_BUNDLE_LEN)?)
    }

    /// Writes the bundle to a file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), TrustError> {
        Ok(files::write_public(path, &self.0.bytes)?)
    }

    fn of(bundle: TrustBundle, bytes: &[u8]) -> Result<Self, TrustError> {
        let trust_domain = TrustDomain::new(bundle.trust_domain.as_str())?;
        let roots = roots_of(&bundle);
        for (_, root) in &roots {
            if x509::trust_domain(root)? != trust_domain {
                return Err(TrustError::RootOfAnotherDomain);
            }
        }
        // Any certificate of an issuer will do: as anchors only their subject and key count.
        let first = |issuer: &dsmil_authority::Issuer| issuer.certificates.first().cloned();
        let anchors = bundle.issuers.iter().filter_map(first).map(CertificateDer::from).collect();
        Ok(Self(Arc::new(Inner { bundle, bytes: bytes.to_vec(), trust_domain, roots, anchors })))
    }

    /// What it says.
    pub fn bundle(&self) -> &TrustBundle {
        &self.0.bundle
    }

    /// The signed bundle, as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.0.bundle.version
    }

    /// The fleet it is of.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// Whether its time is over at `now_s` (Unix seconds).
    pub fn is_expired(&self, now_s: i64) -> bool {
        now_s > self.0.bundle.expires_s
    }

    /// The roots that may sign the next one.
    pub fn roots(&self) -> impl Iterator<Item = (&Fingerprint, &CertificateDer<'static>)> {
        self.0.roots.iter().map(|(fingerprint, root)| (fingerprint, root))
    }

    /// What leads from a leaf to the roots: every certificate of the issuer that has signed it, and the roots.
    pub(crate) fn path_of(&self, identity: &Identity) -> Vec<Vec<u8>> {
        let signer = x509::issuer_hash(identity.credential().leaf());
        let is_signer =
            |der: &&Vec<u8>| matches!((x509::subject_hash(der), &signer), (Ok(subject), Ok(s)) if subject == *s);
        let certificates = self.bundle().issuers.iter().flat_map(|issuer| &issuer.certificates).filter(is_signer);
        certificates.chain(&self.bundle().roots).cloned().collect()
    }

    /// Whose leaves are good on the fleet link.
    pub(crate) fn anchors(&self) -> &[CertificateDer<'static>] {
        &self.0.anchors
    }
}

/// Whom a host trusts on the join port.
#[derive(Clone, Debug)]
pub enum JoinTrust {
    /// It has nothing yet but a token.
    Pinned {
        /// SHA-384 of the root's certificate.
        root: Fingerprint,
        /// The fleet.
        trust_domain: TrustDomain,
    },
    /// It was here before.
    Held(Trust),
}

impl JoinTrust {
    /// The fleet.
    pub fn trust_domain(&self) -> &TrustDomain {
        match self {
            Self::Pinned { trust_domain, .. } => trust_domain,
            Self::Held(trust) => trust.trust_domain(),
        }
    }

    /// The roots to judge by: our own, or that of the token among those the other side shows.
    pub(crate) fn roots_in(&self, shown: &[CertificateDer<'_>]) -> Vec<CertificateDer<'static>> {
        match self {
            Self::Pinned { root, .. } => {
                let pinned = shown.iter().find(|certificate| sha384(certificate) == *root);
                pinned.map(|certificate| certificate.clone().into_owned()).into_iter().collect()
            }
            Self::Held(trust) => trust.roots().map(|(_, root)| root.clone()).collect(),
        }
    }
}

/// Has roots sign a bundle, and makes bytes of it.
pub fn sign(bundle: &TrustBundle, roots: &[&FleetRoot]) -> Result<Vec<u8>, TrustError> {
    let mut signed = SignedBundle::new(bundle)?;
    for root in roots {
        root.sign_bundle(&mut signed).map_err(|_| TrustError::Sign)?;
    }
    Ok(signed.encode()?)
}

/// As bundles name an issuer that is retired.
pub fn retired_name(certificate: &[u8]) -> Result<Fingerprint, TrustError> {
    Ok(x509::subject_hash(certificate)?)
}

/// Why a bundle was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// What it says or who has signed it.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A certificate in it.
    #[error("a certificate in the trust bundle is none of ours")]
    Certificate(#[from] CertificateError),
    /// Its trust domain is none.
    #[error(transparent)]
    Name(#[from] SpiffeError),
    /// It names roots of several fleets.
    #[error("the trust bundle names the root of another fleet")]
    RootOfAnotherDomain,
    /// The root's key could not sign.
    #[error("the root's key could not sign")]
    Sign,
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl TrustError {
    /// The short name for logs, counters and tests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bundle(error) => error.name(),
            Self::Certificate(_) | Self::Name(_) | Self::RootOfAnotherDomain => "bundle_malformed",
            Self::Sign => "bundle_unsigned",
            Self::File(_) => "bundle_file",
        }
    }
}

fn roots_of(bundle: &TrustBundle) -> Vec<(Fingerprint, CertificateDer<'static>)> {
    let root = |der: &Vec<u8>| (sha384(der), CertificateDer::from(der.clone()));
    bundle.roots.iter().map(root).collect()
}

fn fits(root: &CertificateDer<'static>, statement: &[u8], signature: &[u8]) -> bool {
    x509::public_key(root).is_ok_and(|key| verify(&key, statement, signature))
}
