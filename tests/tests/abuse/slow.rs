//! Peers that take all the time there is, on the join port and on HTTPS.

use crate::rig::{Rig, Setup, drill};
use crate::villain::endpoint_at;
use anyhow::ensure;
use dsmil_aggregator::credentials::time_source;
use dsmil_crypto::policy::join_client;
use dsmil_crypto::trust::JoinTrust;
use e2e::fleet::eventually;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Where they come from.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 0, 3));
/// How long they hang on, a byte a second each.
const SECONDS: u32 = 8;
/// On the join port; an address may have 256 half-open places.
const JOINING: usize = 100;
/// On HTTPS; an address may have 256 connections, all together 1,024.
const HTTPS: usize = 600;
/// Half-open peers at less than 160 KB each.
const JOIN_MEMORY: u64 = 160 * 1024 * JOINING as u64 + (8 << 20);
/// A task and a socket each that has not said hello yet; those over the limit are closed at once.
const HTTPS_MEMORY: u64 = 16 << 20;

#[test]
fn peers_of_the_join_port_that_take_their_time_lose_their_places() {
    drill(&Setup::default(), async |rig| {
        rig.start().await?;
        let damage = rig.beside(dawdle(rig)).await?;
        damage.memory_within(JOIN_MEMORY)?;
        let lost = damage.more(|m| m.refused("join", Some("lost")));
        ensure!(lost >= f64::from(u32::try_from(JOINING)?), "{lost} slow ones were counted");
        damage.cores_within(0.5)?;
        rig.nobody_half_open().await?;
        rig.finish().await?;
        Ok(())
    });
}

async fn dawdle(rig: &Rig<'_>) -> anyhow::Result<()> {
    let issued_s = rig.trust.bundle().issued_s;
    let config = join_client(JoinTrust::Held(rig.trust.clone()), time_source(&rig.clock), issued_s)?;
    let (endpoint, name) = (endpoint_at(FROM)?, rig.trust.trust_domain().aggregator_dns_name());
    let mut streams = Vec::new();
    for _ in 0..JOINING {
        let connection = endpoint.connect_with(config.clone(), rig.join, &name)?.await?;
        let (send, receive) = connection.open_bi().await?;
        streams.push((connection, send, receive));
    }
    // A request of 5,000 bytes is announced: its length is in front of it.
    for byte in 5_000_u32.to_be_bytes().into_iter().chain(std::iter::repeat(0)).take(SECONDS as usize) {
        for (_, send, _) in &mut streams {
            let _ = send.write(&[byte]).await;
        }
        rig.clock.sleep(Duration::from_secs(1)).await;
    }
    // They have been thrown out, or are so before long, without any help of theirs.
    eventually(&rig.clock, "the slow ones have lost their connections", Duration::from_secs(6), || async {
        Ok(streams.iter().all(|(connection, ..)| connection.close_reason().is_some()))
    })
    .await
}

#[test]
fn https_clients_that_take_their_time_leave_room_for_others() {
    drill(&Setup::default(), async |rig| {
        rig.start().await?;
        let damage = rig.beside(hang_on(rig)).await?;
        damage.memory_within(HTTPS_MEMORY)?;
        damage.cores_within(0.3)?;
        ensure!(damage.more(|m| m.refused("https", Some("busy"))) > 0.0, "no address had too many connections");
        eventually(&rig.clock, "the slow ones have lost their connections", Duration::from_secs(15), || async {
            Ok(rig.metrics().await?.get("dsmil_api_connections") <= 1.0)
        })
        .await?;
        rig.finish().await?;
        Ok(())
    });
}

/// Half of them say nothing, half of them the beginning of a hello, a byte a second.
async fn hang_on(rig: &Rig<'_>) -> anyhow::Result<()> {
    let https: SocketAddr = rig.centre.api().address();
    let mut clients = Vec::new();
    for _ in 0..HTTPS {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((FROM, 0).into())?;
        let Ok(stream) = socket.connect(https).await else { continue };
        clients.push(stream.into_std()?);
    }
    // A record of a handshake of 512 bytes begins so (RFC 8446, section 5.1).
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC];
    for byte in hello.iter().cycle().take(SECONDS as usize) {
        for client in clients.iter_mut().step_by(2) {
            let _ = client.write(&[*byte]);
        }
        let from = rig.clock.mono();
        rig.centre.api().text("/health").await?;
        let took = rig.clock.mono() - from;
        ensure!(took < Duration::from_secs(1), "somebody else's request took {took:?}");
        rig.clock.sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
