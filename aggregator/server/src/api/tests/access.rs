//! Who gets in, and how everybody else is told.

use super::rig::{Answer, Rig};
use crate::api::{Dropped, MAX_CONNECTIONS_PER_ADDRESS};
use crate::refusals::{Port, Reason, Refused, Side};
use dsmil_crypto::https::https_client;
use dsmil_crypto::refusal::Refusal;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

fn assert_problem(answer: &Answer, status: u16, name: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:dsmil:problem:{name}"));
    assert_eq!(problem["status"], status);
    for member in ["title", "detail", "remedy"] {
        assert!(!problem[member].as_str().expect(member).is_empty(), "{member}");
    }
}

#[tokio::test]
async fn without_a_good_token_there_is_health_and_nothing_else() {
    let rig = Rig::open().await;
    let token = |text: &'static str| [("authorization", text)];
    let wrong = "Bearer dsmil_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for path in crate::api::routes::paths().into_iter().chain(["/nowhere"]) {
        let url = path.replace("{id}", "h1").replace("{name}", "host");
        for header in ["", "Basic eDp5", wrong, "Bearer"] {
            let answer = rig.request("GET", &url, &token(header), "").await;
            if crate::api::access::OPEN_PATHS.contains(&path) {
                assert_eq!(answer.status, 200);
            } else {
                assert_problem(&answer, 401, "unauthorized");
                assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"dsmil\"");
            }
        }
    }
    assert_eq!(rig.request("POST", "/health", &token(""), "").await.status, 401);
    assert!(rig.context.stats.unauthorised() > 40);
    // A token that is taken back is no good at once.
    assert_eq!(rig.get("/api/v1/hosts").await.status, 200);
    rig.context.tokens.set(Vec::new());
    assert_problem(&rig.get("/api/v1/hosts").await, 401, "unauthorized");
    rig.close().await;
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let rig = Rig::open().await;
    assert_problem(&rig.get("/nowhere").await, 404, "not-found");
    assert_problem(&rig.get("/api/v1/hosts/nobody").await, 404, "not-found");
    assert_problem(&rig.get("/api/v1/hosts/..%2f..%2fetc").await, 404, "not-found");
    assert_problem(&rig.get("/api/v1/hosts/%ff/metrics").await, 404, "not-found");
    let refused = rig.request("PUT", "/api/v1/hosts", &[], "").await;
    assert_problem(&refused, 405, "method-not-allowed");
    assert_eq!(refused.header("allow"), "GET,HEAD");
    let picky = rig.request("GET", "/api/v1/hosts", &[("accept", "text/html")], "").await;
    assert_problem(&picky, 406, "not-acceptable");
    let query = "/prometheus/api/v1/query";
    let form = ("content-type", "application/x-www-form-urlencoded");
    let large = rig.request("POST", query, &[form], &"x".repeat(100_000)).await;
    assert_problem(&large, 413, "payload-too-large");
    let json = rig.request("POST", query, &[("content-type", "application/json")], "{}").await;
    assert_problem(&json, 415, "unsupported-media-type");
    let many = rig.get(&format!("{query}?{}", "a=b&".repeat(300))).await;
    assert_eq!((many.status, many.json()["errorType"].as_str()), (400, Some("bad_data")));
    assert_problem(&rig.request("GET", "/api/v1/sd", &[("host", "a b")], "").await, 400, "bad-request");
    rig.close().await;
}

#[tokio::test]
async fn what_is_no_text_and_what_is_not_known_is_refused_and_not_guessed_at() {
    let rig = Rig::open().await;
    let query = "/prometheus/api/v1/query";
    for bad in [
        "query=%zz",
        "query=up%",
        "query=%ff",
        "query=%00",
        "a=%c3&query=up",
        "query=up&timeout=-1",
        "query=up&limit=9223372036854775808",
    ] {
        let refused = rig.get(&format!("{query}?{bad}")).await;
        assert_eq!((refused.status, refused.header("content-type")), (400, "application/json"), "{bad}");
        assert_eq!(refused.json()["errorType"], "bad_data", "{bad}");
        let form = rig.request("POST", query, &[("content-type", "application/x-www-form-urlencoded")], bad).await;
        assert_eq!(form.status, 400, "{bad} in a form");
    }
    // As Prometheus has it: of two the first, and an empty one is none.
    let answer = rig.get(&format!("{query}?query=node_load1&query=(&time=&unheard=of")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for bad in ["since=%zz", "lmit=1", "limit=", "limit=1&limit=1", "host=%00"] {
        assert_problem(&rig.get(&format!("/api/v1/security/log?{bad}")).await, 400, "bad-request");
    }
    rig.close().await;
}

#[tokio::test]
async fn other_methods_are_refused_with_those_that_there_are() {
    let rig = Rig::open().await;
    for method in ["OPTIONS", "TRACE", "PATCH", "PROPFIND", "post"] {
        let refused = rig.request(method, "/api/v1/hosts", &[], "").await;
        assert_problem(&refused, 405, "method-not-allowed");
        assert_eq!(refused.header("allow"), "GET,HEAD", "{method}");
    }
    for (path, status) in [("/nowhere", 404), ("/%00", 404), ("/api/v1/hosts/%zz", 404), ("//health", 404)] {
        let answer = rig.request("HEAD", path, &[], "").await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
    }
    rig.close().await;
}

#[tokio::test]
async fn whoever_asks_at_too_great_a_length_is_told_so() {
    let rig = Rig::open().await;
    for _ in 0..20 {
        let answer = rig.get(&format!("/prometheus/api/v1/query?query={}", "x".repeat(60_000))).await;
        assert_eq!((answer.status, answer.body.len()), (431, 0));
    }
    rig.close().await;
}

#[tokio::test]
async fn live_data_is_kept_by_nobody_and_head_has_no_body() {
    let rig = Rig::open().await;
    let answer = rig.request("HEAD", "/api/v1/hosts", &[], "").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!((answer.header("cache-control"), answer.header("x-content-type-options")), ("no-store", "nosniff"));
    rig.close().await;
}

#[tokio::test]
async fn http2_is_spoken() {
    let rig = Rig::open().await;
    let answer = rig.get_http2("/api/v1/sd").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()[0]["targets"][0], rig.address.to_string());
    assert_eq!(rig.get_http2("/nowhere").await.status, 404);
    rig.close().await;
}

#[tokio::test]
async fn whoever_forgets_the_s_is_told_so() {
    let rig = Rig::open().await;
    let mut stream = TcpStream::connect(rig.address).await.expect("connected");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    // The rest of the request was never read, so the kernel may end the connection with a reset behind the answer.
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    until(|| rig.context.stats.dropped_count(Dropped::PlainHttp) == 1).await;
    rig.close().await;
}

/// A client of somebody else, whose key exchange a quantum computer could undo.
fn classical(root_pem: &str) -> ClientConfig {
    let mut provider: CryptoProvider = default_provider();
    provider.kx_groups.retain(|group| !format!("{:?}", group.name()).to_ascii_uppercase().contains("KEM"));
    assert!(!provider.kx_groups.is_empty());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).expect("PEM")).expect("a root");
    ClientConfig::builder_with_details(Arc::new(provider), Arc::new(super::rig::time()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn a_classical_client_is_let_in_from_loopback_and_shown() {
    let rig = Rig::open().await;
    let stream = rig.connect(classical(rig.root_pem())).await.expect("loopback may");
    until(|| rig.context.stats.classical_now() == 1).await;
    let pipeline = rig.get("/health/pipeline").await.json();
    assert_eq!(pipeline["api"]["classical_connections"], 1);
    drop(stream);
    until(|| rig.context.stats.classical_now() == 0).await;
    assert_eq!(rig.context.stats.classical_sessions(), 1);
    rig.close().await;
}

#[tokio::test]
async fn a_classical_client_from_elsewhere_is_refused_unless_its_network_is_listed() {
    let listed = tokio::sync::watch::Sender::new(vec!["203.0.113.0/24".parse().expect("a network")]);
    let rig = Rig::open_with(|context| context.classical_from = listed.subscribe()).await;
    let stats = &rig.context.stats;
    rig.connect_from([198, 51, 100, 7], classical).await.expect_err("refused");
    until(|| stats.dropped_count(Dropped::Handshake) == 1).await;
    let refused = Refused::by_us(Port::Https, Refusal::KeyExchange);
    let source = rig.context.telemetry.refused.sources()[0];
    assert_eq!((source.refused, source.network.to_string().as_str(), source.count), (refused, "198.51.100.7", 1));
    assert_eq!(stats.classical_sessions(), 0);
    let stream = rig.connect_from([203, 0, 113, 7], classical).await.expect("its network is listed");
    until(|| stats.classical_now() == 1).await;
    drop(stream);
    let post_quantum = |root: &str| https_client(root.as_bytes(), super::rig::time()).expect("a client");
    rig.connect_from([198, 51, 100, 7], post_quantum).await.expect("anybody may come so");
    assert_eq!(stats.classical_sessions(), 1);
    rig.close().await;
}

#[tokio::test]
async fn a_failed_handshake_is_counted_by_its_reason() {
    let rig = Rig::open().await;
    let mut stranger = rig.tls(b"http/1.1");
    stranger.alpn_protocols = vec![b"gopher".to_vec()];
    rig.connect(stranger).await.expect_err("no protocol in common");
    let stats = &rig.context.stats;
    until(|| stats.dropped_count(Dropped::Handshake) == 1).await;
    let totals = || rig.context.telemetry.refused.totals();
    assert_eq!(totals().get(&Refused::by_us(Port::Https, Refusal::ApplicationProtocol)), Some(&1));
    drop(TcpStream::connect(rig.address).await.expect("connected"));
    until(|| stats.dropped_count(Dropped::Handshake) == 2).await;
    assert_eq!(totals().get(&LOST), Some(&1));
    rig.close().await;
}

#[tokio::test]
async fn who_does_not_finish_the_handshake_is_dropped_in_time() {
    let rig = Rig::open().await;
    let mut stream = TcpStream::connect(rig.address).await.expect("connected");
    stream.write_all(&[22, 3, 1]).await.expect("sent");
    until(|| rig.context.stats.connections() == 1).await;
    // The sleeper may not have begun when the clock is moved, so it is moved until it is seen.
    until(|| {
        rig.hand.advance(std::time::Duration::from_secs(10));
        rig.context.stats.dropped_count(Dropped::Silent) == 1
    })
    .await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(rig.context.stats.connections(), 0);
    assert_eq!(rig.context.telemetry.refused.totals().get(&LOST), Some(&1));
    rig.close().await;
}

#[tokio::test]
async fn one_connection_too_many_of_an_address_is_a_refusal_with_that_address() {
    let rig = Rig::open().await;
    let stats = &rig.context.stats;
    let places: Vec<_> =
        (0..MAX_CONNECTIONS_PER_ADDRESS).map(|_| stats.enter([198, 51, 100, 7].into()).expect("a place")).collect();
    let post_quantum = |root: &str| https_client(root.as_bytes(), super::rig::time()).expect("a client");
    rig.connect_from([198, 51, 100, 7], post_quantum).await.expect_err("no place is left");
    assert_eq!(stats.dropped_count(Dropped::AddressFull), 1);
    let source = rig.context.telemetry.refused.sources()[0];
    let busy = Refused::by_us(Port::Https, Refusal::Busy);
    assert_eq!((source.refused, source.network.to_string().as_str()), (busy, "198.51.100.7"));
    drop(places);
    rig.close().await;
}

/// A client that went away, or fell silent.
const LOST: Refused = Refused { port: Port::Https, side: Side::Peer, reason: Reason::Handshake(Refusal::Lost) };

/// Waits for something that another task does, ten seconds at most.
async fn until(mut condition: impl FnMut() -> bool) {
    let clock = dsmil_runtime::clock::Clock::real();
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        clock.sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it did not happen within ten seconds");
}
