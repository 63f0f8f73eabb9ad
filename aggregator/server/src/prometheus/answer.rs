//! Prometheus's JSON: the envelope, series and errors.
//!
//! Large answers are written straight into one string; a tree of values would be several times their size.

use super::collect::{Series, TooMany};
use super::number::{push_time, push_value};
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use dsmil_store::read::ReadError;
use serde::Serialize;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;

/// Prometheus's kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request is wrong.
    BadData,
    /// It is right and cannot be answered.
    Execution,
    /// It took too long.
    Timeout,
    /// Not now.
    Unavailable,
    /// Our fault.
    Internal,
}

impl Failure {
    /// All of them.
    pub(super) const ALL: [Self; 5] =
        [Self::BadData, Self::Execution, Self::Timeout, Self::Unavailable, Self::Internal];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal in Prometheus's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) failure: Failure,
    pub(super) error: String,
}

impl Refused {
    /// The request is wrong.
    pub(super) fn bad(error: impl std::fmt::Display) -> Self {
        Self { failure: Failure::BadData, error: error.to_string() }
    }

    /// A parameter is wrong, in Prometheus's words.
    pub(super) fn parameter(name: &str, error: impl std::fmt::Display) -> Self {
        Self::bad(format_args!("invalid parameter {name:?}: {error}"))
    }

    /// The answer as sent.
    pub(super) fn into_response(self) -> Response<Body> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Document<'a> {
            status: &'static str,
            error_type: &'static str,
            error: &'a str,
        }
        let document = Document { status: "error", error_type: self.failure.name(), error: &self.error };
        let body = serde_json::to_string(&document).expect("strings always become JSON");
        json(self.failure.status(), Body::from(body))
    }
}

impl From<TooMany> for Refused {
    fn from(error: TooMany) -> Self {
        Self { failure: Failure::Execution, error: error.to_string() }
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        let failure = match &error {
            ReadError::TooMuch => Failure::Execution,
            ReadError::Busy => Failure::Unavailable,
            _ => Failure::Internal,
        };
        if failure == Failure::Internal {
            // The client is told what failed, the log how: a path or SQLite's words are not for everyone.
            tracing::warn!(error = &error as &dyn std::error::Error, "a query could not be answered");
        }
        Self { failure, error: error.to_string() }
    }
}

/// An answer in the making: the bytes of `data`, and what the client should be warned of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) data: String,
    pub(super) truncated: bool,
}

impl Answer {
    /// The answer as sent. The permit is kept until it was sent: what waits in memory is bounded by it.
    pub(super) fn into_response(self, permit: OwnedSemaphorePermit) -> Response<Body> {
        let mut text = String::with_capacity(self.data.len() + 96);
        text.extend(["{\"status\":\"success\",\"data\":", &self.data]);
        drop(self.data);
        if self.truncated {
            text.push_str(",\"warnings\":[\"results truncated due to limit\"]");
        }
        text.push('}');
        json(StatusCode::OK, Body::new(Held { bytes: Some(text.into()), _permit: permit }))
    }
}

fn json(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body that keeps a permit until it is gone.
struct Held {
    bytes: Option<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl axum::body::HttpBody for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// Labels as a JSON object, in the order given.
pub(super) fn json_labels<N: AsRef<str>>(labels: &[(N, &str)]) -> String {
    let mut text = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        push_string(&mut text, name.as_ref());
        text.push(':');
        push_string(&mut text, value);
    }
    text.push('}');
    text
}

pub(super) fn push_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("a string always becomes JSON"));
}

/// An instant vector: each series' value at one moment.
pub(super) fn vector(series: Vec<Series>, limit: usize) -> Answer {
    result("vector", series, limit, |out, points| {
        out.push_str(",\"value\":");
        if let Some(point) = points.first() {
            push_point(out, *point);
        }
    })
}

/// A matrix: each series' points.
pub(super) fn matrix(series: Vec<Series>, limit: usize) -> Answer {
    result("matrix", series, limit, |out, points| {
        out.push_str(",\"values\":[");
        for (i, point) in points.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            push_point(out, *point);
        }
        out.push(']');
    })
}

fn result(
    kind: &'static str,
    series: Vec<Series>,
    limit: usize,
    push_points: impl Fn(&mut String, &[(i64, f64)]),
) -> Answer {
    let truncated = series.len() > limit;
    let mut data = format!("{{\"resultType\":\"{kind}\",\"result\":[");
    // One by one, so that what is written is no longer held in the other form.
    for (i, series) in series.into_iter().take(limit).enumerate() {
        if i > 0 {
            data.push(',');
        }
        data.extend(["{\"metric\":", &series.labels]);
        push_points(&mut data, &series.points);
        data.push('}');
    }
    data.push_str("]}");
    Answer { data, truncated }
}

fn push_point(out: &mut String, (time_ms, value): (i64, f64)) {
    out.push('[');
    push_time(out, time_ms);
    out.push_str(",\"");
    push_value(out, value);
    out.push_str("\"]");
}

/// A list whose items are JSON already.
pub(super) fn list(items: impl ExactSizeIterator<Item = String>, limit: usize) -> Answer {
    let truncated = items.len() > limit;
    let mut data = String::from("[");
    for (i, item) in items.take(limit).enumerate() {
        if i > 0 {
            data.push(',');
        }
        data.push_str(&item);
    }
    data.push(']');
    Answer { data, truncated }
}
