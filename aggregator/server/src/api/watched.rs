//! `GET /api/v1/hosts/{id}/watch`: a host's next tick, as soon as it is there. Whoever asks again and again sees each tick
//! about as soon as it is sampled: while somebody asks, the host sends them one by one.

use super::App;
use super::hosts::known_host;
use super::openapi::{BadRequest, Refusals};
use super::parameters::only;
use super::problem::{Problem, ProblemKind};
use crate::live::Latest;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dsmil_protocol::ids::{BootId, HostName, Tick};
use dsmil_protocol::metric::Kind;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// How long an answer waits for the next tick. A host that sends batches of ten only has one in that time.
const WAIT: Duration = Duration::from_secs(12);

/// After which tick.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(super) struct WatchParams {
    /// The tick seen last, behind its boot, as an answer had both: `boot:tick`. Without it the newest tick is answered at once.
    #[param(
        pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9]{1,19}$",
        example = "00112233-4455-6677-8899-aabbccddeeff:86400"
    )]
    after: Option<String>,
}

/// A tick with the values of all metrics.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct WatchedTick {
    host: String,
    /// The boot that the tick counts from.
    #[schema(example = "00112233-4455-6677-8899-aabbccddeeff")]
    boot: String,
    tick: u64,
    /// When it was, corrected, milliseconds since 1970.
    #[schema(example = 1_767_323_045_000i64)]
    time_ms: i64,
    /// Every metric, those of one name together.
    families: Vec<WatchedFamily>,
}

/// Metrics of one name.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct WatchedFamily {
    /// The Prometheus name, unit included.
    name: String,
    kind: WatchedKind,
    /// One a combination of labels.
    samples: Vec<WatchedSample>,
}

/// What a metric's number does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WatchedKind {
    /// Only grows, until it restarts from zero.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric's value.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct WatchedSample {
    labels: BTreeMap<String, String>,
    /// The value in the metric's unit; null if it could not be read, which is not zero.
    value: Option<f64>,
    /// The tick at which it was read: an earlier one where a sensor rests between two readings.
    read_at: u64,
}

/// A host's next tick, as soon as it is there, for whoever watches one host.
///
/// Ask for the tick after the one that the last answer had. From the first question until some seconds after the last one the
/// host sends each tick as it is sampled, so that answers come once a second; an agent of an earlier version goes on sending ten
/// at a time. An answer without content says that there was nothing newer within 12 seconds: ask again.
#[utoipa::path(
    get, path = "/api/v1/hosts/{id}/watch", tag = "hosts",
    params(
        ("id" = String, Path, pattern = "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", example = "h1", description = "the host's name in the fleet file"),
        WatchParams,
    ),
    responses(
        (status = 200, description = "The next tick", body = WatchedTick),
        (status = 204, description = "Nothing newer came; ask again"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
        BadRequest,
        Refusals,
    )
)]
pub(super) async fn watch(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let host = known_host(&app, id)?;
    let seen = seen(query.as_deref())?;
    let clock = &app.context.clock;
    let until = clock.mono() + WAIT;
    // Before the first look: a tick that comes between the two wakes us.
    let mut ticks = app.context.live.watching().watch(&host);
    loop {
        let is_next = |latest: &Arc<Latest>| seen.is_none_or(|seen| seen.0 != latest.boot || seen.1 < latest.tick);
        if let Some(latest) = app.context.fresh_latest(&host).filter(is_next) {
            return Ok(Json(WatchedTick::of(&host, &latest)).into_response());
        }
        tokio::select! {
            // Whoever wakes us outlives the program's answers.
            _ = ticks.changed() => {}
            () = clock.sleep_until(until) => return Ok(StatusCode::NO_CONTENT.into_response()),
        }
    }
}

/// The tick that was seen last.
fn seen(query: Option<&str>) -> Result<Option<(BootId, Tick)>, Problem> {
    let [after] = only(query, ["after"])?;
    let Some(after) = after else { return Ok(None) };
    let parts = after.split_once(':').and_then(|(boot, tick)| Some((boot.parse().ok()?, Tick(tick.parse().ok()?))));
    let problem = || {
        Problem::new(ProblemKind::BadRequest, "the parameter \"after\" is no boot id and tick")
            .remedy("give it as boot:tick, both as the last answer had them, or leave it out")
    };
    parts.map(Some).ok_or_else(problem)
}

impl WatchedTick {
    fn of(host: &HostName, latest: &Latest) -> Self {
        let mut families: Vec<WatchedFamily> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (column, metric) in latest.set.metrics().iter().enumerate() {
            let place = *places.entry(&metric.name).or_insert_with(|| {
                let kind = match metric.kind {
                    Kind::Counter => WatchedKind::Counter,
                    Kind::Gauge => WatchedKind::Gauge,
                };
                families.push(WatchedFamily { name: metric.name.clone(), kind, samples: Vec::new() });
                families.len() - 1
            });
            let (bits, read_at) = latest.newest_with_tick(column);
            // JSON has no word for what is no number.
            let value = bits.map(|bits| metric.value(bits)).filter(|value| value.is_finite());
            let labels = metric.labels.iter().cloned().collect();
            families[place].samples.push(WatchedSample { labels, value, read_at: read_at.0 });
        }
        Self {
            host: host.to_string(),
            boot: latest.boot.to_string(),
            tick: latest.tick.0,
            time_ms: latest.time_ms,
            families,
        }
    }
}
