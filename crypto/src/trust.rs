//! The trust bundle in force, and the root that a host pins when it joins.

use std::path::Path;
use std::sync::Arc;

use dsmil_authority::{BundleError, Fingerprint, Issuer, MAX_BUNDLE_LEN, SignedBundle, TrustBundle, accept};
use rustls::pki_types::CertificateDer;

use crate::files::{self, FileError};
use crate::identity::Identity;
use crate::issue::FleetRoot;
use crate::key::{key_fingerprint, sha384, verify};
use crate::spiffe::{SpiffeError, TrustDomain};
use crate::x509::{self, CertificateError, Validity};

/// A verified trust bundle. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Trust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bundle: TrustBundle,
    bytes: Vec<u8>,
    trust_domain: TrustDomain,
    roots: Vec<Root>,
    issuers: Vec<KnownIssuer>,
    anchors: Vec<CertificateDer<'static>>,
}

/// A root of a bundle and its fingerprint.
type Root = (Fingerprint, CertificateDer<'static>);

/// An issuer of a bundle, as its leaves name it.
#[derive(Debug)]
struct KnownIssuer {
    /// SHA-384 of its subject.
    subject: Fingerprint,
    /// Of its key.
    key: Fingerprint,
    /// Of each of its certificates.
    validities: Vec<Validity>,
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
        let pinned = first.0.roots.iter().filter(|(fingerprint, _)| fingerprint == root);
        let (pinned, expired) = by_time(pinned, now_s)?;
        signed.verify(&pinned, fits).map_err(|error| name_expired(error, &signed, &expired))?;
        if first.trust_domain() != domain {
            let (found, ours) = (first.bundle().trust_domain.clone(), domain.to_string());
            return Err(BundleError::TrustDomain { found, ours }.into());
        }
        if first.is_expired(now_s) {
            return Err(BundleError::Expired(first.bundle().expires_s).into());
        }
        Ok(first)
    }

    /// Takes a newer bundle in the place of this one, if a root signs for it whose own time is not over: what a key was good
    /// for ends with its certificate.
    pub fn accept(&self, bytes: &[u8], now_s: i64) -> Result<Self, TrustError> {
        let signed = SignedBundle::decode(bytes)?;
        let (roots, expired) = by_time(&self.0.roots, now_s)?;
        let bundle = accept(&self.0.bundle, &roots, &signed, now_s, fits)
            .map_err(|error| name_expired(error, &signed, &expired))?;
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
        let issuers = bundle.issuers.iter().map(KnownIssuer::of).collect::<Result<Vec<_>, _>>()?;
        let same_name = |(at, issuer): (usize, &KnownIssuer)| issuers[..at].iter().any(|i| i.subject == issuer.subject);
        if issuers.iter().enumerate().any(same_name) {
            return Err(TrustError::Issuers);
        }
        // Any certificate of an issuer will do: as anchors only their subject and key count.
        let first = |issuer: &Issuer| issuer.certificates.first().cloned();
        let anchors = bundle.issuers.iter().filter_map(first).map(CertificateDer::from).collect();
        Ok(Self(Arc::new(Inner { bundle, bytes: bytes.to_vec(), trust_domain, roots, issuers, anchors })))
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

    /// Whose leaves are good on the fleet link, while [`Self::judge_issuer`] has nothing against them.
    pub(crate) fn anchors(&self) -> &[CertificateDer<'static>] {
        &self.0.anchors
    }

    /// What there is against the issuer that a leaf names, whoever has signed the leaf in truth. Chains of rustls do not look
    /// at that: to it an anchor is a name and a key, without an end.
    pub(crate) fn judge_issuer(&self, leaf: &[u8], now_s: i64) -> Result<IssuerStanding, CertificateError> {
        let name = x509::issuer_hash(leaf)?;
        if self.0.bundle.retired.contains(&name) {
            return Ok(IssuerStanding::Retired);
        }
        let Some(issuer) = self.0.issuers.iter().find(|issuer| issuer.subject == name) else {
            return Ok(IssuerStanding::Unknown);
        };
        if self.is_revoked(&issuer.key) {
            return Ok(IssuerStanding::Revoked);
        }
        let in_time = issuer.validities.iter().any(|validity| validity.not_after >= now_s);
        Ok(if in_time { IssuerStanding::Good } else { IssuerStanding::Expired })
    }

    /// Whether the bundle shuts a key out.
    pub(crate) fn is_revoked(&self, key: &Fingerprint) -> bool {
        self.0.bundle.revoked.contains(key)
    }
}

/// What a bundle says about the issuer that a leaf names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IssuerStanding {
    /// It is in the bundle and in its time.
    Good,
    /// The bundle does not name it.
    Unknown,
    /// It was in an earlier bundle.
    Retired,
    /// Its key is shut out.
    Revoked,
    /// All its certificates have expired.
    Expired,
}

impl KnownIssuer {
    /// All certificates of an issuer are of one subject and one key.
    fn of(issuer: &Issuer) -> Result<Self, TrustError> {
        let facts = |der: &Vec<u8>| -> Result<_, CertificateError> {
            let certificate = CertificateDer::from(der.as_slice());
            let key = key_fingerprint(&x509::public_key(&certificate)?);
            Ok(((x509::subject_hash(der)?, key), x509::validity(&certificate)?))
        };
        let facts = issuer.certificates.iter().map(facts).collect::<Result<Vec<_>, _>>()?;
        let &((subject, key), _) = facts.first().ok_or(TrustError::Issuers)?;
        if facts.iter().any(|(who, _)| *who != (subject, key)) {
            return Err(TrustError::Issuers);
        }
        Ok(Self { subject, key, validities: facts.into_iter().map(|(_, validity)| validity).collect() })
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
    /// An issuer's certificates are not of one subject and key, or two issuers have the same subject.
    #[error("the trust bundle lists certificates of different keys as one issuer: make it anew")]
    Issuers,
    /// A root that is trusted here has signed it, but that root's own time is over.
    #[error(
        "bundle_root_expired: the root that has signed the trust bundle has expired: have one signed by the root that followed it"
    )]
    RootExpired,
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
            Self::Certificate(_) | Self::Name(_) | Self::Issuers | Self::RootOfAnotherDomain => "bundle_malformed",
            Self::RootExpired => "bundle_root_expired",
            Self::Sign => "bundle_unsigned",
            Self::File(_) => "bundle_file",
        }
    }
}

/// Roots that are in their time, and the others. An early clock is no reason against one.
fn by_time<'a>(roots: impl IntoIterator<Item = &'a Root>, now_s: i64) -> Result<(Vec<Root>, Vec<Root>), TrustError> {
    let (mut in_time, mut expired) = (vec![], vec![]);
    for root in roots {
        let list = if x509::validity(&root.1)?.not_after >= now_s { &mut in_time } else { &mut expired };
        list.push(root.clone());
    }
    Ok((in_time, expired))
}

/// Tells a signature of a root of the past from none at all.
fn name_expired(error: BundleError, signed: &SignedBundle, expired: &[Root]) -> TrustError {
    let late = |signer| expired.iter().any(|(fingerprint, _)| *fingerprint == signer);
    if error == BundleError::OtherRoot && signed.signers().any(late) { TrustError::RootExpired } else { error.into() }
}

fn roots_of(bundle: &TrustBundle) -> Vec<Root> {
    let root = |der: &Vec<u8>| (sha384(der), CertificateDer::from(der.clone()));
    bundle.roots.iter().map(root).collect()
}

fn fits(root: &CertificateDer<'static>, statement: &[u8], signature: &[u8]) -> bool {
    x509::public_key(root).is_ok_and(|key| verify(&key, statement, signature))
}
