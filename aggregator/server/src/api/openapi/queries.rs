//! What the paths of the query API have in common: an empty parameter is an absent one, and a POST takes the parameters of
//! the GET beside it as a form.

use utoipa::Modify;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{Content, OpenApi, RefOr, Required};

/// The content type of a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// Says of every path of the query API what holds for all of them.
pub(super) struct Queries;

impl Modify for Queries {
    fn modify(&self, document: &mut OpenApi) {
        let paths = document.paths.paths.iter_mut();
        for item in paths.filter(|(path, _)| path.starts_with("/prometheus/")).map(|(_, item)| item) {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                operation.parameters.iter_mut().flatten().for_each(may_be_empty);
            }
            item.post.iter_mut().for_each(into_form);
        }
    }
}

/// An empty parameter is an absent one, as in Prometheus.
fn may_be_empty(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(parameter) = parameter else { return };
    let is_list = matches!(parameter.schema, Some(RefOr::T(Schema::Array(_))));
    if parameter.required == Required::True || is_list {
        return;
    }
    let empty = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([""]));
    let given = parameter.schema.take().unwrap_or_else(|| RefOr::T(Schema::default()));
    parameter.schema = Some(AnyOfBuilder::new().item(given).item(empty).into());
}

fn into_form(operation: &mut Operation) {
    let mut form = ObjectBuilder::new();
    let mut any_required = false;
    let mut rest = Vec::new();
    for parameter in operation.parameters.take().unwrap_or_default() {
        match parameter {
            RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => {
                any_required |= parameter.required == Required::True;
                form = property(form, parameter);
            }
            other => rest.push(other),
        }
    }
    let content = Content::new(Some(Schema::Object(form.build())));
    let required = if any_required { Required::True } else { Required::False };
    let description = "The parameters of the GET, as a form; they may stand in the URL as well.";
    let body = RequestBodyBuilder::new().content(FORM, content).required(Some(required));
    operation.request_body = Some(body.description(Some(description)).build().into());
    operation.parameters = Some(rest).filter(|rest: &Vec<_>| !rest.is_empty());
    operation.operation_id = operation.operation_id.take().map(|id| id + "_by_form");
}

fn property(form: ObjectBuilder, parameter: Parameter) -> ObjectBuilder {
    let Parameter { name, description, required, schema, .. } = parameter;
    let form = if required == Required::True { form.required(&name) } else { form };
    let mut schema = schema.unwrap_or_else(|| RefOr::T(Schema::default()));
    match &mut schema {
        // Beside a reference a description may stand, too (OpenAPI 3.1, section 4.8.23).
        RefOr::Ref(reference) => reference.description = description.unwrap_or_default(),
        RefOr::T(Schema::Object(object)) => object.description = description,
        RefOr::T(Schema::Array(array)) => array.description = description,
        RefOr::T(Schema::AnyOf(several)) => several.description = description,
        RefOr::T(_) => {}
    }
    form.property(name, schema)
}
