//! `GET /openapi.json`: this API's description, made from the handlers themselves.

use super::problem::Problem;
use crate::prometheus::routes as prometheus;
use axum::Json;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "DSMIL Fleet aggregator",
        description = "What is known of the fleet. Every path but `/health` needs a bearer token; every error is a problem document (RFC 9457), except those of queries, which are in Prometheus's form."
    ),
    paths(
        super::health::health,
        super::pipeline::pipeline,
        super::metrics::metrics,
        super::hosts::list,
        super::hosts::one,
        super::scrape::host_metrics,
        super::scrape::discovery,
        super::security::link::link,
        super::security::log::log,
        document,
        prometheus::query,
        prometheus::query_range,
        prometheus::series,
        prometheus::labels,
        prometheus::label_values,
    ),
    security(("token" = [])),
    modifiers(&Token),
    tags(
        (name = "health", description = "The aggregator itself"),
        (name = "hosts", description = "The fleet"),
        (name = "security", description = "Identity, trust and refusals"),
        (name = "prometheus", description = "Prometheus's query API, for plain selectors"),
    )
)]
struct Api;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_with(Default::default);
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token of this aggregator."));
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

/// What every path with a token may answer instead.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(super) enum Refusals {
    /// No token, or none that is good.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorised(Problem),
    /// The client does not take this type.
    #[response(status = 406, content_type = "application/problem+json")]
    NotAcceptable(Problem),
    /// It took too long, or nothing fresh is known.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// This description.
#[utoipa::path(
    get, path = "/openapi.json", tag = "health",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value), Refusals)
)]
pub(super) async fn document() -> Json<Document> {
    Json(description())
}

/// The description itself.
pub(super) fn description() -> Document {
    Api::openapi()
}
