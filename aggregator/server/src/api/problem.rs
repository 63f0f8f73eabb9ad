//! How the API says no: a problem document (RFC 9457) with what is wrong and what to do about it.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

/// The content type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Which kind of problem: `urn:dsmil:problem:` and a name that stays the same.
    #[serde(rename = "type")]
    #[schema(example = "urn:dsmil:problem:not-found")]
    kind: String,
    /// The kind, for people.
    #[schema(example = "Not Found")]
    title: &'static str,
    /// The HTTP status, again.
    #[schema(example = 404)]
    status: u16,
    /// What is wrong this time.
    detail: String,
    /// What to do about it.
    remedy: String,
}

impl Problem {
    /// A problem of the kind that the status names.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            kind: format!("urn:dsmil:problem:{}", title.to_ascii_lowercase().replace(' ', "-")),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            remedy: String::new(),
        }
    }

    /// Says what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    pub(super) fn not_found(path: &str) -> Self {
        // A path of kilobytes need not come back.
        let path: String = path.chars().take(256).collect();
        Self::new(StatusCode::NOT_FOUND, format!("there is nothing at {path}"))
            .remedy("GET /openapi.json lists what there is")
    }

    pub(super) fn no_host(id: &str) -> Self {
        let id: String = id.chars().take(64).collect();
        Self::new(StatusCode::NOT_FOUND, format!("there is no host {id:?}"))
            .remedy("GET /api/v1/hosts lists the hosts; a new one is added to the fleet file")
    }

    pub(super) fn method(method: &str, path: &str) -> Self {
        let path: String = path.chars().take(256).collect();
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for {path}"))
            .remedy("use one of the methods in the Allow header")
    }

    pub(super) fn not_acceptable(offered: &str) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, format!("this is {offered}, which the request does not accept"))
            .remedy("add it to the Accept header, or leave the header out")
    }

    pub(crate) fn media_type() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is no form")
            .remedy("send application/x-www-form-urlencoded, or put the parameters in the URL")
    }

    pub(super) fn unauthorised(presented: bool) -> Self {
        let detail = if presented { "the token is not one of this aggregator's" } else { "there is no token" };
        Self::new(StatusCode::UNAUTHORIZED, detail)
            .remedy("send `Authorization: Bearer <token>`; `dsmil-aggregator init` printed the first one")
    }

    pub(super) fn too_slow() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long")
            .remedy("try again; if it lasts, look at /health/pipeline")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let body = serde_json::to_string(&self).expect("strings always become JSON");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status).expect("made from a status");
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"dsmil\""));
        }
        response
    }
}
