//! What there is: every path with its methods.

use super::problem::Problem;
use super::{App, access, docs, health, hosts, metrics, openapi, pipeline, scrape, security, watched};
use crate::prometheus::routes as prometheus;
use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get};
use std::sync::Arc;

type Route = (&'static str, MethodRouter<Arc<App>>);

fn routes() -> [Route; 17] {
    [
        ("/health", get(health::health)),
        ("/health/pipeline", get(pipeline::pipeline)),
        ("/metrics", get(metrics::metrics)),
        ("/docs", get(docs::page)),
        ("/openapi.json", get(openapi::document)),
        ("/api/v1/hosts", get(hosts::list)),
        ("/api/v1/hosts/{id}", get(hosts::one)),
        ("/api/v1/hosts/{id}/metrics", get(scrape::host_metrics)),
        ("/api/v1/hosts/{id}/watch", get(watched::watch)),
        ("/api/v1/sd", get(scrape::discovery)),
        ("/api/v1/security/link", get(security::link::link)),
        ("/api/v1/security/log", get(security::log::log)),
        ("/prometheus/api/v1/query", get(prometheus::query).post(prometheus::query)),
        ("/prometheus/api/v1/query_range", get(prometheus::query_range).post(prometheus::query_range)),
        ("/prometheus/api/v1/series", get(prometheus::series).post(prometheus::series)),
        ("/prometheus/api/v1/labels", get(prometheus::labels).post(prometheus::labels)),
        ("/prometheus/api/v1/label/{name}/values", get(prometheus::label_values)),
    ]
}

/// Everything, ready to serve.
pub(super) fn router(app: Arc<App>) -> Router {
    let router = routes().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    router
        .fallback(|request: Request| async move { Problem::not_found(request.uri().path()) })
        .method_not_allowed_fallback(|request: Request| async move {
            Problem::method(request.method().as_str(), request.uri().path())
        })
        .layer(from_fn_with_state(Arc::clone(&app), access::guard))
        .with_state(app)
}

/// Every path, for the test that holds the document against them.
#[cfg(test)]
pub(super) fn paths() -> Vec<&'static str> {
    routes().into_iter().map(|(path, _)| path).collect()
}
