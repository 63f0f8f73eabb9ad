//! The kinds of texts that parameters take, for the document only: what they are to the code stands beside their parsers.
//!
//! `format` of the two selectors is a word of our own: PromQL has a grammar, and JSON Schema has no way to say it.

use utoipa::openapi::schema::{AnyOfBuilder, Object, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// A time, as `prometheus::moment::parse_time` reads it.
pub(crate) struct Moment;

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let seconds = ObjectBuilder::new()
            .schema_type(Type::Number)
            .minimum(Some(-62_167_219_200i64))
            .maximum(Some(253_402_300_799i64));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        AnyOfBuilder::new()
            .item(seconds.examples([1_700_000_000.5]))
            .item(text.examples(["2026-01-02T03:04:05Z"]))
            .description(Some("A moment: Unix seconds, or RFC 3339 (a `+` in a URL is written `%2B`)."))
            .into()
    }
}

impl ToSchema for Moment {}

/// A stretch of time, as `prometheus::moment::parse_duration` reads it.
pub(crate) struct Duration;

impl PartialSchema for Duration {
    fn schema() -> RefOr<Schema> {
        let seconds =
            ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0.001)).maximum(Some(9_223_372_036i64));
        AnyOfBuilder::new()
            .item(seconds.examples([15]))
            .item(text("prometheus-duration", &["1h30m"]))
            .description(Some(
                "A stretch of time over 0: seconds, or numbers with units, the larger ones first (`1h30m`, `15s`, `500ms`); \
                 units are y, w, d, h, m, s and ms. At most 292 years.",
            ))
            .into()
    }
}

impl ToSchema for Duration {}

/// A plain selector, as `prometheus::selector` reads it.
pub(crate) struct Selector;

impl PartialSchema for Selector {
    fn schema() -> RefOr<Schema> {
        let examples = ["node_load1{host=\"h1\"}", "{__name__=~\"node_memory_.*\"}"];
        described(
            text("promql-selector", &examples),
            "A plain selector of PromQL: a metric's name, conditions in braces, or both. Conditions are `=`, `!=`, `=~` and \
             `!~`; regular expressions match the whole value. At most 16 KiB.",
        )
    }
}

impl ToSchema for Selector {}

/// A plain selector that may end with a range.
pub(crate) struct RangeSelector;

impl PartialSchema for RangeSelector {
    fn schema() -> RefOr<Schema> {
        let examples = ["node_load1{host=\"h1\"}", "node_load1[5m]"];
        described(
            text("promql-range-selector", &examples),
            "A plain selector of PromQL, as in `Selector`, with or without a range in brackets behind it.",
        )
    }
}

impl ToSchema for RangeSelector {}

fn text(format: &str, examples: &[&str]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom(format.to_owned())))
        .examples(examples.iter().copied())
        .build()
}

fn described(mut object: Object, description: &str) -> RefOr<Schema> {
    object.description = Some(description.to_owned());
    Schema::Object(object).into()
}
