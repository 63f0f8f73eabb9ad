//! The fleet link beside raw TCP and TLS over TCP: a small exchange, and bulk, on connections that are established.
//!
//! `far` answers, `near` asks and takes the time, each on a thread of its own; `wire` puts them on two machines of their own,
//! `delay` is the distance between these.

mod delay;
mod far;
mod near;
mod wire;

use super::frame::telemetry;
use super::handshake::{Links, percentile};
use super::{Better, Row, Target};
use anyhow::Context;
use delay::Carried;
use dsmil_crypto::policy::SessionCache;
use dsmil_crypto::transport::EndpointKeys;
use dsmil_protocol::frame::Frame;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use near::Near;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_rustls::rustls;
use wire::{Place, Wire};

/// Bytes of an exchange, there and back.
const SMALL: usize = 200;
/// Bytes of bulk that are written at once, and of a frame's payload.
const PIECE: usize = 64 << 10;
/// The correlation of a frame that asks for an answer.
const ANSWER: u64 = 1;
/// Exchanges and transfers before those that count: congestion windows and code are warm.
const WARM_UP: usize = 3;
/// What the fleet link may cost beside raw TCP, of a 200-byte exchange at a round trip of 10 ms: the seed's "< 5 %".
const OVERHEAD: Target = Target::Under(1.05);
/// How long threads may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// The kinds, in the order in which they take turns. Bare UDP has no bulk: it tells what the path itself takes.
const KINDS: [&str; 4] = ["DBE", "TLS", "TCP", "UDP"];

/// One distance, and how much is measured over it.
#[derive(Clone, Copy, Debug)]
struct Distance {
    name: &'static str,
    /// None: loopback, without the wire.
    round_trip: Option<Duration>,
    exchanges: usize,
    bulk_bytes: usize,
    bulks: usize,
    /// What the exchange may cost beside raw TCP.
    target: Option<Target>,
}

const DISTANCES: [Distance; 3] = [
    Distance { name: "loopback", round_trip: None, exchanges: 3_000, bulk_bytes: 32 << 20, bulks: 15, target: None },
    Distance {
        name: "1 ms",
        round_trip: Some(Duration::from_millis(1)),
        exchanges: 1_000,
        bulk_bytes: 16 << 20,
        bulks: 12,
        target: None,
    },
    Distance {
        name: "10 ms",
        round_trip: Some(Duration::from_millis(10)),
        exchanges: 500,
        bulk_bytes: 16 << 20,
        bulks: 12,
        target: Some(OVERHEAD),
    },
];

/// What both ends need to speak every kind.
struct Offer {
    dbe: quinn::ServerConfig,
    dbe_client: quinn::ClientConfig,
    name: String,
    tls: Arc<rustls::ServerConfig>,
    tls_client: Arc<rustls::ClientConfig>,
}

/// A telemetry frame as a session makes it.
fn frame_of(payload: Vec<u8>, correlation: u64, number: u64) -> Frame {
    let mut frame = telemetry(payload);
    (frame.correlation, frame.tlvs.sequence) = (correlation, Some(number));
    frame
}

/// What was measured over one distance: seconds, sorted.
struct Measured {
    exchanges: [Vec<f64>; 4],
    bulks: [Vec<f64>; 3],
    /// What the wire did meanwhile, if it was there.
    carried: Option<Carried>,
}

pub(super) fn figures() -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> anyhow::Result<Vec<Row>> {
    let clock = Clock::real();
    let supervisor = Supervisor::new(clock.clone());
    let offer = Arc::new(offer(&clock).await?);
    let wire = Wire::lay(&clock, &supervisor);
    let mut rows = Vec::new();
    for distance in DISTANCES {
        let measured = match (&wire, distance.round_trip) {
            (Err(error), Some(_)) => {
                let why = format!("there is no such network here: {error:#}");
                let name = ratio_name(&distance, "exchange", "TCP");
                rows.extend(distance.target.map(|target| Row::missed(name, "×", target, &why)));
                continue;
            }
            (Ok(wire), Some(round_trip)) => {
                wire.delay().set(round_trip / 2);
                let measured = between(wire.places(), &distance, &offer, &clock, &supervisor).await?;
                Measured { carried: Some(wire.carried()), ..measured }
            }
            (_, None) => between([Place::Loopback, Place::Loopback], &distance, &offer, &clock, &supervisor).await?,
        };
        rows.extend(measured.rows(&distance));
    }
    supervisor.drain(DRAIN_WITHIN).await;
    Ok(rows)
}

async fn offer(clock: &Clock) -> anyhow::Result<Offer> {
    let links = Links::make(clock).await?;
    Ok(Offer {
        dbe: links.aggregator.server(&EndpointKeys::random(), &SessionCache::none())?,
        dbe_client: links.agent.client()?,
        name: links.agent.trust.trust_domain().aggregator_dns_name(),
        tls: Arc::new(links.classical.server(false)?),
        tls_client: Arc::new(links.classical.client()?),
    })
}

/// Has two ends talk, each on a thread of its own in its place.
async fn between(
    [near, far]: [Place; 2],
    distance: &Distance,
    offer: &Arc<Offer>,
    clock: &Clock,
    supervisor: &Supervisor,
) -> anyhow::Result<Measured> {
    let (theirs, tasks, here) = (Arc::clone(offer), Supervisor::new(clock.clone()), far.address());
    let mut listening = at(far, "bench-far", supervisor, async move |say| {
        say.send(far::listen(here, &theirs, &tasks).await).await?;
        // The near end is done when nobody listens to us any more.
        say.closed().await;
        anyhow::Ok(())
    });
    let addresses = listening.recv().await.context("the far end is gone")??;
    let (ours, clock, distance, here) = (Arc::clone(offer), clock.clone(), *distance, near.address());
    let mut measuring = at(near, "bench-near", supervisor, async move |say| {
        let measured = async {
            let mut near = Near::connect(here, addresses, &ours, &clock).await?;
            talk(&mut near, &distance).await
        };
        Ok(say.send(measured.await).await?)
    });
    measuring.recv().await.context("the near end is gone")?
}

/// Runs `work` on a thread that is at a place, and hands over what it says.
fn at<T: Send + Sync + 'static, F: Future<Output = anyhow::Result<()>>>(
    place: Place,
    name: &'static str,
    supervisor: &Supervisor,
    work: impl FnOnce(mpsc::Sender<anyhow::Result<T>>) -> F + Send + 'static,
) -> mpsc::Receiver<anyhow::Result<T>> {
    let (say, said) = mpsc::channel(1);
    supervisor.thread(name, OnFailure::Note, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match place.enter() {
            Ok(()) => runtime.block_on(work(say)),
            Err(error) => Ok(say.blocking_send(Err(error))?),
        }
    });
    said
}

async fn talk(near: &mut Near, distance: &Distance) -> anyhow::Result<Measured> {
    let mut measured = Measured { exchanges: Default::default(), bulks: Default::default(), carried: None };
    for round in 0..WARM_UP + distance.exchanges {
        let took = near.exchange().await.context("an exchange")?;
        if round >= WARM_UP {
            measured.exchanges.iter_mut().zip(took).for_each(|(all, took)| all.push(took.as_secs_f64()));
        }
    }
    for round in 0..WARM_UP + distance.bulks {
        let took = near.bulk(distance.bulk_bytes).await.context("bulk")?;
        if round >= WARM_UP {
            measured.bulks.iter_mut().zip(took).for_each(|(all, took)| all.push(took.as_secs_f64()));
        }
    }
    measured.exchanges.iter_mut().chain(&mut measured.bulks).for_each(|all| all.sort_by(f64::total_cmp));
    Ok(measured)
}

fn ratio_name(distance: &Distance, what: &str, other: &str) -> String {
    format!("link, {}, {what}: DBE / {other}, p50", distance.name)
}

impl Measured {
    fn rows(&self, distance: &Distance) -> Vec<Row> {
        let mut rows = self.of_exchanges(distance);
        rows.extend(self.of_bulks(distance));
        rows.extend(self.of_wire(distance));
        rows
    }

    fn of_exchanges(&self, distance: &Distance) -> Vec<Row> {
        let us = |kind: usize, percent| percentile(&self.exchanges[kind], percent) * 1e6;
        let [dbe, tls, tcp] = [0, 1, 2].map(|kind| us(kind, 50));
        let name = |other| ratio_name(distance, "exchange", other);
        let beside_tcp = match distance.target {
            // The one that repeats: nearer by, a ratio is the scheduler's as much as the link's.
            Some(target) => Row::aimed(name("TCP"), dbe / tcp, "×", target).kept(Better::Less),
            None => Row::told(name("TCP"), dbe / tcp, "×"),
        };
        let beside_tls = Row::told(name("TLS"), dbe / tls, "×");
        let mut rows = vec![beside_tcp, beside_tls];
        rows.extend(KINDS.iter().enumerate().map(|(kind, of)| {
            Row::told(format!("link, {}, exchange of {SMALL} B, {of}, p50", distance.name), us(kind, 50), "µs")
                .note(format!("p99 {:.0} µs, of {}", us(kind, 99), distance.exchanges))
        }));
        rows
    }

    fn of_bulks(&self, distance: &Distance) -> Vec<Row> {
        // Sorted by time: the slowest are last.
        let rate = |kind: usize, percent| distance.bulk_bytes as f64 / 1e6 / percentile(&self.bulks[kind], percent);
        let took = |kind: usize| percentile(&self.bulks[kind], 50);
        // Not kept: three busy threads on few cores are a measure of the scheduler, too.
        let ratio = |other: usize| Row::told(ratio_name(distance, "bulk", KINDS[other]), took(0) / took(other), "×");
        let mut rows = vec![ratio(2), ratio(1)];
        rows.extend(KINDS[..3].iter().enumerate().map(|(kind, of)| {
            let mib = distance.bulk_bytes >> 20;
            Row::told(format!("link, {}, bulk, {of}, p50", distance.name), rate(kind, 50), "MB/s").note(format!(
                "{mib} MiB until confirmed, {} times; p99 {:.0} MB/s",
                distance.bulks,
                rate(kind, 99)
            ))
        }));
        rows
    }

    /// What the wire added of its own.
    fn of_wire(&self, distance: &Distance) -> Option<Row> {
        let (carried, round_trip) = (self.carried.as_ref()?, distance.round_trip?);
        let mut late = carried.late_us.clone();
        late.sort_by(f64::total_cmp);
        let beyond = percentile(&self.exchanges[3], 50) * 1e6 - round_trip.as_secs_f64() * 1e6;
        let [p50, p99] = [50, 99].map(|percent| percentile(&late, percent));
        let note = format!(
            "beyond {} ms of a bare UDP exchange; a frame is late by {p50:.0} µs, p99 {p99:.0}, {} dropped",
            round_trip.as_millis(),
            carried.dropped
        );
        Some(
            Row::told(format!("link, {}: what the wire takes of its own, p50", distance.name), beyond, "µs").note(note),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_held_against_raw_tcp() {
        let measured = Measured {
            exchanges: [vec![0.0106], vec![0.0104], vec![0.0100], vec![0.0101]],
            bulks: [vec![2.0], vec![1.0], vec![0.5]],
            carried: Some(Carried { late_us: vec![5.0, 7.0], dropped: 0 }),
        };
        let rows = measured.rows(&DISTANCES[2]);
        let row = |name: &str| rows.iter().find(|row| row.name == name).expect("it is there");
        assert_eq!(row("link, 10 ms, exchange: DBE / TCP, p50").holds, Some(false), "6 % are too much");
        assert_eq!(row("link, 10 ms, bulk: DBE / TCP, p50").value, Some(4.0));
        let rate = row("link, 10 ms, bulk, TCP, p50").value.expect("a figure");
        assert!((rate - 33.55).abs() < 0.01, "{rate} MB/s");
        let wire = row("link, 10 ms: what the wire takes of its own, p50").value.expect("a figure");
        assert!((wire - 100.0).abs() < 1e-6, "{wire}");
    }
}
