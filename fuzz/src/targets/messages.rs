//! The payloads of control messages.

use super::{Target, choose};
use crate::memory;
use dsmil_protocol::health::{Health, RefusedSettings};
use dsmil_protocol::ids::{BootId, DeviceId, HostName, Tick, TickRange};
use dsmil_protocol::message::{
    Accounted, Ack, BootAccount, Config, Echo, Exchange, Gap, GapReason, GapRecord, Goodbye, GoodbyeReason, Heartbeat,
    Hello, HostTimes, Message, NeedMetricSet, Refusal, Rejected, Settings, Welcome,
};
use dsmil_protocol::metric::SetId;
use std::fmt::Debug;

pub(super) const TARGET: Target = Target {
    name: "messages",
    what: "the payloads of control messages",
    run,
    seeds,
    dictionary: &[b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x80\x00", b"\x02h1"],
    max_len: 4096,
};

/// How often its own length a message may be in memory: an address of one byte is a text of 24, and lists grow by
/// doubling.
const SWELL: usize = 64;

/// The first byte says which message.
fn run(input: &[u8]) {
    let (kind, payload) = choose(input, 10);
    match kind {
        0 => one::<Hello>(payload),
        1 => one::<Welcome>(payload),
        2 => one::<Heartbeat>(payload),
        3 => one::<Ack>(payload),
        4 => one::<Config>(payload),
        5 => one::<Goodbye>(payload),
        6 => one::<Gap>(payload),
        7 => one::<NeedMetricSet>(payload),
        9 => one::<Health>(payload),
        _ => one::<Refusal>(payload),
    }
}

fn one<M: Message + PartialEq + Debug>(payload: &[u8]) {
    let Ok(message) = memory::within(SWELL * payload.len() + 1024, || M::decode(payload)) else { return };
    assert!(message.is_bounded(), "what is read keeps its bounds");
    let again = message.encode();
    assert!(again.len() <= payload.len(), "the form that is sent is the shortest");
    assert!(again.len() <= M::TYPE.max_payload(), "it fits its frame");
    assert_eq!(M::decode(&again).as_ref(), Ok(&message), "it reads back");
}

fn seeds() -> Vec<Vec<u8>> {
    let boot = BootId([7; 16]);
    let ticks = |first, last| TickRange { first: Tick(first), last: Tick(last) };
    let times = HostTimes { boot_ns: 1_000_000_000, wall_ns: -1 };
    let accounted = vec![Accounted { boot, ranges: vec![ticks(1000, 2000), ticks(1, 5)] }];
    let hello = Hello {
        versions: vec![1],
        host: HostName::new("h1").expect("a name"),
        boot,
        devices: vec![DeviceId(47)],
        agent_version: "0.1.0".into(),
        accounts: vec![BootAccount { boot, ticks: ticks(3, 900) }],
        bundle_version: 300,
        times,
    };
    let settings = Settings {
        heartbeat_ms: 2000,
        window_batches: 64,
        backlog_bytes_per_second: 1 << 20,
        reconnect_window_ms: 10_000,
    };
    let welcome = Welcome {
        version: 1,
        settings,
        accounted: accounted.clone(),
        hello_boot_ns: 5,
        received_wall_ns: 6,
        answered_wall_ns: 7,
    };
    let exchange = Exchange { sent_boot_ns: 1, received_wall_ns: 2, answered_wall_ns: 3, returned_boot_ns: 4 };
    let heartbeat = Heartbeat {
        last_tick: Some(Tick(9)),
        waiting_ticks: 10,
        spool_bytes: 1 << 20,
        spool_capacity: 64 << 20,
        bundle_version: 3,
        times,
        exchange: Some(exchange),
    };
    let rejected = vec![(boot, Rejected { first: Tick(6), code: 6 })];
    let echo = Some(Echo { heartbeat_boot_ns: 5, received_wall_ns: 6, answered_wall_ns: 7 });
    let gaps =
        [GapReason::Evicted, GapReason::Rejected(27)].map(|reason| GapRecord { boot, ticks: ticks(1, 2), reason });
    let refused = Some(RefusedSettings { version: 300, fault: 2, detail: "x".into() });
    let health = Health { in_force: 7, on_trial: 300, refused, unknown_sensors: vec!["gpu".into()] };
    let all = [
        hello.encode(),
        welcome.encode(),
        heartbeat.encode(),
        Ack { accounted, rejected, echo }.encode(),
        Config::TrustBundle(vec![7; 30]).encode(),
        Goodbye { reason: GoodbyeReason::Replaced }.encode(),
        Gap { gaps: gaps.to_vec() }.encode(),
        NeedMetricSet { sets: vec![SetId([3; 16])] }.encode(),
        Refusal { code: 1, detail: "x".into() }.encode(),
        health.encode(),
    ];
    (0..).zip(all).map(|(kind, payload)| [&[kind], &payload[..]].concat()).collect()
}
