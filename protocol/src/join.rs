//! The join port: how a host gets its first identity, and every later one.
//!
//! One request and one answer on each bidirectional stream, both in the same shape:
//!
//! | size | field |
//! |---|---|
//! | 4 | length of what follows, big-endian |
//! | 1 | version, 1 |
//! | the rest | [`JoinRequest`] or [`JoinAnswer`] in postcard |
//!
//! Whoever joins has no identity yet: only the server is authenticated, and a request proves itself by a token's secret
//! or by a signature of the enrolled key. So everything here comes from strangers. A length is judged by [`length`]
//! before room is made for what it announces; then a message is read whole or refused: trailing bytes, a list or a text
//! over its bound, another version. The certificates, requests and proofs inside are bytes here; crate `crypto` judges
//! them.

use crate::error::ErrorCode;
use crate::ids::{DeviceId, HostName, TenantId};
use crate::message::{MAX_DEVICES, MAX_TEXT_LEN, clip};
use crate::tlv::{Classification, Compartments};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The one version of this protocol.
pub const JOIN_VERSION: u8 = 1;
/// Bytes of the length that comes first.
pub const PREFIX_LEN: usize = 4;
/// Bytes of a certificate request: one with post-quantum key and signature has 7.3 KiB, so this is twice that.
pub const MAX_CSR_LEN: usize = 16 << 10;
/// Bytes of a leaf certificate: as a request, with the issuer's names and dates in it.
pub const MAX_LEAF_LEN: usize = 16 << 10;
/// Bytes of a trust bundle: certificates of two roots and of a handful of issuers, each signed by both roots, are 7.4 KiB
/// each; order keys and signatures are smaller, and there are few.
pub const MAX_BUNDLE_LEN: usize = 128 << 10;
/// Bytes of an enrolled public key, of 2,592 today.
pub const MAX_PUBLIC_KEY_LEN: usize = 4 << 10;
/// Bytes of the signature that proves a renewal, of 4,627 today.
pub const MAX_PROOF_LEN: usize = 8 << 10;
/// Addresses of one port that a host is told.
pub const MAX_ADDRESSES: usize = 16;
/// Bytes of one address: a DNS name of 255 (RFC 1035, section 2.3.4), a colon and a port fit.
pub const MAX_ADDRESS_LEN: usize = 262;
/// What a length in front of a request may say: the largest request, a renewal, is 28 KiB and its host's name.
pub const MAX_REQUEST_LEN: usize = 40 << 10;
/// What a length in front of an answer may say: leaf and bundle at their largest are 144 KiB, the settings 9 KiB.
pub const MAX_ANSWER_LEN: usize = 160 << 10;

/// The label under which both ends export keying material of their connection for a renewal's proof (RFC 8446,
/// section 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-dsmil-renew";
/// Bytes exported, and bytes of the hash of a certificate request.
pub const EXPORTER_LEN: usize = 48;
/// What a renewal's statement starts with, so that a signature over it is good for nothing else.
const RENEWAL_LABEL: &[u8; 15] = b"dsmil renew v1\0";

/// What a host asks of the join port.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinRequest {
    /// A first identity, for a token.
    Join {
        /// The host that the token is for.
        host: HostName,
        /// The token's secret.
        secret: [u8; 32],
        /// A certificate request (PKCS #10, DER) for the host's new key. Only the key in it counts.
        csr: Vec<u8>,
    },
    /// The next identity, for possession of the key that is enrolled.
    Renew {
        /// The host.
        host: HostName,
        /// The enrolled public key, raw.
        public_key: Vec<u8>,
        /// A certificate request (PKCS #10, DER) for the host's next key.
        csr: Vec<u8>,
        /// The enrolled key's signature over [`renewal_statement`].
        proof: Vec<u8>,
    },
    /// The newest trust bundle. Anybody may ask: it is public and proves itself.
    Bundle {
        /// The version held.
        held: u64,
    },
}

/// What the join port answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// To [`JoinRequest::Join`] and [`JoinRequest::Renew`]: an identity.
    Granted(Box<Granted>),
    /// To [`JoinRequest::Bundle`]: a newer bundle.
    Bundle(Vec<u8>),
    /// To [`JoinRequest::Bundle`]: the bundle held is the newest.
    UpToDate,
    /// No.
    Refused {
        /// [`ErrorCode::number`].
        code: u16,
        /// For people: what exactly.
        detail: String,
    },
}

/// What a host that joins or renews is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The certificate of the key in the request, DER.
    pub leaf: Vec<u8>,
    /// The newest trust bundle.
    pub bundle: Vec<u8>,
    /// Who the host is, and where it reports.
    pub settings: HostSettings,
}

/// What the centre's fleet file says of a host, as far as the host has to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSettings {
    /// The tenant of the aggregator.
    pub tenant: TenantId,
    /// The host's name.
    pub host: HostName,
    /// Classification of its telemetry.
    pub classification: Classification,
    /// Compartments of its telemetry; never the kinetic one.
    pub compartments: Compartments,
    /// Devices placed on it.
    pub devices: Vec<DeviceId>,
    /// Aggregators to report to, each `host:port` of the fleet link; [`MAX_ADDRESSES`] at most.
    pub aggregators: Vec<String>,
    /// Where to renew, each `host:port` of a join port; [`MAX_ADDRESSES`] at most.
    pub join_addresses: Vec<String>,
    /// What the fleet link's key exchange has to be.
    pub key_exchange: LinkPolicy,
}

/// Which key exchange the fleet link takes, and nothing else. What each means is in crate `crypto`, module `policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LinkPolicy {
    /// Post-quantum alone.
    #[default]
    Pure,
    /// Post-quantum and classical together: as strong as the stronger of the two.
    Hybrid,
}

impl JoinRequest {
    /// The bytes on the wire, the length first.
    pub fn encode(&self) -> Vec<u8> {
        debug_assert!(self.is_bounded(), "a sender keeps the bounds of a request");
        seal(self)
    }

    /// Reads what follows the length.
    pub fn decode(body: &[u8]) -> Result<Self, ErrorCode> {
        open(body, MAX_REQUEST_LEN, Self::is_bounded)
    }

    fn is_bounded(&self) -> bool {
        match self {
            Self::Join { csr, .. } => csr.len() <= MAX_CSR_LEN,
            Self::Renew { public_key, csr, proof, .. } => {
                public_key.len() <= MAX_PUBLIC_KEY_LEN && csr.len() <= MAX_CSR_LEN && proof.len() <= MAX_PROOF_LEN
            }
            Self::Bundle { .. } => true,
        }
    }
}

/// A token's secret is whoever holds it: it stays out of logs.
impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Join { host, csr, .. } => {
                f.debug_struct("Join").field("host", host).field("csr_len", &csr.len()).finish_non_exhaustive()
            }
            Self::Renew { host, csr, .. } => {
                f.debug_struct("Renew").field("host", host).field("csr_len", &csr.len()).finish_non_exhaustive()
            }
            Self::Bundle { held } => f.debug_struct("Bundle").field("held", held).finish(),
        }
    }
}

impl JoinAnswer {
    /// A refusal; of `detail` as much as one may carry.
    pub fn refused(code: ErrorCode, detail: &str) -> Self {
        Self::Refused { code: code.number(), detail: clip(detail) }
    }

    /// The bytes on the wire, the length first.
    pub fn encode(&self) -> Vec<u8> {
        debug_assert!(self.is_bounded(), "a sender keeps the bounds of an answer");
        seal(self)
    }

    /// Reads what follows the length.
    pub fn decode(body: &[u8]) -> Result<Self, ErrorCode> {
        open(body, MAX_ANSWER_LEN, Self::is_bounded)
    }

    fn is_bounded(&self) -> bool {
        match self {
            Self::Granted(granted) => {
                granted.leaf.len() <= MAX_LEAF_LEN
                    && granted.bundle.len() <= MAX_BUNDLE_LEN
                    && granted.settings.is_bounded()
            }
            Self::Bundle(bundle) => bundle.len() <= MAX_BUNDLE_LEN,
            Self::UpToDate => true,
            Self::Refused { detail, .. } => detail.len() <= MAX_TEXT_LEN,
        }
    }
}

impl HostSettings {
    /// Whether every list and text keeps its bound. A joining host takes no settings that do not, so whoever makes them
    /// out of configuration asks this first.
    pub fn is_bounded(&self) -> bool {
        let addresses = |list: &[String]| list.len() <= MAX_ADDRESSES && list.iter().all(|a| is_address(a));
        !self.compartments.is_kinetic()
            && self.devices.len() <= MAX_DEVICES
            && addresses(&self.aggregators)
            && addresses(&self.join_addresses)
    }
}

/// How many bytes follow the length that came first, if it is one that may be believed. Make room only then.
pub fn length(prefix: [u8; PREFIX_LEN], max: usize) -> Result<usize, ErrorCode> {
    usize::try_from(u32::from_be_bytes(prefix))
        .ok()
        // At least the version.
        .filter(|len| (1..=max).contains(len))
        .ok_or(ErrorCode::BadLength)
}

/// What the enrolled key signs to renew: it binds the new key's request to the one connection it is made on, so that
/// nobody can repeat it on another. `exporter` is that connection's keying material under [`EXPORTER_LABEL`],
/// `csr_hash` the SHA-384 of the request.
pub fn renewal_statement(exporter: &[u8; EXPORTER_LEN], csr_hash: &[u8; 48]) -> Vec<u8> {
    [&RENEWAL_LABEL[..], exporter, csr_hash].concat()
}

fn seal<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = vec![0; PREFIX_LEN];
    out.push(JOIN_VERSION);
    let mut out = postcard::to_extend(message, out).expect("writing to memory cannot fail");
    let len = u32::try_from(out.len() - PREFIX_LEN).expect("every part has a limit");
    out[..PREFIX_LEN].copy_from_slice(&len.to_be_bytes());
    out
}

fn open<T: DeserializeOwned>(body: &[u8], max: usize, is_bounded: fn(&T) -> bool) -> Result<T, ErrorCode> {
    let (version, payload) = body.split_first().filter(|_| body.len() <= max).ok_or(ErrorCode::BadLength)?;
    if *version != JOIN_VERSION {
        return Err(ErrorCode::NoCommonVersion);
    }
    // `max` bounds what this allots: postcard makes no room for a list that is longer than the bytes at hand.
    let (message, rest) = postcard::take_from_bytes::<T>(payload).map_err(|_| ErrorCode::PayloadMalformed)?;
    if rest.is_empty() && is_bounded(&message) { Ok(message) } else { Err(ErrorCode::PayloadMalformed) }
}

/// Something that a configuration file or a line of a log can hold; whether it leads anywhere is seen when it is tried.
fn is_address(text: &str) -> bool {
    (1..=MAX_ADDRESS_LEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
