//! `GET /health`: is this program fit for its work? For load balancers and watchdogs; says nothing about the fleet.

use super::App;
use super::security::trust::TimeLeft;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A trust bundle or an issuer that ends sooner wants the root, which has to be brought from where it is kept.
const EXPIRES_SOON_S: i64 = 30 * 86_400;
/// Our own leaf is made anew once half of its day is left: with less than this that has failed for hours.
const LEAF_OVERDUE_S: i64 = 6 * 3_600;

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
    #[schema(example = 1_767_323_045_000i64)]
    started_ms: i64,
    /// What was looked at.
    checks: Vec<Check>,
}

impl Health {
    pub(super) fn of(app: &App) -> Self {
        let hot = app.context.store.hot_stats().map(|hot| hot.floor_ms != i64::MAX);
        let left = TimeLeft::of(&app.context.credentials);
        let always = [journal(app.journal.is_failing()), trust(left), identity(left)];
        let checks: Vec<Check> = always.into_iter().chain(hot.map(hot_cache)).collect();
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
        detail: Some(
            "commits fail, or did in the last forty seconds; what is not stored is not acknowledged, and the hosts keep it",
        ),
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

/// The worse of the two things that need the root: for the pipeline's own line.
pub(super) fn standing(left: TimeLeft) -> Status {
    trust(left).status.max(identity(left).status)
}

fn trust(left: TimeLeft) -> Check {
    let name = "trust";
    match left.bundle_s {
        ..0 => Check {
            name,
            status: Status::Unhealthy,
            detail: Some("the trust bundle has expired; nobody is let in"),
            remedy: Some("bring the root and run `dsmil-aggregator trust sign`, then `trust publish`"),
        },
        0..EXPIRES_SOON_S => Check {
            name,
            status: Status::Degraded,
            detail: Some("the trust bundle expires within 30 days; nobody is let in after that"),
            remedy: Some("bring the root and run `dsmil-aggregator trust sign`, then `trust publish`"),
        },
        _ => Check { name, status: Status::Healthy, detail: None, remedy: None },
    }
}

fn identity(left: TimeLeft) -> Check {
    let name = "identity";
    if left.leaf_s < 0 || left.issuer_s < 0 {
        return Check {
            name,
            status: Status::Unhealthy,
            detail: Some("our own certificate, or the issuer's, has expired; no host takes us for an aggregator"),
            remedy: Some("bring the root and run `dsmil-aggregator trust add-issuer`; the log says what failed"),
        };
    }
    if left.issuer_s < EXPIRES_SOON_S {
        return Check {
            name,
            status: Status::Degraded,
            detail: Some("our issuer's certificate expires within 30 days; no certificate is good for longer"),
            remedy: Some("bring the root and run `dsmil-aggregator trust add-issuer`"),
        };
    }
    if left.leaf_s < LEAF_OVERDUE_S {
        return Check {
            name,
            status: Status::Degraded,
            detail: Some("our own certificate was not made anew in time"),
            remedy: Some("look at the log: it says each second why"),
        };
    }
    Check { name, status: Status::Healthy, detail: None, remedy: None }
}

/// Whether this program is fit for its work. It needs no token.
#[utoipa::path(
    get, path = "/health", tag = "health", security(()),
    responses(
        (status = 200, description = "Healthy, or degraded", body = Health),
        (status = 406, description = "The client takes no JSON", body = super::problem::Problem, content_type = "application/problem+json"),
        (status = 431, description = "The request's line and headers have more than 16 KiB. There is no document with it."),
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
        let day = 86_400;
        let left = |bundle, issuer, leaf| TimeLeft { bundle_s: bundle * day, issuer_s: issuer * day, leaf_s: leaf };
        let both = |left| (trust(left).status, identity(left).status);
        let (well, worse, not) = (Status::Healthy, Status::Degraded, Status::Unhealthy);
        assert_eq!(both(left(30, 30, LEAF_OVERDUE_S)), (well, well));
        assert_eq!(both(left(29, 30, LEAF_OVERDUE_S - 1)), (worse, worse));
        assert_eq!(both(left(0, 29, day)), (worse, worse), "the last second counts");
        assert_eq!(both(left(-1, 30, -1)), (not, not));
        assert_eq!(both(left(300, -1, day)), (well, not));
        assert_eq!(standing(left(0, -1, day)), not);
        let fine = serde_json::to_string(&journal(false)).expect("JSON");
        assert_eq!(fine, "{\"name\":\"journal\",\"status\":\"healthy\"}", "absent is absent");
    }
}
