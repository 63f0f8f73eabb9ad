//! What is answered and taken: types in a word or two, and the fields of those that have a name.

use super::html::{code, escaped, table, words};
use serde_json::Value;

/// The name that a `$ref` leads to.
pub(super) fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

/// The schema itself, wherever it is written.
pub(super) fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    referred(schema).map_or(schema, |name| &document["components"]["schemas"][name])
}

/// A type, as HTML: a name leads to its fields.
pub(super) fn kind(schema: &Value) -> String {
    if let Some(name) = referred(schema) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escaped(name));
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(kinds) = schema[several].as_array() {
            // That nothing at all may stand there is said once, in front of everything.
            let kinds = kinds.iter().filter(|kind| kind["enum"] != serde_json::json!([""]));
            return kinds.map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(names) = schema["enum"].as_array() {
        return names.iter().map(|name| code(name.as_str().unwrap_or_default())).collect::<Vec<_>>().join(" or ");
    }
    let limits = limits(schema);
    match schema["type"].as_str() {
        Some("array") if schema.get("prefixItems").is_some() => {
            let items = schema["prefixItems"].as_array().into_iter().flatten();
            format!("[{}]", items.map(kind).collect::<Vec<_>>().join(", "))
        }
        Some("array") => format!("list of {}{limits}", kind(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("{} by name", kind(&schema["additionalProperties"]))
        }
        Some(other) => format!("{}{limits}", escaped(other)),
        None => "anything".to_owned(),
    }
}

/// What a value may be at most.
fn limits(schema: &Value) -> String {
    let mut limits = Vec::new();
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => limits.push(format!("{least} to {most}")),
        // That a count is not negative goes without saying.
        (Some(least), None) if least != 0.0 => limits.push(format!("at least {least}")),
        (None, Some(most)) => limits.push(format!("at most {most}")),
        _ => {}
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        limits.push(format!("at most {most} characters"));
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        limits.push(format!("at most {most}"));
    }
    if let Some(format) = schema["format"].as_str().filter(|format| !format.starts_with("int") && *format != "double") {
        limits.push(escaped(format));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        limits.push(code(pattern));
    }
    if limits.is_empty() { String::new() } else { format!(" <small>{}</small>", limits.join(", ")) }
}

/// A named schema: what it is, and its fields.
pub(super) fn section(name: &str, schema: &Value) -> String {
    let about = words(schema["description"].as_str().unwrap_or_default());
    let is_required = |field: &str| {
        let required = schema["required"].as_array().into_iter().flatten();
        required.filter_map(Value::as_str).any(|name| name == field)
    };
    let mut fields = Vec::new();
    // A flattened structure is a part beside the own fields.
    for part in schema["allOf"].as_array().map_or(std::slice::from_ref(schema), Vec::as_slice) {
        if let Some(name) = referred(part) {
            fields.push([String::new(), kind(part), format!("the fields of {}", code(name))]);
        }
        for (field, schema) in part["properties"].as_object().into_iter().flatten() {
            let optional = if is_required(field) || part != schema && required_in(part, field) {
                ""
            } else {
                " <small>may be absent</small>"
            };
            let meaning = words(schema["description"].as_str().unwrap_or_default());
            fields.push([code(field) + optional, kind(schema), meaning]);
        }
    }
    let body = if fields.is_empty() {
        format!("<p>{}</p>\n", kind(schema))
    } else {
        table(["field", "type", "meaning"], &fields)
    };
    format!(
        "<section class=\"schema\" id=\"schema-{0}\">\n<h3>{0}</h3>\n<p>{about}</p>\n{body}</section>\n",
        escaped(name)
    )
}

fn required_in(part: &Value, field: &str) -> bool {
    part["required"].as_array().into_iter().flatten().any(|name| name == field)
}
