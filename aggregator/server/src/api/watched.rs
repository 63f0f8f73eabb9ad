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
use dsmil_protocol::metric::Metric;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
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
    /// The boot of the tick seen last, as an answer had it. Without it the newest tick is answered at once.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", example = "00112233-4455-6677-8899-aabbccddeeff")]
    boot: Option<BootId>,
    /// The tick seen last.
    #[param(example = 86_400)]
    after: Option<u64>,
}

/// A tick with the value of each series.
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
    /// Each series as Prometheus writes it, with its value in its unit; null where it is unavailable.
    values: BTreeMap<String, Option<f64>>,
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
    let [boot, after] = only(query, ["boot", "after"])?;
    let bad = |what: &str| {
        Problem::new(ProblemKind::BadRequest, what).remedy("give both as the last answer had them, or neither")
    };
    match (boot, after) {
        (None, None) => Ok(None),
        (Some(boot), Some(after)) => {
            let boot = boot.parse().map_err(|_| bad("the parameter \"boot\" is no boot id"))?;
            let after = after.parse().map_err(|_| bad("the parameter \"after\" is no tick"))?;
            Ok(Some((boot, Tick(after))))
        }
        _ => Err(bad("of \"boot\" and \"after\" one is missing")),
    }
}

impl WatchedTick {
    fn of(host: &HostName, latest: &Latest) -> Self {
        let metrics = latest.set.metrics().iter().enumerate();
        let value = |(column, metric): (usize, &Metric)| {
            (series(metric), latest.newest(column).map(|bits| metric.value(bits)).filter(|value| value.is_finite()))
        };
        Self {
            host: host.to_string(),
            boot: latest.boot.to_string(),
            tick: latest.tick.0,
            time_ms: latest.time_ms,
            values: metrics.map(value).collect(),
        }
    }
}

/// `name{label="value"}`, escaped as Prometheus's text format has it.
fn series(metric: &Metric) -> String {
    let mut text = metric.name.clone();
    for (at, (label, value)) in metric.labels.iter().enumerate() {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{label}=\"{value}\"", if at == 0 { '{' } else { ',' });
    }
    if !metric.labels.is_empty() {
        text.push('}');
    }
    text
}
