//! `GET /openapi.json`: this API's description, made from the handlers themselves.
//!
//! `kinds` has the texts that parameters take; `queries` says what the paths of the query API have in common.

mod kinds;
mod queries;

pub(crate) use kinds::{Duration, Moment, RangeSelector, Selector};
use queries::Queries;

use super::problem::Problem;
use crate::prometheus::document::{Matrix, PrometheusError, Vector};
use crate::prometheus::routes as prometheus;
use axum::Json;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "DSMIL Fleet aggregator",
        description = INTRODUCTION,
    ),
    paths(
        super::health::health,
        super::pipeline::pipeline,
        super::metrics::metrics,
        super::hosts::list,
        super::hosts::one,
        super::scrape::host_metrics,
        super::watched::watch,
        super::scrape::discovery,
        super::security::link::link,
        super::security::log::log,
        super::docs::page,
        document,
        prometheus::query,
        prometheus::query_range,
        prometheus::series,
        prometheus::labels,
        prometheus::label_values,
    ),
    security(("token" = [])),
    components(schemas(Moment, Duration, Selector, RangeSelector, PrometheusError, Matrix, Vector)),
    modifiers(&Token, &Queries),
    tags(
        (name = "health", description = "The aggregator itself"),
        (name = "hosts", description = "The fleet"),
        (name = "security", description = "Identity, trust and refusals"),
        (name = "prometheus", description = "Prometheus's query API, for plain selectors; an empty parameter is an absent one"),
        (name = "description", description = "This API"),
    )
)]
struct Api;

const INTRODUCTION: &str = "What is known of the fleet. Every path needs a bearer token, but for `/health` and the two that \
    describe this API. Every error is a problem document (RFC 9457) with what to do about it, except those of queries, which \
    are in Prometheus's form. Any path may answer 405 to another method, with the list of its own in `Allow`; HEAD is \
    understood wherever GET is.";

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
    /// The request's line and headers have more than 16 KiB. There is no document with it.
    #[response(status = 431)]
    TooLong,
    /// It took too long, or nothing fresh is known.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// What a path with parameters may answer instead, too.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(super) enum BadRequest {
    /// A parameter is not valid, is there twice, or is none that this path has.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
}

/// What a path that anybody may ask for may answer instead.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(super) enum OpenRefusals {
    /// The client does not take this type.
    #[response(status = 406, content_type = "application/problem+json")]
    NotAcceptable(Problem),
    /// The request's line and headers have more than 16 KiB. There is no document with it.
    #[response(status = 431)]
    TooLong,
    /// It took too long.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// This description. It needs no token: it is the same for every aggregator of a version, and says nothing of a fleet.
#[utoipa::path(
    get, path = "/openapi.json", tag = "description", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object), OpenRefusals)
)]
pub(super) async fn document() -> Json<Document> {
    Json(description())
}

/// The description itself.
pub(super) fn description() -> Document {
    Api::openapi()
}
