//! The fleet link: what a handshake negotiates, and what identities it is made with.

use std::sync::Arc;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::NamedGroup;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::kx_group;

use super::peers::{connected, fleet_crypto, handshake_in_memory, meet, pkcs8};
use super::{Certified, DAY, NOW, at, bundle, fleet, fleet_of, link, server, trust};
use crate::identity::{Credential, Identity};
use crate::policy::{FLEET_ALPN, KeyExchange, PolicyError, SessionCache, join_server};
use crate::spiffe::Role;
use crate::transport::EndpointKeys;

#[tokio::test]
async fn agent_and_aggregator_meet_and_know_each_other() {
    let fleet = fleet();
    let (server, client, _met) = connected(fleet.server(), fleet.client()).await;
    for (ours, connection, peer) in
        [(fleet.aggregator_link(), &server, &fleet.agent), (fleet.agent_link(), &client, &fleet.aggregator)]
    {
        let found = ours.authenticate(connection).expect("one of ours");
        assert_eq!(&found.id, peer.id());
        assert_eq!(found.key, peer.key_fingerprint().expect("a key"));
        assert_eq!(found.validity, peer.validity());
    }

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
    let server = Arc::new(fleet.aggregator_link().server_tls(&SessionCache::new(4)).expect("a server"));
    let client = Arc::new(fleet.agent_link().client_tls().expect("a client"));
    let said = KeyExchange::Pure.negotiated();
    // Twice, because the second one is resumed.
    for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
        let (server, client) = &handshake_in_memory(server.clone(), client.clone());
        for end in [server as &rustls::CommonState, client] {
            let group = end.negotiated_key_exchange_group().expect("a group").name();
            assert_eq!(group, NamedGroup::MLKEM1024);
            assert_eq!(format!("{group:?}"), said.group);
            let suite = end.negotiated_cipher_suite().expect("a suite").suite();
            assert_eq!(suite.as_str(), Some("TLS13_AES_256_GCM_SHA384"));
            assert_eq!(end.handshake_kind(), Some(kind));
        }
        assert!(client.zero_rtt_keys().is_none() && server.zero_rtt_keys().is_none());
    }
    assert_eq!(said.suite, "TLS_AES_256_GCM_SHA384");
    assert_eq!(said.scheme, "ML-DSA-87");
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
async fn a_host_that_boots_in_1970_connects() {
    let fleet = fleet();
    let mut early = fleet.agent_link();
    early.time = at(0);
    let (_, client, _met) = connected(fleet.server(), early.client().expect("a client")).await;
    early.authenticate(&client).expect("an aggregator of ours");
}

#[tokio::test]
async fn an_aggregator_renewed_later_is_still_valid_for_a_host_in_1970() {
    let fleet = fleet();
    let later = NOW + 365 * DAY;
    let mut aggregator = link(&fleet.issuer.aggregator("main", later), &fleet.trust);
    aggregator.time = at(later);
    // The host has been renewed too, and knows from its leaf that it is not 1970.
    let mut agent = link(&fleet.issuer.agent("h1", later), &fleet.trust);
    agent.time = at(-1);
    let (seen, client, _met) = connected(server(&aggregator), agent.client().expect("a client")).await;
    agent.authenticate(&client).expect("an aggregator of ours");
    aggregator.authenticate(&seen).expect("an agent of ours");
}

#[test]
fn an_identity_that_cannot_work_is_refused_at_once() {
    let fleet = fleet();
    let serve = |identity: &Identity| {
        let link = link(identity, &fleet.trust).server(&EndpointKeys::random(), &SessionCache::none()).map(drop);
        let join = join_server(identity, &fleet.trust, at(NOW), &EndpointKeys::random()).map(drop);
        [link, join].map(|made| made.expect_err("refused"))
    };
    let connect = |identity: &Identity| link(identity, &fleet.trust).client().map(drop).expect_err("refused");
    for wrong in serve(&fleet.agent) {
        assert!(matches!(wrong, PolicyError::WrongRole { expected: Role::Aggregator, .. }), "{wrong}");
    }
    let wrong = connect(&fleet.aggregator);
    assert!(matches!(wrong, PolicyError::WrongRole { expected: Role::Agent, .. }), "{wrong}");

    let other = fleet_of("other.example");
    let wrong = connect(&other.agent);
    assert!(matches!(wrong, PolicyError::WrongTrustDomain { .. }), "{wrong}");
    for wrong in serve(&other.aggregator) {
        assert!(matches!(wrong, PolicyError::WrongTrustDomain { .. }), "{wrong}");
    }

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let credential = Credential { chain: vec![fleet.issuer.issuer.forge(&key, |_| {})], key: pkcs8(&key) };
    let classical = Identity::new(credential).expect("a name");
    let wrong = connect(&classical);
    assert!(matches!(wrong, PolicyError::WrongKey { .. }), "{wrong}");

    let chain = fleet.agent.credential().chain.clone();
    let key = fleet.aggregator.credential().key.clone_key();
    let wrong = connect(&Identity::new(Credential { chain, key }).expect("a name"));
    assert!(matches!(wrong, PolicyError::Tls(_)), "{wrong}");
}

#[test]
fn a_bundle_without_issuers_serves_nobody() {
    let fleet = fleet();
    let nobody = trust(&bundle(2, &[&fleet.root], &[]), &[&fleet.root]);
    let wrong = link(&fleet.agent, &nobody).client().map(drop).expect_err("refused");
    assert!(matches!(wrong, PolicyError::Anchors(_)), "{wrong}");
}

#[tokio::test]
async fn leaves_of_either_of_two_issuers_are_good() {
    let fleet = fleet();
    let second = Certified::by(&[&fleet.root], NOW);
    let both = trust(&bundle(2, &[&fleet.root], &[&fleet.issuer, &second]), &[&fleet.root]);
    let aggregator = link(&second.aggregator("two", NOW), &both);
    for agent in [&fleet.agent, &second.agent("h2", NOW)] {
        let agent = link(agent, &both);
        let (seen, client, _met) = connected(server(&aggregator), agent.client().expect("a client")).await;
        assert_eq!(&aggregator.authenticate(&seen).expect("an agent").id, agent.identity.id());
        assert_eq!(&agent.authenticate(&client).expect("an aggregator").id, aggregator.identity.id());
    }
}
