//! The fleet link: what a handshake negotiates, and who is refused and why.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, Endpoint};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_ML_DSA_65, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group, sign};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{DigitallySignedStruct, NamedGroup, SignatureScheme};
use tokio::net::UdpSocket;

use super::{Fleet, NOW, at, domain, fleet};
use crate::identity::{Credential, Identity};
use crate::issue::{FleetRoot, INIT_LEAF_LIFETIME};
use crate::policy::{
    FLEET_ALPN, FLEET_NEGOTIATED, PolicyError, client_tls, fleet_client, fleet_provider, fleet_server, peer_id,
    quic_client, server_tls,
};
use crate::refusal::{Refusal, refusal_reason};
use crate::spiffe::Role;
use crate::transport::{EndpointKeys, endpoint};

const NAME: &str = "aggregator.fleet.example";

/// A loopback handshake hangs only if something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a meeting, as each end saw it.
struct Met {
    server: Result<Connection, ConnectionError>,
    client: Result<Connection, ConnectionError>,
    /// Connections live as long as their endpoints.
    _endpoints: [Endpoint; 2],
}

async fn meet(server: quinn::ServerConfig, client: quinn::ClientConfig) -> Met {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = endpoint(here, Some(server), &EndpointKeys::random()).expect("a listener");
    let dialer = endpoint(here, None, &EndpointKeys::random()).expect("a client");
    let address = listener.local_addr().expect("an address");
    let accept = async { listener.accept().await.expect("the endpoint is open").await };
    let connect = async { dialer.connect_with(client, address, NAME).expect("a valid configuration").await };
    let both = async { tokio::join!(accept, connect) };
    let (server, client) = tokio::time::timeout(PATIENCE, both).await.expect("a handshake ends");
    // A client is through before the server has judged its certificate.
    let client = match (&server, client) {
        (Err(_), Ok(connection)) => Err(connection.closed().await),
        (_, client) => client,
    };
    Met { server, client, _endpoints: [listener, dialer] }
}

impl Fleet {
    fn server(&self) -> quinn::ServerConfig {
        self.server_at(NOW)
    }

    fn server_at(&self, now: i64) -> quinn::ServerConfig {
        fleet_server(&self.aggregator, self.root.trust(), at(now), &EndpointKeys::random()).expect("a server")
    }

    fn client(&self) -> quinn::ClientConfig {
        fleet_client(&self.agent, self.root.trust(), at(NOW)).expect("a client")
    }

    /// A client that trusts our aggregator and is odd in the ways given.
    fn odd_client(
        &self,
        provider: CryptoProvider,
        certificate: Option<CertifiedKey>,
        alpn: &[u8],
    ) -> quinn::ClientConfig {
        let roots = crate::policy::roots([self.root.trust().root()]).expect("roots");
        let provider = Arc::new(provider);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::new(default_provider()));
        let builder = rustls::ClientConfig::builder_with_details(provider, Arc::new(at(NOW)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_webpki_verifier(verifier.build().expect("a verifier"));
        let mut tls = match certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(Always(Arc::new(certificate)))),
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![alpn.to_vec()];
        quic_client(tls)
    }

    /// A client that differs in its certificate only.
    fn client_showing(&self, chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) -> quinn::ClientConfig {
        let key = Stubborn(sign::any_supported_type(key).expect("a key"));
        self.odd_client(fleet_crypto(), Some(CertifiedKey::new(chain, Arc::new(key))), FLEET_ALPN)
    }

    fn own_certificate(&self) -> CertifiedKey {
        let Credential { chain, key } = self.agent.credential().clone();
        CertifiedKey::new(chain, sign::any_supported_type(&key).expect("a key"))
    }

    /// A client whose certificate was signed by our root, but should not have been.
    fn client_with_forged(&self, change: impl FnOnce(&mut rcgen::CertificateParams)) -> quinn::ClientConfig {
        let key = KeyPair::generate_for(&rcgen::PKCS_ML_DSA_87).expect("a key");
        self.client_showing(vec![self.root.forge(&key, change)], &pkcs8(&key))
    }
}

fn fleet_crypto() -> CryptoProvider {
    Arc::unwrap_or_clone(fleet_provider())
}

fn pkcs8(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

/// Shows its certificate whatever the server asked for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Signs with what it has, whatever the server accepts.
#[derive(Debug)]
struct Stubborn(Arc<dyn SigningKey>);

impl SigningKey for Stubborn {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(&default_provider().signature_verification_algorithms.supported_schemes())
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        self.0.algorithm()
    }
}

/// Checks nothing: a client that means harm, or one that was configured by somebody in a hurry.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}

async fn refused_client(fleet: &Fleet, client: quinn::ClientConfig) -> Refusal {
    let met = meet(fleet.server(), client).await;
    let ours = met.server.expect_err("refused");
    let theirs = met.client.expect_err("refused");
    assert!(matches!(ours, ConnectionError::TransportError(_)), "the server refused: {ours:?}");
    assert!(matches!(theirs, ConnectionError::ConnectionClosed(_)), "the client is told: {theirs:?}");
    assert_eq!(refusal_reason(&theirs), refusal_reason(&ours), "{theirs} / {ours}");
    refusal_reason(&ours)
}

async fn refused_server(server: quinn::ServerConfig, client: quinn::ClientConfig) -> Refusal {
    let met = meet(server, client).await;
    let ours = met.client.expect_err("refused");
    assert!(matches!(ours, ConnectionError::TransportError(_)), "the client refused: {ours:?}");
    let theirs = met.server.expect_err("refused");
    assert_eq!(refusal_reason(&theirs), refusal_reason(&ours), "{theirs} / {ours}");
    refusal_reason(&ours)
}

#[tokio::test]
async fn agent_and_aggregator_meet_and_know_each_other() {
    let fleet = fleet();
    let met = meet(fleet.server(), fleet.client()).await;
    let (server, client) = (met.server.expect("accepted"), met.client.expect("connected"));
    assert_eq!(&peer_id(&server).expect("a name"), fleet.agent.id());
    assert_eq!(&peer_id(&client).expect("a name"), fleet.aggregator.id());

    let data = client.handshake_data().expect("done").downcast::<quinn::crypto::rustls::HandshakeData>().expect("TLS");
    assert_eq!(data.protocol.as_deref(), Some(FLEET_ALPN));

    let (mut to_server, _) = client.open_bi().await.expect("a stream");
    to_server.write_all(b"hello").await.expect("sent");
    to_server.finish().expect("open");
    let (_, mut from_client) = server.accept_bi().await.expect("a stream");
    assert_eq!(from_client.read_to_end(16).await.expect("received"), b"hello");
}

#[test]
fn a_session_has_exactly_what_we_say_it_has() {
    let fleet = fleet();
    let trust = fleet.root.trust();
    let server = Arc::new(server_tls(&fleet.aggregator, trust, &at(NOW)).expect("a server"));
    let client = client_tls(&fleet.agent, trust, &at(NOW)).expect("a client");
    let mut eager = client.clone();
    eager.resumption = rustls::client::Resumption::in_memory_sessions(4);
    let (client, eager) = (Arc::new(client), Arc::new(eager));
    // Twice each, because a second handshake could be a resumed one.
    for client in [&client, &client, &eager, &eager] {
        let (server, client) = &handshake_in_memory(server.clone(), client.clone());
        for end in [server as &rustls::CommonState, client] {
            let group = end.negotiated_key_exchange_group().expect("a group").name();
            assert_eq!(group, NamedGroup::MLKEM1024);
            assert_eq!(format!("{group:?}"), FLEET_NEGOTIATED.group);
            let suite = end.negotiated_cipher_suite().expect("a suite").suite();
            assert_eq!(suite.as_str(), Some("TLS13_AES_256_GCM_SHA384"));
            assert_eq!(end.handshake_kind(), Some(rustls::HandshakeKind::Full));
        }
        assert!(client.zero_rtt_keys().is_none());
    }
    assert_eq!(FLEET_NEGOTIATED.suite, "TLS_AES_256_GCM_SHA384");
    assert_eq!(FLEET_NEGOTIATED.scheme, "ML-DSA-87");
}

fn handshake_in_memory(
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
) -> (rustls::quic::ServerConnection, rustls::quic::ClientConnection) {
    use rustls::quic::{ClientConnection, ServerConnection, Version};
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = ClientConnection::new(client, Version::V1, name, vec![]).expect("a client");
    let mut server = ServerConnection::new(server, Version::V1, vec![]).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        // What is written in one call is under one key, and must be read in one.
        let mut flight = vec![];
        while client.write_hs(&mut flight).is_some() || !flight.is_empty() {
            server.read_hs(&std::mem::take(&mut flight)).expect("the client's flight is right");
        }
        while server.write_hs(&mut flight).is_some() || !flight.is_empty() {
            client.read_hs(&std::mem::take(&mut flight)).expect("the server's flight is right");
        }
    }
    (server, client)
}

#[tokio::test]
async fn a_client_without_ml_kem_1024_is_refused() {
    let fleet = fleet();
    for group in [kx_group::X25519, kx_group::SECP384R1, kx_group::X25519MLKEM768, kx_group::MLKEM768] {
        let provider = CryptoProvider { kx_groups: vec![group], ..fleet_crypto() };
        let client = fleet.odd_client(provider, Some(fleet.own_certificate()), FLEET_ALPN);
        assert_eq!(refused_client(&fleet, client).await, Refusal::KeyExchange, "{group:?}");
    }
}

#[tokio::test]
async fn a_client_that_prefers_classical_groups_still_gets_ml_kem_1024() {
    let fleet = fleet();
    let kx_groups = vec![kx_group::X25519, kx_group::MLKEM1024];
    let provider = CryptoProvider { kx_groups, ..fleet_crypto() };
    let client = fleet.odd_client(provider, Some(fleet.own_certificate()), FLEET_ALPN);
    let met = meet(fleet.server(), client).await;
    met.server.expect("after a hello retry");
    met.client.expect("after a hello retry");
}

#[tokio::test]
async fn a_client_without_aes_256_is_refused() {
    let fleet = fleet();
    for suite in [cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256] {
        let provider = CryptoProvider { cipher_suites: vec![suite], ..fleet_crypto() };
        let client = fleet.odd_client(provider, Some(fleet.own_certificate()), FLEET_ALPN);
        assert_eq!(refused_client(&fleet, client).await, Refusal::CipherSuite, "{suite:?}");
    }
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused() {
    let fleet = fleet();
    for alpn in [&b"h3"[..], b"dsmil-dbe/2"] {
        let client = fleet.odd_client(fleet_crypto(), Some(fleet.own_certificate()), alpn);
        assert_eq!(refused_client(&fleet, client).await, Refusal::ApplicationProtocol);
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let fleet = fleet();
    let client = fleet.odd_client(fleet_crypto(), None, FLEET_ALPN);
    assert_eq!(refused_client(&fleet, client).await, Refusal::NoCertificate);
}

#[tokio::test]
async fn a_client_that_takes_only_classical_signatures_is_refused() {
    let fleet = fleet();
    let mut tls = rustls::ClientConfig::builder_with_provider(fleet_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_no_client_auth();
    tls.alpn_protocols = vec![FLEET_ALPN.to_vec()];
    assert_eq!(refused_client(&fleet, quic_client(tls)).await, Refusal::SignatureScheme);
}

#[tokio::test]
async fn a_client_with_another_kind_of_key_is_refused_even_if_our_root_signed_it() {
    let fleet = fleet();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519, &PKCS_ML_DSA_65] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let leaf = fleet.root.forge(&key, |_| {});
        let insists = fleet.client_showing(vec![leaf.clone()], &pkcs8(&key));
        assert_eq!(refused_client(&fleet, insists).await, Refusal::SignatureScheme, "{algorithm:?}");

        // A client that heeds what the server asks for has nothing to show.
        let polite = sign::any_supported_type(&pkcs8(&key)).expect("a key");
        let polite = fleet.odd_client(fleet_crypto(), Some(CertifiedKey::new(vec![leaf], polite)), FLEET_ALPN);
        assert_eq!(refused_client(&fleet, polite).await, Refusal::NoCertificate, "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_client_of_another_root_is_refused() {
    let fleet = fleet();
    let foreign = FleetRoot::create(&domain("fleet.example"), NOW).expect("a root of the same name");
    let agent = foreign.issue_agent("h1", NOW, INIT_LEAF_LIFETIME).expect("a leaf");
    let Credential { chain, key } = agent.credential().clone();
    assert_eq!(refused_client(&fleet, fleet.client_showing(chain, &key)).await, Refusal::UnknownRoot);
}

#[tokio::test]
async fn a_client_whose_certificate_is_not_its_own_is_refused() {
    let fleet = fleet();
    let other = fleet.root.issue_agent("h2", NOW, INIT_LEAF_LIFETIME).expect("a leaf");
    let chain = fleet.agent.credential().chain.clone();
    let client = fleet.client_showing(chain, &other.credential().key);
    assert_eq!(refused_client(&fleet, client).await, Refusal::BadCertificate);
}

#[tokio::test]
async fn an_agent_cannot_issue_leaves_itself() {
    let fleet = fleet();
    let agent = fleet.agent.credential();
    let issuer_key = KeyPair::generate_for(&rcgen::PKCS_ML_DSA_87).expect("a key");
    let issuer = fleet.root.forge(&issuer_key, |_| {});
    let key = KeyPair::generate_for(&rcgen::PKCS_ML_DSA_87).expect("a key");
    let issuer_name = rcgen::Issuer::from_ca_cert_der(&issuer, issuer_key).expect("an issuer");
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://fleet.example/agent/h9".try_into().expect("a URI"))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = params.signed_by(&key, &issuer_name).expect("signed").der().clone();
    let client = fleet.client_showing(vec![leaf, issuer, agent.leaf().clone()], &pkcs8(&key));
    assert_eq!(refused_client(&fleet, client).await, Refusal::BadCertificate);
}

#[tokio::test]
async fn a_client_is_refused_after_its_leaf_has_expired_and_before_it_is_valid() {
    let fleet = fleet();
    let late = fleet.agent.validity().not_after + 1;
    let met = meet(fleet.server_at(late), fleet.client()).await;
    assert_eq!(refusal_reason(&met.server.expect_err("refused")), Refusal::Expired);
    assert_eq!(refusal_reason(&met.client.expect_err("refused")), Refusal::Expired);

    let future = fleet.client_with_forged(|params| params.not_before += Duration::from_secs(3 * 24 * 3600));
    assert_eq!(refused_client(&fleet, future).await, Refusal::NotYetValid);
}

#[tokio::test]
async fn a_client_must_name_an_agent_of_our_trust_domain_and_nothing_else() {
    let fleet = fleet();
    let uri = |text: &str| SanType::URI(text.try_into().expect("a URI"));
    let cases = [
        (vec![uri("spiffe://other.example/agent/h1")], Refusal::WrongTrustDomain),
        (vec![uri("spiffe://fleet.example.other/agent/h1")], Refusal::WrongTrustDomain),
        (vec![uri("spiffe://fleet.example/aggregator/main")], Refusal::WrongRole),
        (vec![uri("spiffe://fleet.example/operator/kim")], Refusal::WrongRole),
        (vec![uri("spiffe://fleet.example/agent/H1")], Refusal::WrongName),
        (vec![uri("https://fleet.example/agent/h1")], Refusal::WrongName),
        (vec![uri("spiffe://fleet.example/agent/h1"), uri("spiffe://fleet.example/agent/h2")], Refusal::WrongName),
        (vec![SanType::DnsName("h1".try_into().expect("a name"))], Refusal::WrongName),
        (vec![], Refusal::WrongName),
        // Words of a certificate are not words of ours.
        (vec![uri("spiffe://expired: wrong_role: x/agent/h1")], Refusal::WrongName),
    ];
    for (names, why) in cases {
        let client = fleet.client_with_forged(|params| params.subject_alt_names.clone_from(&names));
        assert_eq!(refused_client(&fleet, client).await, why, "{names:?}");
    }
}

#[tokio::test]
async fn an_aggregator_cannot_pose_as_an_agent() {
    let fleet = fleet();
    let Credential { chain, key } = fleet.aggregator.credential().clone();
    assert_eq!(refused_client(&fleet, fleet.client_showing(chain, &key)).await, Refusal::WrongPurpose);
}

/// An aggregator that shows whatever it is given.
fn impostor(leaf: CertificateDer<'static>, key: &KeyPair) -> quinn::ServerConfig {
    let mut tls = rustls::ServerConfig::builder_with_details(fleet_provider(), Arc::new(at(NOW)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![leaf], pkcs8(key))
        .expect("a key of its own");
    tls.alpn_protocols = vec![FLEET_ALPN.to_vec()];
    let initial = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite());
    let quic = quinn::crypto::rustls::QuicServerConfig::with_initial(Arc::new(tls), initial.expect("QUIC"));
    quinn::ServerConfig::with_crypto(Arc::new(quic.expect("the initial suite")))
}

#[tokio::test]
async fn an_agent_refuses_whoever_is_no_aggregator_of_its_trust_domain() {
    let fleet = fleet();
    let uri = |text: &str| SanType::URI(text.try_into().expect("a URI"));
    let dns = |text: &str| SanType::DnsName(text.try_into().expect("a name"));
    let cases = [
        // The right DNS name is not enough: the role counts.
        (vec![uri("spiffe://fleet.example/agent/h2"), dns(NAME)], Refusal::WrongRole),
        (vec![uri("spiffe://fleet.example/operator/kim"), dns(NAME)], Refusal::WrongRole),
        (vec![uri("spiffe://other.example/aggregator/main"), dns(NAME)], Refusal::WrongTrustDomain),
        (vec![dns(NAME)], Refusal::WrongName),
        // Nor is the right role.
        (vec![uri("spiffe://fleet.example/aggregator/main"), dns("aggregator.other.example")], Refusal::WrongName),
    ];
    for (names, why) in cases {
        let key = KeyPair::generate_for(&rcgen::PKCS_ML_DSA_87).expect("a key");
        let leaf = fleet.root.forge(&key, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names.clone_from(&names);
        });
        assert_eq!(refused_server(impostor(leaf, &key), fleet.client()).await, why, "{names:?}");
    }
}

#[tokio::test]
async fn an_agent_cannot_pose_as_an_aggregator() {
    let fleet = fleet();
    let key = KeyPair::generate_for(&rcgen::PKCS_ML_DSA_87).expect("a key");
    let leaf = fleet.root.forge(&key, |params| {
        params.subject_alt_names.push(SanType::DnsName(NAME.try_into().expect("a name")));
    });
    assert_eq!(refused_server(impostor(leaf, &key), fleet.client()).await, Refusal::WrongPurpose);
}

#[tokio::test]
async fn an_agent_refuses_an_aggregator_of_another_root() {
    let fleet = fleet();
    assert_eq!(refused_server(super::fleet().server(), fleet.client()).await, Refusal::UnknownRoot);
}

#[tokio::test]
async fn a_host_that_boots_in_1970_connects() {
    let fleet = fleet();
    let client = fleet_client(&fleet.agent, fleet.root.trust(), at(0)).expect("a client");
    let met = meet(fleet.server(), client).await;
    met.client.expect("connected");
    met.server.expect("accepted");
}

#[tokio::test]
async fn an_aggregator_renewed_later_is_still_valid_for_a_host_in_1970() {
    let fleet = fleet();
    let year = 365 * 24 * 3600;
    let renewed = fleet.root.issue_aggregator("main", NOW + year, INIT_LEAF_LIFETIME).expect("a leaf");
    let server = fleet_server(&renewed, fleet.root.trust(), at(NOW + year), &EndpointKeys::random()).expect("a server");
    let agent = fleet.root.issue_agent("h1", NOW + year, INIT_LEAF_LIFETIME).expect("a leaf");
    let client = fleet_client(&agent, fleet.root.trust(), at(-1)).expect("a client");
    meet(server, client).await.client.expect("connected");
}

#[test]
fn an_identity_that_cannot_work_is_refused_at_once() {
    let fleet = fleet();
    let trust = fleet.root.trust();
    let keys = EndpointKeys::random();
    let wrong = fleet_server(&fleet.agent, trust, at(NOW), &keys).expect_err("an agent's leaf");
    assert!(matches!(wrong, PolicyError::WrongRole { expected: Role::Aggregator, .. }), "{wrong}");
    let wrong = fleet_client(&fleet.aggregator, trust, at(NOW)).expect_err("an aggregator's leaf");
    assert!(matches!(wrong, PolicyError::WrongRole { expected: Role::Agent, .. }), "{wrong}");

    let other = FleetRoot::create(&domain("other.example"), NOW).expect("a root");
    let wrong = fleet_client(&fleet.agent, other.trust(), at(NOW)).expect_err("another fleet");
    assert!(matches!(wrong, PolicyError::WrongTrustDomain { .. }), "{wrong}");

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let credential = Credential { chain: vec![fleet.root.forge(&key, |_| {})], key: pkcs8(&key) };
    let classical = Identity::new(credential).expect("a name");
    let wrong = fleet_client(&classical, trust, at(NOW)).expect_err("a classical key");
    assert!(matches!(wrong, PolicyError::WrongKey { .. }), "{wrong}");

    let chain = fleet.agent.credential().chain.clone();
    let key = fleet.aggregator.credential().key.clone_key();
    let mixed = Identity::new(Credential { chain, key }).expect("a name");
    let wrong = fleet_client(&mixed, trust, at(NOW)).expect_err("another's key");
    assert!(matches!(wrong, PolicyError::Tls(_)), "{wrong}");
}

#[tokio::test]
async fn an_address_proven_once_is_known_after_a_restart_with_the_same_keys_and_once_only() {
    let fleet = fleet();
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let keys = EndpointKeys::random();
    let client = fleet.client();
    let dialer = endpoint(here, None, &EndpointKeys::random()).expect("a client");
    // Other keys, the keys of the first tokens, and these again.
    let cases = [(&keys, false), (&keys, true), (&EndpointKeys::random(), false)];
    for (keys, known) in cases {
        let server = fleet_server(&fleet.aggregator, fleet.root.trust(), at(NOW), keys).expect("a server");
        let listener = endpoint(here, Some(server), keys).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let accept = async {
            let incoming = listener.accept().await.expect("the endpoint is open");
            let validated = incoming.remote_address_validated();
            (validated, incoming.await.expect("accepted"))
        };
        let connect = async {
            let client = dialer.connect_with(client.clone(), address, NAME).expect("a configuration");
            client.await.expect("connected")
        };
        let ((validated, server), client) = tokio::join!(accept, connect);
        assert_eq!(validated, known);
        // Tokens come after the handshake: what comes after them has been read when this has.
        let mut stream = server.open_uni().await.expect("a stream");
        stream.write_all(b"x").await.expect("sent");
        stream.finish().expect("open");
        client.accept_uni().await.expect("a stream").read_to_end(1).await.expect("read");
        client.close(0u32.into(), b"");
        server.closed().await;
    }
}

#[tokio::test]
async fn a_restarted_aggregator_tells_its_agents_at_once() {
    let fleet = fleet();
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let keys = EndpointKeys::random();
    // The second stands for the first after a restart: it has the keys and none of the connections.
    let listen = || endpoint(here, Some(fleet.server()), &keys).expect("a listener");
    let (before, after) = (listen(), listen());
    let target = Cell::new(before.local_addr().expect("an address"));
    let front = UdpSocket::bind(here).await.expect("a port");
    let dialer = endpoint(here, None, &EndpointKeys::random()).expect("a client");

    let restart = async {
        let address = front.local_addr().expect("an address");
        let accept = async { before.accept().await.expect("open").await.expect("accepted") };
        let connect = async { dialer.connect_with(fleet.client(), address, NAME).expect("a configuration").await };
        let (_server, client) = tokio::join!(accept, connect);
        let client = client.expect("connected");
        target.set(after.local_addr().expect("an address"));
        let mut stream = client.open_uni().await.expect("a stream");
        stream.write_all(&[0; 4096]).await.expect("buffered");
        client.closed().await
    };
    let error = tokio::select! {
        error = tokio::time::timeout(PATIENCE, restart) => error.expect("told"),
        () = relay(&front, &target) => unreachable!("it goes on"),
    };
    assert_eq!(error, ConnectionError::Reset);
    assert_eq!(refusal_reason(&error), Refusal::Lost);
}

/// Carries datagrams between one client and whatever the target is at the moment.
async fn relay(front: &UdpSocket, target: &Cell<SocketAddr>) {
    let back = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("a port");
    let mut client = None;
    let (mut there, mut here) = ([0; 2048], [0; 2048]);
    loop {
        tokio::select! {
            Ok((len, from)) = front.recv_from(&mut there) => {
                client = Some(from);
                back.send_to(&there[..len], target.get()).await.expect("sent");
            }
            Ok((len, _)) = back.recv_from(&mut here) => {
                let client = client.expect("it spoke first");
                front.send_to(&here[..len], client).await.expect("sent");
            }
        }
    }
}
