//! What an endpoint keeps over a restart: proof of addresses, and the means to tell agents that their connections are gone.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};

use quinn::ConnectionError;
use tokio::net::UdpSocket;

use super::fleet;
use super::peers::{HERE, NAME, PATIENCE};
use crate::policy::SessionCache;
use crate::refusal::{Refusal, refusal_reason};
use crate::transport::{EndpointKeys, endpoint};

#[tokio::test]
async fn an_address_proven_once_is_known_after_a_restart_with_the_same_keys_and_once_only() {
    let fleet = fleet();
    let keys = EndpointKeys::random();
    let client = fleet.client();
    let dialer = endpoint(HERE, None, &EndpointKeys::random()).expect("a client");
    // Other keys, the keys of the first tokens, and these again.
    let cases = [(&keys, false), (&keys, true), (&EndpointKeys::random(), false)];
    for (keys, known) in cases {
        let server = fleet.aggregator_link().server(keys, &SessionCache::none()).expect("a server");
        let listener = endpoint(HERE, Some(server), keys).expect("a listener");
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
    let keys = EndpointKeys::random();
    // The second stands for the first after a restart: it has the keys and none of the connections.
    let listen = || endpoint(HERE, Some(fleet.server()), &keys).expect("a listener");
    let (before, after) = (listen(), listen());
    let target = Cell::new(before.local_addr().expect("an address"));
    let front = UdpSocket::bind(HERE).await.expect("a port");
    let dialer = endpoint(HERE, None, &EndpointKeys::random()).expect("a client");

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
