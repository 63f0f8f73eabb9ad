//! The paths under `/prometheus/api/v1`.

use super::answer::{self, Answer, Failure, Refused};
use super::collect::Shape;
use super::engine::{Distinct, Names, select};
use super::names::is_label_name;
use super::params::Params;
use crate::api::App;
use crate::api::problem::Problem;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Response;
use std::sync::Arc;
use std::time::Duration;

/// Points of one series: a dashboard has fewer pixels. Prometheus's own limit.
const MAX_STEPS: i64 = 11_000;
/// The longest that a query may take. A client may ask for less.
const DEADLINE: Duration = Duration::from_secs(25);
/// Without `start`, lists of names look back this far from `end` (itself now, if absent): naming all that was ever stored
/// would read every batch.
const NAMES_LOOK_BACK_MS: i64 = 3_600_000;

/// The value of each series at one moment, or with a range in the selector, its samples in that range.
///
/// Only plain selectors are answered. The look-back is five minutes.
#[utoipa::path(
    method(get, post), path = "/prometheus/api/v1/query", tag = "prometheus",
    params(
        ("query" = String, Query, description = "a plain selector, such as `node_load1{host=\"h1\"}` or `node_load1[5m]`"),
        ("time" = Option<String>, Query, description = "Unix seconds or RFC 3339; now, if absent"),
        ("timeout" = Option<String>, Query, description = "a duration; 25 s at most"),
        ("limit" = Option<u64>, Query, description = "series in the answer"),
    ),
    responses((status = 200, description = "Prometheus's JSON: resultType `vector`, or `matrix` for a range", body = serde_json::Value), QueryErrors)
)]
pub(crate) async fn query(State(app): State<Arc<App>>, params: Params) -> Response<Body> {
    let work = async {
        let (selector, filter) = params.query()?;
        let at = params.time("time")?.unwrap_or_else(|| app.context.clock.wall_ms());
        let limit = params.limit()?;
        Ok(match selector.range_ms {
            Some(range_ms) => {
                let shape = Shape::Samples { from_ms: at.saturating_sub(range_ms), to_ms: at };
                answer::matrix(select(&app.context, &filter, shape).await?, limit)
            }
            None => {
                let shape = Shape::Steps { start_ms: at, step_ms: 1, count: 1 };
                answer::vector(select(&app.context, &filter, shape).await?, limit)
            }
        })
    };
    within_limits(&app, &params, work).await
}

/// The value of each series at every step from `start` to `end`, both included.
#[utoipa::path(
    method(get, post), path = "/prometheus/api/v1/query_range", tag = "prometheus",
    params(
        ("query" = String, Query, description = "a plain selector without a range"),
        ("start" = String, Query, description = "Unix seconds or RFC 3339"),
        ("end" = String, Query, description = "Unix seconds or RFC 3339"),
        ("step" = String, Query, description = "seconds or a duration; 11,000 steps at most"),
        ("timeout" = Option<String>, Query, description = "a duration; 25 s at most"),
        ("limit" = Option<u64>, Query, description = "series in the answer"),
    ),
    responses((status = 200, description = "Prometheus's JSON: resultType `matrix`", body = serde_json::Value), QueryErrors)
)]
pub(crate) async fn query_range(State(app): State<Arc<App>>, params: Params) -> Response<Body> {
    let work = async {
        let (start_ms, end_ms) = (params.required_time("start")?, params.required_time("end")?);
        if end_ms < start_ms {
            return Err(Refused::parameter("end", "end timestamp must not be before start time"));
        }
        let step_ms = params.step()?;
        let steps = (end_ms - start_ms) / step_ms;
        if steps > MAX_STEPS {
            return Err(Refused::bad(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ));
        }
        let (selector, filter) = params.query()?;
        if selector.range_ms.is_some() {
            let why = "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector";
            return Err(Refused::parameter("query", why));
        }
        let limit = params.limit()?;
        let count = u32::try_from(steps + 1).expect("at most 11,001");
        let shape = Shape::Steps { start_ms, step_ms, count };
        Ok(answer::matrix(select(&app.context, &filter, shape).await?, limit))
    };
    within_limits(&app, &params, work).await
}

/// The labels of every series that one of the selectors names.
///
/// From the metric sets in use between `start` and `end` (the last hour, if absent).
#[utoipa::path(
    method(get, post), path = "/prometheus/api/v1/series", tag = "prometheus",
    params(
        ("match[]" = Vec<String>, Query, description = "plain selectors; at least one"),
        ("start" = Option<String>, Query, description = "Unix seconds or RFC 3339; an hour before `end`, if absent"),
        ("end" = Option<String>, Query, description = "Unix seconds or RFC 3339; now, if absent"),
        ("limit" = Option<u64>, Query, description = "series in the answer"),
    ),
    responses((status = 200, description = "Prometheus's JSON: a list of label sets", body = serde_json::Value), QueryErrors)
)]
pub(crate) async fn series(State(app): State<Arc<App>>, params: Params) -> Response<Body> {
    let work = async {
        let filters = params.matches()?;
        if filters.is_empty() {
            return Err(Refused::bad("no match[] parameter provided"));
        }
        let limit = params.limit()?;
        let mut found = Distinct::default();
        let names = names(&app, &params, &filters)?;
        names.each(|labels| found.add(&answer::json_labels(labels))).await?;
        Ok(answer::list(found.into_texts().into_iter(), limit))
    };
    within_limits(&app, &params, work).await
}

/// The names of labels.
#[utoipa::path(
    method(get, post), path = "/prometheus/api/v1/labels", tag = "prometheus",
    params(
        ("match[]" = Option<Vec<String>>, Query, description = "only of series that one of these selectors names"),
        ("start" = Option<String>, Query, description = "Unix seconds or RFC 3339; an hour before `end`, if absent"),
        ("end" = Option<String>, Query, description = "Unix seconds or RFC 3339; now, if absent"),
        ("limit" = Option<u64>, Query, description = "names in the answer"),
    ),
    responses((status = 200, description = "Prometheus's JSON: a list of names", body = serde_json::Value), QueryErrors)
)]
pub(crate) async fn labels(State(app): State<Arc<App>>, params: Params) -> Response<Body> {
    let work = async {
        let (filters, limit) = (params.matches()?, params.limit()?);
        let mut found = Distinct::default();
        let names = names(&app, &params, &filters)?;
        names.each(|labels| labels.iter().try_for_each(|(name, _)| found.add(name))).await?;
        Ok(strings(found, limit))
    };
    within_limits(&app, &params, work).await
}

/// The values of one label.
#[utoipa::path(
    get, path = "/prometheus/api/v1/label/{name}/values", tag = "prometheus",
    params(
        ("name" = String, Path, description = "the label; `__name__` for metric names, `host` for hosts"),
        ("match[]" = Option<Vec<String>>, Query, description = "only of series that one of these selectors names"),
        ("start" = Option<String>, Query, description = "Unix seconds or RFC 3339; an hour before `end`, if absent"),
        ("end" = Option<String>, Query, description = "Unix seconds or RFC 3339; now, if absent"),
        ("limit" = Option<u64>, Query, description = "values in the answer"),
    ),
    responses((status = 200, description = "Prometheus's JSON: a list of values", body = serde_json::Value), QueryErrors)
)]
pub(crate) async fn label_values(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Response<Body> {
    let work = async {
        let name = name.map_or_else(|_| String::new(), |Path(name)| name);
        if !is_label_name(&name) {
            return Err(Refused::bad(format_args!("invalid label name: {name:?}")));
        }
        let (filters, limit) = (params.matches()?, params.limit()?);
        let mut found = Distinct::default();
        let names = names(&app, &params, &filters)?;
        let mut see = |label: &str, value: &str| if label == name { found.add(value) } else { Ok(()) };
        names.each(|labels| labels.iter().try_for_each(|(label, value)| see(label, value))).await?;
        Ok(strings(found, limit))
    };
    within_limits(&app, &params, work).await
}

fn names<'a>(app: &'a App, params: &Params, filters: &'a [Arc<super::filter::Filter>]) -> Result<Names<'a>, Refused> {
    let to_ms = params.time("end")?.unwrap_or_else(|| app.context.clock.wall_ms());
    let from_ms = params.time("start")?.unwrap_or_else(|| to_ms.saturating_sub(NAMES_LOOK_BACK_MS));
    if to_ms < from_ms {
        return Err(Refused::parameter("end", "end timestamp must not be before start time"));
    }
    Ok(Names { context: &app.context, filters, from_ms, to_ms })
}

fn strings(found: Distinct, limit: usize) -> Answer {
    let texts = found.into_texts();
    answer::list(texts.iter().map(|text| serde_json::Value::from(text.as_str()).to_string()), limit)
}

/// Runs a query when it is its turn, and not for ever.
async fn within_limits(
    app: &App,
    params: &Params,
    work: impl Future<Output = Result<Answer, Refused>>,
) -> Response<Body> {
    let deadline = match params.timeout() {
        Ok(timeout) => timeout.map_or(DEADLINE, |asked| asked.min(DEADLINE)),
        Err(refused) => return refused.into_response(),
    };
    let turn = async {
        let permit = Arc::clone(&app.queries).acquire_owned().await.expect("the semaphore is never closed");
        (work.await, permit)
    };
    tokio::select! {
        (outcome, permit) = turn => match outcome {
            Ok(answer) => answer.into_response(permit),
            Err(refused) => refused.into_response(),
        },
        () = app.context.clock.sleep(deadline) => {
            let error = format!("the query took longer than {} s; ask for less time or fewer series", deadline.as_secs_f64());
            Refused { failure: Failure::Timeout, error }.into_response()
        }
    }
}

/// How a query is refused: in Prometheus's form, or as a problem if it did not get so far.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) enum QueryErrors {
    /// `bad_data`: a parameter is wrong, or the query is more than a plain selector.
    #[response(status = 400)]
    BadData(PrometheusError),
    /// No token, or none that is good.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorised(Problem),
    /// The client takes no JSON.
    #[response(status = 406, content_type = "application/problem+json")]
    NotAcceptable(Problem),
    /// The form is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is no form.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// `execution`: the answer would be too large.
    #[response(status = 422)]
    Execution(PrometheusError),
    /// `internal`: the store failed.
    #[response(status = 500)]
    Internal(PrometheusError),
    /// `timeout` or `unavailable`: it took too long, or too much is asked at once.
    #[response(status = 503)]
    Unavailable(PrometheusError),
}

/// An error in Prometheus's form.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct PrometheusError {
    /// Always `error`.
    status: String,
    /// `bad_data`, `execution`, `timeout`, `unavailable` or `internal`.
    error_type: String,
    /// What is wrong, for people.
    error: String,
}
