//! The page as a whole.

use super::html::{code, escaped, paragraphs, words};
use super::{operation, schema};
use serde_json::Value;

/// What a reader needs before the first command; `init` says the same.
const BEFORE: &str = "<p>The commands below want two things: the root that this API's certificate leads to, \
    <code>identity/https-root.pem</code> in the aggregator's folder, and a token, which <code>dsmil-aggregator init</code> \
    printed:</p>\n<pre>TOKEN=dsmil_…</pre>\n";

/// The page for `document`, in this style.
pub(super) fn page(document: &Value, style: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (title, version) = (text(&document["info"]["title"]), text(&document["info"]["version"]));
    let (mut entries, mut sections) = (String::new(), String::new());
    for tag in document["tags"].as_array().into_iter().flatten() {
        let (name, about) = (text(&tag["name"]), text(&tag["description"]));
        let of_tag = || operation::all(document).filter(|operation| operation.tag() == name);
        let lines: String = of_tag().map(|operation| operation.entry()).collect();
        entries.push_str(&format!("<h2>{}</h2>\n<ul>\n{lines}</ul>\n", escaped(&about)));
        let operations: String = of_tag().map(|operation| operation.section(document)).collect();
        sections.push_str(&format!("<h2 id=\"group-{}\">{}</h2>\n{operations}", escaped(&name), words(&about)));
    }
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    let schemas: String = schemas.map(|(name, schema)| schema::section(name, schema)).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title} <small>{version}</small></h1>\n{introduction}{BEFORE}\
         <p>The same for programs: <a href=\"/openapi.json\">{openapi}</a>.</p>\n</header>\n\
         <nav>\n{entries}<h2><a href=\"#schemas\">Forms of answers</a></h2>\n</nav>\n\
         <main>\n{sections}<h2 id=\"schemas\">Forms of answers</h2>\n{schemas}</main>\n</body>\n</html>\n",
        title = escaped(&title),
        version = escaped(&version),
        introduction = paragraphs(&text(&document["info"]["description"])),
        openapi = code("/openapi.json"),
    )
}
