//! Identity and trust as their files have them, for `dsmil-agent check`.

use super::AgentConfig;
use dsmil_crypto::identity::{Identity, IdentityError};
use dsmil_crypto::trust::{Trust, TrustError};
use serde::Serialize;

/// What the files say.
#[derive(Debug)]
pub struct CredentialFacts {
    /// Who the agent is.
    pub identity: Result<IdentityFacts, IdentityError>,
    /// Whom it trusts.
    pub trust: Result<TrustFacts, TrustError>,
}

/// Who an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityFacts {
    /// Its SPIFFE ID.
    pub spiffe_id: String,
    /// The first digits of its key's fingerprint.
    pub key: String,
    /// The last second of its certificate, since 1970.
    pub not_after_s: i64,
}

/// Whom an agent trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrustFacts {
    /// The fleet.
    pub trust_domain: String,
    /// The bundle's version.
    pub version: u64,
    /// The bundle's last second, since 1970.
    pub expires_s: i64,
    /// The first digits of each root's fingerprint.
    pub roots: Vec<String>,
}

impl AgentConfig {
    /// Reads identity and trust.
    pub fn credentials(&self) -> CredentialFacts {
        let identity = Identity::load(&self.identity.file).and_then(|identity| IdentityFacts::of(&identity));
        CredentialFacts { identity, trust: Trust::load(&self.identity.trust).map(|trust| TrustFacts::of(&trust)) }
    }
}

impl IdentityFacts {
    /// What there is to say of an identity.
    pub fn of(identity: &Identity) -> Result<Self, IdentityError> {
        Ok(Self {
            spiffe_id: identity.id().to_string(),
            key: identity.key_fingerprint()?.short(),
            not_after_s: identity.validity().not_after,
        })
    }
}

impl TrustFacts {
    /// What there is to say of a bundle.
    pub fn of(trust: &Trust) -> Self {
        Self {
            trust_domain: trust.trust_domain().to_string(),
            version: trust.version(),
            expires_s: trust.bundle().expires_s,
            roots: trust.roots().map(|(fingerprint, _)| fingerprint.short()).collect(),
        }
    }
}
