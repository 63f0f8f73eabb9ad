//! Admission: which peers get a handshake, a connection, a session; one for each port that listens.
//!
//! A handshake costs us 1.4 ms of a core and up to 160 KB until the peer has shown who it is. Whoever may spend that is
//! decided before anything is spent, from the peer's address and from what shows that it is there:
//!
//! - An address that was not **proven** may be forged. A few such peers at a time are let in, which saves honest ones a
//!   round trip in quiet times; more are told to prove it (QUIC's Retry), which costs us no memory. Nothing is held
//!   against an address that was not proven, or a forger could shut an honest host out.
//! - A **proven** address has a limit of its own on handshakes that come to nothing and on half-open ones. One that
//!   ends in a session does not count, so a site of 1,000 hosts behind one address (or a fleet of simulated ones on
//!   127.0.0.1) comes back after a restart as fast as it likes; even if none of its handshakes came to an end the
//!   defaults would start 1,000 of them within 24 s.
//! - What all share (half-open places, handshakes a second) goes in quarters by **standing**: half of it is for whoever
//!   comes, a quarter for addresses that ask as rarely as an agent does, the last for addresses where somebody has
//!   authenticated. So a flood from a thousand real addresses does not keep out a new agent, and one from more addresses
//!   than that does not keep out those that we know.
//! - While many are half-open, a handshake has to be faster: those held on purpose make room.
//!
//! After it has authenticated, a **host** may open so many sessions a minute. One that comes more often is told that we
//! are busy, and its handshakes then do count for its address.
//!
//! `limits` decides, purely; `gate` is what an accept loop calls; `addresses`, `recent` and `bucket` keep the counts.

mod addresses;
mod bucket;
mod gate;
mod limits;
mod network;
pub(crate) mod recent;
mod section;

pub use gate::{Admitted, Gate};
pub use limits::{Limit, Occupancy, Proof};
pub use network::Network;
pub use section::{AdmissionError, AdmissionSection};

use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use limits::{Answer, Limits, Slot};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Admission to one port; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Mutex<Limits>,
    clock: Clock,
}

/// What is to be done with a peer that wants a handshake.
#[derive(Debug)]
pub enum Verdict {
    /// It gets one. The place is held until it is dropped.
    Admit(Place),
    /// It has to show first that it is where it says it is.
    ProveAddress,
    /// It is told that we are busy.
    Refuse(Limit),
    /// So many are refused that answering would be work for an attacker.
    Ignore,
}

/// A host opens sessions faster than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the host opens too many sessions a minute; is its agent started again and again? admission.sessions_per_minute is the limit"
)]
pub struct TooManySessions;

impl Admission {
    /// Admission by the limits of `section`.
    ///
    /// # Errors
    /// A limit that is none, or that lets nobody in.
    pub fn new(section: &AdmissionSection, clock: Clock) -> Result<Self, AdmissionError> {
        section.check()?;
        Ok(Self(Arc::new(Shared { limits: Mutex::new(Limits::new(*section)), clock })))
    }

    /// Judges a peer at `from` that wants a handshake.
    pub fn ask(&self, from: IpAddr, proof: Proof) -> Verdict {
        let now = self.0.clock.mono();
        match self.limits().ask(from, proof, now) {
            Answer::Admit(slot) => Verdict::Admit(Place { admission: self.clone(), slot }),
            Answer::ProveAddress => Verdict::ProveAddress,
            Answer::Refuse(limit) => Verdict::Refuse(limit),
            Answer::Ignore => Verdict::Ignore,
        }
    }

    /// Hosts have had sessions from here before this program started: they are known from the first moment, so that a
    /// flood during a restart does not keep them out.
    pub fn recall(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        let mut limits = self.limits();
        addresses.into_iter().for_each(|address| limits.recall(address));
    }

    /// How things stand.
    pub fn occupancy(&self) -> Occupancy {
        self.limits().occupancy()
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        // Its methods change counts only; a panic in one cannot leave anything worse than a wrong count.
        self.0.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the admitted, half-open until [`Place::authenticated`]; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    admission: Admission,
    slot: Slot,
}

impl Place {
    /// How long the peer has to authenticate, from the moment it was admitted.
    pub fn within(&self) -> Duration {
        self.slot.within
    }

    /// The peer has proven to be `host`: by its certificate, or (on the join port) by a token or its enrolled key. From
    /// now on the place counts as a connection. A second call changes nothing.
    ///
    /// # Errors
    /// The host comes too often: tell it that we are busy, and close.
    pub fn authenticated(&mut self, host: &HostName) -> Result<(), TooManySessions> {
        let now = self.admission.0.clock.mono();
        let is_slow_enough = self.admission.limits().authenticated(&mut self.slot, host, now);
        if is_slow_enough { Ok(()) } else { Err(TooManySessions) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.limits().leave(&self.slot);
    }
}

#[cfg(test)]
mod tests;
