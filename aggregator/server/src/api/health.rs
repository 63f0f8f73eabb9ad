//! `GET /health`: is this program fit for its work? For load balancers and watchdogs; says nothing about the fleet.

use super::App;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// How fit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// All is well.
    Healthy,
    /// It does its work, worse than it could.
    Degraded,
    /// It cannot take in data.
    Unhealthy,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Check {
    /// Its name.
    #[schema(example = "journal")]
    name: &'static str,
    /// What it means for the whole.
    status: Status,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<&'static str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    remedy: Option<&'static str>,
}

/// The program's health: that of its worst part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Health {
    pub(super) status: Status,
    /// This program's version.
    version: &'static str,
    /// When it started, milliseconds since 1970.
    started_ms: i64,
    /// What was looked at.
    checks: Vec<Check>,
}

impl Health {
    pub(super) fn of(app: &App) -> Self {
        let hot = app.context.store.hot_stats().map(|hot| hot.floor_ms != i64::MAX);
        let checks: Vec<Check> =
            [Some(journal(app.journal.is_failing())), hot.map(hot_cache)].into_iter().flatten().collect();
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Healthy);
        let started_ms = app.context.started_ms;
        Self { status, version: env!("CARGO_PKG_VERSION"), started_ms, checks }
    }
}

fn journal(failing: bool) -> Check {
    let name = "journal";
    if !failing {
        return Check { name, status: Status::Healthy, detail: None, remedy: None };
    }
    Check {
        name,
        status: Status::Unhealthy,
        detail: Some("commits fail; nothing is acknowledged meanwhile and the hosts keep their data"),
        remedy: Some("look at the free space of the journal's disk and at the log; it goes on by itself"),
    }
}

fn hot_cache(works: bool) -> Check {
    let name = "hot_cache";
    if works {
        return Check { name, status: Status::Healthy, detail: None, remedy: None };
    }
    Check {
        name,
        status: Status::Degraded,
        detail: Some("the cache does not work; queries are answered from the journal, more slowly"),
        remedy: Some("look at the free space of its tmpfs and at the log; it is tried again each second"),
    }
}

/// Whether this program is fit for its work. The one path that needs no token.
#[utoipa::path(
    get, path = "/health", tag = "health", security(()),
    responses(
        (status = 200, description = "Healthy, or degraded", body = Health),
        (status = 406, description = "The client takes no JSON", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 503, description = "Unhealthy", body = Health),
    )
)]
pub(super) async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Health>) {
    let health = Health::of(&app);
    let code = if health.status == Status::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Json(health))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_part_is_the_whole() {
        assert!(Status::Healthy < Status::Degraded && Status::Degraded < Status::Unhealthy);
        assert_eq!((journal(true).status, journal(false).status), (Status::Unhealthy, Status::Healthy));
        assert_eq!((hot_cache(false).status, hot_cache(true).status), (Status::Degraded, Status::Healthy));
        let fine = serde_json::to_string(&journal(false)).expect("JSON");
        assert_eq!(fine, "{\"name\":\"journal\",\"status\":\"healthy\"}", "absent is absent");
    }
}
