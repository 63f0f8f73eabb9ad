//! Handshakes that are begun and not gone on with.

use crate::hellos::{self, Spray, loopback};
use crate::rig::{Damage, Rig, Setup, drill};
use crate::silent_socket::SilentSocket;
use crate::villain::Villain;
use anyhow::ensure;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Begun in all.
const HANDSHAKES: usize = 10_000;
/// Begun each second.
const PER_SECOND: u32 = 1_000;
/// 64 peers whose addresses may be forged are let in at a time, at less than 160 KB each, and quinn holds the hellos of
/// those that wait to be judged: 16 MiB at the most.
const UNPROVEN_MEMORY: u64 = 32 << 20;
/// Three quarters of 1,024 places are for addresses that never authenticated, at less than 160 KB each.
const PROVEN_MEMORY: u64 = 160 << 20;

async fn never_answered(rig: &mut Rig<'_>, addresses: u16) -> anyhow::Result<Damage> {
    rig.start().await?;
    let link = rig.link(&rig.villains[0].1);
    let hellos = hellos::make(&link, HANDSHAKES, &rig.clock).await?;
    let spray = Spray::from(loopback(addresses), rig.quic, &rig.clock)?;
    let attack = async {
        spray.send(hellos.into_iter().map(|hello| hello.0), PER_SECOND).await;
        Ok(())
    };
    let damage = rig.beside(attack).await?;
    damage.memory_within(UNPROVEN_MEMORY)?;
    damage.cores_within(0.7)?;
    let asked = damage.more(|m| m.get("dsmil_admission_proofs_asked_total"));
    ensure!(asked > 0.8 * f64::from(u32::try_from(HANDSHAKES)?), "{asked} had to prove their address");
    rig.nobody_half_open().await?;
    rig.finish().await?;
    Ok(damage)
}

#[test]
fn ten_thousand_handshakes_that_are_begun_at_one_address_hold_up_nobody() {
    drill(&Setup { villains: 1, ..Setup::default() }, async |rig| {
        never_answered(rig, 1).await?;
        Ok(())
    });
}

#[test]
fn ten_thousand_handshakes_that_are_begun_at_a_thousand_addresses_hold_up_nobody() {
    drill(&Setup { villains: 1, ..Setup::default() }, async |rig| {
        never_answered(rig, 1_000).await?;
        Ok(())
    });
}

/// Peers at `addresses` that prove them and then fall silent, `count` in all, 250 a second; they are held until the end.
async fn hold(rig: &Rig<'_>, addresses: u16, count: u32) -> anyhow::Result<Vec<std::sync::Arc<SilentSocket>>> {
    let link = rig.link(&rig.villains[0].1);
    let (config, name) = (link.client()?, link.trust.trust_domain().aggregator_dns_name());
    let mut held = Vec::new();
    for address in loopback(addresses) {
        let socket = SilentSocket::bind((address, 0).into())?;
        held.push((socket.client()?, socket));
    }
    let start = rig.clock.mono();
    let mut begun = Vec::new();
    for (number, (client, _)) in (0..count).zip(held.iter().cycle()) {
        rig.clock.sleep_until(start + Duration::from_secs(1) * number / 250).await;
        begun.push(client.connect_with(config.clone(), rig.quic, &name)?);
    }
    // Nobody says that he goes.
    let sockets: Vec<_> = held.iter().map(|(_, socket)| socket.clone()).collect();
    sockets.iter().for_each(|socket| socket.mute());
    Ok(sockets)
}

/// A host that was away comes back while this goes on.
async fn comes_back(rig: &Rig<'_>) -> anyhow::Result<()> {
    rig.clock.sleep(Duration::from_secs(4)).await;
    let (host, identity) = &rig.villains[1];
    let from = rig.clock.mono();
    let way = (IpAddr::from(Ipv4Addr::LOCALHOST), rig.quic);
    let mut newcomer = Villain::connect(&rig.link(identity), host, way, None, &rig.clock).await?;
    newcomer.welcomed().await?;
    let took = rig.clock.mono() - from;
    ensure!(took < Duration::from_secs(2), "a host that came back had to wait for {took:?}");
    println!("a host that came back was welcomed within {took:?}");
    Ok(())
}

fn proven_and_silent(addresses: u16, count: u32, limit: &str) {
    drill(&Setup { villains: 2, ..Setup::default() }, async |rig| {
        rig.start().await?;
        let damage = rig
            .beside(async {
                tokio::try_join!(hold(rig, addresses, count), comes_back(rig))?;
                Ok(())
            })
            .await?;
        damage.memory_within(PROVEN_MEMORY)?;
        damage.cores_within(0.9)?;
        let limited = damage.more(|m| m.limited(limit));
        ensure!(limited > 0.0, "nobody ran into the limit {limit}");
        ensure!(damage.more(|m| m.refused("fleet", Some("busy"))) > 0.0, "nobody was told that we are busy");
        rig.nobody_half_open().await?;
        rig.finish().await?;
        Ok(())
    });
}

#[test]
fn one_address_that_proves_itself_and_falls_silent_has_only_its_own_places() {
    proven_and_silent(1, 1_500, "address_half_open");
}

#[test]
fn many_addresses_that_prove_themselves_and_fall_silent_leave_room_for_hosts_that_we_know() {
    proven_and_silent(128, 1_500, "half_open");
}
