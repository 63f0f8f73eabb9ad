//! The fleet link's other end on loopback: takes agents in, or turns them away, as a test wants it.

use super::{Fleet, host, settings};
use dsmil_authority::Fingerprint;
use dsmil_crypto::identity::Identity;
use dsmil_crypto::policy::{KeyExchange, Link, Peer, SessionCache};
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_crypto::trust::Trust;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::message::{GoodbyeReason, Settings};
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::aggregator::{AggregatorSession, Grant, Incoming};
use dsmil_protocol::session::{Now, Speaker};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of an agent that has said HELLO.
#[derive(Clone, Debug)]
pub(crate) enum Reaction {
    Welcome,
    Refuse(ErrorCode),
    /// Taken in, but not with this key.
    NotWith(Fingerprint),
    /// Taken in, and thrown out at once.
    ThrowOut,
    /// Taken in, and sent this trust bundle.
    Bundle(Vec<u8>),
}

/// What an agent said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Hello { key: Fingerprint, bundle_version: u64 },
    Heartbeat { bundle_version: u64 },
}

/// A listening aggregator, there until it is dropped.
pub(crate) struct LinkServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    supervisor: Supervisor,
}

struct Shared {
    /// Handshakes begun, whatever became of them.
    calls: AtomicUsize,
    said: Mutex<Vec<Said>>,
    reaction: Mutex<Reaction>,
    clock: Clock,
}

impl LinkServer {
    /// The aggregator with this identity, at `now_s` for ever.
    pub(crate) fn start(identity: Identity, trust: Trust, now_s: i64) -> Self {
        let time = TimeSource::new(move || now_s);
        let link = Link { identity, trust, key_exchange: KeyExchange::default(), time };
        let keys = EndpointKeys::random();
        let config = link.server(&keys, &SessionCache::new(8)).expect("a configuration");
        let socket = endpoint((Ipv4Addr::LOCALHOST, 0).into(), Some(config), &keys).expect("a socket");
        let address = socket.local_addr().expect("an address");
        let (said, reaction) = (Mutex::default(), Mutex::new(Reaction::Welcome));
        let shared = Arc::new(Shared { calls: AtomicUsize::new(0), said, reaction, clock: Clock::real() });
        let supervisor = Supervisor::new(Clock::real());
        supervisor.spawn("link-server", OnFailure::Note, serve(socket, shared.clone(), supervisor.clone()));
        Self { shared, address, supervisor }
    }

    /// One of `fleet` at `now_s`, whose bundle has `version`.
    pub(crate) fn of(fleet: &Fleet, now_s: i64, version: u64) -> Self {
        let trust = Trust::own(&fleet.bundle_of(version, now_s)).expect("a bundle");
        Self::start(fleet.aggregator(now_s), trust, now_s)
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn react(&self, reaction: Reaction) {
        *self.shared.reaction.lock().expect("no test panics with it") = reaction;
    }

    pub(crate) fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn said(&self) -> Vec<Said> {
        self.shared.said.lock().expect("no test panics with it").clone()
    }

    pub(crate) fn hellos(&self) -> Vec<Said> {
        self.said().into_iter().filter(|said| matches!(said, Said::Hello { .. })).collect()
    }
}

impl Drop for LinkServer {
    fn drop(&mut self) {
        self.supervisor.request_stop();
    }
}

async fn serve(socket: quinn::Endpoint, shared: Arc<Shared>, supervisor: Supervisor) -> Result<(), Infallible> {
    let stop = supervisor.stop();
    loop {
        let incoming = tokio::select! {
            incoming = socket.accept() => incoming,
            () = stop.requested() => None,
        };
        let Some(incoming) = incoming else { break };
        shared.calls.fetch_add(1, Ordering::Relaxed);
        let shared = shared.clone();
        supervisor.spawn("link-connection", OnFailure::Note, async move {
            let connection = incoming.await?;
            // Ends with the connection.
            let _ = talk(&connection, &shared).await;
            Ok::<(), quinn::ConnectionError>(())
        });
    }
    socket.close(quinn::VarInt::from_u32(0), b"");
    Ok(())
}

async fn talk(connection: &quinn::Connection, shared: &Shared) -> Option<()> {
    let key = Peer::of_connection(connection).ok()?.key;
    let (mut send, mut receive) = connection.accept_bi().await.ok()?;
    let (mut session, mut reader) = (session(), FrameReader::new());
    loop {
        while let Some(out) = session.poll_output() {
            send.write_all(&out.bytes).await.ok()?;
        }
        if session.is_closed() {
            send.finish().ok()?;
            connection.closed().await;
            return None;
        }
        let chunk = receive.read_chunk(16 << 10, true).await.ok()??;
        reader.extend(&chunk.bytes);
        while let Some(frame) = reader.next_frame().ok()? {
            let now = now(&shared.clock);
            let said = match session.receive(frame, now).ok()? {
                Incoming::Hello(hello) => {
                    let reaction = shared.reaction.lock().expect("no test panics with it").clone();
                    react(&mut session, reaction, key, now);
                    Said::Hello { key, bundle_version: hello.bundle_version }
                }
                Incoming::Heartbeat(heartbeat) => Said::Heartbeat { bundle_version: heartbeat.bundle_version },
                _ => continue,
            };
            shared.said.lock().expect("no test panics with it").push(said);
        }
    }
}

fn session() -> AggregatorSession {
    let settings = settings("h1", vec![]);
    let (compartments, classification) = (settings.compartments, settings.classification);
    let grant = Grant {
        host: host("h1"),
        devices: settings.devices.into_iter().collect(),
        clearance: classification,
        compartments,
    };
    AggregatorSession::accept(Speaker { tenant: settings.tenant, compartments, classification }, grant)
}

fn react(session: &mut AggregatorSession, reaction: Reaction, key: Fingerprint, now: Now) {
    let settings =
        Settings { heartbeat_ms: 100, window_batches: 4, backlog_bytes_per_second: 1 << 20, reconnect_window_ms: 1 };
    match reaction {
        Reaction::NotWith(old) if old == key => session.refuse(ErrorCode::KeyNotEnrolled, "", now),
        Reaction::Welcome | Reaction::NotWith(_) => session.welcome(settings, vec![], now),
        Reaction::Refuse(code) => session.refuse(code, "as the test wants it", now),
        Reaction::ThrowOut => {
            session.welcome(settings, vec![], now);
            session.goodbye(GoodbyeReason::Refused, now);
        }
        Reaction::Bundle(bundle) => {
            session.welcome(settings, vec![], now);
            session.send_bundle(bundle, now);
        }
    }
}

fn now(clock: &Clock) -> Now {
    let boot_ns = u64::try_from(clock.boot().as_nanos()).unwrap_or(u64::MAX);
    Now { mono: clock.mono(), boot_ns, wall_ns: clock.wall_ns() }
}
