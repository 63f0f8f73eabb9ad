//! `GET /docs`: the API as a page for people, made from its OpenAPI document. It needs nothing from elsewhere: no script, no
//! font, no picture, and the browser is told to load none.
//!
//! `page` has the whole, `operation` one thing that can be asked, `schema` what is answered, `example` and `curl` what can
//! be copied, `html` how text becomes HTML.

mod curl;
mod example;
mod html;
mod operation;
mod page;
mod schema;

use super::openapi::{OpenRefusals, description};
use super::scrape::address;
use axum::extract::Request;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY};
use axum::response::{Html, IntoResponse};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// How the page looks; it is a part of it.
const STYLE: &str = include_str!("style.css");
/// Stands in the page where this API's address belongs.
const ADDRESS: &str = "aggregator.example:8443";

/// The page, and what a browser may do with it.
struct Made {
    page: String,
    policy: HeaderValue,
}

/// It is made once: nothing in it changes while a program runs.
fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let document = serde_json::to_value(description()).expect("a document always becomes JSON");
        let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let policy = HeaderValue::try_from(policy).expect("printable letters");
        Made { page: page::page(&document, STYLE), policy }
    })
}

/// This description as a page for people. It needs no token, as a browser has no way to show one.
#[utoipa::path(
    get, path = "/docs", tag = "description", security(()),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"), OpenRefusals)
)]
pub(super) async fn page(request: Request) -> impl IntoResponse {
    let Made { page, policy } = made();
    // The commands in it lead to where the reader came from.
    let page = match address(&request) {
        Some(address) => page.replace(ADDRESS, &html::escaped(&address)),
        None => page.clone(),
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy.clone()),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, Html(page))
}
