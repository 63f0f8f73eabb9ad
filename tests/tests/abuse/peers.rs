//! Peers with a sound identity that do with it what no agent does.

use crate::rig::{Rig, Setup, drill};
use crate::villain::{Villain, endpoint_at};
use anyhow::{Context, ensure};
use dsmil_protocol::metric::{Kind, Metric, MetricSet, Repr, Scale};
use quinn::{TransportConfig, VarInt};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How long they do it.
const FOR: Duration = Duration::from_secs(6);
/// Connections of theirs, at 4 MiB of flow control each that one can make the aggregator hold at most.
const VILLAINS: usize = 4;
const CONNECTION_MEMORY: u64 = 4 << 20;
/// What a session costs that holds nothing, and what allocators keep.
const BESIDE: u64 = 12 << 20;
/// Where they are.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 0, 1));
/// A peer that does not take what it is told within this has no session any more: ten seconds, and some to notice.
const THROWN_OUT_WITHIN: Duration = Duration::from_secs(15);

fn setup() -> Setup {
    Setup { villains: VILLAINS, ..Setup::default() }
}

/// Connects as villain `n`.
async fn villain(rig: &Rig<'_>, n: usize, transport: Option<TransportConfig>) -> anyhow::Result<Villain> {
    let (host, identity) = &rig.villains[n];
    Villain::connect(&rig.link(identity), host, (FROM, rig.quic), transport, &rig.clock).await
}

/// Opens what it may and sends a byte a second on each.
async fn drip(rig: &Rig<'_>, n: usize) -> anyhow::Result<()> {
    let mut villain = villain(rig, n, None).await?;
    villain.welcomed().await?;
    let until = rig.clock.mono() + FOR;
    let mut streams = Vec::new();
    let open = async {
        loop {
            // Waits for ever when it may open no more.
            let opened: Result<(), quinn::ConnectionError> = tokio::select! {
                stream = villain.connection.open_uni() => stream.map(|stream| streams.push(stream)),
                stream = villain.connection.open_bi() => stream.map(|(stream, _)| streams.push(stream)),
            };
            opened?;
        }
    };
    tokio::select! {
        refused = open => { let refused: anyhow::Result<()> = refused; refused?; }
        () = rig.clock.sleep(Duration::from_secs(1)) => {}
    }
    ensure!((9..=15).contains(&streams.len()), "it could open {} streams", streams.len());
    while rig.clock.mono() < until {
        for stream in &mut streams {
            // A stream that made no sense is stopped; the connection is what counts.
            let _ = stream.write(b"D").await;
        }
        rig.clock.sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

#[test]
fn peers_that_open_every_stream_and_send_a_byte_a_second_hold_up_nobody() {
    drill(&setup(), async |rig| {
        rig.start().await?;
        let attack = async {
            tokio::try_join!(drip(rig, 0), drip(rig, 1), drip(rig, 2), drip(rig, 3))?;
            Ok(())
        };
        let damage = Box::pin(rig.beside(attack)).await?;
        damage.memory_within(BESIDE)?;
        damage.cores_within(0.2)?;
        rig.finish().await?;
        Ok(())
    });
}

/// Takes no byte of what it is told, and says more and more; returns how long its session lasted.
async fn never_reads(rig: &Rig<'_>, n: usize) -> anyhow::Result<Duration> {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(0))
        .keep_alive_interval(Some(Duration::from_secs(1)));
    let from = rig.clock.mono();
    let mut villain = villain(rig, n, Some(transport)).await?;
    let speak = async {
        while villain.heartbeat().await.is_ok() {
            tokio::task::yield_now().await;
        }
        villain.connection.closed().await
    };
    tokio::select! {
        _ = speak => Ok(rig.clock.mono() - from),
        () = rig.clock.sleep(THROWN_OUT_WITHIN) => anyhow::bail!("it still has its connection"),
    }
}

#[test]
fn peers_that_never_read_are_thrown_out_and_hold_up_nobody() {
    drill(&setup(), async |rig| {
        rig.start().await?;
        let attack = async {
            let lasted = tokio::try_join!(never_reads(rig, 0), never_reads(rig, 1), never_reads(rig, 2))?;
            println!("they lasted {lasted:?}");
            Ok(())
        };
        let damage = Box::pin(rig.beside(attack)).await?;
        damage.memory_within(CONNECTION_MEMORY * VILLAINS as u64 + BESIDE)?;
        damage.cores_within(0.3)?;
        rig.finish().await?;
        Ok(())
    });
}

/// Sends frames as fast as it can, for a while or until it is thrown out; returns how many, and whether it was.
async fn rushes(rig: &Rig<'_>, n: usize) -> anyhow::Result<(u64, bool)> {
    let mut villain = villain(rig, n, None).await?;
    villain.welcomed().await?;
    let (until, mut sent) = (rig.clock.mono() + FOR, 0);
    let mut answers = villain.take_answers()?;
    let send = async {
        while villain.heartbeat().await.is_ok() {
            sent += 1;
        }
    };
    let is_out = tokio::select! {
        () = send => true,
        () = Villain::deaf(&mut answers) => true,
        () = rig.clock.sleep_until(until) => false,
    };
    Ok((sent, is_out))
}

#[test]
fn a_peer_that_sends_frames_as_fast_as_it_can_is_held_or_thrown_out() {
    drill(&setup(), async |rig| {
        rig.start().await?;
        let attack = async {
            let (sent, is_out) = rushes(rig, 0).await?;
            println!("it sent {sent} frames, thrown out: {is_out}");
            Ok(())
        };
        let damage = Box::pin(rig.beside(attack)).await?;
        damage.memory_within(CONNECTION_MEMORY + BESIDE)?;
        rig.finish().await?;
        Ok(())
    });
}

/// Comes and goes fifty times a second. As fast as it can would measure what our own end of the handshakes takes from the
/// processors of this machine.
async fn comes_and_goes(rig: &Rig<'_>, n: usize) -> anyhow::Result<()> {
    let (host, identity) = &rig.villains[n];
    let (link, until) = (rig.link(identity), rig.clock.mono() + FOR);
    let mut welcomed = 0;
    while rig.clock.mono() < until {
        rig.clock.sleep(Duration::from_millis(20)).await;
        let way = (FROM, rig.quic);
        let Ok(mut villain) = Villain::connect(&link, host, way, None, &rig.clock).await else { continue };
        welcomed += u32::from(villain.welcomed().await.is_ok());
        villain.connection.close(VarInt::from_u32(0), b"");
    }
    println!("{host} was welcomed {welcomed} times");
    ensure!(welcomed <= 40, "{host} was welcomed {welcomed} times");
    Ok(())
}

#[test]
fn peers_that_come_and_go_are_told_that_we_are_busy() {
    drill(&setup(), async |rig| {
        rig.start().await?;
        let attack = async {
            tokio::try_join!(comes_and_goes(rig, 0), comes_and_goes(rig, 1))?;
            Ok(())
        };
        let damage = Box::pin(rig.beside(attack)).await?;
        damage.memory_within(BESIDE)?;
        ensure!(damage.more(|m| m.limited("sessions")) > 0.0, "nobody opened too many sessions");
        ensure!(damage.more(|m| m.refused("fleet", Some("busy"))) > 0.0, "nobody was told");
        rig.nobody_half_open().await?;
        rig.finish().await?;
        Ok(())
    });
}

/// As wide as a metric set may be, and another one for each number.
fn huge(number: u32) -> anyhow::Result<Vec<u8>> {
    let metrics = (0..30_000_u32).map(|n| Metric {
        name: format!("villain_{number:04}_metric_{n:05}_with_a_name_that_takes_its_place_and_more_of_it"),
        labels: Vec::new(),
        kind: Kind::Counter,
        repr: Repr::U64,
        scale: Scale::ONE,
    });
    Ok(MetricSet::new(metrics.collect()).context("within the limits of a set")?.encode())
}

/// Sends one after the other.
async fn tells_of_sets(rig: &Rig<'_>, n: usize, sets: &[Vec<u8>]) -> anyhow::Result<usize> {
    let mut villain = villain(rig, n, None).await?;
    villain.welcomed().await?;
    let (until, mut sent) = (rig.clock.mono() + FOR, 0);
    for set in sets {
        tokio::select! {
            done = villain.metric_set(set.clone()) => if done.is_err() { break },
            () = rig.clock.sleep_until(until) => break,
        }
        sent += 1;
    }
    // What was sent last is still on its way.
    rig.clock.sleep_until(until).await;
    println!("it sent {sent} sets of {} KiB", sets[0].len() >> 10);
    Ok(sent)
}

#[test]
fn peers_that_tell_of_one_huge_metric_set_after_the_other_take_bounded_memory() {
    drill(&setup(), async |rig| {
        rig.start().await?;
        let sets: Vec<_> = (0..40).map(huge).collect::<Result<_, _>>()?;
        let (one, other) = sets.split_at(20);
        let attack = async {
            tokio::try_join!(tells_of_sets(rig, 0, one), tells_of_sets(rig, 1, other))?;
            Ok(())
        };
        let damage = Box::pin(rig.beside(attack)).await?;
        ensure!(damage.more(|m| m.get("dsmil_metric_sets_delayed_total")) > 0.0, "no set had to wait");
        // Two sets on the way in each session, decoded and not, and the cache of sets.
        damage.memory_within(128 << 20)?;
        rig.finish().await?;
        Ok(())
    });
}

/// Not used by any agent: whoever may connect may also say nothing.
#[test]
fn a_peer_that_connects_and_says_nothing_is_gone_after_seconds() {
    drill(&setup(), async |rig| {
        rig.start().await?;
        let (_, identity) = &rig.villains[0];
        let link = rig.link(identity);
        let mut config = link.client()?;
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(1)));
        config.transport_config(transport.into());
        let endpoint = endpoint_at(FROM)?;
        let name = link.trust.trust_domain().aggregator_dns_name();
        let connection = endpoint.connect_with(config, rig.quic, &name)?.await?;
        let from = rig.clock.mono();
        tokio::select! {
            _ = connection.closed() => {}
            () = rig.clock.sleep(THROWN_OUT_WITHIN) => anyhow::bail!("it still has its connection"),
        }
        println!("closed after {:?}", rig.clock.mono() - from);
        rig.finish().await?;
        Ok(())
    });
}
