//! The paths under `/prometheus/api/v1`.

use super::answer::{self, Answer, Failure, Refused};
use super::collect::Shape;
use super::document::{NamesAnswer, QueryAnswer, QueryErrors, RangeAnswer, SeriesAnswer};
use super::engine::{Distinct, Names, select};
use super::names::is_label_name;
use super::params::Params;
use crate::api::App;
use crate::api::openapi::{Duration as Stretch, Moment, RangeSelector, Selector};
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
        ("query" = RangeSelector, Query, description = "a plain selector, such as `node_load1{host=\"h1\"}` or `node_load1[5m]`"),
        ("time" = Option<Moment>, Query, description = "now, if absent"),
        ("timeout" = Option<Stretch>, Query, description = "how long to wait; 25 s, if absent or over that"),
        ("limit" = Option<i64>, Query, minimum = 0, description = "series in the answer at most; 0 and absent: all", example = 100),
    ),
    responses((status = 200, description = "Prometheus's JSON: resultType `vector`, or `matrix` for a range", body = QueryAnswer), QueryErrors)
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
        ("query" = Selector, Query, description = "a plain selector without a range"),
        ("start" = Moment, Query, description = "the first step"),
        ("end" = Moment, Query, description = "the last step is here or before; not before `start`"),
        ("step" = Stretch, Query, description = "from one step to the next; 11,000 steps at most"),
        ("timeout" = Option<Stretch>, Query, description = "how long to wait; 25 s, if absent or over that"),
        ("limit" = Option<i64>, Query, minimum = 0, description = "series in the answer at most; 0 and absent: all", example = 100),
    ),
    responses((status = 200, description = "Prometheus's JSON: resultType `matrix`", body = RangeAnswer), QueryErrors)
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
        ("match[]" = Vec<Selector>, Query, min_items = 1, max_items = 32, description = "plain selectors; at least one"),
        ("start" = Option<Moment>, Query, description = "an hour before `end`, if absent"),
        ("end" = Option<Moment>, Query, description = "now, if absent; not before `start`"),
        ("limit" = Option<i64>, Query, minimum = 0, description = "series in the answer at most; 0 and absent: all", example = 100),
    ),
    responses((status = 200, description = "Prometheus's JSON: a list of label sets", body = SeriesAnswer), QueryErrors)
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
        ("match[]" = Option<Vec<Selector>>, Query, max_items = 32, description = "only of series that one of these selectors names"),
        ("start" = Option<Moment>, Query, description = "an hour before `end`, if absent"),
        ("end" = Option<Moment>, Query, description = "now, if absent; not before `start`"),
        ("limit" = Option<i64>, Query, minimum = 0, description = "names in the answer at most; 0 and absent: all", example = 100),
    ),
    responses((status = 200, description = "Prometheus's JSON: a list of names", body = NamesAnswer), QueryErrors)
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
        ("name" = String, Path, pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$", example = "host", description = "the label; `__name__` for metric names, `host` for hosts"),
        ("match[]" = Option<Vec<Selector>>, Query, max_items = 32, description = "only of series that one of these selectors names"),
        ("start" = Option<Moment>, Query, description = "an hour before `end`, if absent"),
        ("end" = Option<Moment>, Query, description = "now, if absent; not before `start`"),
        ("limit" = Option<i64>, Query, minimum = 0, description = "values in the answer at most; 0 and absent: all", example = 100),
    ),
    responses((status = 200, description = "Prometheus's JSON: a list of values", body = NamesAnswer), QueryErrors)
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
