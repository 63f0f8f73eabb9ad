//! A bundle with its signatures, as bytes: `"DSTB" | format 1 | postcard(body, signatures)`.
//!
//! What a root signs is a label and the body's own bytes, as they came: nothing is encoded again before it is checked.

use crate::Fingerprint;
use crate::bundle::{BundleError, MAX_BUNDLE_LEN, MAX_ROOTS, TrustBundle};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 4] = b"DSTB";
const FORMAT: u8 = 1;
/// Keeps a signature under a bundle from passing for one under anything else.
const LABEL: &[u8] = b"dsmil trust bundle v1\0";
/// Bytes of one signature: ML-DSA-87's are 4,627.
const MAX_SIGNATURE_LEN: usize = 8 << 10;

/// A bundle's bytes and who has signed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBundle {
    body: Vec<u8>,
    signatures: Vec<RootSignature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RootSignature {
    /// SHA-384 of the root's certificate.
    root: Fingerprint,
    bytes: Vec<u8>,
}

impl SignedBundle {
    /// A bundle that nobody has signed yet.
    ///
    /// # Errors
    /// It is over its limits.
    pub fn new(bundle: &TrustBundle) -> Result<Self, BundleError> {
        bundle.check()?;
        Ok(Self { body: postcard::to_allocvec(bundle).map_err(|_| BundleError::Limits)?, signatures: Vec::new() })
    }

    /// The bytes that a root signs.
    pub fn statement(&self) -> Vec<u8> {
        [LABEL, &self.body].concat()
    }

    /// Adds a root's signature over [`SignedBundle::statement`].
    pub fn sign(&mut self, root: Fingerprint, signature: Vec<u8>) {
        self.signatures.retain(|signed| signed.root != root);
        self.signatures.push(RootSignature { root, bytes: signature });
    }

    /// The roots that have signed.
    pub fn signers(&self) -> impl Iterator<Item = Fingerprint> {
        self.signatures.iter().map(|signed| signed.root)
    }

    /// The bundle as one file or message.
    pub fn encode(&self) -> Result<Vec<u8>, BundleError> {
        let bytes = postcard::to_allocvec(self).map_err(|_| BundleError::Limits)?;
        let bytes = [MAGIC, &[FORMAT][..], &bytes].concat();
        if bytes.len() <= MAX_BUNDLE_LEN { Ok(bytes) } else { Err(BundleError::Limits) }
    }

    /// Reads what [`SignedBundle::encode`] made. Nothing is verified yet.
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE_LEN {
            return Err(BundleError::Limits);
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(BundleError::Malformed)?;
        let (format, rest) = rest.split_first().ok_or(BundleError::Malformed)?;
        if *format != FORMAT {
            return Err(BundleError::Format(*format));
        }
        let (signed, rest): (Self, _) = postcard::take_from_bytes(rest).map_err(|_| BundleError::Malformed)?;
        let bounded = signed.signatures.len() <= MAX_ROOTS
            && signed.signatures.iter().all(|one| one.bytes.len() <= MAX_SIGNATURE_LEN);
        if rest.is_empty() && bounded { Ok(signed) } else { Err(BundleError::Malformed) }
    }

    /// What it says, before anybody has vouched for it.
    ///
    /// For showing a draft or opening one's own file; [`accept`] is for everything that comes from elsewhere.
    pub fn open(&self) -> Result<TrustBundle, BundleError> {
        let (bundle, rest): (TrustBundle, _) =
            postcard::take_from_bytes(&self.body).map_err(|_| BundleError::Malformed)?;
        if !rest.is_empty() {
            return Err(BundleError::Malformed);
        }
        bundle.check()?;
        Ok(bundle)
    }

    /// Whether one of `roots` (fingerprint and certificate) has signed it; `verify` checks a signature of a certificate's
    /// key over a statement.
    ///
    /// # Errors
    /// [`BundleError::Altered`] if a trusted root's signature does not fit, [`BundleError::OtherRoot`] if there is none.
    pub fn verify<R>(
        &self,
        roots: &[(Fingerprint, R)],
        verify: impl Fn(&R, &[u8], &[u8]) -> bool,
    ) -> Result<(), BundleError> {
        let statement = self.statement();
        let mut refused = BundleError::OtherRoot;
        for signed in &self.signatures {
            let Some((_, root)) = roots.iter().find(|(fingerprint, _)| *fingerprint == signed.root) else { continue };
            if verify(root, &statement, &signed.bytes) {
                return Ok(());
            }
            refused = BundleError::Altered;
        }
        Err(refused)
    }
}

/// Takes a bundle in the place of the one that is held: of the same fleet, signed by a root that the held one names,
/// newer, and not expired at `now_s` (Unix seconds).
///
/// The signature is checked before anything in the body is believed.
pub fn accept<R>(
    held: &TrustBundle,
    roots: &[(Fingerprint, R)],
    signed: &SignedBundle,
    now_s: i64,
    verify: impl Fn(&R, &[u8], &[u8]) -> bool,
) -> Result<TrustBundle, BundleError> {
    signed.verify(roots, verify)?;
    let bundle = signed.open()?;
    if bundle.trust_domain != held.trust_domain {
        return Err(BundleError::TrustDomain { found: bundle.trust_domain, ours: held.trust_domain.clone() });
    }
    if bundle.version <= held.version {
        return Err(BundleError::Older { found: bundle.version, held: held.version });
    }
    if bundle.expires_s < now_s {
        return Err(BundleError::Expired(bundle.expires_s));
    }
    Ok(bundle)
}
