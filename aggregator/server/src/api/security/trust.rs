//! Who this aggregator is, whom it trusts, and how long that lasts.

use super::ms;
use crate::credentials::{Credentials, Held};
use dsmil_authority::Issuer;
use dsmil_crypto::identity::{Facts, is_signed_by};
use dsmil_crypto::policy::KeyExchange;
use dsmil_crypto::provider_version;
use serde::Serialize;
use utoipa::ToSchema;

/// What every session with a host has.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Policy {
    /// `pure` (post-quantum alone) or `hybrid` (a classical part beside it): `link.policy` of the configuration.
    key_exchange: &'static str,
    /// The key-exchange group.
    group: &'static str,
    /// The signature scheme of both certificates.
    scheme: &'static str,
    /// The cipher suite.
    suite: &'static str,
    /// The library that does the arithmetic, with its version.
    #[schema(example = "aws-lc-rs 1.19.0")]
    cryptography: String,
}

impl Policy {
    pub(super) fn of(credentials: &Credentials) -> Self {
        let policy = credentials.key_exchange();
        let negotiated = policy.negotiated();
        Self {
            key_exchange: match policy {
                KeyExchange::Pure => "pure",
                KeyExchange::Hybrid => "hybrid",
            },
            group: negotiated.group,
            scheme: negotiated.scheme,
            suite: negotiated.suite,
            cryptography: provider_version(),
        }
    }
}

/// This aggregator's own certificate.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct OwnIdentity {
    #[schema(example = "spiffe://fleet.example/aggregator/a1")]
    spiffe_id: String,
    /// The last moment of its leaf, milliseconds since 1970; it makes a new one long before.
    #[schema(example = 1_767_323_045_000i64)]
    not_after_ms: i64,
    /// The name of the issuer that has signed it, as the trust bundle lists it; absent if the bundle lists it no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    issuer: Option<String>,
    /// The last moment of that issuer, milliseconds since 1970: no leaf is good for longer.
    #[schema(example = 1_767_323_045_000i64)]
    issuer_not_after_ms: i64,
}

impl OwnIdentity {
    pub(super) fn of(held: &Held) -> Self {
        let leaf = held.identity.credential().leaf();
        let signed_it = |issuer: &&Issuer| issuer.certificates.first().is_some_and(|signer| is_signed_by(leaf, signer));
        Self {
            spiffe_id: held.identity.id().to_string(),
            not_after_ms: ms(held.identity.validity().not_after),
            issuer: held.trust.bundle().issuers.iter().find(signed_it).map(|issuer| issuer.name.clone()),
            issuer_not_after_ms: ms(held.issuer.validity().not_after),
        }
    }
}

/// A root or an issuer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Signer {
    name: String,
    /// Of a root SHA-384 of its certificate, as join tokens name it; of an issuer SHA-384 of its public key.
    fingerprint: String,
    /// Its last moment, milliseconds since 1970; of an issuer with several certificates that of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_767_323_045_000i64)]
    not_after_ms: Option<i64>,
}

/// The trust bundle in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Bundle {
    version: u64,
    trust_domain: String,
    /// When it was signed, milliseconds since 1970.
    #[schema(example = 1_767_323_045_000i64)]
    issued_ms: i64,
    /// Its last moment, milliseconds since 1970. After that nobody is let in until a newer one is published.
    #[schema(example = 1_767_323_045_000i64)]
    expires_ms: i64,
    roots: Vec<Signer>,
    issuers: Vec<Signer>,
    /// Keys that may sign orders.
    order_keys: usize,
    /// Keys that are shut out although their certificates are sound.
    revoked: usize,
    /// Issuers of earlier bundles.
    retired: usize,
}

impl Bundle {
    pub(super) fn of(held: &Held) -> Self {
        let bundle = held.trust.bundle();
        let root = |(fingerprint, certificate): (&dsmil_authority::Fingerprint, &_)| {
            let facts = facts(certificate);
            Signer {
                name: facts.as_ref().map(|facts| facts.name.clone()).unwrap_or_default(),
                fingerprint: fingerprint.to_string(),
                not_after_ms: facts.map(|facts| ms(facts.validity.not_after)),
            }
        };
        let issuer = |issuer: &Issuer| {
            let certificates: Vec<Facts> = issuer.certificates.iter().filter_map(facts).collect();
            Signer {
                name: issuer.name.clone(),
                fingerprint: certificates.first().map(|facts| facts.key.to_string()).unwrap_or_default(),
                not_after_ms: certificates.iter().map(|facts| ms(facts.validity.not_after)).max(),
            }
        };
        Self {
            version: bundle.version,
            trust_domain: bundle.trust_domain.clone(),
            issued_ms: ms(bundle.issued_s),
            expires_ms: ms(bundle.expires_s),
            roots: held.trust.roots().map(root).collect(),
            issuers: bundle.issuers.iter().map(issuer).collect(),
            order_keys: bundle.order_keys.len(),
            revoked: bundle.revoked.len(),
            retired: bundle.retired.len(),
        }
    }
}

/// Every certificate of a bundle in force was read before it was taken.
fn facts(certificate: &impl AsRef<[u8]>) -> Option<Facts> {
    Facts::read(certificate.as_ref()).ok()
}

/// How long this aggregator is still believed, seconds; negative when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) struct TimeLeft {
    /// Of the trust bundle.
    pub(in crate::api) bundle_s: i64,
    /// Of the issuer that signs leaves.
    pub(in crate::api) issuer_s: i64,
    /// Of its own leaf.
    pub(in crate::api) leaf_s: i64,
}

impl TimeLeft {
    pub(in crate::api) fn of(credentials: &Credentials) -> Self {
        let (held, now) = (credentials.held(), credentials.time().unix_seconds());
        Self {
            bundle_s: held.trust.bundle().expires_s.saturating_sub(now),
            issuer_s: held.issuer.validity().not_after.saturating_sub(now),
            leaf_s: held.identity.validity().not_after.saturating_sub(now),
        }
    }
}
