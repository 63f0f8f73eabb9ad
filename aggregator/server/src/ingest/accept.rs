//! Takes connections in: admission decides about each, its handshake is a task of its own, every refusal is counted.

use super::{Ingest, peer};
use crate::admission::{Admitted, Gate};
use crate::refusals::Port;
use dsmil_crypto::policy::Peer;
use dsmil_crypto::refusal::Refusal;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::supervise::OnFailure;
use quinn::VarInt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sessions say goodbye by themselves; their last words get this long to be on the way.
const GOODBYES_WITHIN: Duration = Duration::from_secs(3);

/// Runs until the program stops.
pub(super) async fn run(ingest: Ingest, endpoint: quinn::Endpoint) -> std::io::Result<()> {
    let clock = ingest.0.clock.clone();
    let gate = Gate::new(Port::Fleet, ingest.0.admission.clone(), ingest.0.telemetry.clone(), clock);
    let stop = ingest.0.supervisor.stop();
    let numbers = AtomicU64::new(1);
    let mut changed = ingest.0.credentials.watch();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Ok(()) = changed.changed() => {
                match ingest.server() {
                    Ok(server) => endpoint.set_server_config(Some(server)),
                    Err(error) => tracing::error!(%error, "the link goes on with what it had"),
                }
                continue;
            }
            () = stop.requested() => break,
        };
        let Some(incoming) = incoming else { break };
        let Some(admitted) = gate.admit(incoming) else { continue };
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let task = connection(ingest.clone(), gate.clone(), admitted, number);
        ingest.0.supervisor.spawn("ingest-peer", OnFailure::Note, task);
    }
    tokio::select! {
        () = endpoint.wait_idle() => {}
        () = ingest.0.clock.sleep(GOODBYES_WITHIN) => {}
    }
    endpoint.close(VarInt::from_u32(0), b"stopping");
    Ok(())
}

async fn connection(
    ingest: Ingest,
    gate: Gate,
    admitted: Admitted,
    number: u64,
) -> Result<(), std::convert::Infallible> {
    let Some((connection, place)) = gate.handshake(admitted).await else { return Ok(()) };
    let from = connection.remote_address().ip();
    // Whether it may speak is judged at its HELLO, where it can be told; here only who it is.
    let Some((peer, host)) = name_of(&connection) else {
        gate.refused(from, Refusal::WrongName);
        connection.close(VarInt::from_u32(1), b"the certificate names no host");
        return Ok(());
    };
    // The place is held until the session is over.
    peer::run(ingest, gate, place, connection, peer, host, number).await;
    Ok(())
}

/// The host that the peer's certificate names; the handshake, or the one that is resumed, has proven it.
fn name_of(connection: &quinn::Connection) -> Option<(Peer, HostName)> {
    let peer = Peer::of_connection(connection).ok()?;
    let host = HostName::new(peer.id.name()).ok()?;
    Some((peer, host))
}
