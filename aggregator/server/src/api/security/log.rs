//! `GET /api/v1/security/log`: the security log.

use super::{bad_parameter, limit};
use crate::api::App;
use crate::api::openapi::Refusals;
use crate::api::problem::Problem;
use crate::prometheus::moment::parse_time;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use dsmil_protocol::ids::HostName;
use dsmil_store::state::{LogQuery, SecurityEvent};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Events in one answer, unless the request says otherwise.
const EVENTS: usize = 1_000;
/// The most that a request may ask for: 10 MB of the longest.
const MAX_EVENTS: usize = 5_000;

/// Which events are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct LogParams {
    /// Only events from this moment on: Unix seconds or RFC 3339.
    since: Option<String>,
    /// Only events of this kind: `token-created`, `token-removed`, `join`, `renewal`, `revocation`, `reinstatement`,
    /// `trust-change` or `refusal`.
    kind: Option<String>,
    /// Only events about this host.
    host: Option<String>,
    /// So many at most, the newest; 1,000 if absent, 5,000 at most.
    #[param(value_type = Option<u64>)]
    limit: Option<String>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Event {
    /// Its number; it only grows.
    id: i64,
    /// When, milliseconds since 1970. Of a sum of refusals the last one's time.
    at_ms: i64,
    #[schema(example = "revocation")]
    kind: &'static str,
    /// To whom or to what: a host's name, `bundle 7`; of refusals the port.
    subject: String,
    /// The address it came from; of refusals that of one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    from: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// How often; more than once only where events are summed.
    count: u64,
    /// More, in words.
    detail: String,
}

impl Event {
    fn new(id: i64, event: SecurityEvent) -> Self {
        let SecurityEvent { at_ms, kind, subject, from, reason, count, detail } = event;
        Self { id, at_ms, kind: kind.as_str(), subject, from, reason, count, detail }
    }
}

/// The newest events that match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(in crate::api) struct SecurityLog {
    /// In the order in which they were written.
    events: Vec<Event>,
    /// Whether there are older ones that match.
    truncated: bool,
}

/// The security log: who joined, renewed, was shut out or refused, and who changed what is trusted.
#[utoipa::path(
    get, path = "/api/v1/security/log", tag = "security",
    params(LogParams),
    responses(
        (status = 200, description = "The newest events that match", body = SecurityLog),
        (status = 400, description = "A parameter is not valid", body = Problem, content_type = "application/problem+json"),
        Refusals,
    )
)]
pub(in crate::api) async fn log(
    State(app): State<Arc<App>>,
    params: Result<Query<LogParams>, QueryRejection>,
) -> Result<Json<SecurityLog>, Problem> {
    let Query(params) = params.map_err(|_| bad_parameter("since, kind, host or limit", "give each parameter once"))?;
    let query = query(&params)?;
    let limit = query.limit;
    // One more than is shown tells whether there are more.
    let query = LogQuery { limit: limit + 1, ..query };
    let mut found = app.context.registry.state().security_log(query).await.map_err(|error| {
        tracing::warn!(%error, "the security log could not be read");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the security log could not be read")
            .remedy("try again; if it lasts, look at the aggregator's log")
    })?;
    let truncated = found.len() > limit;
    if truncated {
        found.remove(0);
    }
    Ok(Json(SecurityLog { events: found.into_iter().map(|(id, event)| Event::new(id, event)).collect(), truncated }))
}

fn query(params: &LogParams) -> Result<LogQuery, Problem> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let since_ms = given(&params.since)
        .map(|text| parse_time(&text).map_err(|error| bad_parameter("since", &error.to_string())))
        .transpose()?;
    let kind = given(&params.kind)
        .map(|text| text.parse().map_err(|error| bad_parameter("kind", &format!("{error}"))))
        .transpose()?;
    let host = given(&params.host)
        .map(|text| HostName::new(text).map_err(|_| bad_parameter("host", "give a host's name as in the fleet file")))
        .transpose()?;
    let limit = limit(params.limit.as_deref(), EVENTS, MAX_EVENTS)?;
    Ok(LogQuery { since_ms, kind, subject: host.map(|host| host.to_string()), limit })
}
