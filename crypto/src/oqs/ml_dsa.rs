//! Signatures with ML-DSA-87 (FIPS 204), the context string empty, as X.509 (RFC 9881) and TLS want them.
//!
//! # Stored keys
//!
//! RFC 9881 has three forms of a private key: the 32 bytes of seed, the 4896 bytes that a seed expands to, and both.
//! aws-lc writes the seed. liboqs has no function that takes a seed, nor one that gives it away, so a key that it has
//! generated is written expanded; aws-lc reads that form too. A key that was read is written again as it was read.
//!
//! Reading is aws-lc's part in this module: it knows all three forms, expands a seed, and computes the public key, which
//! is in none of them and for which liboqs has no function either. In an expanded key it finds every byte that does not
//! fit the others: all but the 32 of `K`, which is mixed into the randomness of signatures and may be anything.

use std::fmt;
use std::sync::LazyLock;

use ::oqs::sig::{Algorithm, Sig};
use aws_lc_rs::encoding::{AsRawBytes as _, PqdsaPrivateKeyRaw};
use aws_lc_rs::signature::{KeyPair as _, ML_DSA_87_SIGNING, PqdsaKeyPair};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use zeroize::Zeroizing;

/// Verifies signatures under 2.16.840.1.101.3.4.3.19 (`id-ml-dsa-87`, no parameters), computed by liboqs.
pub(crate) static ML_DSA_87: &dyn SignatureVerificationAlgorithm = &MlDsa87;

/// liboqs' table of functions for the algorithm; it has no state.
static SIG: LazyLock<Sig> = LazyLock::new(|| {
    ::oqs::init();
    Sig::new(Algorithm::MlDsa87).expect("liboqs is built with ML-DSA")
});

#[derive(Debug)]
struct MlDsa87;

impl SignatureVerificationAlgorithm for MlDsa87 {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let public_key = SIG.public_key_from_bytes(public_key).ok_or(InvalidSignature)?;
        let signature = SIG.signature_from_bytes(signature).ok_or(InvalidSignature)?;
        SIG.verify(message, signature, public_key).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ML_DSA_87
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ML_DSA_87
    }
}

/// An ML-DSA-87 key that liboqs signs with. Its secrets are wiped when it is dropped.
pub(crate) struct SigningKey {
    expanded: Zeroizing<Vec<u8>>,
    public: Vec<u8>,
    /// As it was read or will be written: a seed that was read is in here only.
    pkcs8: Zeroizing<Vec<u8>>,
}

impl SigningKey {
    /// Makes a key.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        let (public, expanded) = SIG.keypair()?;
        let expanded = Zeroizing::new(expanded.into_vec());
        let pkcs8 = expanded_to_pkcs8(&expanded);
        Ok(Self { expanded, public: public.into_vec(), pkcs8 })
    }

    /// Reads a PKCS #8 key in any of the three forms.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let read = PqdsaKeyPair::from_pkcs8(&ML_DSA_87_SIGNING, pkcs8)?;
        let expanded: PqdsaPrivateKeyRaw<'static> = read.private_key().as_raw_bytes()?;
        Ok(Self {
            expanded: Zeroizing::new(expanded.as_ref().to_vec()),
            public: read.public_key().as_ref().to_vec(),
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
        })
    }

    /// The key as PKCS #8 (version 1): as it was read, or in the expanded form if it was generated.
    pub(crate) fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.pkcs8.clone()
    }

    /// The public key as FIPS 204 encodes it: 2592 bytes.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Signs a message with fresh randomness (FIPS 204's hedged variant): 4627 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let key = SIG.secret_key_from_bytes(&self.expanded).expect("as long as liboqs or aws-lc made it");
        Ok(SIG.sign(message, key)?.into_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

/// Why a key cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Not a key, one of another kind, or one whose parts do not fit.
    #[error("no ML-DSA-87 key, or a damaged one: give the file that the key was written to")]
    Rejected(#[from] aws_lc_rs::error::KeyRejected),
    /// The key was read and cannot be expanded.
    #[error("the key could not be expanded: aws-lc failed")]
    Expansion(#[from] aws_lc_rs::error::Unspecified),
    /// No key, or no signature.
    #[error("liboqs failed")]
    Liboqs(#[from] ::oqs::Error),
}

/// PKCS #8 (RFC 5958, version 1) around RFC 9881's `expandedKey`.
fn expanded_to_pkcs8(expanded: &[u8]) -> Zeroizing<Vec<u8>> {
    const VERSION_AND_ALGORITHM: [u8; 5] = [0x02, 0x01, 0x00, SEQUENCE, 11];
    let algorithm = alg_id::ML_DSA_87;
    let inner = HEADER + expanded.len();
    let outer = VERSION_AND_ALGORITHM.len() + algorithm.len() + HEADER + inner;
    // A vector that grows leaves copies of the key behind.
    let mut pkcs8 = Zeroizing::new(Vec::with_capacity(HEADER + outer));
    pkcs8.extend(header(SEQUENCE, outer));
    pkcs8.extend(VERSION_AND_ALGORITHM);
    pkcs8.extend(algorithm.as_ref());
    pkcs8.extend(header(OCTET_STRING, inner));
    pkcs8.extend(header(OCTET_STRING, expanded.len()));
    pkcs8.extend(expanded);
    pkcs8
}

/// Bytes of a DER header that [`header`] makes.
const HEADER: usize = 4;
const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;

/// Tag and length of a DER value with 256 to 65535 bytes.
fn header(tag: u8, len: usize) -> [u8; HEADER] {
    let [high, low] = u16::try_from(len).expect("a key has a few thousand bytes").to_be_bytes();
    [tag, 0x82, high, low]
}
