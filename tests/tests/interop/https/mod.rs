//! What people point at the HTTPS API: Chromium, a client with Go's hello, and a curl from before ML-KEM.
//!
//! The aggregator is the real program; which group each got is what it says itself, in `GET /api/v1/security/link`.

mod network;
mod visitors;

use self::network::{Network, NotHere};
use self::visitors::{chromium, classical_curl, go};
use dsmil_runtime::clock::Clock;
use e2e::fleet::{Centre, Fleet, Parents, Ports};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};

/// The group of browsers and of Go, as the API names it.
const BROWSERS_GROUP: &str = "X25519MLKEM768";

fn folders() -> Fleet {
    Fleet::new(&Parents::default(), "dsmil-interop", &Clock::real()).expect("folders")
}

/// What `GET /api/v1/security/link` says.
async fn security(centre: &Centre<'_>) -> Value {
    centre.api().json("/api/v1/security/link").await.expect("an answer")
}

/// Sessions there were of a group, the one that asks included.
fn sessions(security: &Value, group: &str) -> u64 {
    let groups = security["https"]["groups"].as_array().expect("groups");
    groups.iter().find(|one| one["group"] == group).map_or(0, |one| one["sessions"].as_u64().expect("a number"))
}

#[tokio::test]
async fn browsers_and_go_get_a_post_quantum_key_exchange() {
    let folders = folders();
    let mut centre = Centre::init(&folders, &[], Ports::free().expect("ports")).expect("init");
    centre.start().await.expect("the centre starts");

    let before = sessions(&security(&centre).await, BROWSERS_GROUP);
    let page = chromium(&centre, "/health").await;
    assert!(page.contains("healthy"), "the browser shows the answer: {page}");
    let visited = security(&centre).await;
    assert!(sessions(&visited, BROWSERS_GROUP) >= before + 2, "the browser and we: {visited}");

    let (group, answer) = go(&centre, "/health").await;
    assert_eq!(group, BROWSERS_GROUP);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let seen = security(&centre).await;
    assert_eq!(sessions(&seen, BROWSERS_GROUP), sessions(&visited, BROWSERS_GROUP) + 2, "Go's and ours");
    assert_eq!(seen["https"]["groups"].as_array().expect("groups").len(), 1, "nobody got another: {seen}");
    assert_eq!(seen["https"]["classical_sessions"], 0);
    centre.stop().await.expect("the centre stops");
}

#[tokio::test]
async fn a_classical_client_is_refused_with_a_remedy_and_let_in_from_a_listed_network() {
    let network = match Network::new() {
        Ok(network) => network,
        Err(NotHere(why)) => return eprintln!("not run: {why}"),
    };
    let folders = folders();
    let ports = Ports::free().expect("ports");
    let mut centre = Centre::init(&folders, &[], ports).expect("init");
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, ports.https)).to_string();
    centre.configure(|table| set(table, "listen", "https", everywhere.into())).expect("configured");
    centre.start().await.expect("the centre starts");

    let from_here = classical_curl(None, &centre, Ipv4Addr::LOCALHOST).await;
    assert_eq!(from_here.status, 200, "loopback: {}", from_here.said);
    let from_there = classical_curl(Some(&network), &centre, Network::NEAR).await;
    assert_eq!(from_there.status, 0, "nothing was answered");
    assert!(from_there.said.contains("insufficient security"), "what it tells its user: {}", from_there.said);

    let seen = security(&centre).await;
    let source = &seen["refusals"]["sources"][0];
    assert_eq!(source["address"], Network::FAR.to_string(), "{seen}");
    assert_eq!(
        (&source["port"], &source["side"], &source["reason"]),
        (&"https".into(), &"us".into(), &"key_exchange".into())
    );
    assert_eq!(seen["https"]["classical_sessions"], 1, "loopback's");
    let log = std::fs::read_to_string(centre.process().expect("it runs").log()).expect("a log");
    let line = log.lines().find(|line| line.contains(&Network::FAR.to_string())).expect("a line about it");
    assert!(line.contains("post-quantum") && line.contains("api.allow_classical_from"), "it says what to do: {line}");

    centre.stop().await.expect("the centre stops");
    let listed = toml::Value::Array(vec![Network::ITSELF.into()]);
    centre.configure(|table| set(table, "api", "allow_classical_from", listed)).expect("configured");
    centre.start().await.expect("the centre starts");
    let from_there = classical_curl(Some(&network), &centre, Network::NEAR).await;
    assert_eq!(from_there.status, 200, "{}", from_there.said);
    let seen = security(&centre).await;
    assert_eq!(seen["https"]["classical_from"][0]["address"], Network::FAR.to_string(), "and it is shown: {seen}");
    centre.stop().await.expect("the centre stops");
}

fn set(table: &mut toml::Table, section: &str, key: &str, value: toml::Value) {
    let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
    section.as_table_mut().expect("a table").insert(key.into(), value);
}
