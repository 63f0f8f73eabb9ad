//! Who the agent is and whom it trusts, as the status tells it.

use crate::credentials::{Held, RenewalFacts};
use serde::{Deserialize, Serialize};

/// Who the agent is on the link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityStatus {
    /// Its SPIFFE ID.
    pub spiffe_id: String,
    /// The first digits of its key's fingerprint, as the aggregator's registry shows it.
    pub key: String,
    /// The first second of the certificate, since 1970.
    pub not_before_s: i64,
    /// The last second of the certificate, since 1970.
    pub not_after_s: i64,
    /// How renewing it goes.
    pub renewal: RenewalStatus,
}

/// How renewing the certificate goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalStatus {
    /// Seconds until the join port is asked next; absent if agent.toml names none, and then nothing is renewed.
    pub next_in_s: Option<u64>,
    /// Seconds since it was renewed last, by the agent that runs.
    pub renewed_s_ago: Option<u64>,
    /// The last attempt, if it failed.
    pub failed: Option<RenewalFailure>,
}

/// An attempt that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalFailure {
    /// Seconds since then.
    pub s_ago: u64,
    /// The short name of the reason.
    pub code: String,
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Whom the agent trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustStatus {
    /// The fleet.
    pub trust_domain: String,
    /// The version of the trust bundle.
    pub version: u64,
    /// Its last second, since 1970.
    pub expires_s: i64,
    /// Why the last bundle that came was refused, if it was.
    pub refused: Option<String>,
}

impl IdentityStatus {
    pub(crate) fn of(held: &Held, renewal: &RenewalFacts) -> Self {
        let (identity, validity) = (held.identity(), held.identity().validity());
        Self {
            spiffe_id: identity.id().to_string(),
            // Whatever was loaded or renewed has a key that could be read then.
            key: identity.key_fingerprint().map(|key| key.short()).unwrap_or_default(),
            not_before_s: validity.not_before,
            not_after_s: validity.not_after,
            renewal: RenewalStatus::of(renewal),
        }
    }
}

impl RenewalStatus {
    fn of(facts: &RenewalFacts) -> Self {
        let failed = facts.failed.clone().map(|(ago, failure)| RenewalFailure {
            s_ago: ago.as_secs(),
            code: failure.code,
            what: failure.what,
            remedy: failure.remedy,
        });
        Self {
            next_in_s: facts.next_in.map(|d| d.as_secs()),
            renewed_s_ago: facts.renewed_ago.map(|d| d.as_secs()),
            failed,
        }
    }
}

impl TrustStatus {
    pub(crate) fn of(held: &Held, refused: Option<String>) -> Self {
        let trust = held.trust();
        let (trust_domain, expires_s) = (trust.trust_domain().to_string(), trust.bundle().expires_s);
        Self { trust_domain, version: trust.version(), expires_s, refused }
    }
}
