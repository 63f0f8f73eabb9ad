//! `GET /health/pipeline`: each stage that a tick goes through, with its counts.

use super::App;
use super::health::{self, Health, Status};
use super::ledgers::LedgerTotals;
use super::openapi::Refusals;
use super::security::enrolment::HostCounts;
use super::security::trust::TimeLeft;
use crate::live::Standing;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Every stage.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Pipeline {
    status: Status,
    identity: IdentityStage,
    ingest: IngestStage,
    journal: JournalStage,
    /// Absent if there is no cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hot_cache: Option<HotStage>,
    ledger: LedgerTotals,
    /// From being sampled to being stored and visible, of ticks that did not wait for a link; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tick_to_queryable_ms: Option<Delay>,
    /// Bytes of telemetry frames for each stored sample; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    wire_bytes_per_sample: Option<f64>,
    api: ApiStage,
}

/// Who this aggregator is and whom it lets in.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct IdentityStage {
    /// Degraded when the trust bundle or the issuer ends within 30 days, or our own leaf was not made anew in time;
    /// unhealthy when one of them has expired. `/health` says what to do.
    status: Status,
    bundle_version: u64,
    /// Whole days until the trust bundle expires; negative when it has.
    bundle_days_left: i64,
    /// The same of the issuer that signs leaves.
    issuer_days_left: i64,
    /// Whole hours until our own leaf expires.
    leaf_hours_left: i64,
    /// In the registry.
    hosts: HostCounts,
}

/// What came in since the start.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct IngestStage {
    hosts: usize,
    hosts_up: usize,
    /// Neither up nor known to be down: the aggregator itself was away, or has just started.
    hosts_awaited: usize,
    sessions: u64,
    frames: u64,
    telemetry_bytes: u64,
    batches: u64,
    batches_resent: u64,
    /// Not stored because the journal could not take them; the hosts keep them.
    batches_deferred: u64,
    ticks: u64,
    samples: u64,
    /// Refused frames and batches, by the protocol's error code.
    faults: BTreeMap<&'static str, u64>,
    /// Refused peers, by reason, of all ports; `/api/v1/security/link` says where and from whom.
    refusals: BTreeMap<&'static str, u64>,
}

/// The durable journal, since it was opened.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct JournalStage {
    /// A commit failed in the last forty seconds, or none has succeeded since: a full disk, for one.
    failing: bool,
    /// Milliseconds since the last commit, to within a second; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    commit_age_ms: Option<u64>,
    commits: u64,
    failures: u64,
    stored: u64,
    duplicates: u64,
    refused: u64,
    damaged: u64,
    bytes: u64,
}

/// The cache, since the start.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct HotStage {
    /// Complete from here on, milliseconds since 1970; absent while it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1_767_323_045_000i64)]
    floor_ms: Option<i64>,
    commits: u64,
    stored: u64,
    left_out: u64,
    evicted: u64,
    reopened: u64,
}

/// A delay's distribution, interpolated within its histogram.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Delay {
    p50: f64,
    p99: f64,
    /// Ticks that were measured.
    count: u64,
}

/// This side.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct ApiStage {
    connections: usize,
    /// Of which without a post-quantum key exchange.
    classical_connections: u64,
    unauthorised: u64,
}

impl Pipeline {
    fn of(app: &App) -> Self {
        let (context, telemetry) = (&app.context, &app.context.telemetry);
        let mut ledger = LedgerTotals::default();
        context.store.warm().ledgers().iter().for_each(|(_, boot)| ledger.add(boot));
        let delays = &telemetry.delays;
        let delay = delays.quantile(0.5).zip(delays.quantile(0.99));
        let count = delays.cumulative().last().copied().unwrap_or(0);
        Self {
            status: Health::of(app).status,
            identity: identity(app),
            ingest: ingest(app),
            journal: journal(app),
            hot_cache: hot(app),
            ledger,
            tick_to_queryable_ms: delay.map(|(p50, p99)| Delay { p50, p99, count }),
            wire_bytes_per_sample: ratio(telemetry.telemetry_bytes.get(), telemetry.samples.get()),
            api: ApiStage {
                connections: context.stats.connections(),
                classical_connections: context.stats.classical_now(),
                unauthorised: context.stats.unauthorised(),
            },
        }
    }
}

fn identity(app: &App) -> IdentityStage {
    let left = TimeLeft::of(&app.context.credentials);
    IdentityStage {
        status: health::standing(left),
        bundle_version: app.context.credentials.held().trust.version(),
        bundle_days_left: left.bundle_s.div_euclid(86_400),
        issuer_days_left: left.issuer_s.div_euclid(86_400),
        leaf_hours_left: left.leaf_s.div_euclid(3_600),
        hosts: HostCounts::of(&app.context),
    }
}

fn ingest(app: &App) -> IngestStage {
    let (context, telemetry) = (&app.context, &app.context.telemetry);
    let live = context.live.all();
    let count = |of| live.iter().filter(|(_, host)| host.standing == of).count();
    IngestStage {
        hosts: context.hosts().len(),
        hosts_up: count(Standing::Up),
        hosts_awaited: count(Standing::Awaited),
        sessions: telemetry.sessions.get(),
        frames: telemetry.frames.get(),
        telemetry_bytes: telemetry.telemetry_bytes.get(),
        batches: telemetry.batches.get(),
        batches_resent: telemetry.batches_resent.get(),
        batches_deferred: telemetry.batches_deferred.get(),
        ticks: telemetry.ticks.get(),
        samples: telemetry.samples.get(),
        faults: telemetry.faults().into_iter().map(|(code, count)| (code.name(), count)).collect(),
        refusals: refusals(app),
    }
}

fn refusals(app: &App) -> BTreeMap<&'static str, u64> {
    let mut by_reason = BTreeMap::new();
    for (refused, count) in app.context.telemetry.refused.totals() {
        *by_reason.entry(refused.reason.as_str()).or_default() += count;
    }
    by_reason
}

fn journal(app: &App) -> JournalStage {
    let warm = app.context.store.warm().stats();
    let age = app.journal.commit_age(app.context.clock.mono());
    JournalStage {
        failing: app.journal.is_failing(),
        commit_age_ms: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        commits: warm.commits,
        failures: warm.failures,
        stored: warm.stored,
        duplicates: warm.duplicates,
        refused: warm.refused,
        damaged: warm.damaged,
        bytes: warm.bytes,
    }
}

fn hot(app: &App) -> Option<HotStage> {
    let hot = app.context.store.hot_stats()?;
    Some(HotStage {
        floor_ms: Some(hot.floor_ms).filter(|floor| *floor != i64::MAX),
        commits: hot.commits,
        stored: hot.stored,
        left_out: hot.left_out,
        evicted: hot.evicted,
        reopened: hot.reopened,
    })
}

#[allow(clippy::cast_precision_loss, reason = "a ratio of counts; 2^53 bytes take decades")]
fn ratio(bytes: u64, samples: u64) -> Option<f64> {
    (samples > 0).then(|| bytes as f64 / samples as f64)
}

/// Each stage that a tick goes through, with its counts.
#[utoipa::path(
    get, path = "/health/pipeline", tag = "health",
    responses((status = 200, description = "Every stage", body = Pipeline), Refusals)
)]
pub(super) async fn pipeline(State(app): State<Arc<App>>) -> Json<Pipeline> {
    Json(Pipeline::of(&app))
}
