//! HELLO and WELCOME by our own sessions, over whatever stream a foreign transport gives.

use crate::fleet::{HOST, TENANT};
use dsmil_protocol::frame::Frame;
use dsmil_protocol::ids::{BootId, HostName, TenantId};
use dsmil_protocol::message::{Hello, HostTimes, Settings, Welcome};
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::agent::{AgentSession, Event};
use dsmil_protocol::session::aggregator::{AggregatorSession, Grant, Incoming};
use dsmil_protocol::session::{Now, Outgoing, Speaker};
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::clock::Clock;
use std::collections::BTreeSet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Asked for by the aggregator of these tests and by nobody's default, so that it must have come over the wire.
pub(crate) const HEARTBEAT_MS: u32 = 1_717;

/// Says HELLO as the host and waits for WELCOME.
pub(crate) async fn greet(mut read: impl AsyncRead + Unpin, mut write: impl AsyncWrite + Unpin) -> Welcome {
    let clock = Clock::real();
    let hello = Hello {
        versions: vec![1],
        host: HostName::new(HOST).expect("a name"),
        boot: BootId([9; 16]),
        devices: vec![],
        agent_version: "test".into(),
        accounts: vec![],
        bundle_version: 1,
        times: HostTimes { boot_ns: 1_000_000_000, wall_ns: clock.wall_ns() },
    };
    let mut session = AgentSession::start(speaker(), &hello, now(&clock));
    let mut frames = FrameReader::new();
    loop {
        send(std::iter::from_fn(|| session.poll_output()), &mut write).await;
        let frame = next(&mut frames, &mut read).await;
        session.receive(&frame, now(&clock));
        match session.poll_event() {
            Some(Event::Welcomed(welcome)) => return *welcome,
            Some(other) => panic!("no welcome: {other:?}"),
            None => {}
        }
    }
}

/// Waits for HELLO as the aggregator and answers it with WELCOME.
pub(crate) async fn welcome(mut read: impl AsyncRead + Unpin, mut write: impl AsyncWrite + Unpin) -> Hello {
    let clock = Clock::real();
    let grant = Grant {
        host: HostName::new(HOST).expect("a name"),
        devices: BTreeSet::new(),
        clearance: Classification::UNCLASS,
        compartments: Compartments::SOC,
    };
    let mut session = AggregatorSession::accept(speaker(), grant);
    let frame = next(&mut FrameReader::new(), &mut read).await;
    let hello = match session.receive(frame, now(&clock)) {
        Ok(Incoming::Hello(hello)) => hello,
        other => panic!("no hello: {other:?}"),
    };
    let settings = Settings {
        heartbeat_ms: HEARTBEAT_MS,
        window_batches: 8,
        backlog_bytes_per_second: 1 << 20,
        reconnect_window_ms: 1_000,
    };
    session.welcome(settings, vec![], now(&clock));
    send(std::iter::from_fn(|| session.poll_output()), &mut write).await;
    hello
}

async fn send(output: impl Iterator<Item = Outgoing>, write: &mut (impl AsyncWrite + Unpin)) {
    for out in output {
        write.write_all(&out.bytes).await.expect("written");
    }
    write.flush().await.expect("flushed");
}

async fn next(frames: &mut FrameReader, read: &mut (impl AsyncRead + Unpin)) -> Frame {
    let mut bytes = [0; 4096];
    loop {
        if let Some(frame) = frames.next_frame().expect("sound frames") {
            return frame;
        }
        let len = read.read(&mut bytes).await.expect("the stream goes on");
        assert!(len > 0, "the stream ended before a frame did");
        frames.extend(&bytes[..len]);
    }
}

fn speaker() -> Speaker {
    let tenant = TenantId::new(TENANT).expect("a tenant");
    Speaker { tenant, compartments: Compartments::SOC, classification: Classification::UNCLASS }
}

fn now(clock: &Clock) -> Now {
    Now { mono: clock.mono(), boot_ns: 1_000_000_000, wall_ns: clock.wall_ns() }
}
