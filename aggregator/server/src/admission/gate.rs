//! What an accept loop calls: asks admission about each peer, answers those it does not let in, and runs handshakes
//! within their time; every refusal is counted.

use super::{Admission, Place, Proof, Verdict};
use crate::refusals::{Port, Reason, Refused};
use crate::telemetry::Telemetry;
use dsmil_crypto::refusal::Refusal;
use dsmil_runtime::clock::Clock;
use std::net::IpAddr;

/// The gate of one port; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Gate {
    port: Port,
    admission: Admission,
    telemetry: Telemetry,
    clock: Clock,
}

/// A peer that gets a handshake.
#[derive(Debug)]
pub struct Admitted {
    incoming: quinn::Incoming,
    place: Place,
}

impl Gate {
    /// The gate of `port`; its refusals are counted in `telemetry`.
    pub fn new(port: Port, admission: Admission, telemetry: Telemetry, clock: Clock) -> Self {
        Self { port, admission, telemetry, clock }
    }

    /// Lets a peer in, or answers it and returns nothing. It never waits, so it can stand in the accept loop.
    pub fn admit(&self, incoming: quinn::Incoming) -> Option<Admitted> {
        let from = incoming.remote_address().ip();
        let proof = if incoming.remote_address_validated() { Proof::Given } else { Proof::None };
        match self.admission.ask(from, proof) {
            Verdict::Admit(place) => return Some(Admitted { incoming, place }),
            Verdict::ProveAddress => {
                // It fails only for an address that is proven already, and such a one is not asked for a proof.
                let _ = incoming.retry();
            }
            Verdict::Refuse(_) => {
                self.refused(from, Refusal::Busy);
                incoming.refuse();
            }
            // Admission counts them; most have forged addresses, which must not push true ones out of the table.
            Verdict::Ignore => incoming.ignore(),
        }
        None
    }

    /// Runs the handshake of a peer that was let in; nothing if it failed or took too long. Give it a task of its own:
    /// one slow peer must not hold the accept loop.
    pub async fn handshake(&self, admitted: Admitted) -> Option<(quinn::Connection, Place)> {
        let Admitted { incoming, place } = admitted;
        let from = incoming.remote_address().ip();
        let handshake = async { incoming.accept()?.await };
        let error = tokio::select! {
            connection = handshake => match connection {
                Ok(connection) => return Some((connection, place)),
                Err(error) => error,
            },
            () = self.clock.sleep(place.within()) => quinn::ConnectionError::TimedOut,
        };
        let refused = Refused::of_quic(self.port, &error);
        tracing::debug!(%from, reason = refused.reason.as_str(), "a handshake failed");
        self.telemetry.refused.note(refused, from, self.clock.wall_ms());
        None
    }

    /// Counts that we refused a peer at `from`.
    pub fn refused(&self, from: IpAddr, reason: impl Into<Reason>) {
        self.telemetry.refused.note(Refused::by_us(self.port, reason), from, self.clock.wall_ms());
    }
}
