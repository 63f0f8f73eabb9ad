//! Who was refused, and how much of admission is in use.

use crate::admission::{Limit, Occupancy};
use crate::refusals::{Refusals, Refused, Source};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How many were refused of one kind, since this program started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct RefusalTotal {
    /// `fleet`, `join` or `https`.
    port: &'static str,
    /// Who refused: `us` or `peer`. What a peer says is its word and proves nothing.
    side: &'static str,
    #[schema(example = "unknown_root")]
    reason: &'static str,
    count: u64,
}

/// How many of one kind came from one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct RefusalSource {
    /// An IPv4 address or an IPv6 /64. That of a QUIC handshake that failed in its first packets may be forged.
    #[schema(example = "192.0.2.7")]
    address: String,
    port: &'static str,
    side: &'static str,
    reason: &'static str,
    /// How often since it stands in the table.
    count: u64,
    /// The first time, milliseconds since 1970.
    #[schema(example = 1_767_323_045_000i64)]
    first_ms: i64,
    /// The last time, milliseconds since 1970.
    #[schema(example = 1_767_323_045_000i64)]
    last_ms: i64,
}

/// Who was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct RefusalsDetail {
    /// By port, side and reason, since this program started.
    totals: Vec<RefusalTotal>,
    /// From where, the newest first; 1,000 at most.
    sources: Vec<RefusalSource>,
}

impl RefusalsDetail {
    pub(super) fn of(refusals: &Refusals) -> Self {
        let total = |(refused, count): (Refused, u64)| {
            let (port, side, reason) = names(refused);
            RefusalTotal { port, side, reason, count }
        };
        let source = |source: Source| {
            let (port, side, reason) = names(source.refused);
            let Source { network, count, first_ms, last_ms, .. } = source;
            RefusalSource { address: network.to_string(), port, side, reason, count, first_ms, last_ms }
        };
        Self {
            totals: refusals.totals().into_iter().map(total).collect(),
            sources: refusals.sources().into_iter().map(source).collect(),
        }
    }
}

fn names(refused: Refused) -> (&'static str, &'static str, &'static str) {
    (refused.port.as_str(), refused.side.as_str(), refused.reason.as_str())
}

/// Admission to one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct AdmissionDetail {
    /// Peers that were let in and have not authenticated yet.
    half_open: u32,
    /// Of these, at addresses that may be forged.
    unproven: u32,
    /// Authenticated.
    connected: u32,
    /// Addresses remembered.
    addresses: usize,
    /// Hosts remembered.
    identities: usize,
    /// How often each limit was run into since the start.
    limited: BTreeMap<&'static str, u64>,
    /// How many were told to prove their address.
    proofs_asked: u64,
    /// How many were not answered: a flood.
    ignored: u64,
}

impl From<Occupancy> for AdmissionDetail {
    fn from(now: Occupancy) -> Self {
        let Occupancy { half_open, unproven, connected, addresses, identities, limited, proofs_asked, ignored } = now;
        let limited = Limit::ALL.iter().map(|limit| limit.as_str()).zip(limited).collect();
        Self { half_open, unproven, connected, addresses, identities, limited, proofs_asked, ignored }
    }
}
