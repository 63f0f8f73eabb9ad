//! An example of what a schema allows: what the schema gives as such, or the simplest thing there is.

use super::schema::{referred, resolved};
use serde_json::{Map, Value, json};

/// Schemas within schemas; ours are four deep.
const MAX_DEPTH: usize = 12;

/// An example of `schema`.
pub(super) fn example(document: &Value, schema: &Value) -> Value {
    at_depth(document, schema, 0)
}

fn at_depth(document: &Value, schema: &Value, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Some(given) = given(schema) {
        return given.clone();
    }
    if referred(schema).is_some() {
        return at_depth(document, resolved(document, schema), depth + 1);
    }
    let inner = |schema: &Value| at_depth(document, schema, depth + 1);
    if let Some(first) = ["oneOf", "anyOf"].iter().find_map(|several| schema[several].get(0)) {
        return inner(first);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let objects = parts.iter().map(inner).filter_map(|part| part.as_object().cloned());
        return objects.flatten().collect::<Map<_, _>>().into();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            let mut object: Map<_, _> = fields.map(|(name, schema)| (name.clone(), inner(schema))).collect();
            if schema["additionalProperties"].is_object() {
                object.insert("name".into(), inner(&schema["additionalProperties"]));
            }
            object.into()
        }
        Some("array") => match schema["prefixItems"].as_array() {
            Some(items) => items.iter().map(inner).collect(),
            None => json!([inner(&schema["items"])]),
        },
        Some("string") => json!("…"),
        Some("integer") => schema["minimum"].as_i64().filter(|least| *least > 0).unwrap_or(1).into(),
        Some("number") => json!(0.5),
        Some("boolean") => json!(false),
        _ => json!({}),
    }
}

fn given(schema: &Value) -> Option<&Value> {
    let of_several = ["examples", "enum"].iter().find_map(|several| schema[several].get(0));
    schema.get("example").or(of_several)
}
