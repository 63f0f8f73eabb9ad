//! s2n-quic, which shares nothing with quinn and rustls but the arithmetic: its policy `cnsa_2` is the fleet link's, and its
//! classical policies are refused by our ends for what they are.

use crate::fleet::{AGGREGATOR_NAME, DOMAIN, Fleet, HOST, Pem, TENANT, certificate_pem, now_s};
use crate::talk::{HEARTBEAT_MS, greet, welcome};
use crate::{HERE, LABEL, PATIENCE};
use dsmil_aggregator::config::{Advertise, Config, LinkSection, Listen};
use dsmil_aggregator::init::{self, Order};
use dsmil_aggregator::run;
use dsmil_crypto::issue::{HTTPS_LEAF_LIFETIME, HttpsRoot};
use dsmil_crypto::policy::{FLEET_ALPN, JOIN_ALPN, KeyExchange, SessionCache, exporter, join_server};
use dsmil_crypto::refusal::{Refusal, refusal_reason};
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use e2e::enrol::enrol;
use quinn::ConnectionError;
use s2n_quic::Connection;
use s2n_quic::client::Connect;
use s2n_quic::connection::Error;
use s2n_quic::provider::event::{ConnectionInfo, ConnectionMeta, Subscriber, events};
use s2n_quic::provider::tls::s2n_tls::callbacks::VerifyHostNameCallback;
use s2n_quic::provider::tls::s2n_tls::security::Policy;
use s2n_quic::provider::tls::s2n_tls::{Client, Server};
use std::sync::{Arc, Mutex, PoisonError};

/// The fleet link's own choice, under s2n's name for it.
const CNSA_2: &str = "cnsa_2";
/// Policies of s2n's that know ML-DSA, so that they take our certificates, and lack ML-KEM-1024 alone: the default of its
/// QUIC, the same with hybrids of ML-KEM-768 and others, and older ones of both kinds.
const WITHOUT_OUR_GROUP: [&str; 4] = ["default_tls13", "default_pq", "20250512", "20240603"];
/// What has all of ours and classical forms beside it, for the years in which a network has both.
const TRANSITION: &str = "cnsa_1_2_interop";
/// Has ML-KEM-1024 and takes certificates of any kind.
const WITH_CLASSICAL_SIGNATURES: &str = "20260513";

/// What every session of the link has, as s2n names it.
const OURS: [&str; 3] = ["MLKEM1024", "mldsa87", "TLS_AES_256_GCM_SHA384"];

/// What s2n says about a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    group: String,
    scheme: String,
    suite: String,
    exported: Vec<u8>,
}

impl Seen {
    fn negotiated(&self) -> [&str; 3] {
        [&self.group, &self.scheme, &self.suite]
    }
}

/// Writes down what s2n says.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Seen>>);

impl Notes {
    fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Subscriber for Notes {
    type ConnectionContext = ();

    fn create_connection_context(&mut self, _: &ConnectionMeta, _: &ConnectionInfo) {}

    fn on_key_exchange_group(&mut self, _: &mut (), _: &ConnectionMeta, event: &events::KeyExchangeGroup<'_>) {
        self.note(|seen| seen.group = event.chosen_group_name.to_owned());
    }

    fn on_tls_exporter_ready(&mut self, _: &mut (), _: &ConnectionMeta, event: &events::TlsExporterReady<'_>) {
        let mut bytes = vec![0; 48];
        event.session.tls_exporter(LABEL, b"", &mut bytes).expect("an exporter");
        self.note(|seen| {
            seen.exported = bytes;
            seen.scheme = event.session.signature_scheme().unwrap_or_default().to_owned();
            seen.suite = format!("{:?}", event.session.cipher_suite());
        });
    }
}

/// Which names in a certificate will do: s2n hands in its DNS names and its URIs.
struct Named(String);

impl VerifyHostNameCallback for Named {
    fn verify_host_name(&self, name: &str) -> bool {
        name == self.0
    }
}

fn policy(name: &str) -> Policy {
    Policy::from_version(name).expect("a policy of s2n")
}

/// Trusts what is in `trusted`; shows a certificate if it has one.
fn s2n_client(trusted: &str, own: Option<&Pem>, alpn: &[u8], policy_name: &str, notes: &Notes) -> s2n_quic::Client {
    let mut tls = Client::builder();
    tls.config_mut().set_security_policy(&policy(policy_name)).expect("set");
    let tls = tls
        .with_empty_trust_store()
        .and_then(|tls| tls.with_application_protocols([alpn]))
        .and_then(|tls| tls.with_certificate(trusted))
        .and_then(|tls| match own {
            Some(own) => tls.with_client_identity(own.certificate.as_str(), own.key.as_str()),
            None => Ok(tls),
        })
        .and_then(|tls| tls.build())
        .expect("s2n takes the certificates");
    let client = s2n_quic::Client::builder().with_tls(tls).expect("TLS").with_io(HERE).expect("a socket");
    client.with_event(notes.clone()).expect("events").start().expect("a client")
}

fn s2n_server(fleet: &Fleet, own: &Pem, policy_name: &str, notes: &Notes) -> s2n_quic::Server {
    let mut tls = Server::builder();
    tls.config_mut().set_security_policy(&policy(policy_name)).expect("set");
    let tls = tls
        .with_empty_trust_store()
        .and_then(|tls| tls.with_application_protocols([FLEET_ALPN]))
        .and_then(|tls| tls.with_trusted_certificate(fleet.issuer_pem().as_str()))
        .and_then(|tls| tls.with_client_authentication())
        .and_then(|tls| tls.with_verify_host_name_callback(Named(fleet.agent.id().to_string())))
        .and_then(|tls| tls.with_certificate(own.certificate.as_str(), own.key.as_str()))
        .and_then(|tls| tls.build())
        .expect("s2n takes the certificates");
    let server = s2n_quic::Server::builder().with_tls(tls).expect("TLS").with_io(HERE).expect("a socket");
    server.with_event(notes.clone()).expect("events").start().expect("a server")
}

fn our_server(fleet: &Fleet, key_exchange: KeyExchange) -> quinn::Endpoint {
    let keys = EndpointKeys::random();
    let link = fleet.link(&fleet.aggregator, key_exchange);
    let server = link.server(&keys, &SessionCache::new(4)).expect("a server");
    endpoint(HERE, Some(server), &keys).expect("a socket")
}

/// A client of s2n's and an aggregator's end of ours: HELLO, WELCOME, and what each has negotiated.
async fn s2n_says_hello(fleet: &Fleet, key_exchange: KeyExchange, policy_name: &str) -> Seen {
    let (ours, notes) = (our_server(fleet, key_exchange), Notes::default());
    let own = Pem::of(&fleet.agent);
    let theirs = s2n_client(&fleet.issuer_pem(), Some(&own), FLEET_ALPN, policy_name, &notes);
    let to = Connect::new(ours.local_addr().expect("an address")).with_server_name(AGGREGATOR_NAME);
    let serve = async {
        let connection = ours.accept().await.expect("a peer").await.expect("a handshake");
        let peer = fleet.link(&fleet.aggregator, key_exchange).authenticate(&connection).expect("an agent of ours");
        assert_eq!(&peer.id, fleet.agent.id());
        let (send, receive) = connection.accept_bi().await.expect("a stream");
        let hello = welcome(receive, send).await;
        (hello, exporter(&connection, LABEL).expect("an exporter"), connection)
    };
    let connect = async {
        let mut connection = theirs.connect(to).await.expect("a handshake");
        let (receive, send) = connection.open_bidirectional_stream().await.expect("a stream").split();
        (greet(receive, send).await, connection)
    };
    // s2n's connections are large.
    let both = Box::pin(async { tokio::join!(serve, connect) });
    let ((hello, exported, _ours), (welcomed, _theirs)) = tokio::time::timeout(PATIENCE, both).await.expect("an end");
    assert_eq!(hello.host.as_str(), HOST);
    assert_eq!(welcomed.settings.heartbeat_ms, HEARTBEAT_MS);
    assert_eq!(notes.seen().exported, exported, "both ends derive the same");
    notes.seen()
}

/// An agent's end of ours and a server of s2n's: HELLO, WELCOME, and what each has negotiated.
async fn s2n_hears_hello(fleet: &Fleet, key_exchange: KeyExchange, policy_name: &str) -> Seen {
    let notes = Notes::default();
    let mut theirs = s2n_server(fleet, &Pem::of(&fleet.aggregator), policy_name, &notes);
    let ours = endpoint(HERE, None, &EndpointKeys::random()).expect("a socket");
    let link = fleet.link(&fleet.agent, key_exchange);
    let to = theirs.local_addr().expect("an address");
    let serve = async {
        let mut connection = theirs.accept().await.expect("a peer");
        let stream = connection.accept_bidirectional_stream().await.expect("sound").expect("a stream");
        let (receive, send) = stream.split();
        (welcome(receive, send).await, connection)
    };
    let connect = async {
        let dialled = ours.connect_with(link.client().expect("a client"), to, AGGREGATOR_NAME).expect("dialled");
        let connection = dialled.await.expect("a handshake");
        assert_eq!(&link.authenticate(&connection).expect("our aggregator").id, fleet.aggregator.id());
        let (send, receive) = connection.open_bi().await.expect("a stream");
        let exported = exporter(&connection, LABEL).expect("an exporter");
        (greet(receive, send).await, exported, connection)
    };
    // s2n's connections are large.
    let both = Box::pin(async { tokio::join!(serve, connect) });
    let ((hello, _theirs), (welcomed, exported, _ours)) = tokio::time::timeout(PATIENCE, both).await.expect("an end");
    assert_eq!(hello.host.as_str(), HOST);
    assert_eq!(welcomed.settings.heartbeat_ms, HEARTBEAT_MS);
    assert_eq!(notes.seen().exported, exported, "both ends derive the same");
    notes.seen()
}

/// A client of s2n's that our end refuses: why, and what the client made of it, which is through before a server has
/// judged its certificate.
async fn s2n_is_refused(fleet: &Fleet, own: &Pem, policy_name: &str) -> (Refusal, Result<Connection, Error>) {
    let ours = our_server(fleet, KeyExchange::Pure);
    let theirs = s2n_client(&fleet.issuer_pem(), Some(own), FLEET_ALPN, policy_name, &Notes::default());
    let to = Connect::new(ours.local_addr().expect("an address")).with_server_name(AGGREGATOR_NAME);
    let serve = async { ours.accept().await.expect("a peer").await.expect_err("refused") };
    let both = async { tokio::join!(serve, theirs.connect(to)) };
    let (ours, theirs) = tokio::time::timeout(PATIENCE, both).await.expect("an end");
    assert!(matches!(ours, ConnectionError::TransportError(_)), "we refused: {ours:?}");
    (refusal_reason(&ours), theirs)
}

/// A server of s2n's that our agent refuses, or that refuses our agent.
async fn s2n_fails_to_serve(fleet: &Fleet, own: &Pem, policy_name: &str) -> ConnectionError {
    let theirs = s2n_server(fleet, own, policy_name, &Notes::default());
    let ours = endpoint(HERE, None, &EndpointKeys::random()).expect("a socket");
    let config = fleet.link(&fleet.agent, KeyExchange::Pure).client().expect("a client");
    let to = theirs.local_addr().expect("an address");
    let dialled = ours.connect_with(config, to, AGGREGATOR_NAME).expect("dialled");
    tokio::time::timeout(PATIENCE, dialled).await.expect("an end").expect_err("refused")
}

/// The alert that a refusal carries (RFC 9001, section 4.8).
fn alert(code: u64) -> u64 {
    code - 0x100
}

const HANDSHAKE_FAILURE: u64 = 40;

/// A certificate as the rest of the world has it: ECDSA P-256.
fn classical() -> Pem {
    let root = HttpsRoot::create(now_s()).expect("a root");
    Pem::of_credential(&root.issue(&[AGGREGATOR_NAME], now_s(), HTTPS_LEAF_LIFETIME).expect("a leaf"))
}

#[tokio::test]
async fn a_client_of_s2n_says_hello_and_is_welcomed() {
    let fleet = Fleet::new();
    for policy_name in [CNSA_2, TRANSITION] {
        let seen = s2n_says_hello(&fleet, KeyExchange::Pure, policy_name).await;
        assert_eq!(seen.negotiated(), OURS, "{policy_name}");
    }
}

#[tokio::test]
async fn a_client_of_s2n_is_welcomed_by_the_aggregator_itself() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder on tmpfs");
    let (clock, host) = (Clock::real(), HostName::new(HOST).expect("a name"));
    let order = Order {
        folder: folder.path().join("centre"),
        data: folder.path().join("centre"),
        name: "a1".into(),
        tenant: TenantId::new(TENANT).expect("a tenant"),
        trust_domain: TrustDomain::new(DOMAIN).expect("a domain"),
        hosts: vec![host.clone()],
        advertise: Advertise::default(),
        https_names: vec!["localhost".into()],
        listen: Listen { quic: HERE, join: HERE, https: HERE },
        link: LinkSection::default(),
        hot: Some(folder.path().join("hot.sqlite")),
    };
    let made = init::run(&order, &clock).await.expect("init");
    let config = Config::load(&made.config).expect("a configuration");
    let (identities, trust) = enrol(&config, &[host], &clock).await.expect("enrolled");
    let supervisor = Supervisor::new(clock.clone());
    let centre = run::start(&config, &clock, &supervisor).await.expect("the centre starts");

    let (own, notes) = (Pem::of(&identities[0]), Notes::default());
    let issuer = certificate_pem(&trust.bundle().issuers[0].certificates[0]);
    let theirs = s2n_client(&issuer, Some(&own), FLEET_ALPN, CNSA_2, &notes);
    let visit = async {
        let to = Connect::new(centre.quic).with_server_name(AGGREGATOR_NAME);
        let mut connection = theirs.connect(to).await.expect("a handshake");
        let (receive, send) = connection.open_bidirectional_stream().await.expect("a stream").split();
        greet(receive, send).await
    };
    let welcomed = tokio::time::timeout(PATIENCE, visit).await.expect("an end");
    assert_eq!(welcomed.settings.heartbeat_ms, config.agents.heartbeat_ms);
    assert_eq!(notes.seen().negotiated(), OURS);
    supervisor.drain(PATIENCE).await;
}

/// A host that joins has nothing but the root, and is shown all that leads to it.
#[tokio::test]
async fn a_client_of_s2n_that_knows_the_root_alone_reaches_the_join_port() {
    let (fleet, keys, notes) = (Fleet::new(), EndpointKeys::random(), Notes::default());
    let server = join_server(&fleet.aggregator, &fleet.trust, TimeSource::new(now_s), &keys).expect("a server");
    let ours = endpoint(HERE, Some(server), &keys).expect("a socket");
    let theirs = s2n_client(&fleet.root_pem(), None, JOIN_ALPN, CNSA_2, &notes);
    let to = Connect::new(ours.local_addr().expect("an address")).with_server_name(AGGREGATOR_NAME);
    let serve = async { ours.accept().await.expect("a peer").await.expect("a handshake") };
    let both = async { tokio::join!(serve, theirs.connect(to)) };
    let (ours, theirs) = tokio::time::timeout(PATIENCE, both).await.expect("an end");
    let _theirs = theirs.expect("a handshake");
    assert_eq!(notes.seen().negotiated(), OURS);
    assert_eq!(notes.seen().exported, exporter(&ours, LABEL).expect("an exporter"), "what a renewal is bound to");
}

#[tokio::test]
async fn an_agent_says_hello_to_a_server_of_s2n_and_is_welcomed() {
    let fleet = Fleet::new();
    for policy_name in [CNSA_2, TRANSITION] {
        let seen = s2n_hears_hello(&fleet, KeyExchange::Pure, policy_name).await;
        assert_eq!(seen.negotiated(), OURS, "{policy_name}");
    }
}

#[tokio::test]
async fn the_hybrid_link_meets_s2n_both_ways() {
    let fleet = Fleet::new();
    for seen in [
        s2n_says_hello(&fleet, KeyExchange::Hybrid, "default_pq").await,
        s2n_hears_hello(&fleet, KeyExchange::Hybrid, "default_pq").await,
    ] {
        assert_eq!(seen.negotiated(), ["SecP384r1MLKEM1024", "mldsa87", "TLS_AES_256_GCM_SHA384"]);
    }
}

#[tokio::test]
async fn policies_without_ml_kem_1024_are_refused_both_ways() {
    let fleet = Fleet::new();
    for policy_name in WITHOUT_OUR_GROUP {
        let (reason, theirs) = s2n_is_refused(&fleet, &Pem::of(&fleet.agent), policy_name).await;
        assert_eq!(reason, Refusal::KeyExchange, "{policy_name}");
        let Err(Error::Transport { code, .. }) = theirs else { panic!("it is told: {theirs:?}") };
        assert_eq!(alert(code.as_u64()), HANDSHAKE_FAILURE, "{policy_name}");

        // A server that finds nothing in common says no more than that (RFC 8446, section 6.2), so nor can we.
        let refused = s2n_fails_to_serve(&fleet, &Pem::of(&fleet.aggregator), policy_name).await;
        let ConnectionError::ConnectionClosed(close) = &refused else { panic!("it did not refuse: {refused:?}") };
        assert_eq!(alert(close.error_code.into()), HANDSHAKE_FAILURE, "{policy_name}");
        assert_eq!(refusal_reason(&refused), Refusal::HandshakeFailure, "{policy_name}");
    }
}

/// s2n shows what it has, whatever it was asked for.
#[tokio::test]
async fn classical_certificates_are_refused_both_ways() {
    let (fleet, classical) = (Fleet::new(), classical());
    let (reason, _theirs) = s2n_is_refused(&fleet, &classical, WITH_CLASSICAL_SIGNATURES).await;
    assert_eq!(reason, Refusal::SignatureScheme);
    let refused = s2n_fails_to_serve(&fleet, &classical, WITH_CLASSICAL_SIGNATURES).await;
    assert!(matches!(refused, ConnectionError::TransportError(_)), "we refused: {refused:?}");
    assert_eq!(refusal_reason(&refused), Refusal::SignatureScheme);
}
