//! HTTPS: who gets which key exchange.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use super::{NOW, at};
use crate::https::{HttpsNegotiated, HttpsServer, INSUFFICIENT_SECURITY, https_client, negotiated};
use crate::issue::{HTTPS_LEAF_LIFETIME, HttpsRoot};
use crate::refusal::{Refusal, tls_refusal_reason};

struct Site {
    root: HttpsRoot,
    server: HttpsServer,
}

fn site() -> Site {
    let root = HttpsRoot::create(NOW).expect("a root");
    let names = ["aggregator.example", "localhost", "127.0.0.1", "::1"];
    let credential = root.issue(&names, NOW, HTTPS_LEAF_LIFETIME).expect("a leaf");
    Site { root, server: HttpsServer::new(&credential, at(NOW)).expect("a server") }
}

impl Site {
    fn client(&self) -> rustls::ClientConfig {
        https_client(self.root.certificate_pem().as_bytes(), at(NOW)).expect("a client")
    }

    /// A client of somebody else, with its own list of groups.
    fn client_with(&self, kx_groups: Vec<&'static dyn SupportedKxGroup>) -> rustls::ClientConfig {
        let root = rustls::pki_types::CertificateDer::from_pem_slice(self.root.certificate_pem().as_bytes());
        let provider = CryptoProvider { kx_groups, ..default_provider() };
        rustls::ClientConfig::builder_with_details(Arc::new(provider), Arc::new(at(NOW)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(crate::policy::roots([&root.expect("PEM")]).expect("roots"))
            .with_no_client_auth()
    }
}

/// What the server made of a visit, and what the client heard.
struct Visit {
    server: Result<(HttpsNegotiated, String, Option<Vec<u8>>), rustls::Error>,
    client: std::io::Result<String>,
}

async fn visit(site: &Site, client: rustls::ClientConfig, name: &str, classical_allowed: bool) -> Visit {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serve = async {
        let mut start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), far).await.map_err(tls_error)?;
        let Some(config) = site.server.choose(&start.client_hello(), classical_allowed) else {
            start.io.write_all(&INSUFFICIENT_SECURITY).await.expect("sent");
            return Err(rustls::PeerIncompatible::NoKxGroupsInCommon.into());
        };
        let mut stream = start.into_stream(config).await.map_err(tls_error)?;
        let tls = stream.get_ref().1;
        let suite = tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
        let found = (negotiated(tls).expect("a group"), suite, tls.alpn_protocol().map(<[u8]>::to_vec));
        stream.write_all(b"welcome").await.expect("sent");
        stream.shutdown().await.expect("closed");
        Ok(found)
    };
    let browse = async {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    };
    let (server, client) = tokio::join!(serve, browse);
    Visit { server, client }
}

fn tls_error(error: std::io::Error) -> rustls::Error {
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).expect("a TLS error").clone()
}

#[tokio::test]
async fn our_own_client_gets_a_post_quantum_session_by_any_name() {
    let site = site();
    for name in ["aggregator.example", "localhost", "127.0.0.1", "::1"] {
        let visit = visit(&site, site.client(), name, false).await;
        let (found, suite, alpn) = visit.server.expect("accepted");
        assert_eq!(found, HttpsNegotiated { group: "X25519MLKEM768", classical: false });
        assert_eq!(suite, "TLS13_AES_256_GCM_SHA384");
        assert_eq!(alpn.as_deref(), Some(&b"h2"[..]));
        assert_eq!(visit.client.expect("connected"), "welcome", "{name}");
    }
    let stranger = visit(&site, site.client(), "other.example", false).await;
    let refused = tls_error(stranger.client.expect_err("another name"));
    assert_eq!(tls_refusal_reason(&refused), Refusal::WrongName);
}

#[tokio::test]
async fn each_post_quantum_group_is_taken() {
    let site = site();
    let groups = [
        (kx_group::X25519MLKEM768, "X25519MLKEM768"),
        (kx_group::SECP256R1MLKEM768, "SecP256r1MLKEM768"),
        (kx_group::MLKEM1024, "MLKEM1024"),
    ];
    for (group, name) in groups {
        let visit = visit(&site, site.client_with(vec![group]), "localhost", false).await;
        let (found, ..) = visit.server.expect("accepted");
        assert_eq!(found, HttpsNegotiated { group: name, classical: false });
    }
}

#[tokio::test]
async fn a_classical_client_is_refused_unless_its_network_may() {
    let site = site();
    let groups = [(kx_group::X25519, "x25519"), (kx_group::SECP256R1, "secp256r1"), (kx_group::SECP384R1, "secp384r1")];
    for (group, name) in groups {
        let refused = visit(&site, site.client_with(vec![group]), "localhost", false).await;
        let error = refused.server.expect_err("refused");
        assert_eq!(tls_refusal_reason(&error), Refusal::KeyExchange);
        assert!(refused.client.is_err());

        let allowed = visit(&site, site.client_with(vec![group]), "localhost", true).await;
        let (found, ..) = allowed.server.expect("accepted");
        assert_eq!(found, HttpsNegotiated { group: name, classical: true });
    }
}

#[tokio::test]
async fn a_client_that_has_both_gets_the_post_quantum_one_even_where_classical_is_allowed() {
    let site = site();
    let both = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::X25519MLKEM768];
    let visit = visit(&site, site.client_with(both), "localhost", true).await;
    let (found, ..) = visit.server.expect("accepted");
    assert_eq!(found, HttpsNegotiated { group: "X25519MLKEM768", classical: false });
}

#[test]
fn a_root_that_is_none_is_refused() {
    for bad in [&b""[..], b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(https_client(bad, at(NOW)).is_err());
    }
}
