//! Two sessions joined by a fake clock and a link that reorders lanes, loses what is on the way and cuts.

use super::agent::{AgentSession, Closed, Event, SpooledBatch, Vitals};
use super::aggregator::{AggregatorSession, Fault, Grant, Incoming};
use super::{Lane, Limits, Now, Outgoing, Speaker};
use crate::batch::{Batch, BatchHeader, Matrix, Stamp, encode};
use crate::error::ErrorCode;
use crate::frame::{Flags, Frame, MessageType};
use crate::health::Health;
use crate::ids::{BootId, DeviceId, HostName, TenantId, Tick, TickRange};
use crate::join::MAX_BUNDLE_LEN;
use crate::message::{
    Accounted, BootAccount, Config, GapReason, GapRecord, GoodbyeReason, Hello, HostTimes, MAX_GAPS, MAX_RANGES,
    MAX_SETTINGS_LEN, Settings, Welcome,
};
use crate::metric::{Kind, Metric, MetricSet, Repr, Scale, SetId};
use crate::reader::ReadFault;
use crate::tick_set::TickSet;
use crate::tlv::{Classification, Compartments};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

mod settings;
mod watch;

const BOOT: BootId = BootId([1; 16]);
const SPOOL_BATCHES: usize = 30;
const SETTINGS: Settings =
    Settings { heartbeat_ms: 2000, window_batches: 8, backlog_bytes_per_second: 4096, reconnect_window_ms: 1000 };

fn speaker() -> Speaker {
    Speaker {
        tenant: TenantId::new("demo").expect("a tenant"),
        compartments: Compartments::SOC,
        classification: Classification::UNCLASS,
    }
}

fn grant() -> Grant {
    Grant {
        host: HostName::new("h1").expect("a name"),
        devices: BTreeSet::from([DeviceId(4)]),
        clearance: Classification::UNCLASS,
        compartments: Compartments::SOC,
    }
}

fn metric_set(variant: u64) -> MetricSet {
    let metric = Metric {
        name: format!("m{variant}"),
        labels: Vec::new(),
        kind: Kind::Gauge,
        repr: Repr::U64,
        scale: Scale::ONE,
    };
    MetricSet::new(vec![metric]).expect("a set")
}

fn hello(accounts: Vec<BootAccount>, now: Now) -> Hello {
    Hello {
        versions: vec![1],
        host: HostName::new("h1").expect("a name"),
        boot: BOOT,
        devices: vec![DeviceId(4)],
        agent_version: "test".into(),
        accounts,
        bundle_version: 1,
        times: HostTimes { boot_ns: now.boot_ns, wall_ns: now.wall_ns },
    }
}

fn now_at(seconds: u64) -> Now {
    let mono = Duration::from_secs(seconds);
    Now { mono, boot_ns: seconds * 1_000_000_000, wall_ns: 1_700_000_000_000_000_000 }
}

/// The host: what survives a crash of the agent.
#[derive(Default)]
struct Spool {
    pending: Vec<Tick>,
    batches: BTreeMap<Tick, SpooledBatch>,
    gaps: Vec<(TickRange, GapReason)>,
    unsent_live: VecDeque<Tick>,
    first: Option<Tick>,
    last: Option<Tick>,
}

impl Spool {
    fn sample(&mut self, tick: Tick) {
        if let Some(last) = self.last
            && let Some(missed) = TickRange::new(last.next(), Tick(tick.0 - 1))
        {
            self.seal();
            self.gaps.push((missed, GapReason::AgentDown));
        }
        self.first = self.first.or(Some(tick));
        self.last = Some(tick);
        self.pending.push(tick);
        if self.pending.len() == 10 {
            self.seal();
        }
    }

    fn seal(&mut self) {
        let Some(first) = self.pending.first().copied() else { return };
        let stamps: Vec<Stamp> = self.pending.drain(..).map(|tick| Stamp { tick, wall_ms: 0 }).collect();
        let set = metric_set(first.0 / 100 % 8).id();
        let header = BatchHeader { boot: BOOT, set, metrics: 1, stamps };
        let matrix = Matrix::new(1, header.stamps.len());
        let ticks = header.range();
        let bytes = encode(&Batch { header, matrix }).expect("a batch");
        self.batches.insert(first, SpooledBatch { boot: BOOT, ticks, set, bytes });
        self.unsent_live.push_back(first);
        while self.batches.len() > SPOOL_BATCHES {
            let (_, evicted) = self.batches.pop_first().expect("more than the limit");
            self.gaps.push((evicted.ticks, GapReason::Evicted));
        }
    }

    fn accounted(&mut self, accounted: &Accounted) {
        let covered = |ticks: TickRange| accounted.ranges.iter().any(|r| r.covers(ticks));
        self.batches.retain(|_, batch| !covered(batch.ticks));
        self.gaps.retain(|(ticks, _)| !covered(*ticks));
    }

    fn account(&self) -> Vec<BootAccount> {
        let range = self.first.zip(self.last).and_then(|(first, last)| TickRange::new(first, last));
        range.map(|ticks| BootAccount { boot: BOOT, ticks }).into_iter().collect()
    }
}

/// The centre: what survives a crash of the aggregator.
#[derive(Default)]
struct Centre {
    stored: TickSet,
    lost: TickSet,
    batches: BTreeSet<Tick>,
    doubled: u64,
    sets: BTreeSet<SetId>,
}

impl Centre {
    fn accounted(&self) -> Vec<TickRange> {
        let all: TickSet = self.stored.iter().chain(self.lost.iter()).collect();
        all.newest(MAX_RANGES)
    }
}

struct Link {
    agent: AgentSession,
    aggregator: AggregatorSession,
    up: BTreeMap<Lane, VecDeque<Vec<u8>>>,
    down: VecDeque<Vec<u8>>,
    /// Batches received and not committed yet; a crash of the aggregator loses them.
    uncommitted: Vec<TickRange>,
}

#[derive(Default)]
struct World {
    spool: Spool,
    centre: Centre,
    link: Option<Link>,
}

impl World {
    fn connect(&mut self, now: Now) {
        let hello = hello(self.spool.account(), now);
        self.link = Some(Link {
            agent: AgentSession::start(speaker(), &hello, now),
            aggregator: AggregatorSession::accept(speaker(), grant()),
            up: BTreeMap::new(),
            down: VecDeque::new(),
            uncommitted: Vec::new(),
        });
    }

    /// The agent does what its driver does: deadlines, live batches, gaps, backlog.
    fn agent(&mut self, now: Now) {
        let Some(link) = &mut self.link else { return };
        let agent = &mut link.agent;
        if agent.deadline().is_some_and(|due| due <= now.mono) {
            agent.on_deadline(Vitals { last_tick: self.spool.last, ..Vitals::default() }, now);
        }
        while let Some(event) = agent.poll_event() {
            match event {
                Event::Accounted(accounted) => self.spool.accounted(&accounted),
                Event::NeedSets(sets) => {
                    for set in (0..8).map(metric_set).filter(|set| sets.contains(&set.id())) {
                        agent.send_metric_set(set.encode(), now);
                    }
                }
                Event::Welcomed(_) => self.spool.unsent_live.clear(),
                Event::Rejected(_, rejected) => panic!("nothing here is to be rejected: {rejected:?}"),
                Event::TrustBundle(_) | Event::Settings(_) => panic!("nobody sent one"),
                Event::Closed(_) => {}
            }
        }
        if agent.is_open() {
            let gaps = self.spool.gaps.iter().take(MAX_GAPS);
            let gaps = gaps.map(|(ticks, reason)| GapRecord { boot: BOOT, ticks: *ticks, reason: *reason }).collect();
            agent.send_gaps(gaps, now);
            while let Some(batch) = self.spool.unsent_live.pop_front().and_then(|t| self.spool.batches.get(&t)) {
                agent.send_batch(Lane::Live, batch.clone(), now);
            }
            for batch in self.spool.batches.values().rev() {
                if agent.backlog_room(now) > 0 && !agent.is_in_flight(BOOT, batch.ticks.first) {
                    agent.send_batch(Lane::Backlog, batch.clone(), now);
                }
            }
        }
        while let Some(Outgoing { lane, bytes }) = agent.poll_output() {
            link.up.entry(lane).or_default().push_back(bytes);
        }
        if agent.is_closed() {
            self.link = None;
        }
    }

    /// Delivers one frame of one lane each way.
    fn deliver(&mut self, lane: Lane, now: Now) {
        let Some(link) = &mut self.link else { return };
        if let Some(bytes) = link.up.entry(lane).or_default().pop_front() {
            let frame = Frame::from_bytes(&bytes).expect("the link changes no bytes");
            let incoming = link.aggregator.receive(frame, now).expect("an honest agent");
            self.centre_takes(incoming, now);
        }
        let Some(link) = &mut self.link else { return };
        while let Some(out) = link.aggregator.poll_output() {
            link.down.push_back(out.bytes);
        }
        if let Some(bytes) = link.down.pop_front() {
            link.agent.receive(&Frame::from_bytes(&bytes).expect("the link changes no bytes"), now);
        }
    }

    fn centre_takes(&mut self, incoming: Incoming, now: Now) {
        let Some(link) = &mut self.link else { return };
        match incoming {
            Incoming::Hello(_) => {
                let ranges = self.centre.accounted();
                link.aggregator.welcome(SETTINGS, vec![Accounted { boot: BOOT, ranges }], now);
            }
            Incoming::Telemetry(batch) if !self.centre.sets.contains(&batch.header.set) => {
                link.aggregator.need_set(batch.header.set, now);
            }
            Incoming::Telemetry(batch) => link.uncommitted.push(batch.header.range()),
            Incoming::MetricSet(set) => {
                self.centre.sets.insert(set.id());
            }
            Incoming::Gap(gap) => {
                for record in gap.gaps {
                    for missing in self.centre.stored.missing(record.ticks) {
                        self.centre.lost.insert(missing);
                    }
                }
                link.aggregator.account(BOOT, self.centre.accounted());
            }
            Incoming::Heartbeat(_) => {}
            other => panic!("an honest agent does not send {other:?}"),
        }
    }

    fn commit(&mut self, now: Now) {
        let Some(link) = &mut self.link else { return };
        for ticks in link.uncommitted.drain(..) {
            if self.centre.batches.insert(ticks.first) {
                self.centre.doubled += self.centre.stored.insert(ticks);
                self.centre.lost.remove(ticks);
            }
        }
        link.aggregator.account(BOOT, self.centre.accounted());
        link.aggregator.flush(None, now);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A second passes, this many deliveries in this pattern of lanes.
    Second { deliveries: u8, lanes: u64 },
    /// The aggregator commits what it has.
    Commit,
    /// The connection is cut; the agent reconnects when it gets to.
    Cut,
    /// The agent is killed and stays away for so many seconds.
    Kill { seconds: u8 },
    /// The aggregator is away for so many seconds.
    Outage { seconds: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0u8..12, any::<u64>()).prop_map(|(deliveries, lanes)| Step::Second { deliveries, lanes }),
        6 => Just(Step::Commit),
        2 => Just(Step::Cut),
        1 => (0u8..30).prop_map(|seconds| Step::Kill { seconds }),
        1 => (1u16..500).prop_map(|seconds| Step::Outage { seconds }),
    ]
}

fn lane(pattern: u64, i: u8) -> Lane {
    match pattern >> (u32::from(i) * 2) & 3 {
        0 | 3 => Lane::Control,
        1 => Lane::Live,
        _ => Lane::Backlog,
    }
}

fn run(steps: Vec<Step>) -> World {
    let mut world = World::default();
    let mut second = 1000;
    for step in steps {
        match step {
            Step::Second { deliveries, lanes } => {
                second += 1;
                world.spool.sample(Tick(second));
                if world.link.is_none() {
                    world.connect(now_at(second));
                }
                world.agent(now_at(second));
                for i in 0..deliveries {
                    world.deliver(lane(lanes, i), now_at(second));
                }
            }
            Step::Commit => world.commit(now_at(second)),
            Step::Cut => world.link = None,
            Step::Kill { seconds } => {
                world.link = None;
                world.spool.unsent_live.clear();
                second += u64::from(seconds);
            }
            Step::Outage { seconds } => {
                world.link = None;
                for _ in 0..seconds {
                    second += 1;
                    world.spool.sample(Tick(second));
                }
            }
        }
    }
    // Now nothing goes wrong any more: within bounded time everything has to arrive.
    world.spool.seal();
    for _ in 0..600 {
        if world.spool.batches.is_empty() && world.spool.gaps.is_empty() {
            break;
        }
        second += 1;
        if world.link.is_none() {
            world.connect(now_at(second));
        }
        for round in 0..12 {
            world.agent(now_at(second));
            world.deliver([Lane::Control, Lane::Live, Lane::Backlog][round % 3], now_at(second));
            world.commit(now_at(second));
        }
    }
    world
}

proptest! {
    /// Whatever happens: every tick is stored once or lost with a reason, and the spool ends empty.
    #[test]
    fn every_tick_arrives_once_or_is_accounted_for(steps in proptest::collection::vec(step(), 1..300)) {
        let world = run(steps);
        if let (Some(first), Some(last)) = (world.spool.first, world.spool.last) {
            let all = TickRange::new(first, last).expect("time goes on");
            let accounted: TickSet = world.centre.stored.iter().chain(world.centre.lost.iter()).collect();
            prop_assert_eq!(accounted.missing(all), vec![]);
            prop_assert_eq!(world.centre.stored.len() + world.centre.lost.len(), all.len(), "stored and lost do not overlap");
        }
        prop_assert_eq!(world.centre.doubled, 0);
        prop_assert!(world.spool.batches.is_empty(), "left in the spool: {:?}", world.spool.batches.keys());
        prop_assert!(world.spool.gaps.is_empty());
    }
}

/// An aggregator session that has seen HELLO, and a way to make frames for it.
fn open() -> (AggregatorSession, super::Writer) {
    let mut session = AggregatorSession::accept(speaker(), grant());
    let mut writer = super::Writer::new(speaker());
    let frame = Frame::from_bytes(&writer.message(&hello(vec![], now_at(1)), now_at(1))).expect("a frame");
    assert!(matches!(session.receive(frame, now_at(1)), Ok(Incoming::Hello(_))));
    session.welcome(SETTINGS, vec![], now_at(1));
    (session, writer)
}

/// Two sessions that have greeted each other; nothing is on the way.
fn joined() -> (AggregatorSession, AgentSession) {
    let mut aggregator = AggregatorSession::accept(speaker(), grant());
    let mut agent = AgentSession::start(speaker(), &hello(vec![], now_at(1)), now_at(1));
    let greeting = agent.poll_output().expect("HELLO");
    assert!(aggregator.receive(Frame::from_bytes(&greeting.bytes).expect("a frame"), now_at(1)).is_ok());
    aggregator.welcome(SETTINGS, vec![], now_at(1));
    let answer = aggregator.poll_output().expect("WELCOME");
    agent.receive(&Frame::from_bytes(&answer.bytes).expect("a frame"), now_at(1));
    assert!(agent.is_open());
    while agent.poll_event().is_some() {}
    (aggregator, agent)
}

fn goodbye_frame(writer: &mut super::Writer) -> Frame {
    let bytes = writer.message(&crate::message::Gap { gaps: vec![] }, now_at(2));
    Frame::from_bytes(&bytes).expect("a frame")
}

#[test]
fn what_a_host_may_not_say_is_refused_by_name() {
    let (mut session, mut writer) = open();
    type Change = fn(&mut Frame);
    let cases: [(ErrorCode, Change); 5] = [
        (ErrorCode::TenantMismatch, |f| f.tlvs.tenant = TenantId::new("other").expect("a tenant")),
        (ErrorCode::NotDominated, |f| f.tlvs.classification = Classification::new(9).expect("a level")),
        (ErrorCode::NotCovered, |f| f.tlvs.compartments = Compartments(Compartments::CRYPTO.0)),
        (ErrorCode::NotOfThisHost, |f| f.tlvs.source = DeviceId(5)),
        (ErrorCode::TlvMissing, |f| f.tlvs.sequence = None),
    ];
    for (code, change) in cases {
        let mut frame = goodbye_frame(&mut writer);
        change(&mut frame);
        assert_eq!(session.receive(frame, now_at(2)), Err(Fault { code, disconnect: false }));
    }
    let mut own_device = goodbye_frame(&mut writer);
    own_device.tlvs.source = DeviceId(4);
    assert!(session.receive(own_device, now_at(2)).is_ok());
    let mut kinetic = goodbye_frame(&mut writer);
    kinetic.tlvs.compartments = Compartments::KINETIC;
    let fault = session.receive(kinetic, now_at(2));
    assert_eq!(fault, Err(Fault { code: ErrorCode::KineticRefused, disconnect: true }));
    assert!(session.is_closed());
}

#[test]
fn a_frame_counts_once_and_a_refused_one_does_not_count() {
    let (mut session, mut writer) = open();
    let frame = goodbye_frame(&mut writer);
    let mut refused = frame.clone();
    refused.tlvs.source = DeviceId(5);
    assert!(session.receive(refused, now_at(2)).is_err());
    assert!(session.receive(frame.clone(), now_at(2)).is_ok(), "the refused one did not use up the number");
    assert_eq!(session.receive(frame, now_at(2)), Err(Fault { code: ErrorCode::Replay, disconnect: false }));
}

#[test]
fn a_hundred_faults_in_a_minute_end_the_connection() {
    let (mut session, _) = open();
    let lost = ReadFault { code: ErrorCode::BadCrc, batch: Some(5) };
    for i in 0..99 {
        assert!(matches!(session.receive_fault(lost, now_at(10)), Ok(Incoming::Poison(_))), "{i}");
    }
    let later = session.receive_fault(lost, now_at(100));
    assert!(later.is_ok(), "a minute later the others are forgotten");
    for _ in 0..98 {
        assert!(session.receive_fault(lost, now_at(100)).is_ok());
    }
    let last = session.receive_fault(lost, now_at(100));
    assert_eq!(last, Err(Fault { code: ErrorCode::BadCrc, disconnect: true }));
}

#[test]
fn a_peer_that_sends_too_fast_is_slowed_and_then_thrown_out() {
    let limits = Limits { frames_per_second: 10, frames_burst: 20 };
    let mut session = AggregatorSession::accept(speaker(), grant()).with_limits(limits);
    let mut writer = super::Writer::new(speaker());
    let frame = Frame::from_bytes(&writer.message(&hello(vec![], now_at(1)), now_at(1))).expect("a frame");
    assert!(session.receive(frame, now_at(1)).is_ok());
    session.welcome(SETTINGS, vec![], now_at(1));
    let flood = |session: &mut AggregatorSession, writer: &mut super::Writer| {
        (0..10_000).map(|_| session.receive(goodbye_frame(writer), now_at(2))).find_map(Result::err)
    };
    let slowed = flood(&mut session, &mut writer);
    assert_eq!(slowed, Some(Fault { code: ErrorCode::TooFast, disconnect: false }));
    let damaged = ReadFault { code: ErrorCode::BadCrc, batch: Some(5) };
    let slowed = session.receive_fault(damaged, now_at(2));
    assert_eq!(slowed, Err(Fault { code: ErrorCode::TooFast, disconnect: false }), "damaged frames count as well");
    assert!(session.receive(goodbye_frame(&mut writer), now_at(3)).is_ok(), "it slowed down");
    while flood(&mut session, &mut writer).is_some_and(|fault| !fault.disconnect) {}
    assert!(session.is_closed(), "it did not stop");
}

#[test]
fn an_agent_may_send_as_fast_as_welcome_told_it() {
    let one = Limits { frames_per_second: 1, frames_burst: 1 };
    let mut session = AggregatorSession::accept(speaker(), grant()).with_limits(one);
    let mut writer = super::Writer::new(speaker());
    let frame = Frame::from_bytes(&writer.message(&hello(vec![], now_at(1)), now_at(1))).expect("a frame");
    assert!(session.receive(frame, now_at(1)).is_ok());
    session.welcome(Settings { backlog_bytes_per_second: 10 << 20, ..SETTINGS }, vec![], now_at(1));
    let smallest = goodbye_frame(&mut writer).encode().len();
    for i in 0..(10 << 20) / smallest {
        assert!(session.receive(goodbye_frame(&mut writer), now_at(2)).is_ok(), "frame {i} of a second's worth");
    }
}

#[test]
fn a_trust_bundle_goes_to_the_agent_and_never_back() {
    let (mut session, mut writer) = open();
    let mut agent = AgentSession::start(speaker(), &hello(vec![], now_at(1)), now_at(1));
    assert!(!session.send_bundle(vec![0; MAX_BUNDLE_LEN + 1], now_at(1)), "no agent would take it");
    let bundle = vec![7; MAX_BUNDLE_LEN];
    assert!(session.send_bundle(bundle.clone(), now_at(1)));
    while let Some(out) = session.poll_output() {
        agent.receive(&Frame::from_bytes(&out.bytes).expect("a frame"), now_at(1));
    }
    let got = std::iter::from_fn(|| agent.poll_event()).any(|event| event == Event::TrustBundle(bundle.clone()));
    assert!(got && agent.is_open());
    let back = Frame::from_bytes(&writer.message(&Config::TrustBundle(vec![1]), now_at(2))).expect("a frame");
    assert_eq!(session.receive(back, now_at(2)), Err(Fault { code: ErrorCode::OutOfTurn, disconnect: false }));
    session.goodbye(GoodbyeReason::Stopping, now_at(2));
    assert!(!session.send_bundle(vec![1], now_at(2)));
}

/// An aggregator's session and an agent's that offers these versions; HELLO and WELCOME have passed.
fn met(versions: Vec<u8>) -> (AggregatorSession, AgentSession) {
    let mut aggregator = AggregatorSession::accept(speaker(), grant());
    let hello = Hello { versions, ..hello(vec![], now_at(1)) };
    let mut agent = AgentSession::start(speaker(), &hello, now_at(1));
    let greeting = agent.poll_output().expect("HELLO");
    assert!(aggregator.receive(Frame::from_bytes(&greeting.bytes).expect("a frame"), now_at(1)).is_ok());
    aggregator.welcome(SETTINGS, vec![], now_at(1));
    let answer = aggregator.poll_output().expect("WELCOME");
    agent.receive(&Frame::from_bytes(&answer.bytes).expect("a frame"), now_at(1));
    while agent.poll_event().is_some() {}
    (aggregator, agent)
}

#[test]
fn a_trust_bundle_before_welcome_is_out_of_turn() {
    let mut fresh = AggregatorSession::accept(speaker(), grant());
    assert!(!fresh.send_bundle(vec![1], now_at(1)), "nobody is there yet");
    let mut agent = AgentSession::start(speaker(), &hello(vec![], now_at(1)), now_at(1));
    let early = super::Writer::new(speaker()).message(&Config::TrustBundle(vec![1]), now_at(1));
    agent.receive(&Frame::from_bytes(&early).expect("a frame"), now_at(1));
    assert_eq!(agent.poll_event(), Some(Event::Closed(Closed::Fault(ErrorCode::OutOfTurn))));
}

#[test]
fn the_bundle_held_is_told_in_hello_and_in_every_heartbeat() {
    let hello = Hello { bundle_version: 6, ..hello(vec![], now_at(1)) };
    let mut agent = AgentSession::start(speaker(), &hello, now_at(1));
    agent.heartbeat(Vitals { bundle_version: 7, ..Vitals::default() }, now_at(2));
    let mut session = AggregatorSession::accept(speaker(), grant());
    let mut told = Vec::new();
    while let Some(out) = agent.poll_output() {
        match session.receive(Frame::from_bytes(&out.bytes).expect("a frame"), now_at(2)) {
            Ok(Incoming::Hello(hello)) => told.push(hello.bundle_version),
            Ok(Incoming::Heartbeat(heartbeat)) => told.push(heartbeat.bundle_version),
            other => panic!("an honest agent does not send {other:?}"),
        }
        session.welcome(SETTINGS, vec![], now_at(2));
    }
    assert_eq!(told, [6, 7]);
}

#[test]
fn a_host_cannot_pass_for_another() {
    let faults = [
        (ErrorCode::IdentityMismatch, Hello { host: HostName::new("h2").expect("a name"), ..hello(vec![], now_at(1)) }),
        (ErrorCode::NotOfThisHost, Hello { devices: vec![DeviceId(9)], ..hello(vec![], now_at(1)) }),
        (ErrorCode::NoCommonVersion, Hello { versions: vec![9], ..hello(vec![], now_at(1)) }),
    ];
    for (code, hello) in faults {
        let mut session = AggregatorSession::accept(speaker(), grant());
        let bytes = super::Writer::new(speaker()).message(&hello, now_at(1));
        let fault = session.receive(Frame::from_bytes(&bytes).expect("a frame"), now_at(1));
        assert_eq!(fault, Err(Fault { code, disconnect: true }));
    }
}

#[test]
fn a_batch_that_does_not_decode_is_rejected_and_the_next_one_flows() {
    let (mut session, mut writer) = open();
    let bytes = writer.frame(MessageType::Telemetry, Flags::REQUIRE_ACK, 77, vec![0xFF; 50], now_at(2));
    let incoming = session.receive(Frame::from_bytes(&bytes).expect("a frame"), now_at(2));
    assert!(matches!(incoming, Ok(Incoming::Poison(r)) if r.first == Tick(77)));
    assert!(session.receive(goodbye_frame(&mut writer), now_at(2)).is_ok());
}

/// A batch of one tick.
fn batch_of(boot: BootId, tick: u64) -> SpooledBatch {
    let stamps = vec![Stamp { tick: Tick(tick), wall_ms: 0 }];
    let header = BatchHeader { boot, set: metric_set(0).id(), metrics: 1, stamps };
    let (ticks, set, matrix) = (header.range(), header.set, Matrix::new(1, 1));
    SpooledBatch { boot, ticks, set, bytes: encode(&Batch { header, matrix }).expect("a batch") }
}

#[test]
fn a_batch_under_another_number_than_its_own_is_rejected_by_that_number() {
    let (mut session, mut writer) = open();
    let bytes = writer.frame(MessageType::Telemetry, Flags::REQUIRE_ACK, 8, batch_of(BOOT, 7).bytes, now_at(2));
    let incoming = session.receive(Frame::from_bytes(&bytes).expect("a frame"), now_at(2));
    assert!(matches!(incoming, Ok(Incoming::Poison(r)) if r.first == Tick(8)), "{incoming:?}");
}

#[test]
fn a_batch_of_an_earlier_boot_that_cannot_be_read_is_rejected_as_that_and_as_no_other() {
    let (mut aggregator, mut agent) = joined();
    let earlier = SpooledBatch { bytes: vec![0xFF; 50], ..batch_of(BootId([9; 16]), 7) };
    agent.send_batch(Lane::Backlog, earlier, now_at(2));
    agent.send_batch(Lane::Live, batch_of(BOOT, 7), now_at(2));
    let sent: Vec<Outgoing> = std::iter::from_fn(|| agent.poll_output()).collect();
    assert_eq!(sent.len(), 1, "a number is in flight once");
    assert!(!agent.is_in_flight(BOOT, Tick(7)) && agent.is_number_in_flight(Tick(7)));
    let incoming = aggregator.receive(Frame::from_bytes(&sent[0].bytes).expect("a frame"), now_at(2));
    assert!(matches!(incoming, Ok(Incoming::Poison(_))));
    aggregator.flush(None, now_at(2));
    let told = aggregator.poll_output().expect("an ACK");
    agent.receive(&Frame::from_bytes(&told.bytes).expect("a frame"), now_at(2));
    let rejected = std::iter::from_fn(|| agent.poll_event()).find_map(|event| match event {
        Event::Rejected(boot, rejected) => Some((boot, rejected.first)),
        _ => None,
    });
    assert_eq!(rejected, Some((BootId([9; 16]), Tick(7))));
    agent.send_batch(Lane::Live, batch_of(BOOT, 7), now_at(2));
    assert!(agent.is_in_flight(BOOT, Tick(7)), "now it is the other's turn");
}

#[test]
fn a_goodbye_that_cannot_be_read_is_a_fault_and_ends_nothing() {
    for kind in [MessageType::Goodbye, MessageType::Error] {
        let (mut session, mut writer) = open();
        let bytes = writer.frame(kind, Flags::NONE, 0, vec![0xFF; 9], now_at(2));
        let judged = session.receive(Frame::from_bytes(&bytes).expect("a frame"), now_at(2));
        assert_eq!(judged, Err(Fault { code: ErrorCode::PayloadMalformed, disconnect: false }));
        assert!(!session.is_closed());
    }
}

#[test]
fn what_is_rejected_before_the_agent_was_taken_in_does_not_pile_up() {
    let mut session = AggregatorSession::accept(speaker(), grant());
    let rejected = |first| crate::message::Rejected { first: Tick(first), code: 27 };
    let reject = |session: &mut AggregatorSession| (0..200).for_each(|i| session.reject(BOOT, rejected(i), now_at(1)));
    reject(&mut session);
    let mut agent = AgentSession::start(speaker(), &hello(vec![], now_at(1)), now_at(1));
    let greeting = agent.poll_output().expect("HELLO");
    assert!(session.receive(Frame::from_bytes(&greeting.bytes).expect("a frame"), now_at(1)).is_ok());
    session.welcome(SETTINGS, vec![], now_at(1));
    reject(&mut session);
    session.flush(None, now_at(1));
    while let Some(out) = session.poll_output() {
        agent.receive(&Frame::from_bytes(&out.bytes).expect("a frame"), now_at(1));
    }
    assert!(agent.is_open(), "every ACK keeps its bounds");
}

#[test]
fn a_silent_aggregator_is_given_up_before_and_after_welcome() {
    let mut session = AgentSession::start(speaker(), &hello(vec![], now_at(1)), now_at(1));
    let due = session.deadline().expect("a greeting has an end");
    session.on_deadline(Vitals::default(), Now { mono: due, ..now_at(1) });
    assert!(session.is_closed());
    assert_eq!(session.deadline(), None);
}

#[test]
fn goodbye_ends_both_sides() {
    let (mut session, _) = open();
    session.goodbye(GoodbyeReason::Stopping, now_at(3));
    let mut agent = AgentSession::start(speaker(), &hello(vec![], now_at(1)), now_at(1));
    while let Some(out) = session.poll_output() {
        agent.receive(&Frame::from_bytes(&out.bytes).expect("a frame"), now_at(3));
    }
    assert!(session.is_closed() && agent.is_closed());
}
