//! For Prometheus: each host's newest values as a target to scrape, and the list of targets.

use super::App;
use super::hosts::known_host;
use super::metrics::is_up;
use super::openapi::Refusals;
use super::problem::{Problem, ProblemKind};
use crate::live::{Latest, Standing};
use crate::prometheus::text::{CONTENT_TYPE as TEXT, Exposition, Type};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::response::IntoResponse;
use dsmil_protocol::metric::Kind;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// One target of Prometheus's HTTP service discovery.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TargetGroup {
    /// This API's address, as the request had it.
    targets: [String; 1],
    /// `__metrics_path__` and `__scheme__` lead to the host's metrics; `instance` and `host` are its name.
    labels: BTreeMap<&'static str, String>,
}

/// A host's newest values in Prometheus's text format, under the names that its sensors gave them.
///
/// Existing dashboards for node_exporter work on it. Of a sensor that settings of the fleet let rest between ticks it has the last
/// value of the last five minutes. When nothing newer than five minutes is known it fails, as a scrape of
/// a host that is gone does.
#[utoipa::path(
    get, path = "/api/v1/hosts/{id}/metrics", tag = "hosts",
    params(("id" = String, Path, pattern = "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", example = "h1", description = "the host's name in the fleet file")),
    responses(
        (status = 200, description = "Prometheus's text format 0.0.4", body = String, content_type = "text/plain"),
        (status = 404, description = "No such host", body = Problem, content_type = "application/problem+json"),
        Refusals,
    )
)]
pub(super) async fn host_metrics(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let host = known_host(&app, id)?;
    let Some(latest) = app.context.fresh_latest(&host) else {
        let detail = format!("nothing newer than five minutes is known of {host}");
        let remedy = format!("GET /api/v1/hosts/{host} says why; on the host: `dsmilctl host status`");
        return Err(Problem::new(ProblemKind::ServiceUnavailable, detail).remedy(remedy));
    };
    let standing = app.context.live.get(&host).map(|now| now.standing).unwrap_or_default();
    Ok(([(CONTENT_TYPE, TEXT)], exposition(&latest, standing)))
}

fn exposition(latest: &Latest, standing: Standing) -> String {
    let metrics = latest.set.metrics();
    // The format wants a family's samples side by side; the set has them nearly so. A stable sort keeps their order.
    let mut order: Vec<usize> = (0..metrics.len()).collect();
    order.sort_by_key(|column| &metrics[*column].name);
    let mut text = Exposition::default();
    let mut family: Option<&str> = None;
    for column in order {
        let Some(bits) = latest.newest(column) else { continue };
        let metric = &metrics[column];
        if family != Some(&metric.name) {
            text.family(&metric.name, Type::from(metric.kind), None);
            family = Some(&metric.name);
        }
        let labels = metric.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        text.sample(&metric.name, labels, metric.value(bits));
    }
    if let Some(up) = is_up(standing) {
        let help = "Whether the host has a session and was heard of in the last seconds; absent while nobody knows.";
        text.single("dsmil_host_up", Kind::Gauge.into(), help, up);
    }
    #[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double for 280,000 years")]
    let seconds = latest.time_ms as f64 / 1000.0;
    text.single("dsmil_host_sampled_timestamp_seconds", Type::Gauge, "When these values were sampled.", seconds);
    text.finish()
}

/// Every host as a target, for Prometheus's `http_sd_configs`.
///
/// The scrape needs the token as well: set `authorization` in the scrape configuration.
#[utoipa::path(
    get, path = "/api/v1/sd", tag = "hosts",
    responses(
        (status = 200, description = "Prometheus's HTTP service discovery", body = Vec<TargetGroup>),
        (status = 400, description = "The request does not say under which address it came", body = Problem, content_type = "application/problem+json"),
        Refusals,
    )
)]
pub(super) async fn discovery(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Vec<TargetGroup>>, Problem> {
    let Some(address) = address(&request) else {
        return Err(Problem::new(ProblemKind::BadRequest, "the request does not say under which address it came")
            .remedy("send a Host header such as aggregator.example:8443"));
    };
    let fleet = app.context.fleet.get();
    let target = |host: dsmil_protocol::ids::HostName| {
        let mut labels = BTreeMap::from([
            ("__metrics_path__", format!("/api/v1/hosts/{host}/metrics")),
            ("__scheme__", "https".to_owned()),
            ("host", host.to_string()),
            // Dashboards tell machines apart by it; without it every host would have the aggregator's address.
            ("instance", host.to_string()),
        ]);
        if let Some(group) = fleet.host(&host).and_then(|enrolled| enrolled.group.clone()) {
            labels.insert("group", group);
        }
        TargetGroup { targets: [address.clone()], labels }
    };
    Ok(Json(app.context.hosts().into_iter().map(target).collect()))
}

/// The address that the client used: it leads here from where the client is.
pub(super) fn address(request: &Request) -> Option<String> {
    let header = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => header?.parse::<Authority>().ok()?,
    };
    // No user and password: what comes back is written into Prometheus's pages.
    let port = authority.port_u16().map_or(String::new(), |port| format!(":{port}"));
    Some(format!("{}{port}", authority.host()))
}
