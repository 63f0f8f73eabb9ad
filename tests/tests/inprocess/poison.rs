//! Batches that no honest agent sends: rejected by name, and everything behind them flows.

use crate::world::{BOOT, World, set, speaker};
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_protocol::batch::{Batch, BatchHeader, Matrix, Stamp, encode};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::frame::Frame;
use dsmil_protocol::ids::{HostName, Tick, TickRange};
use dsmil_protocol::message::{BootAccount, Hello, HostTimes};
use dsmil_protocol::metric::SetId;
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::agent::{AgentSession, Event, SpooledBatch};
use dsmil_protocol::session::{Lane, Now};
use dsmil_protocol::tick_set::TickSet;
use dsmil_runtime::clock::Clock;
use std::collections::BTreeMap;
use std::time::Duration;

/// An agent driven by hand.
struct Peer {
    session: AgentSession,
    control: (quinn::SendStream, quinn::RecvStream),
    backlog: quinn::SendStream,
    reader: FrameReader,
    clock: Clock,
    accounted: TickSet,
    rejected: BTreeMap<Tick, u16>,
}

fn now(clock: &Clock) -> Now {
    Now { mono: clock.mono(), boot_ns: 1_000_000_000_000, wall_ns: clock.wall_ns() }
}

impl Peer {
    async fn connect(world: &World, address: std::net::SocketAddr) -> (Self, quinn::Endpoint) {
        let clock = Clock::real();
        let link = world.link(&clock);
        let config = link.client().expect("a client");
        let socket = endpoint(([127, 0, 0, 1], 0).into(), None, &EndpointKeys::random()).expect("a socket");
        let name = link.trust.trust_domain().aggregator_dns_name();
        let connection = socket.connect_with(config, address, &name).expect("dialled").await.expect("connected");
        let ticks = TickRange::new(Tick(1), Tick(100)).expect("a range");
        let hello = Hello {
            versions: vec![1],
            host: HostName::new("h1").expect("a name"),
            boot: BOOT,
            devices: vec![],
            agent_version: "test".into(),
            accounts: vec![BootAccount { boot: BOOT, ticks }],
            bundle_version: 0,
            times: HostTimes { boot_ns: 1_000_000_000_000, wall_ns: clock.wall_ns() },
        };
        let peer = Self {
            session: AgentSession::start(speaker(), &hello, now(&clock)),
            control: connection.open_bi().await.expect("a stream"),
            backlog: connection.open_uni().await.expect("a stream"),
            reader: FrameReader::new(),
            clock,
            accounted: TickSet::new(),
            rejected: BTreeMap::new(),
        };
        (peer, socket)
    }

    /// Writes what waits and reads until `done`.
    async fn talk(&mut self, mut done: impl FnMut(&Self) -> bool) {
        loop {
            while let Some(event) = self.session.poll_event() {
                match event {
                    Event::Accounted(a) => {
                        for range in a.ranges {
                            self.accounted.insert(range);
                        }
                    }
                    Event::Rejected(_, r) => {
                        self.rejected.insert(r.first, r.code);
                    }
                    Event::NeedSets(_) => self.session.send_metric_set(set("m").encode(), now(&self.clock)),
                    Event::Welcomed(_) | Event::TrustBundle(_) | Event::Settings(_) | Event::Closed(_) => {}
                }
            }
            while let Some(out) = self.session.poll_output() {
                let stream = if out.lane == Lane::Control { &mut self.control.0 } else { &mut self.backlog };
                stream.write_all(&out.bytes).await.expect("written");
            }
            if done(self) {
                return;
            }
            let chunk = tokio::select! {
                chunk = self.control.1.read_chunk(1 << 16, true) => chunk.expect("the session goes on"),
                () = self.clock.sleep(Duration::from_secs(20)) => panic!("in vain: {:?} {:?}", self.accounted, self.rejected),
            };
            self.reader.extend(&chunk.expect("the session goes on").bytes);
            while let Some(frame) = self.reader.next_frame().expect("sound frames") {
                self.session.receive(&frame, now(&self.clock));
            }
        }
    }

    fn send(&mut self, batch: SpooledBatch) {
        self.session.send_batch(Lane::Backlog, batch, now(&self.clock));
    }
}

fn batch(first: u64, set: SetId, metrics: usize) -> SpooledBatch {
    let stamps = (first..first + 2).map(|t| Stamp { tick: Tick(t), wall_ms: 0 }).collect();
    let header = BatchHeader { boot: BOOT, set, metrics, stamps };
    let (ticks, matrix) = (header.range(), Matrix::new(metrics, 2));
    SpooledBatch { boot: BOOT, ticks, set, bytes: encode(&Batch { header, matrix }).expect("a batch") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn poison_is_rejected_by_name_and_what_is_behind_it_flows() {
    let world = World::new().await;
    let centre = world.centre(None, &Clock::real()).await;
    let (mut peer, socket) = Peer::connect(&world, centre.address()).await;
    peer.talk(|p| p.session.is_open()).await;
    let known = set("m").id();
    peer.send(batch(1, known, 1));
    // The first one names a set that the centre has to ask for; it is dropped and sent again.
    peer.talk(|p| !p.session.is_in_flight(BOOT, Tick(1))).await;
    peer.send(batch(1, known, 1));
    peer.talk(|p| p.accounted.covers(batch(1, known, 1).ticks)).await;

    // Columns that its set has not; bytes that are no batch; a count of metrics beyond all bounds.
    peer.send(batch(3, known, 7));
    peer.send(SpooledBatch { bytes: vec![0xAB; 200], ..batch(5, known, 1) });
    let mut absurd = batch(7, known, 1);
    absurd.bytes[33..40].fill(0xFF);
    peer.send(absurd);
    peer.talk(|p| p.rejected.len() == 3).await;
    assert!(peer.rejected.values().all(|code| *code == ErrorCode::BatchMalformed.number()), "{:?}", peer.rejected);
    assert!([3, 5, 7].iter().all(|first| peer.rejected.contains_key(&Tick(*first))), "{:?}", peer.rejected);

    // A frame whose payload changed after it was made.
    peer.send(batch(9, known, 1));
    let mut frame = peer.session.poll_output().expect("a frame").bytes;
    *frame.last_mut().expect("a payload") ^= 1;
    assert_eq!(Frame::from_bytes(&frame), Err(ErrorCode::BadCrc));
    peer.backlog.write_all(&frame).await.expect("written");
    peer.talk(|p| p.rejected.get(&Tick(9)) == Some(&ErrorCode::BadCrc.number())).await;

    peer.send(batch(11, known, 1));
    peer.talk(|p| p.accounted.covers(batch(11, known, 1).ticks)).await;
    drop((peer, socket));
    centre.stop().await;
}
