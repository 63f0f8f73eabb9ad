//! Resumed sessions: cheaper, as well protected, and judged anew, because their handshake looks at no certificate.

use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::quic::ServerConnection;

use super::peers::{HERE, NAME, connected, handshake_in_memory};
use super::{Fleet, NOW, at, fleet, link};
use crate::policy::{KeyExchange, Link, Peer, SessionCache};
use crate::refusal::Refusal;
use crate::transport::{EndpointKeys, endpoint};

/// How a server that stands for the link at its present state meets the client.
fn again(
    link: &Link,
    sessions: &SessionCache,
    client: &Arc<rustls::ClientConfig>,
) -> (HandshakeKind, ServerConnection) {
    let server = Arc::new(link.server_tls(sessions).expect("a server"));
    let (server, _client) = handshake_in_memory(server, client.clone());
    (server.handshake_kind().expect("done"), server)
}

fn client_of(fleet: &Fleet) -> Arc<rustls::ClientConfig> {
    Arc::new(fleet.agent_link().client_tls().expect("a client"))
}

fn judged(link: &Link, connection: &rustls::CommonState) -> Result<Peer, Refusal> {
    let (leaf, others) = connection.peer_certificates().and_then(<[_]>::split_first).expect("a chain");
    link.judge(leaf, others)
}

#[test]
fn a_second_session_is_resumed_and_its_peer_is_the_same() {
    let fleet = fleet();
    let (ours, sessions, client) = (fleet.aggregator_link(), SessionCache::new(8), client_of(&fleet));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let (found, server) = again(&ours, &sessions, &client);
        assert_eq!(found, kind);
        assert_eq!(&judged(&ours, &server).expect("an agent of ours").id, fleet.agent.id());
    }
}

#[test]
fn a_resumed_session_does_not_outlive_what_it_stands_on() {
    let fleet = fleet();
    let mut late = fleet.aggregator_link();
    late.time = at(fleet.agent.validity().not_after + 1);
    let cases = [
        (late, Refusal::Expired),
        (link(&fleet.aggregator, &fleet.bundle_without_our_issuer()), Refusal::RetiredIssuer),
        (link(&fleet.aggregator, &fleet.bundle_that_revokes(&fleet.agent)), Refusal::Revoked),
    ];
    for (ours, why) in cases {
        let (sessions, client) = (SessionCache::new(8), client_of(&fleet));
        assert_eq!(again(&fleet.aggregator_link(), &sessions, &client).0, HandshakeKind::Full);
        let (kind, server) = again(&ours, &sessions, &client);
        assert_eq!(kind, HandshakeKind::Resumed, "TLS itself does not mind");
        assert_eq!(judged(&ours, &server), Err(why));
    }
}

#[test]
fn an_agent_judges_a_resumed_aggregator_too() {
    let fleet = fleet();
    let server = Arc::new(fleet.aggregator_link().server_tls(&SessionCache::new(8)).expect("a server"));
    let client = client_of(&fleet);
    drop(handshake_in_memory(server.clone(), client.clone()));
    let (_, resumed) = handshake_in_memory(server, client);
    assert_eq!(resumed.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(&judged(&fleet.agent_link(), &resumed).expect("ours").id, fleet.aggregator.id());

    let mut late = fleet.agent_link();
    late.time = at(fleet.aggregator.validity().not_after + 1);
    assert_eq!(judged(&late, &resumed), Err(Refusal::Expired));
    let retired = link(&fleet.agent, &fleet.bundle_without_our_issuer());
    assert_eq!(judged(&retired, &resumed), Err(Refusal::RetiredIssuer));
    let revoked = link(&fleet.agent, &fleet.bundle_that_revokes(&fleet.aggregator));
    assert_eq!(judged(&revoked, &resumed), Err(Refusal::Revoked));
}

#[test]
fn without_a_cache_nothing_is_resumed() {
    let fleet = fleet();
    let client = client_of(&fleet);
    for _ in 0..3 {
        assert_eq!(again(&fleet.aggregator_link(), &SessionCache::none(), &client).0, HandshakeKind::Full);
    }
}

#[test]
fn the_cache_forgets_the_oldest_sessions_when_it_is_full() {
    let fleet = fleet();
    let (ours, sessions) = (fleet.aggregator_link(), SessionCache::new(4));
    let clients: Vec<_> = (0..12).map(|_| client_of(&fleet)).collect();
    for client in &clients {
        assert_eq!(again(&ours, &sessions, client).0, HandshakeKind::Full);
    }
    assert_eq!(again(&ours, &sessions, &clients[11]).0, HandshakeKind::Resumed);
    assert_eq!(again(&ours, &sessions, &clients[0]).0, HandshakeKind::Full);
}

#[test]
fn a_session_of_one_key_exchange_is_not_resumed_with_the_other() {
    let fleet = fleet();
    let sessions = SessionCache::new(8);
    let mut hybrid = fleet.agent_link();
    hybrid.key_exchange = KeyExchange::Hybrid;
    let mut ours = fleet.aggregator_link();
    assert_eq!(again(&ours, &sessions, &client_of(&fleet)).0, HandshakeKind::Full);
    ours.key_exchange = KeyExchange::Hybrid;
    let client = Arc::new(hybrid.client_tls().expect("a client"));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (found, server) = again(&ours, &sessions, &client);
        assert_eq!(found, kind);
        let group = server.negotiated_key_exchange_group().expect("a fresh exchange, resumed or not").name();
        assert_eq!(group, crate::group::HYBRID_NAME);
    }
}

/// Over QUIC: the listener has been told of the new bundle, lets the resumed session through all the same, and
/// `authenticate` is what stops it.
#[tokio::test]
async fn what_the_handshake_of_a_resumed_connection_lets_through_authenticate_refuses() {
    let fleet = fleet();
    let sessions = SessionCache::new(8);
    let dialer = endpoint(HERE, None, &EndpointKeys::random()).expect("a client");
    let client = fleet.client();
    let retired = link(&fleet.aggregator, &fleet.bundle_without_our_issuer());
    for (ours, refused) in [(fleet.aggregator_link(), None), (retired, Some(Refusal::RetiredIssuer))] {
        let server = ours.server(&EndpointKeys::random(), &sessions).expect("a server");
        let listener = endpoint(HERE, Some(server), &EndpointKeys::random()).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let accept = async { listener.accept().await.expect("open").await.expect("accepted") };
        let connect = dialer.connect_with(client.clone(), address, NAME).expect("a configuration");
        let (server, client) = tokio::join!(accept, connect);
        let client = client.expect("connected");
        assert_eq!(ours.authenticate(&server).err(), refused);
        // The ticket comes after the handshake: what comes after it has been read when this has.
        let mut stream = server.open_uni().await.expect("a stream");
        stream.write_all(b"x").await.expect("sent");
        stream.finish().expect("open");
        client.accept_uni().await.expect("a stream").read_to_end(1).await.expect("read");
        client.close(0u32.into(), b"");
        server.closed().await;
    }
}

#[tokio::test]
async fn an_established_connection_is_judged_by_the_trust_of_the_moment() {
    let fleet = fleet();
    let (server, client, _met) = connected(fleet.server(), fleet.client()).await;
    let ours = link(&fleet.aggregator, &fleet.bundle_that_revokes(&fleet.agent));
    assert_eq!(ours.authenticate(&server), Err(Refusal::Revoked));
    let mut theirs = fleet.agent_link();
    theirs.time = at(NOW + 30 * super::DAY);
    assert_eq!(theirs.authenticate(&client), Err(Refusal::Expired));
}
