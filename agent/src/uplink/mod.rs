//! The way to the aggregator: connect, say what waits, and come back when the link is lost.
//!
//! `resolve` finds the address, `lanes` writes the streams, `drive` runs one session; this loop decides when to try.

mod drive;
mod lanes;
mod resolve;

use crate::spool::{BatchKey, Spool};
use crate::status::{LinkBoard, Negotiated};
use drive::{Drive, End};
use dsmil_crypto::identity::{Identity, Trust};
use dsmil_crypto::policy::{FLEET_NEGOTIATED, PolicyError, fleet_client};
use dsmil_crypto::refusal::{Refusal, refusal_reason};
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, DeviceId, HostName};
use dsmil_protocol::message::GoodbyeReason;
use dsmil_protocol::session::Speaker;
use dsmil_protocol::session::agent::Closed;
use dsmil_runtime::backoff::{Backoff, uniform};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The bound of the first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The bound of later waits: an aggregator that is back is found within this.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// A handshake that takes longer is given up.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The spool, shared by sampler, uplink and local socket, all on one thread; nobody holds it across an await.
#[derive(Clone, Debug)]
pub struct SharedSpool(Arc<Mutex<Spool>>);

impl SharedSpool {
    /// Shares `spool`.
    pub fn new(spool: Spool) -> Self {
        Self(Arc::new(Mutex::new(spool)))
    }

    /// The spool, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Spool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far sampling has come; the uplink wakes when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Ticks sampled since the agent started.
    pub ticks: u64,
    /// The batch that was sealed last.
    pub sealed: Option<BatchKey>,
    /// Nothing more will be sampled: send what waits, say goodbye, end.
    pub finished: bool,
}

/// Who this agent is and where it reports.
#[derive(Clone, Debug)]
pub struct UplinkConfig {
    /// The host's name, as in its certificate.
    pub host: HostName,
    /// The running boot.
    pub boot: BootId,
    /// The devices it speaks for.
    pub devices: Vec<DeviceId>,
    /// As whom it speaks.
    pub speaker: Speaker,
    /// Aggregators, `host:port`, tried in turn.
    pub aggregators: Vec<String>,
}

/// What the uplink shares with the rest of its host. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The time.
    pub clock: Clock,
    /// Who runs the tasks.
    pub supervisor: Supervisor,
    /// What waits to be sent.
    pub spool: SharedSpool,
    /// How far sampling has come.
    pub progress: watch::Receiver<Progress>,
    /// Where the link's state is written down.
    pub board: LinkBoard,
}

/// The uplink of one host.
#[derive(Debug)]
pub struct Uplink {
    config: UplinkConfig,
    client: quinn::ClientConfig,
    server_name: String,
    shared: Shared,
}

impl Uplink {
    /// An uplink that has not connected yet.
    pub fn new(config: UplinkConfig, identity: &Identity, trust: &Trust, shared: Shared) -> Result<Self, PolicyError> {
        let wall = shared.clock.clone();
        let time = TimeSource::new(move || wall.wall_ns().div_euclid(1_000_000_000));
        let client = fleet_client(identity, trust, time)?;
        let server_name = trust.trust_domain().aggregator_dns_name();
        Ok(Self { config, client, server_name, shared })
    }

    /// Connects, and connects again, until sampling is finished and what waits was sent, or cannot be.
    pub async fn run(mut self) -> std::io::Result<()> {
        // HELLO says what the spool answers for, so there has to be a tick.
        if self.shared.progress.wait_for(|p| p.ticks > 0 || p.finished).await.is_err() {
            return Ok(());
        }
        let socket = endpoint(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), None, &EndpointKeys::random())
            .or_else(|_| endpoint(SocketAddr::from(([0, 0, 0, 0], 0)), None, &EndpointKeys::random()))?;
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        for aggregator in self.config.aggregators.clone().iter().cycle() {
            self.shared.board.connecting(aggregator);
            let attempt = self.attempt(&socket, aggregator).await;
            if self.shared.progress.borrow().finished {
                break;
            }
            let wait = match attempt.window {
                // It went well until now: the fleet comes back spread over the window, not all at one moment.
                Some(window) => {
                    backoff.succeeded();
                    uniform(window)
                }
                None => backoff.next_wait(),
            };
            self.report(attempt.end, wait);
            tokio::select! {
                () = self.shared.clock.sleep(wait) => {}
                () = finished(&self.shared.progress) => break,
            }
        }
        socket.close(quinn::VarInt::from_u32(0), b"");
        Ok(())
    }

    async fn attempt(&self, socket: &quinn::Endpoint, aggregator: &str) -> Attempt {
        let connection = tokio::select! {
            connection = self.connect(socket, aggregator) => connection,
            () = self.shared.clock.sleep(CONNECT_WITHIN) => Err(End::Unreachable("no answer".into())),
            () = finished(&self.shared.progress) => Err(End::Unreachable("stopping".into())),
        };
        match connection {
            Err(end) => Attempt { end, window: None },
            Ok(connection) => {
                let drive = Drive::start(&self.config, connection, self.shared.clone());
                match drive.await {
                    Ok(drive) => drive.run().await,
                    Err(end) => Attempt { end, window: None },
                }
            }
        }
    }

    async fn connect(&self, socket: &quinn::Endpoint, aggregator: &str) -> Result<quinn::Connection, End> {
        let address = resolve::resolve(aggregator).await.map_err(|error| End::Unreachable(error.to_string()))?;
        // A socket for both families reaches IPv4 through mapped addresses.
        let address = match (socket.local_addr(), address) {
            (Ok(SocketAddr::V6(_)), SocketAddr::V4(v4)) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
            _ => address,
        };
        let connecting = socket
            .connect_with(self.client.clone(), address, &self.server_name)
            .map_err(|error| End::Unreachable(error.to_string()))?;
        connecting.await.map_err(|error| End::of(&error))
    }

    fn report(&self, end: End, wait: Duration) {
        match end {
            End::Unreachable(reason) => {
                tracing::debug!(reason, "no link");
                self.shared.board.offline(reason, wait);
            }
            End::Closed(Closed::Refused(code) | Closed::Fault(code)) => self.refused(code.name(), code.remedy(), wait),
            End::Closed(Closed::Goodbye(GoodbyeReason::Stopping)) => {
                self.shared.board.offline("the aggregator said goodbye: it stops", wait);
            }
            End::Closed(Closed::Goodbye(GoodbyeReason::Replaced)) => {
                self.shared.board.offline("another agent of this host took our place; is one running twice?", wait);
            }
            End::Closed(Closed::Goodbye(GoodbyeReason::Refused)) => {
                self.refused(ErrorCode::Revoked.name(), ErrorCode::Revoked.remedy(), wait);
            }
            End::Closed(Closed::Silent) => self.shared.board.offline("the aggregator fell silent", wait),
            End::Handshake(refusal) => {
                let remedy =
                    "Compare certificates and clocks: `dsmil-agent check` here, `dsmil-aggregator check` there.";
                self.refused(refusal.as_str(), remedy, wait);
            }
        }
    }

    fn refused(&self, code: &str, remedy: &str, wait: Duration) {
        tracing::warn!(code, remedy, "the link was refused");
        self.shared.board.refused(code, remedy, wait);
    }
}

/// Returns when nothing more will be sampled.
async fn finished(progress: &watch::Receiver<Progress>) {
    // An error means that the sampler is gone, and then nothing more comes either.
    let _ = progress.clone().wait_for(|p| p.finished).await;
}

/// How an attempt went.
struct Attempt {
    end: End,
    /// The reconnect window, if the aggregator took us in.
    window: Option<Duration>,
}

impl End {
    fn of(error: &quinn::ConnectionError) -> Self {
        match refusal_reason(error) {
            Refusal::Lost | Refusal::Busy => Self::Unreachable(error.to_string()),
            refusal => Self::Handshake(refusal),
        }
    }
}

/// The negotiated algorithms, for the status.
fn negotiated() -> Negotiated {
    Negotiated {
        group: FLEET_NEGOTIATED.group.into(),
        scheme: FLEET_NEGOTIATED.scheme.into(),
        suite: FLEET_NEGOTIATED.suite.into(),
    }
}
