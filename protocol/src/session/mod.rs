//! Sessions without I/O: frames and the time come in, frames, events and deadlines go out.
//!
//! A session lives as long as its connection. What must survive a connection (the spool, the ledger) is outside; a
//! session only decides what to say next. Its driver owns the sockets and does four things: hand in every frame that
//! comes, call `on_deadline` when the deadline is due, write what `poll_output` gives, and act on events.
//!
//! Three lanes, one QUIC stream each, because streams do not wait for each other:
//! control (both ways), live (batches as they are sealed) and backlog (what an outage left, newest first, under a cap).

pub mod agent;
pub mod aggregator;
mod limits;
mod replay;
mod settings;
#[cfg(test)]
mod tests;
mod watch;

pub use limits::Limits;

use crate::frame::{Flags, Frame, MessageType};
use crate::ids::{DeviceId, TenantId};
use crate::message::Message;
use crate::tlv::{Classification, Compartments, Tlvs};
use std::time::Duration;

/// The stream that a frame travels on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Both ways: hello, heartbeats, acknowledgements, refusals.
    Control,
    /// Agent to aggregator: batches as they are sealed.
    Live,
    /// Agent to aggregator: what is still in the spool, newest first.
    Backlog,
}

/// A frame to be written to a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub lane: Lane,
    /// What.
    pub bytes: Vec<u8>,
}

/// The moment at which something is handed to a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time; deadlines are on this clock.
    pub mono: Duration,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub boot_ns: u64,
    /// Wall time, nanoseconds since 1970.
    pub wall_ns: i64,
}

/// As whom one side speaks: what every frame of it says.
#[derive(Clone, Debug)]
pub struct Speaker {
    /// The tenant of the aggregator.
    pub tenant: TenantId,
    /// Compartments of what is said.
    pub compartments: Compartments,
    /// Classification of what is said.
    pub classification: Classification,
}

/// Makes frames: fills in the speaker, the time and the number against replay.
#[derive(Debug)]
struct Writer {
    speaker: Speaker,
    next_sequence: u64,
}

impl Writer {
    fn new(speaker: Speaker) -> Self {
        Self { speaker, next_sequence: 1 }
    }

    fn message<M: Message>(&mut self, message: &M, now: Now) -> Vec<u8> {
        self.frame(M::TYPE, Flags::NONE, 0, message.encode(), now)
    }

    fn frame(&mut self, kind: MessageType, flags: Flags, correlation: u64, payload: Vec<u8>, now: Now) -> Vec<u8> {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let tlvs = Tlvs {
            tenant: self.speaker.tenant.clone(),
            compartments: self.speaker.compartments,
            classification: self.speaker.classification,
            source: DeviceId::HOST,
            // A host that believes it is before 1970 says 1970: the time is an attribute, nothing depends on it.
            timestamp_ns: u64::try_from(now.wall_ns).unwrap_or(0),
            sequence: Some(sequence),
            destination: None,
            other: Vec::new(),
        };
        Frame { kind, flags: flags.with(Flags::REPLAY_PROTECTED), correlation, tlvs, payload }.encode()
    }
}
