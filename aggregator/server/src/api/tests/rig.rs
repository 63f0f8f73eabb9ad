//! A small fleet's data behind a real listener, and clients for it.

use super::fleet;
use crate::admission::{Admission, AdmissionSection};
use crate::api::listen::Server;
use crate::api::{ApiContext, ApiStats, Tokens, serve};
use crate::fleet::{Fleet, FleetHandle};
use crate::live::{Latest, Link, Live, Patience};
use crate::registry::Registry;
use crate::telemetry::Telemetry;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use dsmil_crypto::https::{HttpsServer, https_client};
use dsmil_crypto::issue::HttpsRoot;
use dsmil_crypto::policy::KeyExchange;
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::token::ApiToken;
use dsmil_protocol::batch::{Batch, BatchHeader, Matrix, Stamp, encode};
use dsmil_protocol::clock::BootEpoch;
use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick, TickRange};
use dsmil_protocol::message::{Heartbeat, HostTimes, Settings};
use dsmil_protocol::metric::{Kind, Metric, MetricSet, Repr, Scale};
use dsmil_protocol::tlv::Classification;
use dsmil_runtime::clock::{Clock, ManualClock};
use dsmil_runtime::supervise::{Drained, Supervisor};
use dsmil_store::ledger::LossReason;
use dsmil_store::warm::WarmConfig;
use dsmil_store::{BatchRecord, Store, StoreConfig, StreamKey};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// 2023-11-14T22:13:20Z: when this program started, and when host h1 booted for the first time. Unix ms.
pub(super) const T0: i64 = 1_700_000_000_000;
/// When everything is asked: 140 s later.
pub(super) const NOW: i64 = T0 + 140_000;
/// The boots of h1.
pub(super) const FIRST_BOOT: BootId = BootId([0xA1; 16]);
pub(super) const SECOND_BOOT: BootId = BootId([0xB2; 16]);

/// Four hosts: h1 has rebooted and is up; h2 is gone; h3 is above the reader's clearance; h4 was never here.
const FLEET: &str = "
[[device]]
id = 3
layer = \"3\"
role = \"x\"
[[host]]
name = \"h1\"
group = \"east\"
[[host]]
name = \"h2\"
[[host]]
name = \"h3\"
devices = [3]
[[host]]
name = \"h4\"
";

pub(super) struct Rig {
    pub(super) context: ApiContext,
    pub(super) address: SocketAddr,
    pub(super) hand: ManualClock,
    token: ApiToken,
    root_pem: String,
    supervisor: Supervisor,
    store_supervisor: Supervisor,
    _folder: tempfile::TempDir,
}

/// An answer, read whole.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

pub(super) fn host(name: &str) -> HostName {
    HostName::new(name).expect("a host")
}

pub(super) fn tenant() -> TenantId {
    TenantId::new("acme").expect("a tenant")
}

pub(super) fn time() -> TimeSource {
    TimeSource::new(|| NOW / 1000)
}

/// A server's TLS, and the root that its clients trust.
fn site() -> (HttpsServer, String) {
    let root = HttpsRoot::create(NOW / 1000).expect("a root");
    let credential = root.issue(&["127.0.0.1"], NOW / 1000, Duration::from_secs(3600)).expect("a leaf");
    (HttpsServer::new(&credential, time()).expect("a server"), root.certificate_pem())
}

impl Rig {
    /// Connects to a server of the same context that takes the connection for one from `peer`. Returns what became of
    /// the client's handshake.
    pub(super) async fn connect_from(
        &self,
        peer: [u8; 4],
        client: impl FnOnce(&str) -> ClientConfig,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let (https, root_pem) = site();
        let server = Server::new(watch::Sender::new(https).subscribe(), self.context.clone(), &self.supervisor);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let (far, _) = listener.accept().await.expect("accepted");
        server.admit(far, SocketAddr::from((peer, 50_000)));
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        TlsConnector::from(Arc::new(client(&root_pem))).connect(name, stream).await
    }

    pub(super) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub(super) async fn open_with(change: impl FnOnce(&mut ApiContext)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store_supervisor = Supervisor::new(Clock::real());
        let config = StoreConfig { journal: folder.path().join("warm.db"), warm: WarmConfig::default(), hot: None };
        let (store, _) = Store::open(config, &Clock::real(), &store_supervisor).expect("a store");
        fill(&store).await;
        let (clock, hand) = Clock::manual();
        hand.set_wall_ns(NOW * 1_000_000);
        let supervisor = Supervisor::new(clock.clone());
        let credentials = fleet::credentials(folder.path(), &clock);
        let state = fleet::state(folder.path(), &store_supervisor).await;
        let registry = Registry::start(state, credentials.clone(), &clock, &supervisor).await.expect("a registry");
        let token = ApiToken::generate();
        let mut context = ApiContext {
            tenant: tenant(),
            store,
            live: live(&clock),
            fleet: FleetHandle::new(Fleet::parse(FLEET).expect("a fleet")),
            telemetry: Telemetry::default(),
            registry,
            credentials,
            admission: admission(&clock),
            join_admission: admission(&clock),
            tokens: Tokens::new(vec![ApiToken::generate().hash(), token.hash()]),
            clock: clock.clone(),
            clearance: Classification::new(2).expect("a level"),
            started_ms: T0,
            classical_from: watch::Sender::new(Vec::new()).subscribe(),
            stats: ApiStats::default(),
        };
        change(&mut context);
        let (https, root_pem) = site();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        serve(listener, watch::Sender::new(https).subscribe(), context.clone(), &supervisor);
        Self { context, address, hand, token, root_pem, supervisor, store_supervisor, _folder: folder }
    }

    pub(super) fn tls(&self, protocol: &[u8]) -> ClientConfig {
        let mut tls = https_client(self.root_pem.as_bytes(), time()).expect("a client");
        tls.alpn_protocols = vec![protocol.to_vec()];
        tls
    }

    pub(super) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    pub(super) async fn connect(&self, tls: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await
    }

    /// Asks with the token.
    pub(super) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "").await
    }

    /// Asks with the token, unless `headers` have another `authorization` (an empty one is left out).
    pub(super) async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let stream = self.connect(self.tls(b"http/1.1")).await.expect("connected");
        let (mut client, connection) =
            hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await.expect("HTTP/1");
        let request = self.prepared(method, path, headers, body);
        let work = async {
            let (head, body) = client.send_request(request).await.expect("answered").into_parts();
            Self::read(head, Body::new(body)).await
        };
        driven(work, connection).await
    }

    /// The same over HTTP/2.
    pub(super) async fn get_http2(&self, path: &str) -> Answer {
        let stream = self.connect(self.tls(b"h2")).await.expect("connected");
        let io = TokioIo::new(stream);
        let (mut client, connection) =
            hyper::client::conn::http2::handshake::<_, _, Body>(TokioExecutor::new(), io).await.expect("HTTP/2");
        let request = self.prepared("GET", &format!("https://{}{path}", self.address), &[], "");
        let work = async {
            let (head, body) = client.send_request(request).await.expect("answered").into_parts();
            Self::read(head, Body::new(body)).await
        };
        driven(work, connection).await
    }

    pub(super) fn prepared(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        let has = |wanted: &str| headers.iter().any(|(name, _)| *name == wanted);
        if !path.starts_with("https://") && !has("host") {
            request = request.header("host", self.address.to_string());
        }
        if !has("authorization") {
            request = request.header("authorization", format!("Bearer {}", self.token.secret()));
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        request.body(Body::from(body.to_owned())).expect("a request")
    }

    async fn read(head: axum::http::response::Parts, body: Body) -> Answer {
        let body = to_bytes(body, 64 << 20).await.expect("a body").to_vec();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// The newest values of h1, changed.
    pub(super) fn change_latest(&self, change: impl FnOnce(&mut Latest)) {
        let mut latest = latest();
        change(&mut latest);
        self.context.live.update(&host("h1"), |now| now.latest = Some(Arc::new(latest)));
    }

    pub(super) async fn close(self) {
        assert_eq!(self.supervisor.drain(Duration::from_secs(20)).await, Drained::Clean);
        assert_eq!(self.store_supervisor.drain(Duration::from_secs(20)).await, Drained::Clean);
    }
}

fn admission(clock: &Clock) -> Admission {
    Admission::new(&AdmissionSection::default(), clock.clone()).expect("the defaults")
}

/// Runs a client's work beside its connection, which may end before all of the answer is taken.
async fn driven<T>(work: impl Future<Output = T>, connection: impl Future) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! { done = &mut work => return done, _ = connection => {} }
    work.await
}

fn metric(name: &str, labels: &[(&str, &str)], kind: Kind, scale: Scale) -> Metric {
    let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Metric { name: name.into(), labels, kind, repr: Repr::U64, scale }
}

/// The set of the first boot; that of the second has no disk.
fn set(with_disk: bool) -> Arc<MetricSet> {
    let cpu = |mode| metric("node_cpu_seconds_total", &[("cpu", "0"), ("mode", mode)], Kind::Counter, Scale::per(100));
    let mut metrics = vec![metric("node_load1", &[], Kind::Gauge, Scale::per(100)), cpu("idle"), cpu("user")];
    if with_disk {
        metrics.push(metric("node_disk_io_now", &[("device", "sd\"b")], Kind::Gauge, Scale::ONE));
    }
    Arc::new(MetricSet::new(metrics).expect("a set"))
}

/// node_load1 is the tick in hundredths, but for tick 113, which has none; idle is ten times the tick, user the tick, in
/// hundredths; the disk's is always 7.
fn value(metric: usize, tick: u64) -> Option<u64> {
    match metric {
        0 => (tick != 113).then_some(tick),
        1 => Some(tick * 10),
        2 => Some(tick),
        _ => Some(7),
    }
}

async fn store_batch(store: &Store, key: &Arc<StreamKey>, set: &Arc<MetricSet>, first: u64, start_ms: i64) {
    let stamps = (0..10).map(|i| Stamp { tick: Tick(first + i), wall_ms: start_ms }).collect();
    let header = BatchHeader { boot: key.boot, set: set.id(), metrics: set.metrics().len(), stamps };
    let mut matrix = Matrix::new(header.metrics, 10);
    for metric in 0..header.metrics {
        for i in 0..10 {
            matrix.set(metric, i, value(metric, first + i as u64));
        }
    }
    let blob = encode(&Batch { header: header.clone(), matrix }).expect("encodes");
    let record = BatchRecord::new(Arc::clone(key), &header, start_ms, blob.into()).expect("a record");
    store.warm().put_metric_set(&key.tenant, Arc::clone(set)).await.expect("stored");
    let stored = store.append(vec![Arc::new(record)]).await.expect("stored");
    assert_eq!(stored, [dsmil_store::Appended::Stored]);
}

/// h1: ticks 100–119 of its first boot, which began at [`T0`]; ticks 5–9 of the second are lost, 10–19 were at 130–139 s,
/// and tick 20 waits. h2: ticks 100–109 of a boot at T0. h3: the same, SECRET.
async fn fill(store: &Store) {
    let key = |name: &str, boot, level| {
        let classification = Classification::new(level).expect("a level");
        Arc::new(StreamKey { tenant: tenant(), host: host(name), boot, classification })
    };
    let range = |first, last| TickRange::new(Tick(first), Tick(last)).expect("a range");
    let (first, second) = (key("h1", FIRST_BOOT, 0), key("h1", SECOND_BOOT, 0));
    for (key, ticks) in [(&first, range(100, 119)), (&second, range(5, 20))] {
        store.warm().expect(key, ticks).expect("expected");
    }
    store.warm().record_gaps(&second, vec![(range(5, 9), LossReason::AgentDown)]).await.expect("recorded");
    store_batch(store, &first, &set(true), 100, T0 + 100_000).await;
    store_batch(store, &first, &set(true), 110, T0 + 110_000).await;
    store_batch(store, &second, &set(false), 10, T0 + 130_000).await;
    for (name, level) in [("h2", 0), ("h3", 3)] {
        let key = key(name, BootId([0xC3; 16]), level);
        store.warm().expect(&key, range(100, 109)).expect("expected");
        store_batch(store, &key, &set(true), 100, T0 + 100_000).await;
    }
}

/// Tick 20 of h1's second boot, which the store has not got yet.
fn latest() -> Latest {
    let set = set(false);
    let values = (0..set.metrics().len()).map(|metric| value(metric, 20)).collect();
    let (boot, classification) = (SECOND_BOOT, Classification::UNCLASS);
    Latest { set, boot, classification, tick: Tick(20), time_ms: T0 + 140_000, values, resting: vec![] }
}

/// What is known while nobody was there, and nobody is awaited.
pub(super) fn nobody(clock: &Clock) -> Live {
    let settings =
        Settings { heartbeat_ms: 2_000, window_batches: 64, backlog_bytes_per_second: 1 << 20, reconnect_window_ms: 1 };
    Live::new([], Patience::with(&settings), clock.clone())
}

fn live(clock: &Clock) -> Live {
    let live = nobody(clock);
    live.welcomed(&host("h1"), |now| {
        now.remote = Some(SocketAddr::from(([192, 0, 2, 7], 40112)));
        now.negotiated = Some(KeyExchange::Pure.negotiated());
        now.peer = Some(fleet::peer("h1"));
        now.boot = Some(SECOND_BOOT);
        now.agent_version = Some("0.1.0".into());
        now.heartbeat = Some(Heartbeat {
            last_tick: Some(Tick(20)),
            waiting_ticks: 1,
            spool_bytes: 4096,
            spool_capacity: 1 << 20,
            bundle_version: 6,
            times: HostTimes { boot_ns: 0, wall_ns: 0 },
            exchange: None,
        });
        now.epoch = Some(BootEpoch { wall_ns: (T0 + 120_000) * 1_000_000, uncertainty_ns: 1_500_000 });
        now.wall_ahead_ns = Some(-3_000_000_000);
        now.latest = Some(Arc::new(latest()));
    });
    live.update(&host("h1"), |now| (now.since_ms, now.heard_ms) = (NOW - 9_000, Some(NOW - 500)));
    live.update(&host("h2"), |now| {
        (now.link, now.since_ms, now.heard_ms) =
            (Link::Closed { why: "timed out".into() }, T0 + 110_000, Some(T0 + 109_000));
    });
    live
}
