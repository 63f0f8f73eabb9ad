//! The API over real TLS on loopback: a small fleet's data in a real store, asked by real clients.

mod access;
mod docs;
mod fleet;
mod hosts;
mod prometheus;
mod rig;
mod security;
mod watched;

use rig::{Rig, T0};
use std::collections::BTreeSet;

#[tokio::test]
async fn every_path_is_described_and_every_description_is_a_path() {
    let document = serde_json::to_value(super::openapi::description()).expect("JSON");
    let described: BTreeSet<&str> = document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    let paths: BTreeSet<&str> = super::routes::paths().into_iter().collect();
    assert_eq!(described, paths);
    every_reference_leads_somewhere(&document);
    let ids: Vec<&str> = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|path| path.as_object().expect("methods").values())
        .map(|operation| operation["operationId"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an id is one operation's: {ids:?}");

    let rig = Rig::open().await;
    for path in paths {
        // An unknown method is refused with the list of those that are known, which the document has to agree with.
        let url = path.replace("{id}", "h1").replace("{name}", "host");
        let refused = rig.request("DELETE", &url, &[], "").await;
        assert_eq!(refused.status, 405, "{path}");
        let allowed: BTreeSet<String> =
            refused.header("allow").split(',').filter(|m| *m != "HEAD").map(str::to_ascii_lowercase).collect();
        let methods: BTreeSet<String> = document["paths"][path].as_object().expect("methods").keys().cloned().collect();
        assert_eq!(methods, allowed, "{path}");
        for method in methods {
            let responses = &document["paths"][path][&method]["responses"];
            for status in ["200", "406", "431", "503"] {
                assert!(responses.get(status).is_some(), "{method} {path} may answer {status}");
            }
            assert_eq!(responses.get("401").is_none(), super::access::OPEN_PATHS.contains(&path), "{path}");
        }
    }
    let served = rig.get("/openapi.json").await;
    assert_eq!((served.status, served.json()), (200, document));
    rig.close().await;
}

fn every_reference_leads_somewhere(value: &serde_json::Value) {
    fn look(at: &serde_json::Value, document: &serde_json::Value) {
        if let Some(reference) = at["$ref"].as_str() {
            let pointer = reference.strip_prefix('#').expect("a reference into the document");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        at.as_object().into_iter().flatten().for_each(|(_, part)| look(part, document));
        at.as_array().into_iter().flatten().for_each(|part| look(part, document));
    }
    look(value, value);
}

#[tokio::test]
async fn health_is_open_and_names_what_was_looked_at() {
    let rig = Rig::open().await;
    let health = rig.request("GET", "/health", &[("authorization", "")], "").await;
    assert_eq!(health.status, 200);
    let expected = serde_json::json!({
        "status": "healthy",
        "version": env!("CARGO_PKG_VERSION"),
        "started_ms": T0,
        "checks": [
            {"name": "journal", "status": "healthy"},
            {"name": "trust", "status": "healthy"},
            {"name": "identity", "status": "healthy"},
        ],
    });
    assert_eq!(health.json(), expected);
    rig.close().await;
}

#[tokio::test]
async fn the_pipeline_accounts_for_every_tick() {
    let rig = Rig::open().await;
    let pipeline = rig.get("/health/pipeline").await.json();
    let ledger = &pipeline["ledger"];
    assert_eq!(ledger["expected"], 1 + 20 + 5 + 10 + 10 + 10);
    assert_eq!(ledger["stored"], 50);
    assert_eq!(ledger["waiting"], 1);
    assert_eq!(ledger["lost_by"], serde_json::json!({"agent_down": 5}));
    assert_eq!(pipeline["ingest"]["hosts"], 4);
    assert_eq!(pipeline["ingest"]["hosts_up"], 1);
    assert_eq!(pipeline["journal"]["failing"], false);
    assert!(pipeline.get("hot_cache").is_none(), "absent is absent");
    assert!(pipeline.get("tick_to_queryable_ms").is_none(), "nothing was measured");
    rig.context.telemetry.delays.observe(700);
    rig.context.telemetry.telemetry_bytes.add(30);
    rig.context.telemetry.samples.add(60);
    let pipeline = rig.get("/health/pipeline").await.json();
    assert_eq!(pipeline["tick_to_queryable_ms"]["count"], 1);
    assert_eq!(pipeline["wire_bytes_per_sample"], 0.5);
    rig.close().await;
}

#[tokio::test]
async fn its_own_metrics_are_as_prometheus_likes_them() {
    let rig = Rig::open().await;
    rig.context.telemetry.delays.observe(1200);
    rig.context.telemetry.fault(dsmil_protocol::error::ErrorCode::Busy);
    let page = rig.get("/metrics").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "dsmil_tick_to_queryable_seconds_bucket{le=\"1.5\"} 1",
        "dsmil_tick_to_queryable_seconds_bucket{le=\"1\"} 0",
        "dsmil_tick_to_queryable_seconds_sum 1.2",
        "dsmil_frame_faults_total{code=\"busy\"} 1",
        "dsmil_ledger_lost_ticks{reason=\"agent_down\"} 5",
        "dsmil_hosts{state=\"up\"} 1",
        "dsmil_hosts{state=\"down\"} 3",
        "dsmil_host_up{host=\"h1\"} 1",
        "dsmil_host_clock_uncertainty_seconds{host=\"h1\"} 0.0015",
        "dsmil_api_responses_total{class=\"2xx\"} 0",
    ] {
        assert!(page.text().lines().any(|found| found == line), "{line} in\n{}", page.text());
    }
    check_with_promtool(&page.text());
    rig.close().await;
}

#[tokio::test]
async fn its_own_metrics_are_as_prometheus_likes_them_before_anybody_came() {
    let rig = Rig::open_with(|context| context.live = rig::nobody(&context.clock)).await;
    let page = rig.get("/metrics").await.text();
    check_with_promtool(&page);
    assert!(!page.contains("dsmil_host_up"), "no family without a sample");
    let refused = "dsmil_refusals_total{port=\"fleet\",side=\"us\",reason=\"key_exchange\"} 0\n";
    assert!(page.contains(refused), "counters start at 0");
    assert!(
        page.contains("\ndsmil_link_sessions{group=\"MLKEM1024\",") || page.contains("\ndsmil_link_sessions{group=")
    );
    rig.close().await;
}

/// Whoever runs the tests says where promtool is, if it is installed.
fn check_with_promtool(page: &str) {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let Some(promtool) = std::env::var_os("DSMIL_PROMTOOL") else { return };
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = check.spawn().expect("promtool starts");
    running.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("promtool reads");
    let checked = running.wait_with_output().expect("promtool ends");
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
