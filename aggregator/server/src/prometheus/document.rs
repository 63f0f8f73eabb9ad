//! What the query API answers, for the OpenAPI document only: the answers themselves are written as text, see `answer`.

use crate::api::problem::{PROBLEM_JSON, Problem};
use std::collections::BTreeMap;
use utoipa::openapi::schema::{ArrayBuilder, ArrayItems, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// What a query found.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct QueryAnswer {
    #[schema(schema_with = success)]
    status: String,
    /// By the kind of the query.
    #[schema(schema_with = vector_or_matrix)]
    data: (),
    /// Given if `limit` has cut the answer short.
    #[schema(nullable = false)]
    warnings: Option<Vec<String>>,
}

/// What a query over a range found.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct RangeAnswer {
    #[schema(schema_with = success)]
    status: String,
    data: Matrix,
    /// Given if `limit` has cut the answer short.
    #[schema(nullable = false)]
    warnings: Option<Vec<String>>,
}

/// The value of each series at one moment.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct Vector {
    #[schema(schema_with = vector)]
    result_type: String,
    result: Vec<Instant>,
}

/// The points of each series.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct Matrix {
    #[schema(schema_with = matrix)]
    result_type: String,
    result: Vec<Points>,
}

/// A series at one moment.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct Instant {
    /// Its labels.
    #[schema(example = json!({"__name__": "node_load1", "host": "h1"}))]
    metric: BTreeMap<String, String>,
    #[schema(schema_with = point)]
    value: (),
}

/// A series over time.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct Points {
    /// Its labels.
    #[schema(example = json!({"__name__": "node_load1", "host": "h1"}))]
    metric: BTreeMap<String, String>,
    /// In the order of time.
    #[schema(schema_with = points)]
    values: (),
}

/// The label sets of series.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct SeriesAnswer {
    #[schema(schema_with = success)]
    status: String,
    #[schema(example = json!([{"__name__": "node_load1", "host": "h1"}]))]
    data: Vec<BTreeMap<String, String>>,
    /// Given if `limit` has cut the answer short.
    #[schema(nullable = false)]
    warnings: Option<Vec<String>>,
}

/// Names, or values.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct NamesAnswer {
    #[schema(schema_with = success)]
    status: String,
    /// In their order, each once.
    #[schema(example = json!(["h1", "h2"]))]
    data: Vec<String>,
    /// Given if `limit` has cut the answer short.
    #[schema(nullable = false)]
    warnings: Option<Vec<String>>,
}

/// An error in Prometheus's form.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct PrometheusError {
    #[schema(schema_with = error)]
    status: String,
    #[schema(schema_with = error_type)]
    error_type: String,
    /// What is wrong, for people.
    #[schema(example = "unknown position: parse error: no expression found in input")]
    error: String,
}

fn success() -> Schema {
    word(&["success"])
}

fn error() -> Schema {
    word(&["error"])
}

fn error_type() -> Schema {
    let kinds = super::answer::Failure::ALL.map(super::answer::Failure::name);
    word(&kinds)
}

fn vector() -> Schema {
    word(&["vector"])
}

fn matrix() -> Schema {
    word(&["matrix"])
}

fn word(words: &[&str]) -> Schema {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied())).into()
}

fn vector_or_matrix() -> Schema {
    let either = ["Vector", "Matrix"].map(Ref::from_schema_name);
    either.into_iter().fold(OneOfBuilder::new(), OneOfBuilder::item).into()
}

/// A point: Unix seconds, and the value as a text, for JSON has no infinity.
fn point() -> Schema {
    let time = ObjectBuilder::new().schema_type(Type::Number).into();
    let value = ObjectBuilder::new().schema_type(Type::String).into();
    let point = ArrayBuilder::new().prefix_items::<[Schema; 2], Schema>([time, value]).items(ArrayItems::False);
    let description = "Unix seconds, and the value as a text: JSON has no infinity.";
    let example = serde_json::json!([1_700_000_000.5, "0.25"]);
    point.min_items(Some(2)).max_items(Some(2)).description(Some(description)).examples([example]).into()
}

fn points() -> Schema {
    ArrayBuilder::new().items(ArrayItems::RefOrSchema(Box::new(point().into()))).into()
}

/// How a query is refused: in Prometheus's form, or as a problem if it did not get so far.
pub(crate) struct QueryErrors;

impl IntoResponses for QueryErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let said = |description: &str, forms: &[(&str, &str)]| {
            let response = ResponseBuilder::new().description(description);
            let form = |response: ResponseBuilder, (kind, schema): &(&str, &str)| {
                response.content(*kind, Content::new(Some(Ref::from_schema_name(*schema))))
            };
            forms.iter().fold(response, form).build().into()
        };
        let (query, problem) = (("application/json", "PrometheusError"), (PROBLEM_JSON, &*Problem::name()));
        BTreeMap::from([
            (
                "400".into(),
                said("`bad_data`: a parameter is wrong, or the query is more than a plain selector.", &[query]),
            ),
            ("401".into(), said("No token, or none that is good.", &[problem])),
            ("406".into(), said("The client takes no JSON.", &[problem])),
            ("413".into(), said("The form is too large.", &[problem])),
            ("415".into(), said("The body is no form.", &[problem])),
            ("422".into(), said("`execution`: the answer would be too large.", &[query])),
            (
                "431".into(),
                said(
                    "The request's line and headers have more than 16 KiB; send a form. There is no document with it.",
                    &[],
                ),
            ),
            ("500".into(), said("`internal`: the store failed.", &[query])),
            (
                "503".into(),
                said(
                    "`timeout` or `unavailable`: it took longer than was asked for, or too much is asked at once. A problem, if \
                 the form did not come.",
                    &[query, problem],
                ),
            ),
        ])
    }
}
