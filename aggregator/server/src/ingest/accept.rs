//! Takes connections in: bounded in number, each handshake in a task of its own, every refusal counted.

use super::{Ingest, peer};
use dsmil_crypto::policy::peer_id;
use dsmil_crypto::refusal::{Refusal, refusal_reason};
use dsmil_crypto::spiffe::Role;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::supervise::OnFailure;
use quinn::VarInt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Connections at once: one aggregator is made for 1,000 hosts, and each may have an old one still dying beside its new one.
const MAX_CONNECTIONS: usize = 4_000;
/// A handshake that takes longer than this is a peer that is not there, or one that holds a place on purpose.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Over this many connections, a peer has to prove its address first: spoofed ones cost us nothing then.
const PROVE_ADDRESS_OVER: usize = 500;

/// Runs until the program stops.
pub(super) async fn run(ingest: Ingest, endpoint: quinn::Endpoint) -> std::io::Result<()> {
    let stop = ingest.0.supervisor.stop();
    let open = Arc::new(AtomicUsize::new(0));
    let numbers = AtomicU64::new(1);
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = stop.requested() => break,
        };
        let Some(incoming) = incoming else { break };
        let busy = open.load(Ordering::Relaxed);
        if busy >= MAX_CONNECTIONS {
            ingest.0.telemetry.refusal(Refusal::Busy);
            incoming.refuse();
        } else if busy >= PROVE_ADDRESS_OVER && !incoming.remote_address_validated() {
            // It can fail only for an address that is validated already.
            let _ = incoming.retry();
        } else {
            let place = Place::take(&open);
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let task = connection(ingest.clone(), incoming, number, place);
            ingest.0.supervisor.spawn("ingest-peer", OnFailure::Note, task);
        }
    }
    // Sessions say goodbye by themselves; this waits until their last words are on the way.
    tokio::select! {
        () = endpoint.wait_idle() => {}
        () = ingest.0.clock.sleep(Duration::from_secs(3)) => {}
    }
    endpoint.close(VarInt::from_u32(0), b"stopping");
    Ok(())
}

/// A place among the connections, given back when it is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(
    ingest: Ingest,
    incoming: quinn::Incoming,
    number: u64,
    _place: Place,
) -> Result<(), std::convert::Infallible> {
    let remote = incoming.remote_address();
    let connection = tokio::select! {
        handshake = async { incoming.accept()?.await } => match handshake {
            Ok(connection) => connection,
            Err(error) => {
                let refusal = refusal_reason(&error);
                ingest.0.telemetry.refusal(refusal);
                tracing::debug!(%remote, reason = refusal.as_str(), "a handshake failed");
                return Ok(());
            }
        },
        () = ingest.0.clock.sleep(HANDSHAKE_WITHIN) => {
            ingest.0.telemetry.refusal(Refusal::Lost);
            return Ok(());
        }
    };
    match host_of(&ingest, &connection) {
        Some(host) => peer::run(ingest, connection, host, number).await,
        None => {
            ingest.0.telemetry.refusal(Refusal::WrongRole);
            connection.close(VarInt::from_u32(1), b"not an agent of this trust domain");
        }
    }
    Ok(())
}

/// The host that the peer's certificate names, if it is an agent's of our trust domain.
fn host_of(ingest: &Ingest, connection: &quinn::Connection) -> Option<HostName> {
    let id = peer_id(connection).ok()?;
    let ours = id.trust_domain().as_str() == ingest.0.trust_domain && id.role() == Role::Agent;
    ours.then(|| HostName::new(id.name()).ok()).flatten()
}
