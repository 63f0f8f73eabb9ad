//! The DBE frame: a 32-byte header, TLVs, payload. Big-endian, checksummed, every length capped before it is believed.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic "DSMI" |
//! | 4 | 1 | version, 1 |
//! | 5 | 1 | message type |
//! | 6 | 2 | flags |
//! | 8 | 8 | correlation id |
//! | 16 | 8 | payload length |
//! | 24 | 4 | length of all TLVs |
//! | 28 | 4 | CRC-32C of header (this field 0), TLVs and payload |
//!
//! The checksum is there because stored frames outlive the transport's own protection.

use crate::error::ErrorCode;
use crate::join::MAX_BUNDLE_LEN;
use crate::tlv::{MAX_TLVS_LEN, Tlvs};

/// Bytes of a header.
pub const HEADER_LEN: usize = 32;
/// The one frame version there is.
pub const FRAME_VERSION: u8 = 1;
/// The largest payload of any frame; larger objects go in parts.
pub const MAX_PAYLOAD_LEN: usize = 4 << 20;
/// The largest payload of a message that is not data: hello, heartbeat, acknowledgements.
const MAX_CONTROL_LEN: usize = 64 << 10;
/// The largest payload of CONFIG: a trust bundle, and room for what says that it is one.
const MAX_CONFIG_LEN: usize = MAX_BUNDLE_LEN + (1 << 10);
const MAGIC: [u8; 4] = *b"DSMI";

macro_rules! message_types {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal, $max:expr;)+) => {
        /// What a frame carries. Only types with an implementation are here; a number without one is refused by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MessageType { $($(#[doc = $doc])+ $name,)+ }

        impl MessageType {
            /// Every implemented type, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The number on the wire.
            pub const fn number(self) -> u8 { match self { $(Self::$name => $number,)+ } }

            /// The type of a number, if it is implemented.
            pub fn from_number(number: u8) -> Option<Self> { match number { $($number => Some(Self::$name),)+ _ => None } }

            /// Its name in the documents.
            pub const fn name(self) -> &'static str { match self { $(Self::$name => $text,)+ } }

            /// What it is, for the generated table.
            pub const fn meaning(self) -> &'static str { match self { $(Self::$name => concat!($($doc),+),)+ } }

            /// The cap on its payload, in bytes.
            pub const fn max_payload(self) -> usize { match self { $(Self::$name => $max,)+ } }
        }
    };
}

message_types! {
    /// Agent to aggregator, first: versions spoken, boot, devices, ticks accounted for.
    Hello = 0x01, "HELLO", MAX_CONTROL_LEN;
    /// Aggregator to agent, the answer: version chosen, settings, accounted ticks, reconnect window.
    Welcome = 0x02, "WELCOME", MAX_CONTROL_LEN;
    /// Agent to aggregator, every two seconds: the last tick sampled, the spool's state, times.
    Heartbeat = 0x03, "HEARTBEAT", MAX_CONTROL_LEN;
    /// Aggregator to agent: accounted ticks as ranges, rejected batches, times.
    Ack = 0x04, "ACK", MAX_CONTROL_LEN;
    /// Either way, last: the connection ends on purpose.
    Goodbye = 0x05, "GOODBYE", MAX_CONTROL_LEN;
    /// Aggregator to agent: what the agent is to keep from now on, such as a newer trust bundle or settings of the fleet.
    Config = 0x08, "CONFIG", MAX_CONFIG_LEN;
    /// Agent to aggregator, from version 2 on: which settings of the fleet are in force, on trial or refused, and why.
    Health = 0x09, "HEALTH", MAX_CONTROL_LEN;
    /// Agent to aggregator: one batch.
    Telemetry = 0x0A, "TELEMETRY", MAX_PAYLOAD_LEN;
    /// Agent to aggregator: ticks that will never come, and why.
    Gap = 0x0D, "GAP", MAX_CONTROL_LEN;
    /// Agent to aggregator: what the columns of batches mean.
    MetricSet = 0x0E, "METRIC_SET", MAX_PAYLOAD_LEN;
    /// Aggregator to agent: a batch names a metric set that is not known here.
    NeedMetricSet = 0x0F, "NEED_METRIC_SET", MAX_CONTROL_LEN;
    /// Agent to aggregator, from version 3 on: one tick as it was sampled, while somebody watches. Never stored, never spooled.
    Live = 0x11, "LIVE", MAX_PAYLOAD_LEN;
    /// Either way: a refusal, with its code.
    Error = 0xFF, "ERROR", MAX_CONTROL_LEN;
}

/// Numbers that the protocol assigns and this version does not implement, to be named when they are refused.
pub const UNIMPLEMENTED: &[(u8, &str)] = &[
    (0x06, "ORDER"),
    (0x07, "OUTCOME"),
    (0x0B, "EVENT"),
    (0x0C, "AUDIT_CHECKPOINT"),
    (0x10, "L3_EVENT"),
    (0x20, "L5_FORECAST"),
    (0x30, "L6_POLICY_CHECK"),
    (0x41, "L7_CHAT_REQUEST"),
    (0x42, "L7_CHAT_RESPONSE"),
    (0x43, "L7_AGENT_REQUEST"),
    (0x44, "L7_AGENT_RESPONSE"),
    (0x45, "L7_MODEL_STATUS"),
    (0x50, "L8_ALERT"),
    (0x51, "L8_ANALYTICS"),
    (0x52, "L8_CRYPTO_ALERT"),
    (0x53, "L8_SOAR_PROPOSAL"),
    (0x60, "L9_COA_REQUEST"),
    (0x61, "L9_COA_RESPONSE"),
    (0x62, "L9_TWO_PERSON_REQUEST"),
    (0x63, "L9_TWO_PERSON_RESULT"),
];

/// The flags of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Part of an object that goes in several frames.
    pub const STREAMING: Self = Self(1);
    /// To be handled before others.
    pub const PRIORITY_HIGH: Self = Self(1 << 1);
    /// Carries SEQUENCE_NUM.
    pub const REPLAY_PROTECTED: Self = Self(1 << 2);
    /// The sender waits for an ACK.
    pub const REQUIRE_ACK: Self = Self(1 << 3);
    const KNOWN: u16 = 0b1111;

    /// Both sets of flags.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every flag of `other` is set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A checked header: what is needed to read the rest, and no more memory than its type may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: MessageType,
    flags: Flags,
    correlation: u64,
    payload_len: usize,
    tlvs_len: usize,
    crc: u32,
    raw: [u8; HEADER_LEN],
}

impl Header {
    /// Checks magic, version, type, flags and lengths, in this order.
    pub fn decode(raw: &[u8; HEADER_LEN]) -> Result<Self, ErrorCode> {
        if raw[..4] != MAGIC {
            return Err(ErrorCode::BadMagic);
        }
        if raw[4] != FRAME_VERSION {
            return Err(ErrorCode::BadVersion);
        }
        let kind = MessageType::from_number(raw[5]).ok_or(ErrorCode::BadType)?;
        let flags = u16::from_be_bytes([raw[6], raw[7]]);
        if flags & !Flags::KNOWN != 0 {
            return Err(ErrorCode::BadFlags);
        }
        let payload_len = usize::try_from(be64(raw, 16)).ok().filter(|len| *len <= kind.max_payload());
        let tlvs_len = Some(be32(raw, 24) as usize).filter(|len| *len <= MAX_TLVS_LEN);
        let (Some(payload_len), Some(tlvs_len)) = (payload_len, tlvs_len) else { return Err(ErrorCode::BadLength) };
        let crc = be32(raw, 28);
        Ok(Self { kind, flags: Flags(flags), correlation: be64(raw, 8), payload_len, tlvs_len, crc, raw: *raw })
    }

    /// Bytes that follow the header.
    pub fn body_len(&self) -> usize {
        self.tlvs_len + self.payload_len
    }

    /// The correlation id.
    pub fn correlation(&self) -> u64 {
        self.correlation
    }

    /// What the frame carries.
    pub fn kind(&self) -> MessageType {
        self.kind
    }
}

/// One message with who sent it, as what, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: MessageType,
    /// How it is to be handled. [`Flags::REPLAY_PROTECTED`] follows `tlvs.sequence`.
    pub flags: Flags,
    /// Joins an answer to its question: the sequence of a batch in TELEMETRY, else 0.
    pub correlation: u64,
    /// Who, as what, when.
    pub tlvs: Tlvs,
    /// The message's bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The bytes on the wire. Panics if the payload is over its type's cap: senders split first.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.payload.len() <= self.kind.max_payload(), "a sender keeps to the cap of {}", self.kind.name());
        let mut out = vec![0; HEADER_LEN];
        self.tlvs.encode(&mut out);
        let tlvs_len = u32::try_from(out.len() - HEADER_LEN).expect("every TLV has a limit");
        out.extend_from_slice(&self.payload);
        let flags = if self.tlvs.sequence.is_some() { self.flags.with(Flags::REPLAY_PROTECTED) } else { self.flags };
        out[..4].copy_from_slice(&MAGIC);
        out[4] = FRAME_VERSION;
        out[5] = self.kind.number();
        out[6..8].copy_from_slice(&flags.0.to_be_bytes());
        out[8..16].copy_from_slice(&self.correlation.to_be_bytes());
        out[16..24].copy_from_slice(&(self.payload.len() as u64).to_be_bytes());
        out[24..28].copy_from_slice(&tlvs_len.to_be_bytes());
        let crc = crc32c::crc32c(&out);
        out[28..32].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads the body that belongs to `header`: checksum first, then TLVs.
    pub fn decode(header: &Header, body: &[u8]) -> Result<Self, ErrorCode> {
        if body.len() != header.body_len() {
            return Err(ErrorCode::BadLength);
        }
        let mut raw = header.raw;
        raw[28..].fill(0);
        if crc32c::crc32c_append(crc32c::crc32c(&raw), body) != header.crc {
            return Err(ErrorCode::BadCrc);
        }
        let (tlvs, payload) = body.split_at(header.tlvs_len);
        let tlvs = Tlvs::decode(tlvs)?;
        // The flag and the number come together or not at all: one without the other is a way around the window.
        if header.flags.has(Flags::REPLAY_PROTECTED) != tlvs.sequence.is_some() {
            return Err(if tlvs.sequence.is_some() { ErrorCode::BadFlags } else { ErrorCode::TlvMissing });
        }
        Ok(Self {
            kind: header.kind,
            flags: header.flags,
            correlation: header.correlation,
            tlvs,
            payload: payload.to_vec(),
        })
    }

    /// Bytes of header and TLVs: what framing costs.
    pub fn head_len(&self) -> usize {
        let mut tlvs = Vec::new();
        self.tlvs.encode(&mut tlvs);
        HEADER_LEN + tlvs.len()
    }

    /// Reads one whole frame with nothing after it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ErrorCode> {
        let (head, body) = bytes.split_first_chunk().ok_or(ErrorCode::BadLength)?;
        Self::decode(&Header::decode(head)?, body)
    }
}

fn be64(raw: &[u8; HEADER_LEN], at: usize) -> u64 {
    raw[at..at + 8].iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn be32(raw: &[u8; HEADER_LEN], at: usize) -> u32 {
    raw[at..at + 4].iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlv::tests::tlvs;
    use proptest::prelude::*;

    fn frame(payload: Vec<u8>) -> Frame {
        let flags = Flags::REQUIRE_ACK.with(Flags::REPLAY_PROTECTED);
        Frame { kind: MessageType::Telemetry, flags, correlation: 42, tlvs: tlvs(), payload }
    }

    /// The checksum of changed bytes made right again, so that the fault behind it is reached.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes[28..32].fill(0);
        let crc = crc32c::crc32c(&bytes);
        bytes[28..32].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    #[test]
    fn each_fault_has_its_code() {
        let good = frame(vec![1, 2, 3]).encode();
        assert_eq!(Frame::from_bytes(&good), Ok(frame(vec![1, 2, 3])));
        let broken = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Frame::from_bytes(&sealed(bytes))
        };
        assert_eq!(broken(0, b'X'), Err(ErrorCode::BadMagic));
        assert_eq!(broken(4, 2), Err(ErrorCode::BadVersion));
        assert_eq!(broken(5, 0x06), Err(ErrorCode::BadType));
        assert_eq!(broken(6, 0x80), Err(ErrorCode::BadFlags));
        assert_eq!(broken(16, 1), Err(ErrorCode::BadLength));
        assert_eq!(broken(24, 1), Err(ErrorCode::BadLength));
        assert_eq!(broken(7, 0b1000), Err(ErrorCode::BadFlags), "a number without its flag");
        let mut flipped = good.clone();
        *flipped.last_mut().expect("a payload") ^= 1;
        assert_eq!(Frame::from_bytes(&flipped), Err(ErrorCode::BadCrc));
    }

    #[test]
    fn a_control_message_may_not_be_as_large_as_a_batch() {
        let mut bytes = Frame { kind: MessageType::Heartbeat, ..frame(vec![0; 10]) }.encode();
        bytes[16..24].copy_from_slice(&(MAX_CONTROL_LEN as u64 + 1).to_be_bytes());
        assert_eq!(Frame::from_bytes(&sealed(bytes)), Err(ErrorCode::BadLength));
    }

    #[test]
    fn every_cut_is_refused() {
        let good = frame(vec![9; 40]).encode();
        for end in 0..good.len() {
            assert!(Frame::from_bytes(&good[..end]).is_err(), "cut at {end}");
        }
        assert!(Frame::from_bytes(&[&good[..], &[0]].concat()).is_err(), "a byte too many");
    }

    #[test]
    fn framing_of_a_telemetry_batch_is_small() {
        let mut plain = frame(Vec::new());
        plain.tlvs.other.clear();
        assert!(plain.encode().len() <= 96, "{}", plain.encode().len());
    }

    proptest! {
        #[test]
        fn any_flip_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..64), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = frame(payload).encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Frame::from_bytes(&bytes).is_err());
        }
    }
}
