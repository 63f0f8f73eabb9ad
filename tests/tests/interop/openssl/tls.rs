//! The link's TLS against OpenSSL's, each as client and as server, in both key exchanges; and classical ones refused.

use super::keys::text;
use super::peer::OpenSsl;
use crate::fleet::{AGGREGATOR_NAME, Fleet, Pem, now_s, unbase64};
use crate::{HERE, LABEL, PATIENCE};
use dsmil_crypto::identity::Identity;
use dsmil_crypto::issue::{HTTPS_LEAF_LIFETIME, HttpsRoot};
use dsmil_crypto::policy::{FLEET_ALPN, KeyExchange, SessionCache};
use dsmil_crypto::refusal::{Refusal, tls_refusal_reason};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, CommonState};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A key exchange, what OpenSSL calls it, and its number in IANA's registry.
const KEY_EXCHANGES: [(KeyExchange, &str, u16); 2] =
    [(KeyExchange::Pure, "MLKEM1024", 0x0202), (KeyExchange::Hybrid, "SecP384r1MLKEM1024", 0x11ed)];
const SCHEME: &str = "mldsa87";
const SUITE: &str = "TLS_AES_256_GCM_SHA384";
const ANSWER: &[u8; 19] = b"OpenSSL heard hello";

/// What one end of ours saw.
#[derive(Debug)]
struct Ours {
    group: u16,
    suite: String,
    exported: Vec<u8>,
}

impl Ours {
    fn of(state: &CommonState) -> Self {
        let group = state.negotiated_key_exchange_group().expect("a group").name();
        let suite = state.negotiated_cipher_suite().expect("a suite").suite();
        Self { group: u16::from(group), suite: format!("{suite:?}"), exported: vec![0; 48] }
    }

    fn same_as(&self, said: &Value, group: u16, peer: &Identity) {
        assert_eq!(said["authorized"], json!(true), "{said}");
        assert_eq!(text(&said["suite"]), SUITE);
        assert_eq!(text(&said["protocol"]), "TLSv1.3");
        assert_eq!(text(&said["alpn"]).as_bytes(), FLEET_ALPN);
        assert!(text(&said["names"]).contains(&format!("URI:{}", peer.id())), "{said}");
        assert_eq!(unbase64(&said["exported"]), self.exported, "both ends derive the same");
        assert_eq!(self.group, group);
        assert_eq!(self.suite, "TLS13_AES_256_GCM_SHA384");
    }
}

fn question(verb: &str, fleet: &Fleet, identity: &Identity, groups: &str) -> Value {
    let Pem { certificate, key } = Pem::of(identity);
    let ca = fleet.issuer_pem() + &fleet.root_pem();
    json!({
        "verb": verb, "certificate": certificate, "key": key, "ca": ca, "name": AGGREGATOR_NAME,
        "groups": groups, "schemes": SCHEME, "alpn": String::from_utf8_lossy(FLEET_ALPN),
    })
}

/// OpenSSL connects to an aggregator's end of ours: what we made of it, and what OpenSSL says.
async fn openssl_connects(
    fleet: &Fleet,
    key_exchange: KeyExchange,
    mut question: Value,
) -> (Result<Ours, rustls::Error>, Value) {
    let link = fleet.link(&fleet.aggregator, key_exchange);
    let tls = TlsAcceptor::from(Arc::new(link.server_tls(&SessionCache::none()).expect("a server")));
    let listener = TcpListener::bind(HERE).await.expect("a port");
    question["port"] = json!(listener.local_addr().expect("an address").port());
    let mut openssl = OpenSsl::ask(question).await;
    let serve = async {
        let (stream, _) = listener.accept().await.expect("a peer");
        let mut stream = tls.accept(stream).await.map_err(of_io)?;
        let mut ours = Ours::of(stream.get_ref().1);
        stream.get_ref().1.export_keying_material(&mut ours.exported, LABEL, Some(b"")).expect("an exporter");
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.expect("its word");
        assert_eq!(&heard, b"hello");
        stream.write_all(b"welcome").await.expect("ours");
        Ok(ours)
    };
    let both = async { tokio::join!(serve, openssl.answer()) };
    tokio::time::timeout(PATIENCE, both).await.expect("an end")
}

/// An agent's end of ours connects to OpenSSL.
async fn openssl_serves(
    fleet: &Fleet,
    key_exchange: KeyExchange,
    question: Value,
) -> (Result<Ours, rustls::Error>, Value) {
    let link = fleet.link(&fleet.agent, key_exchange);
    let tls = TlsConnector::from(Arc::new(link.client_tls().expect("a client")));
    let mut openssl = OpenSsl::ask(question).await;
    let port = openssl.answer().await["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    let connect = async {
        let stream = TcpStream::connect((HERE.ip(), port)).await.expect("it listens");
        let name = ServerName::try_from(AGGREGATOR_NAME).expect("a name");
        let mut stream = tls.connect(name, stream).await.map_err(of_io)?;
        let mut ours = Ours::of(stream.get_ref().1);
        stream.get_ref().1.export_keying_material(&mut ours.exported, LABEL, Some(b"")).expect("an exporter");
        stream.write_all(b"hello").await.expect("said");
        let mut heard = [0; ANSWER.len()];
        stream.read_exact(&mut heard).await.expect("an answer");
        assert_eq!(&heard, ANSWER);
        Ok(ours)
    };
    let both = async { tokio::join!(connect, openssl.answer()) };
    tokio::time::timeout(PATIENCE, both).await.expect("an end")
}

fn of_io(error: std::io::Error) -> rustls::Error {
    error.into_inner().and_then(|inner| inner.downcast().ok()).map_or_else(|| panic!("an error of TLS"), |tls| *tls)
}

#[tokio::test]
async fn openssl_as_an_agent_meets_our_aggregator() {
    let fleet = Fleet::new();
    for (key_exchange, group, number) in KEY_EXCHANGES {
        let ask = question("connect", &fleet, &fleet.agent, group);
        let (ours, said) = openssl_connects(&fleet, key_exchange, ask).await;
        ours.expect("a handshake").same_as(&said, number, &fleet.aggregator);
        assert_eq!(text(&said["heard"]), "welcome");
    }
}

#[tokio::test]
async fn our_agent_meets_openssl_as_an_aggregator() {
    let fleet = Fleet::new();
    for (key_exchange, group, number) in KEY_EXCHANGES {
        let ask = question("serve", &fleet, &fleet.aggregator, group);
        let (ours, said) = openssl_serves(&fleet, key_exchange, ask).await;
        ours.expect("a handshake").same_as(&said, number, &fleet.agent);
    }
}

#[tokio::test]
async fn openssl_with_other_groups_is_refused() {
    let fleet = Fleet::new();
    let cases = [
        (KeyExchange::Pure, "X25519:P-256:P-384"),
        (KeyExchange::Pure, "X25519MLKEM768:MLKEM768:SecP384r1MLKEM1024"),
        (KeyExchange::Hybrid, "P-384:MLKEM1024"),
    ];
    for (key_exchange, groups) in cases {
        let ask = question("connect", &fleet, &fleet.agent, groups);
        let (ours, said) = openssl_connects(&fleet, key_exchange, ask).await;
        assert_eq!(tls_refusal_reason(&ours.expect_err("refused")), Refusal::KeyExchange, "{groups}");
        assert_eq!(said["error"], json!("ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE"), "{groups}");

        let ask = question("serve", &fleet, &fleet.aggregator, groups);
        let (ours, said) = openssl_serves(&fleet, key_exchange, ask).await;
        assert_eq!(said["error"], json!("ERR_SSL_NO_SUITABLE_KEY_SHARE"), "{groups}");
        refused_by_openssl(ours);
    }
}

#[tokio::test]
async fn openssl_with_classical_signatures_is_refused() {
    let fleet = Fleet::new();
    let classical = HttpsRoot::create(now_s()).expect("a root");
    let leaf = Pem::of_credential(&classical.issue(&[AGGREGATOR_NAME], now_s(), HTTPS_LEAF_LIFETIME).expect("a leaf"));
    let both = format!("{SCHEME}:ecdsa_secp256r1_sha256");
    let showing = |mut ask: Value, schemes: &str| {
        ask["certificate"] = json!(leaf.certificate);
        ask["key"] = json!(leaf.key);
        ask["schemes"] = json!(schemes);
        ask
    };
    let connect = || question("connect", &fleet, &fleet.agent, "MLKEM1024");
    let cases = [
        // It takes no other signature of ours.
        (showing(connect(), "ecdsa_secp256r1_sha256"), Refusal::SignatureScheme),
        // It takes ours, and sees that we would not take its own.
        (showing(connect(), &both), Refusal::NoCertificate),
    ];
    for (ask, reason) in cases {
        let (ours, _) = openssl_connects(&fleet, KeyExchange::Pure, ask).await;
        assert_eq!(tls_refusal_reason(&ours.expect_err("refused")), reason);
    }
    let ask = showing(question("serve", &fleet, &fleet.aggregator, "MLKEM1024"), &both);
    let (ours, said) = openssl_serves(&fleet, KeyExchange::Pure, ask).await;
    assert_eq!(said["error"], json!("ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM"));
    refused_by_openssl(ours);
}

/// A server that finds nothing in common says no more than that (RFC 8446, section 6.2), so nor can we.
fn refused_by_openssl(ours: Result<Ours, rustls::Error>) {
    let refused = ours.expect_err("refused");
    assert_eq!(refused, rustls::Error::AlertReceived(AlertDescription::HandshakeFailure));
    assert_eq!(tls_refusal_reason(&refused), Refusal::HandshakeFailure);
}
