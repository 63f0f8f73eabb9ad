//! The page against the document that it is made from.

use super::rig::Rig;
use crate::api::openapi::description;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// What stands behind every `before` in the page, up to the quote.
fn quoted<'a>(page: &'a str, before: &str) -> Vec<&'a str> {
    page.split(before).skip(1).map(|rest| rest.split('"').next().unwrap_or_default()).collect()
}

#[tokio::test]
async fn every_operation_of_the_document_is_on_the_page() {
    let rig = Rig::open().await;
    let page = rig.get("/docs").await.text();
    let document = serde_json::to_value(description()).expect("JSON");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let article = format!("<article id=\"{}\">", operation["operationId"].as_str().expect("an id"));
            let about = page.split(&article).nth(1).unwrap_or_else(|| panic!("{article} is not there"));
            let about = about.split("</article>").next().expect("an end");
            assert!(about.contains(&format!("<b class=\"{method}\">")), "{article} names its method");
            assert!(about.contains(&format!("<code>{path}</code>")), "{article} names its path");
            let command = format!("https://{}/", rig.address);
            assert!(
                about.contains("<pre>curl ") && about.contains(&command),
                "{article} has a command that leads here"
            );
            for status in operation["responses"].as_object().expect("responses").keys() {
                assert!(about.contains(&format!("<td><code>{status}</code></td>")), "{article} tells of {status}");
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().expect("a name");
                assert!(about.contains(&format!("<td><code>{name}</code>")), "{article} tells of {name}");
            }
        }
    }
    for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
        assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
    }
    rig.close().await;
}

#[tokio::test]
async fn every_link_leads_somewhere_and_nothing_is_loaded() {
    let rig = Rig::open().await;
    let answer = rig.get("/docs").await;
    let page = &answer.text();
    let ids = quoted(page, " id=\"");
    let distinct: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), distinct.len(), "an id is there once");
    for link in quoted(page, " href=\"") {
        let there = link.strip_prefix('#').map_or(link == "/openapi.json", |id| distinct.contains(id));
        assert!(there, "{link} leads nowhere");
    }
    for loading in [" src=", "<script", "<link", "<img", "@import", "url(", " style=", " on"] {
        let tags = page.split('<').map(|tag| format!("<{}", tag.split('>').next().unwrap_or_default()));
        assert!(!tags.into_iter().any(|tag| tag.contains(loading)), "{loading}");
    }
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).expect("a style");
    assert!(!style.contains("url(") && !style.contains("@import"));
    let hash = format!("style-src 'sha256-{}';", BASE64_STANDARD.encode(Sha256::digest(style)));
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';") && policy.contains(&hash), "{policy}");
    rig.close().await;
}

#[tokio::test]
async fn the_page_is_open_and_its_commands_lead_here() {
    let rig = Rig::open().await;
    for path in ["/docs", "/openapi.json"] {
        assert_eq!(rig.request("GET", path, &[("authorization", "")], "").await.status, 200, "{path}");
        assert_eq!(rig.request("POST", path, &[("authorization", "")], "").await.status, 401, "{path}");
    }
    let page = rig.request("GET", "/docs", &[("authorization", "")], "").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let odd = rig.request("GET", "/docs", &[("host", "a&b'c")], "").await;
    assert!(odd.status == 400 || !odd.text().contains("a&b"), "what a header says is no HTML");
    rig.close().await;
}
