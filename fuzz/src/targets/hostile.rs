//! Each session against a peer that says anything whatever, in any order.

use super::Target;
use super::session::{grant, speaker};
use arbitrary::{Result, Unstructured};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::frame::{Flags, Frame, MessageType};
use dsmil_protocol::ids::{BootId, DeviceId, TenantId, Tick, TickRange};
use dsmil_protocol::message::{
    Accounted, GapReason, GapRecord, GoodbyeReason, Hello, HostTimes, MAX_BOOTS, MAX_RANGES, MAX_REJECTED, Message,
    Rejected, Settings,
};
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_protocol::reader::ReadFault;
use dsmil_protocol::session::agent::{AgentSession, Event, SpooledBatch, Vitals};
use dsmil_protocol::session::aggregator::{AggregatorSession, Incoming};
use dsmil_protocol::session::{Lane, Limits, Now, Outgoing};
use dsmil_protocol::tlv::{Classification, Compartments, TlvType, Tlvs};
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) const TARGET: Target = Target {
    name: "hostile",
    what: "either session against a peer that says anything in any order",
    run,
    seeds,
    dictionary: &[b"\x02h1", b"\x10\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"],
    max_len: 2048,
};

const MAX_STEPS: usize = 200;
/// Frames that one call may make a session say: an acknowledgement that was full, the next one, a refusal.
const MAX_ANSWERS: usize = 3;
const BOOT: BootId = BootId([1; 16]);

fn run(input: &[u8]) {
    let mut source = Unstructured::new(input);
    // An input that ends early has said what it had to say.
    let _ = if source.arbitrary().unwrap_or(false) { aggregator(&mut source) } else { agent(&mut source) };
}

/// The aggregator's side: what it lets through was allowed, and each number counted once.
fn aggregator(source: &mut Unstructured<'_>) -> Result<()> {
    let limits =
        Limits { frames_per_second: source.int_in_range(0..=50)?, frames_burst: source.int_in_range(0..=200)? };
    let mut session = AggregatorSession::accept(speaker(), grant()).with_limits(limits);
    let (mut now, mut accepted) = (Now { mono: Duration::from_secs(1), ..Now::default() }, BTreeSet::new());
    for _ in 0..MAX_STEPS {
        if session.is_closed() || source.is_empty() {
            break;
        }
        match source.int_in_range(0..=12u8)? {
            0..=5 => {
                let frame = frame(source)?;
                let (tlvs, kind) = (frame.tlvs.clone(), frame.kind);
                match session.receive(frame, now) {
                    Ok(incoming) => {
                        allowed(&tlvs, kind, &incoming);
                        assert!(accepted.insert(tlvs.sequence), "a number that counted before");
                    }
                    Err(fault) => assert_eq!(fault.disconnect, session.is_closed()),
                }
            }
            6 => {
                let code = *source.choose(ErrorCode::ALL)?;
                let _ = session.receive_fault(ReadFault { code, batch: source.arbitrary()? }, now);
            }
            7 => session.welcome(settings(source)?, vec![Accounted { boot: BOOT, ranges: ranges(source)? }; 3], now),
            8 => session.account(boot(source)?, ranges(source)?),
            9 => session.reject(boot(source)?, Rejected { first: Tick(source.arbitrary()?), code: 27 }, now),
            10 => session.need_set(SetId(source.arbitrary()?), now),
            11 => drop(session.watch(source.arbitrary()?, now)),
            _ => pass(source, &mut now)?,
        }
        let said = collect(std::iter::from_fn(|| session.poll_output()));
        assert!(said <= MAX_ANSWERS, "{said} frames in answer to one");
    }
    session.goodbye(GoodbyeReason::Stopping, now);
    assert!(session.is_closed());
    Ok(())
}

/// Whatever came through was this host's to say.
fn allowed(tlvs: &Tlvs, kind: MessageType, incoming: &Incoming) {
    assert!(!tlvs.compartments.is_kinetic() && tlvs.tenant == speaker().tenant);
    assert!(grant().clearance.dominates(tlvs.classification) && grant().compartments.covers(tlvs.compartments));
    assert!(tlvs.source == DeviceId::HOST || grant().devices.contains(&tlvs.source));
    let of_its_kind = match incoming {
        Incoming::Hello(hello) => kind == MessageType::Hello && hello.host == grant().host,
        Incoming::Heartbeat(_) => kind == MessageType::Heartbeat,
        Incoming::Health(health) => kind == MessageType::Health && health.is_bounded(),
        Incoming::Telemetry(_) | Incoming::Poison(_) => kind == MessageType::Telemetry,
        Incoming::Live(live) => kind == MessageType::Live && live.header.stamps.len() == 1,
        Incoming::Gap(gap) => kind == MessageType::Gap && gap.is_bounded(),
        Incoming::MetricSet(_) => kind == MessageType::MetricSet,
        Incoming::Goodbye(_) => kind == MessageType::Goodbye,
        Incoming::Refusal(_) => kind == MessageType::Error,
    };
    assert!(of_its_kind, "{kind:?} was taken for {incoming:?}");
}

/// The agent's side: it neither spins nor floods, and keeps within what sense it can make of its settings.
fn agent(source: &mut Unstructured<'_>) -> Result<()> {
    let mut now = Now { mono: Duration::from_secs(1), boot_ns: 1_000_000_000, wall_ns: source.arbitrary()? };
    let mut session = AgentSession::start(speaker(), &hello(now), now);
    assert_eq!(collect(std::iter::from_fn(|| session.poll_output())), 1, "HELLO");
    for _ in 0..MAX_STEPS {
        if source.is_empty() {
            break;
        }
        let mut most = MAX_ANSWERS;
        match source.int_in_range(0..=9u8)? {
            0..=5 => session.receive(&frame(source)?, now),
            6 => {
                pass(source, &mut now)?;
                if session.deadline().is_some_and(|due| due <= now.mono) {
                    session
                        .on_deadline(Vitals { last_tick: Some(Tick(source.arbitrary()?)), ..Vitals::default() }, now);
                    assert!(session.deadline().is_none_or(|due| due > now.mono), "a deadline that was met is over");
                }
            }
            7 => most = send(&mut session, source, now)?,
            8 if session.is_watched(now) => drop(session.send_live(range(source)?.first, &set(), vec![0; 9], now)),
            8 => session.send_metric_set(source.bytes(source.len().min(9))?.to_vec(), now),
            _ if source.ratio(1, 16)? => session.goodbye(GoodbyeReason::Stopping, now),
            _ if session.is_open() => session.heartbeat(Vitals::default(), now),
            _ => {}
        }
        let said = collect(std::iter::from_fn(|| session.poll_output()));
        assert!(said <= most, "{said} frames at once");
        let events: Vec<Event> = std::iter::from_fn(|| session.poll_event()).collect();
        assert!(events.len() <= 2 + MAX_BOOTS + MAX_REJECTED, "{} events at once", events.len());
        check(&events, &session);
        if session.is_closed() {
            silent(&mut session, now);
        }
    }
    Ok(())
}

fn send(session: &mut AgentSession, source: &mut Unstructured<'_>, now: Now) -> Result<usize> {
    let ticks = range(source)?;
    if source.arbitrary()? {
        session.send_gaps(vec![GapRecord { boot: boot(source)?, ticks, reason: GapReason::Evicted }], now);
        return Ok(1);
    }
    let room = session.backlog_room(now);
    assert!(room <= 1024, "a window that nobody bounded");
    let lane = if room > 0 { Lane::Backlog } else { Lane::Live };
    let bytes = vec![0; source.arbitrary::<u8>()?.into()];
    session.send_batch(lane, SpooledBatch { boot: boot(source)?, ticks, set: SetId([5; 16]), bytes }, now);
    Ok(1)
}

fn check(events: &[Event], session: &AgentSession) {
    for event in events {
        match event {
            Event::Welcomed(welcome) => {
                let settings = welcome.settings;
                assert!((100..=60_000).contains(&settings.heartbeat_ms) && settings.backlog_bytes_per_second >= 1024);
                assert!((1..=1024).contains(&settings.window_batches) && welcome.is_bounded());
            }
            Event::Accounted(accounted) => {
                assert!(accounted.ranges.len() <= MAX_RANGES && accounted.ranges.iter().all(|r| r.first <= r.last));
            }
            Event::Closed(_) => assert!(session.is_closed()),
            Event::Rejected(..) | Event::NeedSets(_) | Event::TrustBundle(_) | Event::Settings(_) => {}
        }
    }
    if let Some(epoch) = session.epoch() {
        assert!(epoch.uncertainty_ns >= 0, "{epoch:?}");
    }
}

/// A session that is over says nothing more and wants nothing more.
fn silent(session: &mut AgentSession, now: Now) {
    assert_eq!(session.deadline(), None);
    assert_eq!(session.backlog_room(now), 0);
    session.goodbye(GoodbyeReason::Stopping, now);
    session.on_deadline(Vitals::default(), now);
    assert!(session.poll_output().is_none() && session.poll_event().is_none());
}

/// How many frames there are, each sound.
fn collect(outputs: impl Iterator<Item = Outgoing>) -> usize {
    let sound = |out: Outgoing| assert!(Frame::from_bytes(&out.bytes).is_ok(), "what is said is sound");
    outputs.map(sound).count()
}

fn pass(source: &mut Unstructured<'_>, now: &mut Now) -> Result<()> {
    let ms: u16 = source.arbitrary()?;
    now.mono += Duration::from_millis(ms.into());
    now.boot_ns += u64::from(ms) * 1_000_000;
    now.wall_ns =
        if source.ratio(1, 8)? { source.arbitrary()? } else { now.wall_ns.wrapping_add(i64::from(ms) * 1_000_000) };
    Ok(())
}

fn boot(source: &mut Unstructured<'_>) -> Result<BootId> {
    Ok(BootId([source.int_in_range(0..=11)?; 16]))
}

fn range(source: &mut Unstructured<'_>) -> Result<TickRange> {
    let first = source.arbitrary::<u64>()? >> source.int_in_range(0..=63)?;
    Ok(TickRange { first: Tick(first), last: Tick(first.saturating_add(source.arbitrary::<u8>()?.into())) })
}

fn ranges(source: &mut Unstructured<'_>) -> Result<Vec<TickRange>> {
    (0..source.int_in_range(0..=3)?).map(|_| range(source)).collect()
}

fn set() -> MetricSet {
    MetricSet::new(Vec::new()).expect("one of nothing")
}

fn settings(source: &mut Unstructured<'_>) -> Result<Settings> {
    Ok(Settings {
        heartbeat_ms: source.arbitrary()?,
        window_batches: source.arbitrary()?,
        backlog_bytes_per_second: source.arbitrary()?,
        reconnect_window_ms: source.arbitrary()?,
    })
}

fn hello(now: Now) -> Hello {
    Hello {
        versions: vec![3, 2, 1],
        host: grant().host,
        boot: BOOT,
        devices: vec![DeviceId(4)],
        agent_version: "test".into(),
        accounts: Vec::new(),
        bundle_version: 1,
        times: HostTimes { boot_ns: now.boot_ns, wall_ns: now.wall_ns },
    }
}

/// A frame that is sound as such, mostly of this tenant, with any content.
fn frame(source: &mut Unstructured<'_>) -> Result<Frame> {
    let odd = source.ratio(1, 6)?;
    let tlvs = Tlvs {
        tenant: if odd && source.arbitrary()? { TenantId::new("other").expect("a name") } else { speaker().tenant },
        compartments: if odd { Compartments(source.arbitrary::<u8>()?.into()) } else { Compartments::SOC },
        classification: Classification::new(if odd { source.arbitrary()? } else { 0 }).unwrap_or_default(),
        source: if odd { DeviceId(source.int_in_range(0..=8)?) } else { DeviceId::HOST },
        timestamp_ns: 0,
        sequence: if odd && source.arbitrary()? { None } else { Some(source.arbitrary::<u16>()?.into()) },
        destination: None,
        other: if odd { vec![(TlvType::LayerPath, vec![2])] } else { Vec::new() },
    };
    let kind = *source.choose(MessageType::ALL)?;
    let len = source.int_in_range(0..=120usize)?.min(source.len());
    let payload = match kind {
        MessageType::Hello if source.ratio(3, 4)? => hello(Now::default()).encode(),
        _ => source.bytes(len)?.to_vec(),
    };
    Ok(Frame { kind, flags: Flags::NONE, correlation: source.arbitrary::<u16>()?.into(), tlvs, payload })
}

fn seeds() -> Vec<Vec<u8>> {
    (1..24usize).map(|step| (0..500usize).map(|i| (i * step).to_le_bytes()[0]).collect()).collect()
}
