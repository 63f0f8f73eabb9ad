//! What is said of identity, trust and refusals.

use super::fleet::{BUNDLE_END, BUNDLE_VERSION, LEAF_END, key};
use super::rig::{NOW, Rig, T0};
use crate::admission::Proof;
use crate::live::Link;
use crate::refusals::{Port, Refused, Side};
use dsmil_crypto::policy::KeyExchange;
use dsmil_crypto::refusal::Refusal;
use dsmil_protocol::error::ErrorCode;
use serde_json::{Value, json};
use std::net::IpAddr;

const FAR: [u8; 4] = [192, 0, 2, 9];

fn refuse(rig: &Rig, refused: Refused, from: [u8; 4]) {
    rig.context.telemetry.refused.note(refused, IpAddr::from(from), NOW);
}

#[tokio::test]
async fn every_session_says_what_protects_it() {
    let rig = Rig::open().await;
    let link = rig.get("/api/v1/security/link").await.json();
    let agreed = KeyExchange::Pure.negotiated();
    let expected = json!({
        "key_exchange": "pure", "group": agreed.group, "scheme": agreed.scheme, "suite": agreed.suite,
        "cryptography": dsmil_crypto::provider_version(),
    });
    assert_eq!(link["policy"], expected);
    let session = json!([{
        "host": "h1", "address": "192.0.2.7:40112", "spiffe_id": "spiffe://fleet.example/agent/h1",
        "key": key("h1").to_string(), "leaf_not_after_ms": LEAF_END * 1000,
        "group": agreed.group, "scheme": agreed.scheme, "suite": agreed.suite,
        "bundle_version": 6, "since_ms": NOW - 9_000,
    }]);
    assert_eq!((&link["sessions"], &link["sessions_total"]), (&session, &json!(1)));
    assert!(link.get("next").is_none());
    rig.close().await;
}

#[tokio::test]
async fn the_aggregator_says_who_it_is_whom_it_trusts_and_who_is_enrolled() {
    let rig = Rig::open().await;
    let link = rig.get("/api/v1/security/link").await.json();
    let held = rig.context.credentials.held();
    let expected = json!({
        "spiffe_id": "spiffe://fleet.example/aggregator/a1",
        "not_after_ms": (NOW / 1000 + 86_400) * 1000,
        "issuer": "main",
        "issuer_not_after_ms": held.issuer.validity().not_after * 1000,
    });
    assert_eq!(link["identity"], expected);
    let trust = &link["trust"];
    let (root, _) = held.trust.roots().next().expect("a root");
    assert_eq!(trust["version"], BUNDLE_VERSION);
    assert_eq!((&trust["issued_ms"], &trust["expires_ms"]), (&json!(T0), &json!(BUNDLE_END * 1000)));
    assert_eq!(trust["roots"][0]["fingerprint"], root.to_string());
    assert!(!trust["roots"][0]["name"].as_str().expect("a name").is_empty());
    assert_eq!(trust["issuers"][0]["name"], "main");
    assert_eq!(trust["issuers"][0]["fingerprint"].as_str().map(str::len), Some(96));
    assert_eq!(trust["issuers"][0]["not_after_ms"], link["identity"]["issuer_not_after_ms"]);
    assert_eq!((&trust["revoked"], &trust["order_keys"]), (&json!(1), &json!(0)));
    assert_eq!(link["hosts"], json!({"enrolled": 2, "revoked": 1, "never_joined": 1}));
    rig.close().await;
}

#[tokio::test]
async fn refusals_are_told_by_reason_and_by_address() {
    let rig = Rig::open().await;
    let foreign = Refused::by_us(Port::Fleet, Refusal::UnknownRoot);
    refuse(&rig, foreign, FAR);
    refuse(&rig, foreign, FAR);
    refuse(&rig, Refused::by_us(Port::Join, ErrorCode::TokenUsed), [192, 0, 2, 10]);
    let place = rig.context.admission.ask(FAR.into(), Proof::Given);
    let link = rig.get("/api/v1/security/link").await.json();
    let total =
        |port: &str, reason: &str, count: u64| json!({"port": port, "side": "us", "reason": reason, "count": count});
    assert_eq!(link["refusals"]["totals"], json!([total("fleet", "unknown_root", 2), total("join", "token_used", 1)]));
    let newest = json!({
        "address": "192.0.2.10", "port": "join", "side": "us", "reason": "token_used",
        "count": 1, "first_ms": NOW, "last_ms": NOW,
    });
    assert_eq!(link["refusals"]["sources"][0], newest);
    assert_eq!(link["refusals"]["sources"][1]["count"], 2);
    assert_eq!(
        (&link["admission"]["fleet"]["half_open"], &link["admission"]["join"]["half_open"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(link["admission"]["fleet"]["limited"]["half_open"], 0);
    drop(place);
    let group = &link["https"]["groups"][0];
    assert_eq!((&group["classical"], &group["sessions"]), (&json!(false), &json!(1)), "our own session");
    assert_eq!(link["https"]["classical_from"], json!([]));
    let pipeline = rig.get("/health/pipeline").await.json();
    assert_eq!(pipeline["ingest"]["refusals"], json!({"unknown_root": 2, "token_used": 1}));
    rig.close().await;
}

#[tokio::test]
async fn sessions_come_in_pages() {
    let rig = Rig::open().await;
    for name in ["h2", "h3"] {
        rig.context.live.update(&super::rig::host(name), |now| now.link = Link::Up);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = rig.get(&format!("/api/v1/security/link?limit=1&after={after}")).await.json();
        assert_eq!(page["sessions_total"], 3);
        seen.extend(page["sessions"].as_array().expect("a list").iter().map(|session| session["host"].clone()));
        match page.get("next") {
            Some(next) => after = next.as_str().expect("a name").into(),
            None => break,
        }
    }
    assert_eq!(seen, ["h1", "h2", "h3"]);
    for bad in ["limit=0", "limit=10001", "limit=x", "limit=1&limit=2"] {
        let refused = rig.get(&format!("/api/v1/security/link?{bad}")).await;
        assert_eq!((refused.status, refused.header("content-type")), (400, "application/problem+json"), "{bad}");
    }
    rig.close().await;
}

fn kinds(log: &Value) -> Vec<&str> {
    let events = log["events"].as_array().expect("a list");
    events.iter().map(|event| event["kind"].as_str().expect("a kind")).collect()
}

#[tokio::test]
async fn the_security_log_is_read_by_time_kind_and_host() {
    let rig = Rig::open().await;
    let log = async |query: &str| rig.get(&format!("/api/v1/security/log{query}")).await.json();
    assert_eq!(kinds(&log("").await), ["join", "join", "join", "revocation"]);
    let revocation = json!({"events": [{
        "id": 4, "at_ms": T0 + 110_000, "kind": "revocation", "subject": "h2", "reason": "stolen",
        "count": 1, "detail": "by alice",
    }], "truncated": false});
    assert_eq!(log("?kind=revocation").await, revocation);
    assert_eq!(log(&format!("?since={}", T0 / 1000 + 1)).await, revocation);
    assert_eq!(log("?since=2023-11-14T22:13:21Z").await, revocation);
    assert_eq!(kinds(&log("?host=h2").await), ["join", "revocation"]);
    let cut = log("?limit=1").await;
    assert_eq!((kinds(&cut), &cut["truncated"]), (vec!["revocation"], &json!(true)));
    for bad in ["kind=x", "since=yesterday", "host=A%20b", "limit=5001", "kind=join&kind=join"] {
        let refused = rig.get(&format!("/api/v1/security/log?{bad}")).await;
        assert_eq!((refused.status, refused.header("content-type")), (400, "application/problem+json"), "{bad}");
        assert!(!refused.json()["remedy"].as_str().expect("a remedy").is_empty());
    }
    rig.close().await;
}

#[tokio::test]
async fn metrics_tell_of_sessions_refusals_trust_and_hosts() {
    let rig = Rig::open().await;
    refuse(&rig, Refused { port: Port::Join, side: Side::Peer, reason: Refusal::UnknownRoot.into() }, FAR);
    let place = rig.context.join_admission.ask(FAR.into(), Proof::Given);
    let page = rig.get("/metrics").await.text();
    drop(place);
    let agreed = KeyExchange::Pure.negotiated();
    let sessions = format!(
        "dsmil_link_sessions{{group=\"{}\",scheme=\"{}\",suite=\"{}\"}} 1",
        agreed.group, agreed.scheme, agreed.suite
    );
    for line in [
        sessions.as_str(),
        "dsmil_refusals_total{port=\"join\",side=\"peer\",reason=\"unknown_root\"} 1",
        "dsmil_refusals_total{port=\"fleet\",side=\"us\",reason=\"not_enrolled\"} 0",
        "dsmil_admission_half_open{port=\"fleet\"} 0",
        "dsmil_admission_half_open{port=\"join\"} 1",
        "dsmil_admission_limited_total{port=\"join\",limit=\"address_handshakes\"} 0",
        "dsmil_trust_bundle_version 7",
        &format!("dsmil_trust_bundle_expires_timestamp_seconds {BUNDLE_END}"),
        &format!("dsmil_identity_expires_timestamp_seconds {}", NOW / 1000 + 86_400),
        "dsmil_registry_hosts{state=\"enrolled\"} 2",
        "dsmil_registry_hosts{state=\"revoked\"} 1",
        "dsmil_registry_hosts{state=\"never_joined\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    assert!(!page.contains("port=\"https\",side=\"us\",reason=\"not_enrolled\""), "that cannot be");
    let https = page.lines().find(|line| line.starts_with("dsmil_https_sessions_total{")).expect("our own session");
    assert!(https.ends_with(",classical=\"false\"} 1"), "{https}");
    rig.close().await;
}

#[tokio::test]
async fn a_bundle_that_ends_soon_degrades_and_one_that_has_ended_fails() {
    let rig = Rig::open().await;
    let health = async |at_s: i64| {
        rig.hand.set_wall_ns(at_s * 1_000_000_000);
        rig.context.credentials.renew().expect("a leaf of that day");
        let health = rig.request("GET", "/health", &[("authorization", "")], "").await;
        let pipeline = rig.get("/health/pipeline").await.json();
        let trust = health.json()["checks"][1].clone();
        assert_eq!(trust["name"], "trust");
        assert_eq!(pipeline["status"], health.json()["status"]);
        (health.status, trust["status"].as_str().expect("a status").to_owned(), pipeline["identity"].clone())
    };
    let day = 86_400;
    let well = json!({
        "status": "healthy", "bundle_version": 7, "bundle_days_left": 100, "issuer_days_left": 1094, "leaf_hours_left": 24,
        "hosts": {"enrolled": 2, "revoked": 1, "never_joined": 1},
    });
    assert_eq!(health(NOW / 1000).await, (200, "healthy".into(), well));
    let (status, trust, identity) = health(BUNDLE_END - 30 * day + 1).await;
    assert_eq!((status, trust.as_str(), &identity["bundle_days_left"]), (200, "degraded", &json!(29)));
    let (status, trust, identity) = health(BUNDLE_END + 1).await;
    assert_eq!((status, trust.as_str(), &identity["bundle_days_left"]), (503, "unhealthy", &json!(-1)));
    rig.close().await;
}
