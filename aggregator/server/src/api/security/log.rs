//! `GET /api/v1/security/log`: the security log.

use super::{bad_parameter, limit};
use crate::api::App;
use crate::api::openapi::{BadRequest, Moment, Refusals};
use crate::api::parameters::only;
use crate::api::problem::{Problem, ProblemKind};
use crate::prometheus::moment::parse_time;
use axum::Json;
use axum::extract::{RawQuery, State};
use dsmil_protocol::ids::HostName;
use dsmil_store::state::{EventKind, LogQuery, SecurityEvent};
use serde::Serialize;
use std::sync::Arc;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};

/// Events in one answer, unless the request says otherwise.
const EVENTS: usize = 1_000;
/// The most that a request may ask for: 10 MB of the longest.
const MAX_EVENTS: usize = 5_000;

/// Which events are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(in crate::api) struct LogParams {
    /// Only events from this moment on.
    #[param(value_type = Option<Moment>)]
    since: Option<i64>,
    /// Only events of this kind.
    #[param(schema_with = kinds, required = false)]
    kind: Option<EventKind>,
    /// Only events about this host.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", example = "h1")]
    host: Option<HostName>,
    /// So many at most, the newest; 1,000 if absent, 5,000 at most.
    #[param(minimum = 1, maximum = 5_000, example = 20)]
    limit: Option<usize>,
}

/// The names of the kinds.
fn kinds() -> Object {
    let names = EventKind::ALL.map(EventKind::as_str);
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build()
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Event {
    /// Its number; it only grows.
    id: i64,
    /// When, milliseconds since 1970. Of a sum of refusals the last one's time.
    #[schema(example = 1_767_323_045_000i64)]
    at_ms: i64,
    #[schema(schema_with = kinds)]
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
        BadRequest,
        Refusals,
    )
)]
pub(in crate::api) async fn log(
    State(app): State<Arc<App>>,
    RawQuery(asked): RawQuery,
) -> Result<Json<SecurityLog>, Problem> {
    let query = read(asked.as_deref())?;
    let limit = query.limit;
    // One more than is shown tells whether there are more.
    let query = LogQuery { limit: limit + 1, ..query };
    let mut found = app.context.registry.state().security_log(query).await.map_err(|error| {
        tracing::warn!(%error, "the security log could not be read");
        Problem::new(ProblemKind::ServiceUnavailable, "the security log could not be read")
            .remedy("try again; if it lasts, look at the aggregator's log")
    })?;
    let truncated = found.len() > limit;
    if truncated {
        found.remove(0);
    }
    Ok(Json(SecurityLog { events: found.into_iter().map(|(id, event)| Event::new(id, event)).collect(), truncated }))
}

fn read(query: Option<&str>) -> Result<LogQuery, Problem> {
    let [since, kind, host, most] = only(query, ["since", "kind", "host", "limit"])?;
    let since_ms =
        since.map(|text| parse_time(&text).map_err(|error| bad_parameter("since", &error.to_string()))).transpose()?;
    let kind = kind.map(|text| text.parse().map_err(|error| bad_parameter("kind", &format!("{error}")))).transpose()?;
    let host = host
        .map(|text| HostName::new(text).map_err(|_| bad_parameter("host", "give a host's name as in the fleet file")))
        .transpose()?;
    let limit = limit(most.as_deref(), EVENTS, MAX_EVENTS)?;
    Ok(LogQuery { since_ms, kind, subject: host.map(|host| host.to_string()), limit })
}
