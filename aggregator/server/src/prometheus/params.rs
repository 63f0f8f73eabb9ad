//! What a request asks for: the parameters of the URL and, with POST, those of a form.

use super::answer::Refused;
use super::filter::Filter;
use super::moment::{parse_duration, parse_time};
use super::selector::Selector;
use crate::api::problem::Problem;
use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a form: some longest selectors.
const MAX_FORM_BYTES: usize = 64 << 10;
/// Parameters in a request.
const MAX_PARAMS: usize = 256;
/// Selectors of one request; each is tried on every series.
const MAX_SELECTORS: usize = 32;

/// The parameters, in the order in which they came; those of the form first, as in Prometheus.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut params = Vec::new();
        if request.method() == Method::POST {
            let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let kind = kind.split(';').next().unwrap_or_default().trim();
            if !kind.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
                return Err(Problem::media_type());
            }
            let form = to_bytes(request.into_body(), MAX_FORM_BYTES).await.map_err(|_| {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the form does not come whole or is too large")
                    .remedy(format!("send at most {MAX_FORM_BYTES} bytes; use shorter selectors"))
            })?;
            params.extend(form_urlencoded::parse(&form).into_owned().take(MAX_PARAMS + 1));
        }
        params.extend(form_urlencoded::parse(query.as_bytes()).into_owned().take(MAX_PARAMS + 1));
        if params.len() > MAX_PARAMS {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "there are too many parameters")
                .remedy(format!("send at most {MAX_PARAMS}")));
        }
        Ok(Self(params))
    }
}

impl Params {
    /// The first of this name; an empty one is none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A time, Unix ms.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Refused> {
        self.get(name).map(|text| parse_time(text).map_err(|error| Refused::parameter(name, error))).transpose()
    }

    /// A time that must be there.
    pub(super) fn required_time(&self, name: &str) -> Result<i64, Refused> {
        // Prometheus says so of an absent one, too.
        self.time(name)?.ok_or_else(|| Refused::parameter(name, "cannot parse \"\" to a valid timestamp"))
    }

    /// A duration over 0 that must be there, milliseconds.
    pub(super) fn step(&self) -> Result<i64, Refused> {
        let refused = |error: &str| Refused::parameter("step", error);
        let text = self.get("step").ok_or_else(|| refused("cannot parse \"\" to a valid duration"))?;
        let ms = parse_duration(text).map_err(|error| refused(&error.to_string()))?;
        if ms > 0 {
            return Ok(ms);
        }
        Err(refused("zero or negative query resolution step widths are not accepted. Try a positive integer"))
    }

    /// How long the client wants to wait, if it says so.
    pub(super) fn timeout(&self) -> Result<Option<Duration>, Refused> {
        let Some(text) = self.get("timeout") else { return Ok(None) };
        let ms = parse_duration(text).map_err(|error| Refused::parameter("timeout", error))?;
        Ok(Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
    }

    /// How many series or names the client wants at most; 0 and none are no limit.
    pub(super) fn limit(&self) -> Result<usize, Refused> {
        let Some(text) = self.get("limit") else { return Ok(usize::MAX) };
        match text.parse() {
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => Ok(limit),
            Err(_) => Err(Refused::parameter("limit", "limit must be a whole number, 0 or more")),
        }
    }

    /// The selector to be evaluated.
    pub(super) fn query(&self) -> Result<(Selector, Arc<Filter>), Refused> {
        compile("query", self.get("query").unwrap_or_default())
    }

    /// The selectors that narrow a list of names.
    pub(super) fn matches(&self) -> Result<Vec<Arc<Filter>>, Refused> {
        let texts: Vec<&str> = self.0.iter().filter(|(key, _)| key == "match[]").map(|(_, v)| v.as_str()).collect();
        if texts.len() > MAX_SELECTORS {
            return Err(Refused::parameter("match[]", format_args!("at most {MAX_SELECTORS} selectors are taken")));
        }
        let compiled = texts.into_iter().map(|text| match compile("match[]", text)? {
            (Selector { range_ms: None, .. }, filter) => Ok(filter),
            _ => Err(Refused::parameter("match[]", "a selector with a range cannot narrow names; leave the range out")),
        });
        compiled.collect()
    }
}

fn compile(parameter: &str, text: &str) -> Result<(Selector, Arc<Filter>), Refused> {
    let selector: Selector = text.parse().map_err(|error| Refused::parameter(parameter, error))?;
    let filter = Filter::new(&selector).map_err(|error| Refused::parameter(parameter, error))?;
    Ok((selector, Arc::new(filter)))
}
