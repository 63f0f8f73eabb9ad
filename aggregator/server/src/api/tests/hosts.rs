//! What is said of hosts.

use super::fleet::{LEAF_END, key};
use super::rig::{FIRST_BOOT, NOW, Rig, SECOND_BOOT, T0};
use crate::live::Link;
use dsmil_authority::Fingerprint;
use dsmil_crypto::policy::KeyExchange;
use serde_json::json;

#[tokio::test]
async fn every_host_is_listed() {
    let rig = Rig::open().await;
    let expected = json!({"hosts": [
        {"host": "h1", "group": "east", "enrolled": true, "link": "up", "heard_ms": NOW - 500, "latest_ms": NOW, "waiting_ticks": 1},
        {"host": "h2", "enrolled": true, "link": "closed", "heard_ms": T0 + 109_000},
        {"host": "h3", "enrolled": true, "link": "never"},
        {"host": "h4", "enrolled": true, "link": "never"},
    ]});
    assert_eq!(rig.get("/api/v1/hosts").await.json(), expected);
    rig.close().await;
}

#[tokio::test]
async fn a_host_is_told_in_full() {
    let rig = Rig::open().await;
    let agreed = KeyExchange::Pure.negotiated();
    let expected = json!({
        "host": "h1", "group": "east", "enrolled": true, "devices": [], "clearance": "UNCLASS",
        "identity": {
            "standing": "enrolled", "key": Fingerprint(key("h1").0).short(), "joined_ms": T0,
            "leaf_not_after_ms": LEAF_END * 1000, "bundle_version": 6,
        },
        "link": {
            "state": "up", "since_ms": NOW - 9_000, "heard_ms": NOW - 500, "remote": "192.0.2.7:40112",
            "negotiated": {
                "group": agreed.group,
                "scheme": agreed.scheme,
                "suite": agreed.suite,
            },
        },
        "boot": SECOND_BOOT.to_string(), "agent_version": "0.1.0",
        "clock": {"boot_epoch_ns": (T0 + 120_000) * 1_000_000, "uncertainty_ns": 1_500_000, "wall_ahead_ns": -3_000_000_000i64},
        "spool": {"last_tick": 20, "waiting_ticks": 1, "bytes": 4096, "capacity_bytes": 1 << 20},
        "latest": {"tick": 20, "time_ms": NOW, "metrics": 3, "present": 3},
        "boots": [
            {
                "boot": SECOND_BOOT.to_string(), "classification": 0, "named": {"first": 5, "last": 20},
                "totals": {"expected": 16, "stored": 10, "waiting": 1, "lost": 5, "lost_by": {"agent_down": 5}, "duplicates": 0, "resent": 0},
                "accounted": [{"first": 5, "last": 19}], "waiting": [{"first": 20, "last": 20}],
                "gaps": [{"first": 5, "last": 9, "reason": "agent_down"}], "truncated": false,
            },
            {
                "boot": FIRST_BOOT.to_string(), "classification": 0, "named": {"first": 100, "last": 119},
                "totals": {"expected": 20, "stored": 20, "waiting": 0, "lost": 0, "lost_by": {}, "duplicates": 0, "resent": 0},
                "accounted": [{"first": 100, "last": 119}], "waiting": [], "gaps": [], "truncated": false,
            },
        ],
        "boots_total": 2,
    });
    assert_eq!(rig.get("/api/v1/hosts/h1").await.json(), expected);
    rig.close().await;
}

#[tokio::test]
async fn a_host_that_is_shut_out_says_why_and_one_that_never_joined_says_so() {
    let rig = Rig::open().await;
    let revoked = json!({
        "standing": "revoked", "key": Fingerprint(key("h2").0).short(), "joined_ms": T0,
        "leaf_not_after_ms": LEAF_END * 1000,
        "revoked": {"at_ms": T0 + 110_000, "reason": "stolen", "by": "alice"},
    });
    assert_eq!(rig.get("/api/v1/hosts/h2").await.json()["identity"], revoked);
    assert_eq!(rig.get("/api/v1/hosts/h4").await.json()["identity"], json!({"standing": "never_joined"}));
    rig.close().await;
}

#[tokio::test]
async fn what_is_above_the_readers_clearance_is_not_told() {
    let rig = Rig::open().await;
    let secret = rig.get("/api/v1/hosts/h3").await.json();
    assert_eq!((secret["boots"].as_array().map(Vec::len), &secret["boots_total"]), (Some(0), &json!(0)));
    rig.change_latest(|latest| {
        latest.classification = dsmil_protocol::tlv::Classification::new(3).expect("a level");
    });
    assert!(rig.get("/api/v1/hosts/h1").await.json().get("latest").is_none());
    assert_eq!(rig.get("/api/v1/hosts/h1/metrics").await.status, 503);
    rig.close().await;
    let cleared =
        Rig::open_with(|context| context.clearance = dsmil_protocol::tlv::Classification::new(3).expect("a level"));
    let cleared = cleared.await;
    assert_eq!(cleared.get("/api/v1/hosts/h3").await.json()["boots_total"], 1);
    cleared.close().await;
}

#[tokio::test]
async fn a_hosts_newest_values_are_a_page_to_scrape() {
    let rig = Rig::open().await;
    rig.change_latest(|latest| latest.values[1] = None);
    let page = rig.get("/api/v1/hosts/h1/metrics").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let expected = "# TYPE node_cpu_seconds_total counter\n\
        node_cpu_seconds_total{cpu=\"0\",mode=\"user\"} 0.2\n\
        # TYPE node_load1 gauge\n\
        node_load1 0.2\n\
        # HELP dsmil_host_up Whether the host has a session and was heard of in the last seconds; absent while nobody knows.\n\
        # TYPE dsmil_host_up gauge\n\
        dsmil_host_up 1\n\
        # HELP dsmil_host_sampled_timestamp_seconds When these values were sampled.\n\
        # TYPE dsmil_host_sampled_timestamp_seconds gauge\n\
        dsmil_host_sampled_timestamp_seconds 1700000140\n";
    assert_eq!(page.text(), expected);
    // Four minutes in which nobody listened: what was last known is still told, and whether the host is up is not.
    rig.hand.advance(std::time::Duration::from_secs(240));
    assert!(!rig.get("/api/v1/hosts/h1/metrics").await.text().contains("dsmil_host_up"));
    assert_eq!(rig.get("/api/v1/hosts/h1").await.json()["link"]["state"], "awaited");
    rig.context.live.update(&super::rig::host("h1"), |now| now.link = Link::Closed { why: "goodbye".into() });
    assert!(rig.get("/api/v1/hosts/h1/metrics").await.text().contains("dsmil_host_up 0\n"));
    rig.hand.advance(std::time::Duration::from_secs(60));
    let gone = rig.get("/api/v1/hosts/h1/metrics").await;
    assert_eq!((gone.status, gone.header("content-type")), (503, "application/problem+json"));
    assert_eq!(rig.get("/api/v1/hosts/h4/metrics").await.status, 503);
    rig.close().await;
}

#[tokio::test]
async fn prometheus_finds_every_host_here() {
    let rig = Rig::open().await;
    let targets = rig.get("/api/v1/sd").await.json();
    let first = json!({
        "targets": [rig.address.to_string()],
        "labels": {
            "__metrics_path__": "/api/v1/hosts/h1/metrics", "__scheme__": "https",
            "group": "east", "host": "h1", "instance": "h1",
        },
    });
    assert_eq!((targets.as_array().map(Vec::len), &targets[0]), (Some(4), &first));
    assert!(targets[1]["labels"].get("group").is_none());
    rig.close().await;
}
