//! What joining tells while it happens and when it is done.

use crate::config::TrustFacts;
use dsmil_protocol::ids::HostName;
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// One step, as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The token reads.
    Token {
        /// Whom it is for.
        host: HostName,
        /// Which fleet.
        domain: String,
        /// The first digits of its root's fingerprint.
        root: String,
    },
    /// A join port is called.
    Connecting(String),
    /// It has shown the root that the token names, and proved that it speaks for it.
    Pinned {
        /// Where it is.
        address: SocketAddr,
        /// The first digits of the root's fingerprint.
        root: String,
    },
    /// A certificate is asked for.
    Asked {
        /// The first digits of the key's fingerprint.
        key: String,
    },
    /// A file is written.
    Written(PathBuf),
    /// A file that was there is left as it is.
    Kept(PathBuf),
    /// The file that was kept says something else than the centre.
    Differs(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { host, domain, root } => write!(f, "token       for host {host} of {domain}, root {root}"),
            Self::Connecting(address) => write!(f, "connecting  {address}"),
            Self::Pinned { address, root } => write!(f, "pinned      {address} speaks for root {root}"),
            Self::Asked { key } => write!(f, "requested   a certificate for key {key}, which stays on this host"),
            Self::Written(path) => write!(f, "written     {}", path.display()),
            Self::Kept(path) => write!(f, "kept        {}, which was there", path.display()),
            Self::Differs(difference) => write!(f, "differs     {difference}"),
        }
    }
}

/// A host that has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// Its name.
    pub host: String,
    /// Its SPIFFE ID.
    pub spiffe_id: String,
    /// The fingerprint of its key, as the aggregator's registry knows it.
    pub key: String,
    /// The fingerprint of the root that was pinned.
    pub root: String,
    /// The join port that answered.
    pub aggregator: String,
    /// The last second of its certificate, since 1970; the agent renews it before.
    pub not_after_s: i64,
    /// Whom it trusts.
    pub trust: TrustFacts,
    /// What was written or kept.
    pub files: Vec<PathBuf>,
    /// On what the agent.toml that was kept and the centre disagree.
    pub differences: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}
