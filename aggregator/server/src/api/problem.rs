//! How the API says no: a problem document (RFC 9457) with what is wrong and what to do about it.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// The content type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// The kinds of problems there are. Names stay the same: programs look at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A parameter, or the request itself, is not valid.
    BadRequest,
    /// There is no token, or it is not one of this aggregator's.
    Unauthorized,
    /// There is no such path or host.
    NotFound,
    /// The path has other methods.
    MethodNotAllowed,
    /// The client does not take the type that the path answers with.
    NotAcceptable,
    /// The form is larger than one may be, or did not come whole.
    PayloadTooLarge,
    /// The body is not what the path takes.
    UnsupportedMediaType,
    /// It cannot be answered now: it took too long, or nothing fresh is known.
    ServiceUnavailable,
}

impl ProblemKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::ServiceUnavailable,
    ];

    /// The member `type` of its documents.
    pub const fn urn(self) -> &'static str {
        match self {
            Self::BadRequest => "urn:dsmil:problem:bad-request",
            Self::Unauthorized => "urn:dsmil:problem:unauthorized",
            Self::NotFound => "urn:dsmil:problem:not-found",
            Self::MethodNotAllowed => "urn:dsmil:problem:method-not-allowed",
            Self::NotAcceptable => "urn:dsmil:problem:not-acceptable",
            Self::PayloadTooLarge => "urn:dsmil:problem:payload-too-large",
            Self::UnsupportedMediaType => "urn:dsmil:problem:unsupported-media-type",
            Self::ServiceUnavailable => "urn:dsmil:problem:service-unavailable",
        }
    }

    /// The status of its answers.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What to do about it, where nothing better is known.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::BadRequest => "GET /docs lists the parameters of every path, and what they may be.",
            Self::Unauthorized => {
                "Send `Authorization: Bearer <token>`. `dsmil-aggregator init` printed the first token; only hashes are kept."
            }
            Self::NotFound => "GET /docs shows what there is; GET /api/v1/hosts lists the hosts.",
            Self::MethodNotAllowed => "Use one of the methods in the Allow header.",
            Self::NotAcceptable => "Add the type to the Accept header, or leave the header out.",
            Self::PayloadTooLarge => "Use shorter selectors, or fewer of them.",
            Self::UnsupportedMediaType => "Send application/x-www-form-urlencoded, or put the parameters in the URL.",
            Self::ServiceUnavailable => {
                "Try again. If it lasts, look at /health/pipeline; for one host, at /api/v1/hosts/{id}."
            }
        }
    }
}

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Which kind of problem: a name that stays the same.
    #[serde(rename = "type")]
    #[schema(schema_with = urns)]
    kind: &'static str,
    /// The kind, for people.
    #[schema(example = "Not Found")]
    title: &'static str,
    /// The HTTP status, again.
    #[schema(example = 404)]
    status: u16,
    /// What is wrong this time.
    #[schema(example = "there is no host \"h9\"")]
    detail: String,
    /// What to do about it.
    #[schema(example = "GET /api/v1/hosts lists the hosts; a new one is added to the fleet file")]
    remedy: String,
}

fn urns() -> Object {
    let urns = ProblemKind::ALL.map(ProblemKind::urn);
    let example = ProblemKind::NotFound.urn();
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(urns)).examples([example]).build()
}

impl Problem {
    /// A problem of this kind, with the kind's remedy.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let status = kind.status();
        Self {
            kind: kind.urn(),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            remedy: kind.remedy().to_owned(),
        }
    }

    /// Says what to do about it this time.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    pub(super) fn not_found(path: &str) -> Self {
        // A path of kilobytes need not come back.
        let path: String = path.chars().take(256).collect();
        Self::new(ProblemKind::NotFound, format!("there is nothing at {path}"))
            .remedy("GET /docs shows what there is, /openapi.json lists it for programs")
    }

    pub(super) fn no_host(id: &str) -> Self {
        let id: String = id.chars().take(64).collect();
        Self::new(ProblemKind::NotFound, format!("there is no host {id:?}"))
            .remedy("GET /api/v1/hosts lists the hosts; a new one is added to the fleet file")
    }

    pub(super) fn method(method: &str, path: &str) -> Self {
        let path: String = path.chars().take(256).collect();
        Self::new(ProblemKind::MethodNotAllowed, format!("{method} is not for {path}"))
    }

    pub(super) fn not_acceptable(offered: &str) -> Self {
        Self::new(ProblemKind::NotAcceptable, format!("this is {offered}, which the request does not accept"))
            .remedy("add it to the Accept header, or leave the header out")
    }

    pub(crate) fn media_type() -> Self {
        Self::new(ProblemKind::UnsupportedMediaType, "the body is no form")
            .remedy("send application/x-www-form-urlencoded, or put the parameters in the URL")
    }

    pub(super) fn unauthorised(presented: bool) -> Self {
        let detail = if presented { "the token is not one of this aggregator's" } else { "there is no token" };
        Self::new(ProblemKind::Unauthorized, detail).remedy(
            "send `Authorization: Bearer <token>`; `dsmil-aggregator init` printed the first one. GET /docs needs none",
        )
    }

    pub(super) fn too_slow() -> Self {
        Self::new(ProblemKind::ServiceUnavailable, "the answer took too long")
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
