//! A command that asks what an operation answers, ready to be copied.

use super::ADDRESS;
use super::example::example;
use serde_json::Value;

/// What goes before everything; the page says where the two come from.
const ROOT: &str = "--cacert https-root.pem";
const TOKEN: &str = "-H \"Authorization: Bearer $TOKEN\"";

/// The command for one operation. Of the parameters it has those that must be there.
pub(super) fn command(document: &Value, method: &str, path: &str, operation: &Value) -> String {
    let mut words = vec!["curl".to_owned(), ROOT.to_owned()];
    if needs_token(operation) {
        words.push(TOKEN.to_owned());
    }
    let mut path = path.to_owned();
    let mut data = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        let value = shown(parameter.get("example").cloned().unwrap_or_else(|| example(document, &parameter["schema"])));
        match parameter["in"].as_str() {
            Some("path") => path = path.replace(&format!("{{{name}}}"), &value),
            _ if parameter["required"] == true => data.push((name.to_owned(), value)),
            _ => {}
        }
    }
    let form = operation["requestBody"]["content"].as_object().and_then(|content| content.values().next());
    if let Some(form) = form.map(|content| &content["schema"]) {
        let required = form["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        data.extend(required.map(|name| (name.to_owned(), shown(example(document, &form["properties"][name])))));
        if data.is_empty() {
            words.push(format!("-X {}", method.to_ascii_uppercase()));
        }
    } else if !data.is_empty() {
        words.push("-G".to_owned());
    }
    let mut lines = vec![words.join(" ")];
    lines.extend(
        data.into_iter().map(|(name, value)| format!("--data-urlencode {}", quoted(&format!("{name}={value}")))),
    );
    lines.push(quoted(&format!("https://{ADDRESS}{path}")));
    lines.join(" \\\n  ")
}

/// Whether an operation asks for the token: unless it says that it does not, as OpenAPI has it.
pub(super) fn needs_token(operation: &Value) -> bool {
    let asked = operation["security"].as_array();
    asked.is_none_or(|schemes| schemes.iter().any(|scheme| scheme.as_object().is_some_and(|names| !names.is_empty())))
}

/// A value as it stands in a URL or a form; of several the first.
fn shown(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Array(values) => values.into_iter().next().map(shown).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
