//! Which hosts are enrolled, and with which key.

use super::ms;
use crate::api::ApiContext;
use crate::live::HostNow;
use dsmil_authority::Fingerprint;
use dsmil_protocol::ids::HostName;
use dsmil_store::state::{HostRow, Revocation};
use serde::Serialize;
use utoipa::ToSchema;

/// Hosts by their standing in the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::api) struct HostCounts {
    /// Have a key that is let in.
    pub(in crate::api) enrolled: usize,
    /// Are shut out.
    pub(in crate::api) revoked: usize,
    /// The fleet file names them, and they have no key: they never joined, or were reinstated and have to join again.
    pub(in crate::api) never_joined: usize,
}

impl HostCounts {
    pub(in crate::api) fn of(context: &ApiContext) -> Self {
        let rows = context.registry.watch().borrow().clone();
        let (mut counts, fleet) = (Self::default(), context.fleet.get());
        for row in rows.values() {
            match standing(Some(row)) {
                Standing::Enrolled => counts.enrolled += 1,
                Standing::Revoked => counts.revoked += 1,
                Standing::NeverJoined => {}
            }
        }
        let has_to_join = |name: &HostName| standing(rows.get(name)) == Standing::NeverJoined;
        counts.never_joined = fleet.hosts().filter(|(name, _)| has_to_join(name)).count();
        counts
    }
}

/// A host's standing in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Standing {
    /// It has a key that is let in.
    Enrolled,
    /// It is shut out.
    Revoked,
    /// It has no key: it never joined, or was reinstated and has to join again.
    NeverJoined,
}

fn standing(row: Option<&HostRow>) -> Standing {
    match row {
        Some(row) if row.revoked.is_some() => Standing::Revoked,
        Some(row) if row.key.is_some() => Standing::Enrolled,
        _ => Standing::NeverJoined,
    }
}

/// Why a host is shut out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::api) struct Revoked {
    /// Since when, milliseconds since 1970.
    #[schema(example = 1_767_323_045_000i64)]
    at_ms: i64,
    reason: String,
    /// By whom.
    by: String,
}

impl From<Revocation> for Revoked {
    fn from(revocation: Revocation) -> Self {
        let Revocation { at_ms, reason, by } = revocation;
        Self { at_ms, reason, by }
    }
}

/// Who a host is, as the registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::api) struct HostIdentity {
    standing: Standing,
    /// The first 16 digits of the enrolled key's fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "3f2a9c01d4e5b677")]
    key: Option<String>,
    /// The same of the key of its newest renewal, until the host first uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_key: Option<String>,
    /// When it joined, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_767_323_045_000i64)]
    joined_ms: Option<i64>,
    /// When it renewed last, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_767_323_045_000i64)]
    renewed_ms: Option<i64>,
    /// The last moment of the leaf that was issued last, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_767_323_045_000i64)]
    leaf_not_after_ms: Option<i64>,
    /// The trust bundle that it has, from its last heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bundle_version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    revoked: Option<Revoked>,
}

impl HostIdentity {
    pub(in crate::api) fn of(row: Option<HostRow>, now: &HostNow) -> Self {
        let short = |key: Fingerprint| Fingerprint(key.0).short();
        let standing = standing(row.as_ref());
        let row = row.as_ref();
        Self {
            standing,
            key: row.and_then(|row| row.key).map(short),
            next_key: row.and_then(|row| row.next).map(short),
            joined_ms: row.and_then(|row| row.joined_ms),
            renewed_ms: row.and_then(|row| row.renewed_ms),
            leaf_not_after_ms: row.and_then(|row| row.leaf_not_after_s).map(ms),
            bundle_version: now.heartbeat.as_ref().map(|beat| beat.bundle_version),
            revoked: row.and_then(|row| row.revoked.clone()).map(Revoked::from),
        }
    }
}
