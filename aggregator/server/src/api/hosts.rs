//! `GET /api/v1/hosts` and `/api/v1/hosts/{id}`: each host with its link, its clock, its spool, and what is accounted for.

use super::App;
use super::ledgers::Boot;
use super::openapi::Refusals;
use super::problem::Problem;
use super::security::enrolment::HostIdentity;
use crate::live::{HostNow, LOST, Link, Standing};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use dsmil_protocol::ids::HostName;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use utoipa::ToSchema;

/// Boots in one host's document: as many as a spool may hold, twice.
const MAX_BOOTS: usize = 16;

/// How a host is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LinkState {
    /// It was not here since this program started.
    Never,
    /// It has a session and was heard of in the last seconds.
    Up,
    /// It has a session and is silent.
    Silent,
    /// The aggregator itself was away, or has just started, and the host has not had the time to come back.
    Awaited,
    /// Its session ended.
    Closed,
    /// It was turned away.
    Refused,
}

/// One host, in short.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct HostSummary {
    /// Its name in the fleet file.
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    group: Option<String>,
    /// Whether the fleet file names it.
    enrolled: bool,
    link: LinkState,
    /// When anything came from it last, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_767_323_045_000i64)]
    heard_ms: Option<i64>,
    /// When its newest values were sampled, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_767_323_045_000i64)]
    latest_ms: Option<i64>,
    /// Ticks in its spool, not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    waiting_ticks: Option<u64>,
}

/// Every host.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct HostList {
    hosts: Vec<HostSummary>,
}

/// The link in full.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LinkDetail {
    state: LinkState,
    /// Since when, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_767_323_045_000i64)]
    since_ms: Option<i64>,
    /// When anything came from it last, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_767_323_045_000i64)]
    heard_ms: Option<i64>,
    /// Why its session ended, or it was turned away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    why: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    remedy: Option<&'static str>,
    /// Where it speaks from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "192.0.2.7:40112")]
    remote: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    negotiated: Option<Handshake>,
}

/// What the handshake agreed on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Handshake {
    /// The key-exchange group.
    group: &'static str,
    /// The signature scheme of both certificates.
    scheme: &'static str,
    /// The cipher suite.
    suite: &'static str,
}

/// Where the host's running boot lies on our clock.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct HostClock {
    /// When it booted, nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    boot_epoch_ns: Option<i64>,
    /// Wrong by at most this, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    uncertainty_ns: Option<i64>,
    /// How far its wall clock is ahead of ours, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    wall_ahead_ns: Option<i64>,
}

/// The host's spool, from its last heartbeat.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Spool {
    /// The last tick sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_tick: Option<u64>,
    /// Ticks not acknowledged.
    waiting_ticks: u64,
    /// Bytes in use.
    bytes: u64,
    /// Bytes it may use.
    capacity_bytes: u64,
}

/// The newest values, counted; `/metrics` under this path has them.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Newest {
    tick: u64,
    /// When it was, milliseconds since 1970.
    #[schema(example = 1_767_323_045_000i64)]
    time_ms: i64,
    /// Metrics of the set.
    metrics: usize,
    /// Of which have a value.
    present: usize,
}

/// One host, in full.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct HostDetail {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    group: Option<String>,
    enrolled: bool,
    /// The devices on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    devices: Option<Vec<u16>>,
    /// The highest classification of what it may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "UNCLASS")]
    clearance: Option<&'static str>,
    identity: HostIdentity,
    link: LinkDetail,
    /// Its running boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    boot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    agent_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    clock: Option<HostClock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    spool: Option<Spool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    latest: Option<Newest>,
    /// What is known of its boots' ticks: the running one first, 16 at most.
    boots: Vec<Boot>,
    /// How many boots there are in all.
    boots_total: usize,
}

fn link_state(now: &HostNow) -> LinkState {
    match (now.standing, &now.link) {
        (Standing::Awaited, _) => LinkState::Awaited,
        (Standing::Up, _) => LinkState::Up,
        (Standing::Down, Link::Never) => LinkState::Never,
        (Standing::Down, Link::Up) => LinkState::Silent,
        (Standing::Down, Link::Lost | Link::Closed { .. }) => LinkState::Closed,
        (Standing::Down, Link::Refused { .. }) => LinkState::Refused,
    }
}

fn link(now: &HostNow) -> LinkDetail {
    let (why, remedy) = match &now.link {
        Link::Lost => (Some(LOST.to_owned()), None),
        Link::Closed { why } => (Some(why.clone()), None),
        Link::Refused { code } => (Some(code.name().to_owned()), Some(code.remedy())),
        Link::Never | Link::Up => (None, None),
    };
    LinkDetail {
        state: link_state(now),
        since_ms: Some(now.since_ms).filter(|_| now.link != Link::Never),
        heard_ms: now.heard_ms,
        why,
        remedy,
        remote: now.remote.map(|address| address.to_string()),
        negotiated: now.negotiated.map(|n| Handshake { group: n.group, scheme: n.scheme, suite: n.suite }),
    }
}

/// Every host that is in the fleet file, was here, or has data.
#[utoipa::path(
    get, path = "/api/v1/hosts", tag = "hosts",
    responses((status = 200, description = "The hosts, by name", body = HostList), Refusals)
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<HostList> {
    let context = &app.context;
    let fleet = context.fleet.get();
    let live: BTreeMap<HostName, HostNow> = context.live.all().into_iter().collect();
    let absent = HostNow::default();
    let summary = |host: HostName| {
        let (enrolled, now) = (fleet.host(&host), live.get(&host).unwrap_or(&absent));
        let latest = now.latest.as_deref().filter(|latest| context.clearance.dominates(latest.classification));
        HostSummary {
            group: enrolled.and_then(|enrolled| enrolled.group.clone()),
            enrolled: enrolled.is_some(),
            link: link_state(now),
            heard_ms: now.heard_ms,
            latest_ms: latest.map(|latest| latest.time_ms),
            waiting_ticks: now.heartbeat.as_ref().map(|beat| beat.waiting_ticks),
            host: host.into(),
        }
    };
    Json(HostList { hosts: context.hosts().into_iter().map(summary).collect() })
}

/// One host: its identity, its link, what was negotiated, its clock and spool, and per boot what is stored, waiting and lost.
#[utoipa::path(
    get, path = "/api/v1/hosts/{id}", tag = "hosts",
    params(("id" = String, Path, pattern = "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", example = "h1", description = "the host's name in the fleet file")),
    responses(
        (status = 200, description = "The host", body = HostDetail),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
        Refusals,
    )
)]
pub(super) async fn one(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<HostDetail>, Problem> {
    let host = known_host(&app, id)?;
    Ok(Json(detail(&app, host)))
}

/// The host of a path, if there is such a host.
pub(super) fn known_host(app: &App, id: Result<Path<String>, PathRejection>) -> Result<HostName, Problem> {
    let id = id.map_or_else(|_| String::new(), |Path(id)| id);
    let host = HostName::new(id.as_str()).map_err(|_| Problem::no_host(&id))?;
    let context = &app.context;
    // Not by the list of all hosts: each of them is scraped, and each scrape comes through here.
    let exists = context.fleet.get().host(&host).is_some()
        || context.live.get(&host).is_some()
        || !context.store.warm().streams_of(&context.tenant, &host).is_empty();
    if exists { Ok(host) } else { Err(Problem::no_host(&id)) }
}

fn detail(app: &App, host: HostName) -> HostDetail {
    let context = &app.context;
    let fleet = context.fleet.get();
    let enrolled = fleet.host(&host);
    let now = context.live.get(&host).unwrap_or_default();
    let (boots, boots_total) = boots(app, &host, &now);
    HostDetail {
        group: enrolled.and_then(|enrolled| enrolled.group.clone()),
        enrolled: enrolled.is_some(),
        devices: enrolled.map(|enrolled| enrolled.grant.devices.iter().map(|device| device.0).collect()),
        clearance: enrolled.map(|enrolled| enrolled.grant.clearance.name()),
        identity: HostIdentity::of(context.registry.host(&host), &now),
        link: link(&now),
        boot: now.boot.map(|boot| boot.to_string()),
        agent_version: now.agent_version.clone(),
        clock: (now.epoch.is_some() || now.wall_ahead_ns.is_some()).then(|| HostClock {
            boot_epoch_ns: now.epoch.map(|epoch| epoch.wall_ns),
            uncertainty_ns: now.epoch.map(|epoch| epoch.uncertainty_ns),
            wall_ahead_ns: now.wall_ahead_ns,
        }),
        spool: now.heartbeat.as_ref().map(|beat| Spool {
            last_tick: beat.last_tick.map(|tick| tick.0),
            waiting_ticks: beat.waiting_ticks,
            bytes: beat.spool_bytes,
            capacity_bytes: beat.spool_capacity,
        }),
        latest: context.latest(&host).map(|latest| Newest {
            tick: latest.tick.0,
            time_ms: latest.time_ms,
            metrics: latest.set.metrics().len(),
            present: latest.values.iter().flatten().count(),
        }),
        boots,
        boots_total,
        host: host.into(),
    }
}

/// The boots that a reader may see, and how many there are of them.
fn boots(app: &App, host: &HostName, now: &HostNow) -> (Vec<Boot>, usize) {
    let (context, warm) = (&app.context, app.context.store.warm());
    let mut streams = warm.streams_of(&context.tenant, host);
    streams.retain(|key| context.clearance.dominates(key.classification));
    streams.sort_by_key(|key| (Some(key.boot) != now.boot, key.boot, key.classification));
    let total = streams.iter().map(|key| key.boot).collect::<BTreeSet<_>>().len();
    let shown = streams.iter().take(MAX_BOOTS);
    (shown.filter_map(|key| Some(Boot::new(key, warm.ledger(key)?.as_ref()))).collect(), total)
}
