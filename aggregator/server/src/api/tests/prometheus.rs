//! Prometheus's API, byte for byte.

use super::rig::Rig;
use serde_json::{Value, json};
use tower::ServiceExt;

const BASE: &str = "/prometheus/api/v1";

/// A URL's query from its parameters.
fn url(path: &str, params: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    format!("{BASE}/{path}?{}", query.extend_pairs(params).finish())
}

async fn text(rig: &Rig, path: &str, params: &[(&str, &str)]) -> String {
    let answer = rig.get(&url(path, params)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{}", answer.text());
    answer.text()
}

async fn data(rig: &Rig, path: &str, params: &[(&str, &str)]) -> Value {
    serde_json::from_str::<Value>(&text(rig, path, params).await).expect("JSON")["data"].take()
}

fn vector(result: &str) -> String {
    format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{result}]}}}}")
}

fn matrix(result: &str) -> String {
    format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{result}]}}}}")
}

#[tokio::test]
async fn an_instant_is_the_newest_value_before_it() {
    let rig = Rig::open().await;
    let load = |params: Vec<(&'static str, &'static str)>| {
        let rig = &rig;
        async move { text(rig, "query", &[&[("query", "node_load1{host=\"h1\"}")], &params[..]].concat()).await }
    };
    let h1 = |value: &str| {
        vector(&format!("{{\"metric\":{{\"__name__\":\"node_load1\",\"host\":\"h1\"}},\"value\":{value}}}"))
    };
    assert_eq!(load(vec![]).await, h1("[1700000140,\"0.2\"]"), "now: from memory");
    assert_eq!(load(vec![("time", "1700000139.5")]).await, h1("[1700000139.500,\"0.19\"]"), "from the store");
    assert_eq!(load(vec![("time", "1700000113")]).await, h1("[1700000113,\"1.12\"]"), "tick 113 has no value");
    assert_eq!(
        load(vec![("time", "2023-11-14T22:15:25Z")]).await,
        h1("[1700000125,\"1.19\"]"),
        "in the gap between boots"
    );
    assert_eq!(
        load(vec![("time", "1700000439.999")]).await,
        h1("[1700000439.999,\"0.2\"]"),
        "still within five minutes"
    );
    assert_eq!(load(vec![("time", "1700000440")]).await, vector(""), "five minutes later");
    assert_eq!(load(vec![("time", "1700000099.999")]).await, vector(""), "before anything");
    rig.close().await;
}

#[tokio::test]
async fn an_instant_reads_the_store_for_what_the_newest_tick_lacks() {
    let rig = Rig::open().await;
    rig.change_latest(|latest| latest.values[0] = None);
    let query = |selector| {
        let rig = &rig;
        async move { data(rig, "query", &[("query", selector)]).await["result"].clone() }
    };
    let result = query("{__name__=~\"node_.*\",host=\"h1\",mode!=\"idle\"}").await;
    let expected = json!([
        {"metric": {"__name__": "node_cpu_seconds_total", "cpu": "0", "host": "h1", "mode": "user"}, "value": [1_700_000_140, "0.2"]},
        {"metric": {"__name__": "node_load1", "host": "h1"}, "value": [1_700_000_140, "0.19"]},
    ]);
    assert_eq!(result, expected, "the load of a second before; the disk is in no set of this boot");
    rig.close().await;
}

#[tokio::test]
async fn a_range_of_samples_spans_boots_and_leaves_gaps() {
    let rig = Rig::open().await;
    let range = text(&rig, "query", &[("query", "node_load1{host=~\"h1|h9\"}[30s]"), ("time", "1700000139")]).await;
    let sample = |second: i64, value: &str| format!("[17000001{second},\"{value}\"]");
    // From 109 s (itself out): ticks 110 to 119 without 113, and 10 to 19 of the next boot.
    let mut expected: Vec<String> = (10..20).filter(|t| *t != 13).map(|t| sample(t, &format!("1.{t}"))).collect();
    expected.extend((10..20).map(|t| sample(t + 20, &if t == 10 { "0.1".into() } else { format!("0.{t}") })));
    let expected = expected.join(",").replace("\"1.10\"", "\"1.1\"");
    assert_eq!(
        range,
        matrix(&format!("{{\"metric\":{{\"__name__\":\"node_load1\",\"host\":\"h1\"}},\"values\":[{expected}]}}"))
    );
    rig.close().await;
}

#[tokio::test]
async fn a_range_query_has_a_value_at_every_step() {
    let rig = Rig::open().await;
    let params =
        |query: &'static str| [("query", query), ("start", "1700000090"), ("end", "1700000141"), ("step", "10s")];
    let load = text(&rig, "query_range", &params("node_load1{host=\"h1\"}")).await;
    let values =
        "[1700000100,\"1\"],[1700000110,\"1.1\"],[1700000120,\"1.19\"],[1700000130,\"0.1\"],[1700000140,\"0.2\"]";
    let series = |labels: &str, values: &str| format!("{{\"metric\":{{{labels}}},\"values\":[{values}]}}");
    assert_eq!(load, matrix(&series("\"__name__\":\"node_load1\",\"host\":\"h1\"", values)));
    let disk = text(&rig, "query_range", &params("node_disk_io_now{host=\"h1\"}")).await;
    let values = "[1700000100,\"7\"],[1700000110,\"7\"],[1700000120,\"7\"]";
    let labels = "\"__name__\":\"node_disk_io_now\",\"device\":\"sd\\\"b\",\"host\":\"h1\"";
    assert_eq!(disk, matrix(&series(labels, values)), "over when a set no longer names it");
    // The same, posted as a form.
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(params("node_load1{host=\"h1\"}")).finish();
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    let posted = rig.request("POST", &format!("{BASE}/query_range"), &kind, &form).await;
    assert_eq!(posted.text(), load);
    rig.close().await;
}

#[tokio::test]
async fn a_query_sees_what_the_readers_clearance_dominates() {
    let params = [("query", "node_load1{host=\"h3\"}"), ("time", "1700000109")];
    let names = [("start", "1700000000")];
    for (level, seen) in [(2, false), (3, true)] {
        let clearance = dsmil_protocol::tlv::Classification::new(level).expect("a level");
        let rig = Rig::open_with(|context| context.clearance = clearance).await;
        let result = data(&rig, "query", &params).await["result"].take();
        assert_eq!(result.as_array().map(Vec::len), Some(usize::from(seen)), "{level}");
        let hosts = data(&rig, "label/host/values", &names).await;
        assert_eq!(hosts.as_array().expect("a list").contains(&json!("h3")), seen, "{level}");
        rig.close().await;
    }
}

#[tokio::test]
async fn names_and_values_are_listed() {
    let rig = Rig::open().await;
    let all = [("start", "1700000000")];
    assert_eq!(data(&rig, "labels", &all).await, json!(["__name__", "cpu", "device", "host", "mode"]));
    let of = [("match[]", "node_load1"), ("match[]", "node_cpu_seconds_total{mode=\"user\"}"), all[0]];
    assert_eq!(data(&rig, "labels", &of).await, json!(["__name__", "cpu", "host", "mode"]));
    assert_eq!(data(&rig, "label/host/values", &all).await, json!(["h1", "h2"]), "h3 is above the reader's clearance");
    assert_eq!(data(&rig, "label/mode/values", &all).await, json!(["idle", "user"]));
    assert_eq!(data(&rig, "label/nothing/values", &all).await, json!([]));
    let later = [("start", "1700000125"), ("end", "1700000139")];
    assert_eq!(
        data(&rig, "label/__name__/values", &later).await,
        json!(["node_cpu_seconds_total", "node_load1"]),
        "no disk since the reboot"
    );
    let series = [("match[]", "node_disk_io_now"), all[0]];
    let device = |host| json!({"__name__": "node_disk_io_now", "device": "sd\"b", "host": host});
    assert_eq!(data(&rig, "series", &series).await, json!([device("h1"), device("h2")]));
    let cut = text(&rig, "series", &[("limit", "1"), series[0], series[1]]).await;
    assert!(cut.ends_with("\"host\":\"h1\"}],\"warnings\":[\"results truncated due to limit\"]}"), "{cut}");
    rig.close().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_in_prometheus_form() {
    let rig = Rig::open().await;
    let range = |query, start, end, step| vec![("query", query), ("start", start), ("end", end), ("step", step)];
    let cases = [
        ("query", vec![], "invalid parameter \"query\": unknown position: parse error: no expression"),
        ("query", vec![("query", "rate(up[5m])")], "only plain selectors"),
        ("query", vec![("query", "{}")], "at least one non-empty matcher"),
        ("query", vec![("query", "up{a=~\"(\"}")], "error parsing regexp"),
        ("query", vec![("query", "up"), ("time", "soon")], "invalid parameter \"time\": cannot parse \"soon\""),
        ("query", vec![("query", "up"), ("timeout", "x")], "invalid parameter \"timeout\""),
        ("query", vec![("query", "up"), ("limit", "-1")], "invalid parameter \"limit\""),
        ("query_range", range("up", "", "2", "1"), "invalid parameter \"start\""),
        ("query_range", range("up", "2", "1", "1"), "end timestamp must not be before start time"),
        ("query_range", range("up", "1", "2", "0"), "zero or negative query resolution step"),
        ("query_range", range("up", "1", "11002.001", "1"), "exceeded maximum resolution of 11,000 points"),
        ("query_range", range("up[5m]", "1", "2", "1"), "invalid expression type \"range vector\""),
        ("series", vec![], "no match[] parameter provided"),
        ("series", vec![("match[]", "")], "invalid parameter \"match[]\""),
        ("labels", vec![("match[]", "up[5m]")], "leave the range out"),
        ("label/a-b/values", vec![], "invalid label name: \"a-b\""),
    ];
    for (path, params, expected) in cases {
        let answer = rig.get(&url(path, &params)).await;
        let document = answer.json();
        assert_eq!(answer.status, 400, "{path} {params:?}");
        assert_eq!((&document["status"], &document["errorType"]), (&json!("error"), &json!("bad_data")));
        let error = document["error"].as_str().expect("a text");
        assert!(error.contains(expected), "{path} {params:?}: {error}");
    }
    // As many steps as there may be are answered.
    assert_eq!(rig.get(&url("query_range", &range("up", "1", "11001", "1"))).await.status, 200);
    rig.close().await;
}

#[tokio::test]
async fn a_query_that_waits_too_long_for_its_turn_is_given_up() {
    let rig = Rig::open().await;
    let app = crate::api::App::new(rig.context.clone());
    let permits = u32::try_from(app.queries.available_permits()).expect("a few");
    let held = std::sync::Arc::clone(&app.queries).acquire_many_owned(permits).await.expect("open");
    let router = crate::api::routes::router(app);
    let ask = |timeout: &str| {
        router.clone().oneshot(rig.prepared("GET", &url("query", &[("query", "up"), ("timeout", timeout)]), &[], ""))
    };
    let gives_up = async {
        let refused = ask("5s").await.expect("infallible");
        let status = refused.status();
        let body = axum::body::to_bytes(axum::body::Body::new(refused.into_body()), 1 << 20).await.expect("a body");
        (status.as_u16(), serde_json::from_slice::<Value>(&body).expect("JSON"))
    };
    let clock_goes_on = async {
        // The query's deadline counts from when it came; it comes at the first poll, which is before this one.
        rig.hand.advance(std::time::Duration::from_secs(5));
        std::future::pending::<()>().await;
    };
    let (status, document) =
        tokio::select! { biased; answer = gives_up => answer, () = clock_goes_on => unreachable!() };
    assert_eq!((status, &document["errorType"]), (503, &json!("timeout")));
    drop(held);
    assert_eq!(ask("5s").await.expect("infallible").status(), 200);
    rig.close().await;
}
