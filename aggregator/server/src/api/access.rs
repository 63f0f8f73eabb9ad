//! What every request goes through: the token, a deadline, and whether the client takes what it gets.

use super::App;
use super::problem::Problem;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, Response};
use axum::middleware::Next;
use axum::response::IntoResponse;
use std::sync::Arc;
use std::time::Duration;

/// From a request's headers to its answer. Queries have a shorter one of their own, so that they can say so in their form.
const DEADLINE: Duration = Duration::from_secs(30);
/// The paths that need no token. Whoever watches over programs need not see data; and what describes the API says nothing
/// of a fleet, while a browser that opens a page has no way to show a token.
pub(super) const OPEN_PATHS: [&str; 3] = ["/health", "/docs", "/openapi.json"];

/// Lets a request through, or answers in its place.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response<Body> {
    let accepted: Vec<HeaderValue> = request.headers().get_all(ACCEPT).into_iter().cloned().collect();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_open = reads && OPEN_PATHS.contains(&request.uri().path());
    let refused = if is_open { None } else { refusal(&app, request.headers()) };
    let response = match refused {
        Some(problem) => problem.into_response(),
        None => tokio::select! {
            response = next.run(request) => response,
            () = app.context.clock.sleep(DEADLINE) => Problem::too_slow().into_response(),
        },
    };
    let mut response = acceptable(&accepted, response);
    app.context.stats.answered(response.status().as_u16());
    for (name, value) in ANSWER_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Live data behind a token: nobody in between keeps it, and no browser takes it for something else.
const ANSWER_HEADERS: [(HeaderName, &str); 2] = [(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];

fn refusal(app: &App, headers: &HeaderMap) -> Option<Problem> {
    let presented = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    match presented {
        Some(token) if app.context.tokens.matches(token) => None,
        presented => Some(Problem::unauthorised(presented.is_some())),
    }
}

/// The token of `Bearer <token>` (RFC 6750, section 2.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The answer, or 406 if the client does not take its type (RFC 9110, section 12.5.1). Refusals are not refused.
fn acceptable(accepted: &[HeaderValue], response: Response<Body>) -> Response<Body> {
    let offered = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let offered = offered.split(';').next().unwrap_or_default().trim();
    if !response.status().is_success() || offered.is_empty() || accepts(accepted, offered) {
        return response;
    }
    Problem::not_acceptable(offered).into_response()
}

fn accepts(accepted: &[HeaderValue], offered: &str) -> bool {
    let ranges = accepted.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let (mut any, mut best) = (false, None);
    for range in ranges.map(str::trim).filter(|range| !range.is_empty()) {
        any = true;
        let mut parts = range.split(';').map(str::trim);
        // The most specific range that fits decides.
        let specific = match parts.next().unwrap_or_default() {
            "*/*" => 0,
            range if range.eq_ignore_ascii_case(offered) => 2,
            range => match (range.strip_suffix("/*"), offered.split_once('/')) {
                (Some(wanted), Some((kind, _))) if wanted.eq_ignore_ascii_case(kind) => 1,
                _ => continue,
            },
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.trim().parse().unwrap_or(1.0f32));
        best = best.max(Some((specific, weight > 0.0)));
    }
    !any || best.is_some_and(|(_, wanted)| wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_decides_what_is_accepted() {
        let accepts = |headers: &[&'static str], offered| {
            accepts(&headers.iter().map(|h| HeaderValue::from_static(h)).collect::<Vec<_>>(), offered)
        };
        for header in ["", "*/*", "application/*", "application/json", "text/html, Application/JSON;q=0.1"] {
            assert!(accepts(&[header], "application/json"), "{header:?}");
        }
        assert!(accepts(&[], "application/json"));
        assert!(accepts(&["text/html", "*/*;q=0.1"], "application/json"));
        for header in ["text/html", "application/json;q=0", "*/*, application/json; q=0.0", "text/*"] {
            assert!(!accepts(&[header], "application/json"), "{header:?}");
        }
        let scraper = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        assert!(accepts(&[scraper], "text/plain"));
    }

    #[test]
    fn a_token_is_read_from_its_header() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for bad in ["", "abc", "Basic abc", "Bearerabc"] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
    }
}
