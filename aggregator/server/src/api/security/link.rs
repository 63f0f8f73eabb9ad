//! `GET /api/v1/security/link`: how every session is protected, and who was refused.

use super::enrolment::HostCounts;
use super::refused::{AdmissionDetail, RefusalsDetail};
use super::trust::{Bundle, OwnIdentity, Policy};
use super::{bad_parameter, limit};
use crate::api::openapi::{BadRequest, Refusals};
use crate::api::parameters::only;
use crate::api::problem::Problem;
use crate::api::{ApiStats, App, ClassicalClient};
use crate::live::{HostNow, Link};
use axum::Json;
use axum::extract::{RawQuery, State};
use dsmil_protocol::ids::HostName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Sessions in one answer, unless the request says otherwise: a whole fleet of one aggregator, 600 KB.
const SESSIONS: usize = 1_000;
/// The most that a request may ask for: 6 MB.
const MAX_SESSIONS: usize = 10_000;

/// Which sessions are asked for.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct LinkParams {
    /// So many sessions at most; 1,000 if absent, 10,000 at most.
    #[param(minimum = 1, maximum = 10_000, example = 100)]
    limit: Option<usize>,
    /// Only sessions of hosts behind this name: `next` of the answer before.
    #[param(pattern = "^([a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)?$", example = "h1")]
    after: Option<String>,
}

impl LinkParams {
    fn read(query: Option<&str>) -> Result<Self, Problem> {
        let [most, after] = only(query, ["limit", "after"])?;
        // An empty name is in front of all: where whoever turns pages begins.
        let after = after.filter(|after| !after.is_empty());
        if after.as_deref().is_some_and(|after| HostName::new(after).is_err()) {
            return Err(bad_parameter("after", "give `next` of the answer before, or leave it out"));
        }
        Ok(Self { limit: Some(limit(most.as_deref(), SESSIONS, MAX_SESSIONS)?), after })
    }
}

/// A host's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Session {
    host: String,
    /// Where it speaks from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "192.0.2.7:40112")]
    address: Option<String>,
    /// The name in its leaf.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "spiffe://fleet.example/agent/h1")]
    spiffe_id: Option<String>,
    /// SHA-384 of its public key, 96 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<String>,
    /// The last moment of the leaf that the session began with, milliseconds since 1970. A session may outlive it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_767_323_045_000i64)]
    leaf_not_after_ms: Option<i64>,
    /// The key-exchange group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    group: Option<&'static str>,
    /// The signature scheme of both certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scheme: Option<&'static str>,
    /// The cipher suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    suite: Option<&'static str>,
    /// The trust bundle that the host has, from its last heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bundle_version: Option<u64>,
    /// When the session began, milliseconds since 1970.
    #[schema(example = 1_767_323_045_000i64)]
    since_ms: i64,
}

impl Session {
    fn of(host: &HostName, now: &HostNow) -> Self {
        let (peer, negotiated) = (now.peer.as_ref(), now.negotiated);
        Self {
            host: host.to_string(),
            address: now.remote.map(|address| address.to_string()),
            spiffe_id: peer.map(|peer| peer.id.to_string()),
            key: peer.map(|peer| peer.key.to_string()),
            leaf_not_after_ms: peer.map(|peer| super::ms(peer.validity.not_after)),
            group: negotiated.map(|agreed| agreed.group),
            scheme: negotiated.map(|agreed| agreed.scheme),
            suite: negotiated.map(|agreed| agreed.suite),
            bundle_version: now.heartbeat.as_ref().map(|beat| beat.bundle_version),
            since_ms: now.since_ms,
        }
    }
}

/// HTTPS sessions of one key-exchange group, since this program started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct HttpsGroup {
    group: &'static str,
    /// Whether a quantum computer could undo it.
    classical: bool,
    sessions: u64,
}

/// Where classical HTTPS sessions came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct HttpsClassical {
    /// An IPv4 address or an IPv6 /64.
    #[schema(example = "192.0.2.7")]
    address: String,
    group: &'static str,
    /// How many since it stands in the table.
    sessions: u64,
    /// The first one's time, milliseconds since 1970.
    #[schema(example = 1_767_323_045_000i64)]
    first_ms: i64,
    /// The last one's time, milliseconds since 1970.
    #[schema(example = 1_767_323_045_000i64)]
    last_ms: i64,
}

/// The HTTPS side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Https {
    /// Sessions by key-exchange group.
    groups: Vec<HttpsGroup>,
    /// Sessions without a post-quantum key exchange that are open now.
    classical_connections: u64,
    /// The same, since this program started.
    classical_sessions: u64,
    /// Where these came from, the newest first; 100 at most. Only loopback and `api.allow_classical_from` are let in so.
    classical_from: Vec<HttpsClassical>,
}

impl Https {
    fn of(stats: &ApiStats) -> Self {
        let client = |client: ClassicalClient| {
            let ClassicalClient { network, group, count, first_ms, last_ms } = client;
            HttpsClassical { address: network.to_string(), group, sessions: count, first_ms, last_ms }
        };
        let groups = stats.sessions().into_iter();
        Self {
            groups: groups
                .map(|(session, sessions)| HttpsGroup { group: session.group, classical: session.classical, sessions })
                .collect(),
            classical_connections: stats.classical_now(),
            classical_sessions: stats.classical_sessions(),
            classical_from: stats.classical_clients().into_iter().map(client).collect(),
        }
    }
}

/// How every session is protected, and who was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::api) struct SecurityLink {
    policy: Policy,
    identity: OwnIdentity,
    trust: Bundle,
    hosts: HostCounts,
    /// Sessions that are open now, by the host's name.
    sessions: Vec<Session>,
    /// How many there are in all.
    sessions_total: usize,
    /// There are more: ask again with this as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
    https: Https,
    refusals: RefusalsDetail,
    /// By port, `fleet` and `join`: how many strangers are dealt with, and how often limits were run into.
    admission: BTreeMap<&'static str, AdmissionDetail>,
}

/// How every session is protected, whom this aggregator trusts, who is enrolled, and who was refused for which reason and
/// from where.
#[utoipa::path(
    get, path = "/api/v1/security/link", tag = "security",
    params(LinkParams),
    responses(
        (status = 200, description = "The link's security", body = SecurityLink),
        BadRequest,
        Refusals,
    )
)]
pub(in crate::api) async fn link(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Json<SecurityLink>, Problem> {
    let params = LinkParams::read(query.as_deref())?;
    let limit = params.limit.unwrap_or(SESSIONS);
    let context = &app.context;
    let mut up = context.live.all();
    up.retain(|(_, now)| now.link == Link::Up);
    let after = params.after.unwrap_or_default();
    let behind: Vec<&(HostName, HostNow)> = up.iter().filter(|(host, _)| host.as_str() > after.as_str()).collect();
    let shown = &behind[..behind.len().min(limit)];
    let held = context.credentials.held();
    Ok(Json(SecurityLink {
        policy: Policy::of(&context.credentials),
        identity: OwnIdentity::of(&held),
        trust: Bundle::of(&held),
        hosts: HostCounts::of(context),
        sessions: shown.iter().map(|(host, now)| Session::of(host, now)).collect(),
        sessions_total: up.len(),
        next: shown.last().filter(|_| shown.len() < behind.len()).map(|(host, _)| host.to_string()),
        https: Https::of(&context.stats),
        refusals: RefusalsDetail::of(&context.telemetry.refused),
        admission: context.occupancies().into_iter().map(|(port, now)| (port.as_str(), now.into())).collect(),
    }))
}
