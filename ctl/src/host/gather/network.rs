//! How far one gets towards an aggregator, over UDP and without an identity.
//!
//! Whoever speaks QUIC answers a packet of a version that it does not know with the versions that it does (RFC 9000, section
//! 6.1). Such a packet costs the other end nothing, tells it nothing, and its answer proves the way in both directions. A
//! handshake would need the agent's key, which is for the agent alone, and would count as one of its connections.

use super::super::facts::{Peer, Reach, Role};
use dsmil_agent::dial;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// How long a name may take.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
/// A packet may get lost: it is sent again after so long, each time.
const SEND_EVERY: Duration = Duration::from_millis(700);
/// How often it is sent.
const SENDS: usize = 4;
/// A version that nobody speaks, which asks for those that are (RFC 9000, section 15: 0x?a?a?a?a).
const NO_VERSION: u32 = 0x0A1A_2A3A;
/// Bytes of a first packet: whoever answers shorter ones could be used against others.
const PACKET_LEN: usize = 1200;
/// Bytes of each connection id.
const ID_LEN: usize = 8;

/// Tries all of them at once, and returns them in their order.
pub(in super::super) async fn reach(peers: Vec<(Role, String)>, clock: &Clock) -> Vec<Peer> {
    let supervisor = Supervisor::new(clock.clone());
    let (sender, mut found) = mpsc::unbounded_channel();
    for (place, (role, address)) in peers.into_iter().enumerate() {
        let (clock, sender) = (clock.clone(), sender.clone());
        supervisor.spawn("reach", OnFailure::Note, async move {
            let reach = try_peer(&address, &clock).await;
            // Nobody reads any more: then nobody wants to know.
            let _ = sender.send((place, Peer { role, address, reach }));
            Ok::<(), Infallible>(())
        });
    }
    drop(sender);
    let mut all = Vec::new();
    while let Some(one) = found.recv().await {
        all.push(one);
    }
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, peer)| peer).collect()
}

async fn try_peer(peer: &str, clock: &Clock) -> Reach {
    let resolved = tokio::select! {
        resolved = dial::resolve(peer) => resolved.map_err(|error| in_short(&error.to_string())),
        () = clock.sleep(RESOLVE_WITHIN) => Err(format!("no DNS answered within {} s", RESOLVE_WITHIN.as_secs())),
    };
    match resolved {
        Err(why) => Reach::NoAddress { why },
        Ok(address) => knock(address, clock).await.unwrap_or_else(|error| refused(address, &error)),
    }
}

/// What a resolver says, without the question in its own notation: the name stands before it.
fn in_short(error: &str) -> String {
    error.split(" for Query").next().unwrap_or(error).to_owned()
}

fn refused(address: SocketAddr, error: &io::Error) -> Reach {
    match error.kind() {
        ErrorKind::ConnectionRefused => Reach::NobodyListens { address },
        _ => Reach::NoWay { address, why: error.to_string() },
    }
}

async fn knock(address: SocketAddr, clock: &Clock) -> io::Result<Reach> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected, so that the kernel tells us what routers and the other machine say of it.
    socket.connect(address).await?;
    let begin = clock.mono();
    // Different from those of the last time, so that an answer to that one is not taken for ours; no secret.
    let ids = begin.as_nanos().to_be_bytes();
    let packet = packet(&ids);
    let mut answer = [0; PACKET_LEN];
    for _ in 0..SENDS {
        socket.send(&packet).await?;
        let until = clock.mono() + SEND_EVERY;
        loop {
            let len = tokio::select! {
                received = socket.recv(&mut answer) => received?,
                () = clock.sleep_until(until) => break,
            };
            if is_answer(&answer[..len], &ids) {
                return Ok(Reach::Answers { address, took: clock.mono().saturating_sub(begin) });
            }
        }
    }
    Ok(Reach::Silent { address })
}

/// A long header of an unknown version (RFC 8999, section 5.1), filled up with zeroes.
fn packet(ids: &[u8; 2 * ID_LEN]) -> [u8; PACKET_LEN] {
    let (theirs, ours) = ids.split_at(ID_LEN);
    let mut packet = [0; PACKET_LEN];
    let id_len = [u8::try_from(ID_LEN).expect("8 is a byte")];
    let header = [&[0xC0][..], &NO_VERSION.to_be_bytes(), &id_len, theirs, &id_len, ours].concat();
    packet[..header.len()].copy_from_slice(&header);
    packet
}

/// Whether a packet tells the versions that are spoken, in answer to ours: version 0, and our ids the other way round
/// (RFC 8999, section 6).
fn is_answer(packet: &[u8], ids: &[u8; 2 * ID_LEN]) -> bool {
    let (theirs, ours) = ids.split_at(ID_LEN);
    let [first, version @ .., _] = packet.get(..6).unwrap_or_default() else { return false };
    let rest = packet.get(6..).unwrap_or_default();
    let id_len = ID_LEN;
    first & 0x80 != 0
        && version == [0; 4]
        && usize::from(packet[5]) == id_len
        && rest.get(..id_len) == Some(ours)
        && rest.get(id_len).is_some_and(|len| usize::from(*len) == id_len)
        && rest.get(id_len + 1..2 * id_len + 1) == Some(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [u8; 16] = *b"theirs__ours____";

    /// What a server of QUIC says to [`packet`].
    fn answer() -> Vec<u8> {
        [&[0x80, 0, 0, 0, 0, 8][..], b"ours____", &[8], b"theirs__", &1_u32.to_be_bytes()].concat()
    }

    #[test]
    fn only_an_answer_to_our_own_packet_counts() {
        assert!(is_answer(&answer(), &IDS));
        for at in 0..23 {
            let mut other = answer();
            // Of the first byte only the highest bit is said.
            other[at] ^= 0x80;
            assert!(!is_answer(&other, &IDS), "byte {at}");
            assert!(!is_answer(&answer()[..at], &IDS), "cut at {at}");
        }
    }

    #[tokio::test]
    async fn each_way_of_not_getting_there_has_its_name() {
        let clock = Clock::real();
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let there = server.local_addr().expect("an address");
        let serve = async {
            let mut packet = [0; PACKET_LEN];
            let (len, from) = server.recv_from(&mut packet).await.expect("a packet");
            let id = |at: usize| packet[at..at + 8].to_vec();
            let answer = [&[0x80, 0, 0, 0, 0, 8][..], &id(15), &[8], &id(6), &1_u32.to_be_bytes()].concat();
            server.send_to(&answer, from).await.expect("sent");
            assert_eq!((len, &packet[1..5]), (PACKET_LEN, NO_VERSION.to_be_bytes().as_slice()));
        };
        let peers = vec![(Role::Aggregator, there.to_string()), (Role::JoinPort, "nonsense".into())];
        let (found, ()) = tokio::join!(reach(peers, &clock), serve);
        assert!(matches!(found[0].reach, Reach::Answers { address, .. } if address == there), "{found:?}");
        assert!(matches!(&found[1].reach, Reach::NoAddress { why } if why.contains("host:port")), "{found:?}");
        // Nobody answers any more, but the port is taken: a wall that swallows packets looks like this.
        let silent = try_peer(&there.to_string(), &clock).await;
        assert_eq!(silent, Reach::Silent { address: there });
        drop(server);
        assert_eq!(try_peer(&there.to_string(), &clock).await, Reach::NobodyListens { address: there });
    }
}
