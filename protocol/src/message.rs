//! The payloads of control messages: postcard-encoded structs whose lists have declared bounds.
//!
//! A payload is read whole or refused: trailing bytes, a list over its bound or a range that runs backwards is
//! [`ErrorCode::PayloadMalformed`]. postcard cannot skip fields, so a new field is a new protocol version.
//! The payload of TELEMETRY is a batch ([`crate::batch`]), that of METRIC_SET an encoded metric set.

use crate::error::ErrorCode;
use crate::frame::MessageType;
use crate::ids::{BootId, DeviceId, HostName, Tick, TickRange};
use crate::join::MAX_BUNDLE_LEN;
use crate::metric::SetId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The protocol version that every peer speaks.
pub const PROTOCOL_VERSION: u8 = 1;
/// The version from which on the fleet's settings are sent, and HEALTH tells what became of them. Everything else is as before.
pub const SETTINGS_SINCE: u8 = 2;
/// The version from which on an aggregator may ask for each tick as it is sampled, and LIVE brings it.
pub const WATCH_SINCE: u8 = 3;
/// The versions that are spoken here, best first.
pub const PROTOCOL_VERSIONS: [u8; 3] = [WATCH_SINCE, SETTINGS_SINCE, PROTOCOL_VERSION];
/// Milliseconds for which a host is watched without being asked again: what an aggregator that is gone can cost it.
pub const MAX_WATCH_MS: u32 = 60_000;
/// Ranges in one ACK or WELCOME; an outage is one range, so 64 cover 63 interruptions.
pub const MAX_RANGES: usize = 64;
/// Rejected batches named in one ACK.
pub const MAX_REJECTED: usize = 64;
/// Gaps in one GAP.
pub const MAX_GAPS: usize = 64;
/// Metric sets asked for at once.
pub const MAX_SETS: usize = 64;
/// Versions a peer may offer.
pub const MAX_VERSIONS: usize = 8;
/// Devices of one host: all of the fleet, at most.
pub const MAX_DEVICES: usize = 104;
/// Boots one spool may hold batches of.
pub const MAX_BOOTS: usize = 8;
/// Bytes of signed settings: a document at its limits has 6 KB, a signature 4.6 KB.
pub const MAX_SETTINGS_LEN: usize = 16 << 10;
/// Bytes of a text for people.
pub const MAX_TEXT_LEN: usize = 256;

/// A payload of one message type.
pub trait Message: Serialize + DeserializeOwned {
    /// The type of the frame that carries it.
    const TYPE: MessageType;

    /// Whether its lists keep their bounds.
    fn is_bounded(&self) -> bool;

    /// Its bytes.
    fn encode(&self) -> Vec<u8> {
        debug_assert!(self.is_bounded(), "a sender keeps the bounds of {}", Self::TYPE.name());
        postcard::to_allocvec(self).expect("writing to memory cannot fail")
    }

    /// Reads it whole, its bounds checked.
    fn decode(bytes: &[u8]) -> Result<Self, ErrorCode> {
        // The frame's cap on payloads bounds what this allots: postcard never allots more than the bytes at hand.
        let (message, rest) = postcard::take_from_bytes::<Self>(bytes).map_err(|_| ErrorCode::PayloadMalformed)?;
        if rest.is_empty() && message.is_bounded() { Ok(message) } else { Err(ErrorCode::PayloadMalformed) }
    }
}

/// Two clocks of a host, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostTimes {
    /// `CLOCK_BOOTTIME`, nanoseconds since boot.
    pub boot_ns: u64,
    /// `CLOCK_REALTIME`, nanoseconds since 1970: what the host believes.
    pub wall_ns: i64,
}

/// The four times of one exchange: the host's clock around it, the aggregator's within it (RFC 5905, section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The host sent its heartbeat, nanoseconds since its boot.
    pub sent_boot_ns: u64,
    /// The aggregator received it, nanoseconds since 1970.
    pub received_wall_ns: i64,
    /// The aggregator answered, nanoseconds since 1970.
    pub answered_wall_ns: i64,
    /// The host had the answer, nanoseconds since its boot.
    pub returned_boot_ns: u64,
}

/// Which ticks of a boot a spool answers for: each is in the spool, was acknowledged, or has a gap record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootAccount {
    /// The boot.
    pub boot: BootId,
    /// First to last tick the spool answers for.
    pub ticks: TickRange,
}

/// HELLO: the agent introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol versions spoken, best first.
    pub versions: Vec<u8>,
    /// The host; must be the one that the certificate names.
    pub host: HostName,
    /// The running boot.
    pub boot: BootId,
    /// Devices the agent speaks for.
    pub devices: Vec<DeviceId>,
    /// The agent's own version, for people.
    pub agent_version: String,
    /// What the spool answers for, the running boot included once a tick was sampled.
    pub accounts: Vec<BootAccount>,
    /// Version of the trust bundle that the host holds; an aggregator with a newer one sends it ([`Config`]).
    pub bundle_version: u64,
    /// Now.
    pub times: HostTimes,
}

/// What the aggregator asks of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Between two heartbeats.
    pub heartbeat_ms: u32,
    /// Batches that may be on the way and not acknowledged, live and backlog together.
    pub window_batches: u32,
    /// Cap on the backlog's bandwidth, bytes a second.
    pub backlog_bytes_per_second: u32,
    /// A disconnected agent comes back at an even random moment of this window.
    pub reconnect_window_ms: u32,
}

/// WELCOME: the aggregator takes the agent in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version chosen.
    pub version: u8,
    /// How to behave.
    pub settings: Settings,
    /// What is accounted for already, of the boots that HELLO named.
    pub accounted: Vec<Accounted>,
    /// HELLO's `times.boot_ns`, as it came.
    pub hello_boot_ns: u64,
    /// When HELLO came, nanoseconds since 1970.
    pub received_wall_ns: i64,
    /// When this was sent, nanoseconds since 1970.
    pub answered_wall_ns: i64,
}

/// Ticks of one boot that need not be sent again: stored, or recorded as lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounted {
    /// The boot.
    pub boot: BootId,
    /// The newest ranges, newest first.
    pub ranges: Vec<TickRange>,
}

/// HEARTBEAT: the agent is there, and this is how it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The last tick sampled in the running boot.
    pub last_tick: Option<Tick>,
    /// Ticks in the spool, not acknowledged.
    pub waiting_ticks: u64,
    /// Bytes of the spool in use.
    pub spool_bytes: u64,
    /// Bytes the spool may use.
    pub spool_capacity: u64,
    /// Version of the trust bundle that the host holds now.
    pub bundle_version: u64,
    /// Now.
    pub times: HostTimes,
    /// The last finished exchange of times.
    pub exchange: Option<Exchange>,
}

/// A batch that will never be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The batch's sequence: its first tick.
    pub first: Tick,
    /// [`ErrorCode::number`].
    pub code: u16,
}

/// The aggregator's times in answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// The heartbeat's `times.boot_ns`, as it came.
    pub heartbeat_boot_ns: u64,
    /// When it came, nanoseconds since 1970.
    pub received_wall_ns: i64,
    /// When this was sent, nanoseconds since 1970.
    pub answered_wall_ns: i64,
}

/// ACK: what is accounted for, what is rejected, and the times of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Ticks that need not be sent again.
    pub accounted: Vec<Accounted>,
    /// Batches set aside, of the boot beside them; of [`BootId::UNKNOWN`] if a batch could not even be read so far.
    pub rejected: Vec<(BootId, Rejected)>,
    /// In answer to a heartbeat.
    pub echo: Option<Echo>,
}

/// CONFIG: what an agent is to keep from now on. It judges for itself whether to believe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Config {
    /// A trust bundle, at most [`MAX_BUNDLE_LEN`] bytes: it carries the signatures that prove it.
    TrustBundle(Vec<u8>),
    /// Settings of the fleet, at most [`MAX_SETTINGS_LEN`] bytes, with the signature that proves them; from version
    /// [`SETTINGS_SINCE`] on.
    Settings(Vec<u8>),
    /// Somebody watches the host: each tick is to come as LIVE, for a while; from version [`WATCH_SINCE`] on.
    Watch {
        /// For so many milliseconds from now, at most [`MAX_WATCH_MS`]; 0 ends it.
        for_ms: u32,
    },
}

/// Why ticks will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GapReason {
    /// The agent was not running.
    AgentDown,
    /// The sampler was late by more than a tick: the host was overloaded or the process was stopped.
    SamplerLate,
    /// The host was suspended.
    HostSuspended,
    /// The spool was full and the oldest batches made room.
    Evicted,
    /// The aggregator rejected the batch, with this code.
    Rejected(u16),
    /// The spool was damaged and what it held could not be read.
    SpoolDamaged,
    /// The spool refused to take the tick: its tmpfs was full.
    SpoolFull,
    /// It was acknowledged, and the aggregator's journal does not have it any more.
    JournalLost,
}

/// One gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRecord {
    /// The boot.
    pub boot: BootId,
    /// The ticks.
    pub ticks: TickRange,
    /// Why.
    pub reason: GapReason,
}

/// GAP: ticks that will never come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The gaps.
    pub gaps: Vec<GapRecord>,
}

/// NEED_METRIC_SET: batches named sets that are unknown here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedMetricSet {
    /// The sets.
    pub sets: Vec<SetId>,
}

/// Why a peer says goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GoodbyeReason {
    /// The program stops.
    Stopping,
    /// A newer session of the same host took its place.
    Replaced,
    /// No longer enrolled or revoked.
    Refused,
}

/// GOODBYE: the connection ends on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why.
    pub reason: GoodbyeReason,
}

/// ERROR: a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// [`ErrorCode::number`].
    pub code: u16,
    /// For people: what exactly.
    pub detail: String,
}

macro_rules! messages {
    ($($name:ident = $kind:ident: $bound:expr;)+) => {
        $(impl Message for $name {
            const TYPE: MessageType = MessageType::$kind;

            fn is_bounded(&self) -> bool {
                let bound: fn(&Self) -> bool = $bound;
                bound(self)
            }
        })+
    };
}

messages! {
    Hello = Hello: |m| {
        (1..=MAX_VERSIONS).contains(&m.versions.len())
            && m.devices.len() <= MAX_DEVICES
            && m.agent_version.len() <= MAX_TEXT_LEN
            && m.accounts.len() <= MAX_BOOTS
            && m.accounts.iter().all(|a| forward(&a.ticks))
    };
    Welcome = Welcome: |m| accounted(&m.accounted);
    Heartbeat = Heartbeat: |_| true;
    Ack = Ack: |m| accounted(&m.accounted) && m.rejected.len() <= MAX_REJECTED;
    Config = Config: |m| match m {
        Config::TrustBundle(bundle) => bundle.len() <= MAX_BUNDLE_LEN,
        Config::Settings(settings) => settings.len() <= MAX_SETTINGS_LEN,
        Config::Watch { for_ms } => *for_ms <= MAX_WATCH_MS,
    };
    Goodbye = Goodbye: |_| true;
    Gap = Gap: |m| m.gaps.len() <= MAX_GAPS && m.gaps.iter().all(|g| forward(&g.ticks));
    NeedMetricSet = NeedMetricSet: |m| m.sets.len() <= MAX_SETS;
    Refusal = Error: |m| m.detail.len() <= MAX_TEXT_LEN;
}

/// As much of a text for people as a refusal may carry.
pub(crate) fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT_LEN)].to_string()
}

fn forward(range: &TickRange) -> bool {
    range.first <= range.last
}

fn accounted(list: &[Accounted]) -> bool {
    list.len() <= MAX_BOOTS && list.iter().all(|a| a.ranges.len() <= MAX_RANGES && a.ranges.iter().all(forward))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> TickRange {
        TickRange { first: Tick(first), last: Tick(last) }
    }

    fn hello() -> Hello {
        let boot = BootId([7; 16]);
        Hello {
            versions: vec![1],
            host: HostName::new("h1").expect("a name"),
            boot,
            devices: vec![DeviceId(47)],
            agent_version: "0.1.0".into(),
            accounts: vec![BootAccount { boot, ticks: range(3, 9) }],
            bundle_version: 300,
            times: HostTimes { boot_ns: 1, wall_ns: -1 },
        }
    }

    fn every_cut_is_refused<M: Message + PartialEq + std::fmt::Debug>(message: &M) {
        let bytes = message.encode();
        assert_eq!(M::decode(&bytes).as_ref(), Ok(message));
        for end in 0..bytes.len() {
            assert_eq!(M::decode(&bytes[..end]), Err(ErrorCode::PayloadMalformed), "cut at {end}");
        }
        assert!(M::decode(&[&bytes[..], &[0]].concat()).is_err(), "a byte too many");
    }

    #[test]
    fn every_message_is_read_whole_or_refused() {
        let boot = BootId([1; 16]);
        let list = vec![Accounted { boot, ranges: vec![range(10, 20), range(1, 5)] }];
        every_cut_is_refused(&hello());
        every_cut_is_refused(&Ack {
            accounted: list,
            rejected: vec![(boot, Rejected { first: Tick(6), code: 6 })],
            echo: Some(Echo { heartbeat_boot_ns: 5, received_wall_ns: 6, answered_wall_ns: 7 }),
        });
        every_cut_is_refused(&Gap { gaps: vec![GapRecord { boot, ticks: range(1, 2), reason: GapReason::Evicted }] });
        every_cut_is_refused(&NeedMetricSet { sets: vec![SetId([3; 16])] });
        every_cut_is_refused(&Config::TrustBundle(vec![7; 300]));
        every_cut_is_refused(&Config::Settings(vec![7; 300]));
        every_cut_is_refused(&Goodbye { reason: GoodbyeReason::Stopping });
        every_cut_is_refused(&Refusal { code: 1, detail: "x".into() });
    }

    #[test]
    fn bounds_hold_against_a_peer_that_ignores_them() {
        let refused = |m: &Hello| Hello::decode(&postcard::to_allocvec(m).expect("memory")).is_err();
        assert!(refused(&Hello { versions: vec![1; MAX_VERSIONS + 1], ..hello() }));
        assert!(refused(&Hello { versions: vec![], ..hello() }));
        assert!(refused(&Hello { devices: vec![DeviceId(1); MAX_DEVICES + 1], ..hello() }));
        let account = BootAccount { boot: BootId([0; 16]), ticks: range(9, 3) };
        assert!(refused(&Hello { accounts: vec![account], ..hello() }), "a range that runs backwards");
        let bundle = |len| Config::decode(&postcard::to_allocvec(&Config::TrustBundle(vec![0; len])).expect("memory"));
        assert!(bundle(MAX_BUNDLE_LEN).is_ok());
        assert!(bundle(MAX_BUNDLE_LEN + 1).is_err());
        let settings = |len| Config::decode(&postcard::to_allocvec(&Config::Settings(vec![0; len])).expect("memory"));
        assert!(settings(MAX_SETTINGS_LEN).is_ok());
        assert!(settings(MAX_SETTINGS_LEN + 1).is_err());
        let mut bytes = hello().encode();
        // Versions take two bytes; the host's name follows with its length.
        bytes[3] = b'!';
        assert!(Hello::decode(&bytes).is_err(), "a host name that is none");
    }
}
