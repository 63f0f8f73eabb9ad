//! The join port: hosts that have no identity yet, or an old one, come here for a leaf and the trust bundle.
//!
//! We prove ourselves; who comes is known only by what it shows. One question and one answer a connection: everything is
//! bounded before it is read, and nothing is kept of a peer that is refused.

mod answer;

use crate::admission::{Admission, Gate, Place};
use crate::config::{Advertise, Config};
use crate::credentials::Credentials;
use crate::fleet::FleetHandle;
use crate::refusals::Port;
use crate::registry::Registry;
use crate::telemetry::Telemetry;
use dsmil_crypto::policy::{PolicyError, join_server};
use dsmil_crypto::refusal::Refusal;
use dsmil_crypto::transport::EndpointKeys;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::TenantId;
use dsmil_protocol::join::{JoinAnswer, JoinRequest, LinkPolicy, MAX_REQUEST_LEN, PREFIX_LEN, length};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use quinn::VarInt;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Question and answer together: an honest host needs a round trip and a signature.
const DONE_WITHIN: Duration = Duration::from_secs(10);

/// What the join port works with.
#[derive(Clone, Debug)]
pub struct JoinPort {
    /// The tenant of this aggregator.
    pub tenant: TenantId,
    /// Which host carries which devices.
    pub fleet: FleetHandle,
    /// Who is enrolled.
    pub registry: Registry,
    /// Who we are.
    pub credentials: Credentials,
    /// What joined hosts are told of addresses and link, now.
    pub told: watch::Receiver<Told>,
    /// So many seconds after its leaf expired a host may still renew.
    pub max_offline_s: i64,
    /// How many may come.
    pub admission: Admission,
    /// Our own counters.
    pub telemetry: Telemetry,
    /// The time.
    pub clock: Clock,
}

/// What a joined host is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Where the link is.
    pub aggregators: Vec<String>,
    /// Where it renews.
    pub join: Vec<String>,
    /// What the link demands.
    pub link: LinkPolicy,
}

impl Told {
    /// What a configuration tells.
    pub fn of(config: &Config) -> Self {
        let (Advertise { agents, join }, link) = (config.advertise.clone(), config.link.policy.told());
        Self { aggregators: agents, join, link }
    }
}

impl JoinPort {
    /// The endpoint's configuration for who we are now.
    pub fn server(&self, keys: &EndpointKeys) -> Result<quinn::ServerConfig, PolicyError> {
        let held = self.credentials.held();
        join_server(&held.identity, &held.trust, self.credentials.time().clone(), keys)
    }

    /// Answers whoever comes to `endpoint`, until the program stops.
    pub fn listen(self, endpoint: quinn::Endpoint, keys: Arc<EndpointKeys>, supervisor: &Supervisor) {
        supervisor.spawn("join", OnFailure::Stop, run(self, endpoint, keys, supervisor.clone()));
    }
}

async fn run(
    port: JoinPort,
    endpoint: quinn::Endpoint,
    keys: Arc<EndpointKeys>,
    supervisor: Supervisor,
) -> Result<(), Infallible> {
    let stop = supervisor.stop();
    let gate = Gate::new(Port::Join, port.admission.clone(), port.telemetry.clone(), port.clock.clone());
    let mut changed = port.credentials.watch();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Ok(()) = changed.changed() => {
                match port.server(&keys) {
                    Ok(server) => endpoint.set_server_config(Some(server)),
                    Err(error) => tracing::error!(%error, "the join port goes on with what it had"),
                }
                continue;
            }
            () = stop.requested() => break,
        };
        let Some(incoming) = incoming else { break };
        let Some(admitted) = gate.admit(incoming) else { continue };
        let (port, gate) = (port.clone(), gate.clone());
        supervisor.spawn("join-peer", OnFailure::Note, async move {
            if let Some((connection, place)) = gate.handshake(admitted).await {
                meet(&port, &gate, &connection, place).await;
            }
            Ok::<(), Infallible>(())
        });
    }
    endpoint.close(VarInt::from_u32(0), b"stopping");
    Ok(())
}

async fn meet(port: &JoinPort, gate: &Gate, connection: &quinn::Connection, mut place: Place) {
    let from = connection.remote_address();
    let done = async {
        let (mut send, mut receive) = connection.accept_bi().await.ok()?;
        let answer = match read(&mut receive).await {
            Ok(request) => port.answer(connection, request).await,
            Err(code) => JoinAnswer::refused(code, code.remedy()),
        };
        match &answer {
            // A site behind one address is not held up by its own hosts; one that renews in a loop is.
            JoinAnswer::Granted(granted) => drop(place.authenticated(&granted.settings.host)),
            JoinAnswer::Refused { code, .. } => {
                let code = ErrorCode::from_number(*code);
                gate.refused(from.ip(), code);
                tracing::debug!(%from, %code, "a host was refused");
            }
            JoinAnswer::Bundle(_) | JoinAnswer::UpToDate => {}
        }
        send.write_all(&answer.encode()).await.ok()?;
        send.finish().ok()?;
        // It closes when it has read the answer.
        connection.closed().await;
        Some(())
    };
    tokio::select! {
        _ = done => {}
        () = port.clock.sleep(DONE_WITHIN) => gate.refused(from.ip(), Refusal::Lost),
    }
    connection.close(VarInt::from_u32(0), b"");
}

async fn read(receive: &mut quinn::RecvStream) -> Result<JoinRequest, ErrorCode> {
    let mut prefix = [0; PREFIX_LEN];
    receive.read_exact(&mut prefix).await.map_err(|_| ErrorCode::PayloadMalformed)?;
    let mut body = vec![0; length(prefix, MAX_REQUEST_LEN)?];
    receive.read_exact(&mut body).await.map_err(|_| ErrorCode::PayloadMalformed)?;
    JoinRequest::decode(&body)
}
