//! What a trust bundle says, and its limits.

use crate::Fingerprint;
use serde::{Deserialize, Serialize};

/// Bytes of a signed bundle: two roots, four issuers certified by both, and four signatures are 100 KB.
pub const MAX_BUNDLE_LEN: usize = 128 << 10;
/// Roots at once: the one in force and the one that follows it, and one that was lost on the way.
pub(crate) const MAX_ROOTS: usize = 3;
/// Issuers at once: a handful of aggregators, each with the key that follows.
const MAX_ISSUERS: usize = 8;
/// Keys that may sign orders, each some 2.6 KB.
const MAX_ORDER_KEYS: usize = 8;
/// Keys that are shut out, 48 bytes each. Expired ones need not stay.
const MAX_REVOKED: usize = 512;
/// Retired issuers that are told apart from unknown ones, 48 bytes each.
const MAX_RETIRED: usize = 64;
/// Bytes of a certificate of ours: key and signature of ML-DSA-87 are 7.2 KB of it.
const MAX_CERTIFICATE_LEN: usize = 12 << 10;
/// Bytes of a raw public key.
const MAX_KEY_LEN: usize = 4 << 10;
/// Bytes of a name: a trust domain is the longest.
const MAX_NAME_LEN: usize = 253;

/// Whom a fleet trusts, as its root has signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundle {
    /// Grows with every bundle of the fleet, from 1.
    pub version: u64,
    /// The fleet.
    pub trust_domain: String,
    /// When it was signed, Unix seconds.
    pub issued_s: i64,
    /// The last second in which it counts, Unix seconds.
    pub expires_s: i64,
    /// Roots whose signature the next bundle may carry: certificates, DER. Two while one root follows another.
    pub roots: Vec<Vec<u8>>,
    /// Who may sign leaves.
    pub issuers: Vec<Issuer>,
    /// Keys that orders may be signed with.
    pub order_keys: Vec<OrderKey>,
    /// Keys (SHA-384 of their SubjectPublicKeyInfo) that are shut out although their certificates are sound.
    pub revoked: Vec<Fingerprint>,
    /// Issuers (SHA-384 of their subject, DER) that were in an earlier bundle: so that a refusal can tell a leaf of the past
    /// from one of a stranger.
    pub retired: Vec<Fingerprint>,
}

/// A key that signs leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Its name, for people.
    pub name: String,
    /// One certificate for each root that vouches for it, all of the same subject and key: DER.
    pub certificates: Vec<Vec<u8>>,
}

/// A key that orders may be signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderKey {
    /// Whose it is, for people.
    pub name: String,
    /// The raw public key.
    pub public_key: Vec<u8>,
}

impl TrustBundle {
    /// Whether the bundle keeps its limits and could be one at all.
    pub(crate) fn check(&self) -> Result<(), BundleError> {
        let certificates = |list: &[Vec<u8>], most: usize| {
            (1..=most).contains(&list.len()) && list.iter().all(|der| (1..=MAX_CERTIFICATE_LEN).contains(&der.len()))
        };
        let named = |name: &str| (1..=MAX_NAME_LEN).contains(&name.len()) && !name.contains(char::is_control);
        let issuer = |issuer: &Issuer| named(&issuer.name) && certificates(&issuer.certificates, MAX_ROOTS);
        let order_key = |key: &OrderKey| named(&key.name) && (1..=MAX_KEY_LEN).contains(&key.public_key.len());
        let sound = self.version > 0
            && named(&self.trust_domain)
            && self.issued_s <= self.expires_s
            && certificates(&self.roots, MAX_ROOTS)
            && self.issuers.len() <= MAX_ISSUERS
            && self.issuers.iter().all(issuer)
            && self.order_keys.len() <= MAX_ORDER_KEYS
            && self.order_keys.iter().all(order_key)
            && self.revoked.len() <= MAX_REVOKED
            && self.retired.len() <= MAX_RETIRED;
        if sound { Ok(()) } else { Err(BundleError::Limits) }
    }
}

/// Why a bundle was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not a bundle at all.
    #[error("bundle_malformed: these bytes are no signed trust bundle: fetch it again")]
    Malformed,
    /// Of a format that this program does not know.
    #[error("bundle_format: the trust bundle is of format {0}, which this program does not know: upgrade it")]
    Format(u8),
    /// Lists over their limits, or fields that contradict each other.
    #[error("bundle_limits: the trust bundle has too many entries or contradicts itself: make it anew")]
    Limits,
    /// Of another fleet.
    #[error("bundle_trust_domain: the trust bundle is of {found}, this is {ours}: take the one of this fleet")]
    TrustDomain {
        /// Whose it is.
        found: String,
        /// Where we are.
        ours: String,
    },
    /// Not newer than the one that is held.
    #[error("bundle_older: the trust bundle has version {found}, version {held} is in force: take a newer one")]
    Older {
        /// Its version.
        found: u64,
        /// Ours.
        held: u64,
    },
    /// Its time is over.
    #[error("bundle_expired: the trust bundle expired at {0} (Unix seconds): have the root sign a new one")]
    Expired(i64),
    /// No root that is trusted here has signed it.
    #[error(
        "bundle_other_root: no root that is trusted here has signed this trust bundle: have it signed by the fleet's root"
    )]
    OtherRoot,
    /// A trusted root's signature does not fit: somebody has changed it.
    #[error("bundle_altered: the root's signature does not fit the trust bundle: somebody has altered it")]
    Altered,
}

impl BundleError {
    /// The short name for logs, counters and tests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Malformed => "bundle_malformed",
            Self::Format(_) => "bundle_format",
            Self::Limits => "bundle_limits",
            Self::TrustDomain { .. } => "bundle_trust_domain",
            Self::Older { .. } => "bundle_older",
            Self::Expired(_) => "bundle_expired",
            Self::OtherRoot => "bundle_other_root",
            Self::Altered => "bundle_altered",
        }
    }
}
