//! One thing that can be asked: what for, with which parameters, and what is answered.

use super::curl::{command, needs_token};
use super::example::example;
use super::html::{code, escaped, paragraphs, table, words};
use super::schema::kind;
use serde_json::Value;

/// An operation with the method and the path that lead to it.
pub(super) struct Operation<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) value: &'a Value,
}

/// The document's operations, in the order of their paths.
pub(super) fn all(document: &Value) -> impl Iterator<Item = Operation<'_>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().into_iter().flatten();
        methods.map(move |(method, value)| Operation { method, path, value })
    })
}

impl Operation<'_> {
    /// The group that it belongs to.
    pub(super) fn tag(&self) -> &str {
        self.value["tags"][0].as_str().unwrap_or_default()
    }

    /// Where it stands in the page.
    pub(super) fn anchor(&self) -> String {
        escaped(self.value["operationId"].as_str().unwrap_or_default())
    }

    /// Its line in the list of all.
    pub(super) fn entry(&self) -> String {
        format!("<li><a href=\"#{}\">{} {}</a></li>\n", self.anchor(), self.verb(), code(self.path))
    }

    fn verb(&self) -> String {
        format!("<b class=\"{}\">{}</b>", escaped(self.method), escaped(&self.method.to_ascii_uppercase()))
    }

    /// All about it.
    pub(super) fn section(&self, document: &Value) -> String {
        let (value, anchor) = (self.value, self.anchor());
        let mut html = format!(
            "<article id=\"{anchor}\">\n<h3><a href=\"#{anchor}\">{} {}</a></h3>\n<p>{}</p>\n{}",
            self.verb(),
            code(self.path),
            words(value["summary"].as_str().unwrap_or_default()),
            paragraphs(value["description"].as_str().unwrap_or_default()),
        );
        if !needs_token(value) {
            html.push_str("<p class=\"note\">Needs no token.</p>\n");
        }
        html.push_str(&table(["parameter", "type", "meaning"], &self.parameters()));
        html.push_str(&format!("<pre>{}</pre>\n", escaped(&command(document, self.method, self.path, value))));
        html.push_str(&self.answers(document));
        html + "</article>\n"
    }

    /// Of the path, the URL and the form.
    fn parameters(&self) -> Vec<[String; 3]> {
        let row = |name: &str, place: &str, required: bool, schema: &Value, meaning: &Value| {
            let required = if required { ", required" } else { "" };
            let name = format!("{} <small>{}{required}</small>", code(name), escaped(place));
            [name, kind(schema), words(meaning.as_str().unwrap_or_default())]
        };
        let listed = self.value["parameters"].as_array().into_iter().flatten().map(|parameter| {
            let (name, place) = (&parameter["name"], &parameter["in"]);
            let required = parameter["required"] == true;
            let (name, place) = (name.as_str().unwrap_or_default(), place.as_str().unwrap_or_default());
            row(name, place, required, &parameter["schema"], &parameter["description"])
        });
        let contents = self.value["requestBody"]["content"].as_object().into_iter().flatten();
        let fields = contents.flat_map(|(_, content)| {
            let schema = &content["schema"];
            let is_required =
                |name: &str| schema["required"].as_array().into_iter().flatten().any(|field| field == name);
            let properties = schema["properties"].as_object().into_iter().flatten();
            properties.map(move |(name, field)| row(name, "form", is_required(name), field, &field["description"]))
        });
        listed.chain(fields).collect()
    }

    /// Every status, what it means and in which form it comes; and an example of success.
    fn answers(&self, document: &Value) -> String {
        let responses = self.value["responses"].as_object();
        let rows: Vec<[String; 3]> = responses
            .into_iter()
            .flatten()
            .map(|(status, response)| {
                let contents = response["content"].as_object().into_iter().flatten();
                let forms = contents
                    .map(|(media, content)| format!("{} <small>{}</small>", kind(&content["schema"]), escaped(media)));
                let forms = forms.collect::<Vec<_>>().join("<br>");
                [code(status), words(response["description"].as_str().unwrap_or_default()), forms]
            })
            .collect();
        let json = &self.value["responses"]["200"]["content"]["application/json"];
        let example = json
            .get("schema")
            .map(|schema| example(document, schema))
            .filter(|example| *example != serde_json::json!({}));
        let example =
            example.and_then(|example| serde_json::to_string_pretty(&example).ok()).map_or(String::new(), |text| {
                format!(
                    "<details><summary>An example of the answer</summary>\n<pre>{}</pre></details>\n",
                    escaped(&text)
                )
            });
        table(["answer", "meaning", "form"], &rows) + &example
    }
}
