//! What a request asks for: the parameters of the URL and, with POST, those of a form.

use super::answer::Refused;
use super::filter::Filter;
use super::moment::{parse_duration, parse_time};
use super::selector::Selector;
use crate::api::parameters::{Pairs, ParameterError, decode};
use crate::api::problem::{Problem, ProblemKind};
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Response};
use axum::response::IntoResponse;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a form: some longest selectors.
const MAX_FORM_BYTES: usize = 64 << 10;
/// Selectors of one request; each is tried on every series.
const MAX_SELECTORS: usize = 32;

/// The parameters, in the order in which they came; those of the form first, as in Prometheus. Of a name that comes twice
/// the first one counts, and names that mean nothing here are left out: both as in Prometheus, whose clients rely on it.
#[derive(Debug)]
pub(crate) struct Params(Pairs);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Response<Body>;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response<Body>> {
        let refused = |error: ParameterError| Refused::bad(error).into_response();
        let query = decode(request.uri().query().unwrap_or_default().as_bytes()).map_err(refused)?;
        if request.method() != Method::POST {
            return Ok(Self(query));
        }
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Problem::media_type().into_response());
        }
        let form = to_bytes(request.into_body(), MAX_FORM_BYTES).await.map_err(|_| {
            let problem = Problem::new(ProblemKind::PayloadTooLarge, "the form does not come whole or is too large");
            problem.remedy(format!("send at most {MAX_FORM_BYTES} bytes; use shorter selectors")).into_response()
        })?;
        let mut params = decode(&form).map_err(refused)?;
        params.extend(query);
        Ok(Self(params))
    }
}

/// Whether the parameters of a URL and those of a form are such as every kind of query would take; if not, what is wrong
/// with one of them. What a request undergoes before any series is looked at, for tests with odd ones.
pub fn judge(query: &[u8], form: &[u8]) -> Result<(), String> {
    let mut pairs = decode(form).map_err(|error| error.to_string())?;
    pairs.extend(decode(query).map_err(|error| error.to_string())?);
    let params = Params(pairs);
    let each = [
        params.query().map(drop),
        params.matches().map(drop),
        ["time", "start", "end"].into_iter().try_for_each(|name| params.time(name).map(drop)),
        params.step().map(drop),
        params.timeout().map(drop),
        params.limit().map(drop),
    ];
    each.into_iter().collect::<Result<(), Refused>>().map_err(|refused| refused.error)
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
        match u64::try_from(ms) {
            Ok(ms) if ms > 0 => Ok(Some(Duration::from_millis(ms))),
            _ => Err(Refused::parameter("timeout", "the time to wait must be over 0")),
        }
    }

    /// How many series or names the client wants at most; 0 and none are no limit.
    pub(super) fn limit(&self) -> Result<usize, Refused> {
        let Some(text) = self.get("limit") else { return Ok(usize::MAX) };
        // Signed, as in Prometheus: what is refused there is refused here.
        match text.parse::<i64>().map(usize::try_from) {
            Ok(Ok(0)) => Ok(usize::MAX),
            Ok(Ok(limit)) => Ok(limit),
            _ => Err(Refused::parameter("limit", "limit must be a whole number, 0 or more")),
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
