//! The type-length-value fields between a frame's header and its payload: who speaks, as what, when.
//!
//! TLV = type u16, length u16, value; big-endian. A type may occur once. An unknown type is skipped if bit 15 of the
//! type is set and refused otherwise.

use crate::error::ErrorCode;
use crate::ids::{DeviceId, TenantId};

/// All TLVs of a frame together: four ML-DSA-87 signatures (4,627 B each) and the rest fit.
pub const MAX_TLVS_LEN: usize = 32 << 10;
/// An unknown type with this bit may be skipped.
const SKIPPABLE: u16 = 0x8000;
/// Longest signed token or signature value: one ML-DSA-87 signature, its key and 1 KiB of claims.
const MAX_SIGNED_LEN: usize = 8 << 10;
/// Layers are 2–9; a path longer than this visits some layer twice.
const MAX_LAYER_PATH: usize = 16;
/// Bytes of a model profile's name.
const MAX_MODEL_PROFILE_LEN: usize = 64;

/// A clearance on the one scale (the layer's number), or the classification of data on the same scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Classification(u8);

impl Classification {
    /// Open to all.
    pub const UNCLASS: Self = Self(0);

    /// The level of a number: 0 UNCLASS, 2 TRAINING, 3 SECRET … 9 EXEC. 1 does not exist.
    pub fn new(level: u8) -> Option<Self> {
        matches!(level, 0 | 2..=9).then_some(Self(level))
    }

    /// The number on the wire.
    pub fn level(self) -> u8 {
        self.0
    }

    /// The level's name.
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "UNCLASS",
            2 => "TRAINING",
            3 => "SECRET",
            4 => "TOP_SECRET",
            5 => "COSMIC",
            6 => "ATOMAL",
            7 => "EXTENDED",
            8 => "ENHANCED",
            _ => "EXEC",
        }
    }

    /// Whether a holder of this clearance may see data of classification `data`.
    pub fn dominates(self, data: Self) -> bool {
        self.0 >= data.0
    }
}

impl TryFrom<u8> for Classification {
    type Error = String;

    fn try_from(level: u8) -> Result<Self, String> {
        Self::new(level).ok_or_else(|| format!("classification {level} is none of 0 and 2 to 9"))
    }
}

impl From<Classification> for u8 {
    fn from(classification: Classification) -> u8 {
        classification.0
    }
}

impl std::fmt::Display for Classification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of compartments, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Compartments(pub u64);

impl Compartments {
    /// Security operations.
    pub const SOC: Self = Self(0x01);
    /// Development.
    pub const DEV: Self = Self(0x02);
    /// Laboratory.
    pub const LAB: Self = Self(0x04);
    /// Cryptography.
    pub const CRYPTO: Self = Self(0x08);
    /// Refused always and everywhere, whatever token comes with it.
    pub const KINETIC: Self = Self(0x80);

    /// Whether the kinetic bit is set.
    pub fn is_kinetic(self) -> bool {
        self.0 & Self::KINETIC.0 != 0
    }

    /// Whether this set has every compartment of `other`.
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
}

macro_rules! tlv_types {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal, $value:literal;)+) => {
        /// The TLV types of this version.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum TlvType { $($(#[doc = $doc])+ $name,)+ }

        impl TlvType {
            /// Every type there is, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The number on the wire.
            pub const fn number(self) -> u16 { match self { $(Self::$name => $number,)+ } }

            /// The type of a number.
            pub fn from_number(number: u16) -> Option<Self> { match number { $($number => Some(Self::$name),)+ _ => None } }

            /// Its name in the documents.
            pub const fn name(self) -> &'static str { match self { $(Self::$name => $text,)+ } }

            /// Its value in words, for the generated table.
            pub const fn value(self) -> &'static str { match self { $(Self::$name => $value,)+ } }
        }
    };
}

tlv_types! {
    /// The tenant; must equal the session's.
    TenantId = 0x0001, "TENANT_ID", "string, 1 to 32 bytes; in every frame; must equal the session's";
    /// Compartments of the content.
    CompartmentMask = 0x0002, "COMPARTMENT_MASK", "u64: 01 SOC, 02 DEV, 04 LAB, 08 CRYPTO, 80 KINETIC (refused always); in every frame";
    /// Classification of the content.
    Classification = 0x0003, "CLASSIFICATION", "u8: 0 UNCLASS, 2 TRAINING, 3 SECRET, 4 TOP_SECRET, 5 COSMIC, 6 ATOMAL, 7 EXTENDED, 8 ENHANCED, 9 EXEC; in every frame";
    /// Layers crossed.
    LayerPath = 0x0004, "LAYER_PATH", "u8 each, at most 16: the layers crossed";
    /// Rules-of-engagement token.
    RoeToken = 0x0005, "ROE_TOKEN", "signed token, at most 8 KiB; with orders to layer 9 or device 61";
    /// Speaking device.
    DeviceIdSrc = 0x0006, "DEVICE_ID_SRC", "u16; 0xFFFF is the host itself; in every frame";
    /// Addressed device.
    DeviceIdDst = 0x0007, "DEVICE_ID_DST", "u16; 0xFFFF is the host itself";
    /// When the frame was made.
    Timestamp = 0x0008, "TIMESTAMP", "u64, nanoseconds since 1970; in every frame";
    /// Claim for the model gateway.
    ClaimToken = 0x0009, "CLAIM_TOKEN", "signed token, at most 8 KiB; with requests through the model gateway";
    /// First signature of two.
    TwoPersonSigA = 0x000A, "TWO_PERSON_SIG_A", "signature, at most 8 KiB; where the two-person rule holds";
    /// Second signature of two.
    TwoPersonSigB = 0x000B, "TWO_PERSON_SIG_B", "signature, at most 8 KiB; where the two-person rule holds";
    /// Number against replay.
    SequenceNum = 0x000C, "SEQUENCE_NUM", "u64; exactly in frames with the flag REPLAY_PROTECTED";
    /// Model profile.
    ModelProfile = 0x000D, "MODEL_PROFILE", "string, at most 64 bytes";
    /// Rules-of-engagement level.
    RoeLevel = 0x000E, "ROE_LEVEL", "u8: 0 ANALYSIS_ONLY, 1 SOC_ASSIST, 2 TRAINING";
}

/// The fields of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlvs {
    /// TENANT_ID.
    pub tenant: TenantId,
    /// COMPARTMENT_MASK.
    pub compartments: Compartments,
    /// CLASSIFICATION.
    pub classification: Classification,
    /// DEVICE_ID_SRC.
    pub source: DeviceId,
    /// TIMESTAMP, nanoseconds since 1970 on the sender's wall clock.
    pub timestamp_ns: u64,
    /// SEQUENCE_NUM.
    pub sequence: Option<u64>,
    /// DEVICE_ID_DST.
    pub destination: Option<DeviceId>,
    /// Types that carry plain or signed bytes and are judged elsewhere, each at most once, in ascending order.
    pub other: Vec<(TlvType, Vec<u8>)>,
}

impl Tlvs {
    /// Appends the encoded fields to `out`, in ascending order of their types.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut fields: Vec<(TlvType, &[u8])> = self.other.iter().map(|(t, v)| (*t, v.as_slice())).collect();
        let compartments = self.compartments.0.to_be_bytes();
        let (class, source) = ([self.classification.level()], self.source.0.to_be_bytes());
        let (timestamp, sequence) = (self.timestamp_ns.to_be_bytes(), self.sequence.map(u64::to_be_bytes));
        let destination = self.destination.map(|d| d.0.to_be_bytes());
        fields.push((TlvType::TenantId, self.tenant.as_str().as_bytes()));
        fields.push((TlvType::CompartmentMask, &compartments));
        fields.push((TlvType::Classification, &class));
        fields.push((TlvType::DeviceIdSrc, &source));
        fields.push((TlvType::Timestamp, &timestamp));
        fields.extend(sequence.as_ref().map(|s| (TlvType::SequenceNum, s.as_slice())));
        fields.extend(destination.as_ref().map(|d| (TlvType::DeviceIdDst, d.as_slice())));
        fields.sort_by_key(|(t, _)| t.number());
        for (kind, value) in fields {
            let length = u16::try_from(value.len()).expect("every TLV has a limit far below 64 KiB");
            out.extend(kind.number().to_be_bytes());
            out.extend(length.to_be_bytes());
            out.extend(value);
        }
    }

    /// Reads the fields of one frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, ErrorCode> {
        let mut found = Found::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (kind, value, after) = split(rest)?;
            rest = after;
            match TlvType::from_number(kind) {
                Some(kind) => found.take(kind, value)?,
                None if kind & SKIPPABLE != 0 => {}
                None => return Err(ErrorCode::TlvUnknown),
            }
        }
        found.finish()
    }
}

#[derive(Default)]
struct Found {
    seen: u32,
    tenant: Option<TenantId>,
    compartments: Option<Compartments>,
    classification: Option<Classification>,
    source: Option<DeviceId>,
    timestamp_ns: Option<u64>,
    sequence: Option<u64>,
    destination: Option<DeviceId>,
    other: Vec<(TlvType, Vec<u8>)>,
}

impl Found {
    fn take(&mut self, kind: TlvType, value: &[u8]) -> Result<(), ErrorCode> {
        let bit = 1u32 << kind.number();
        if self.seen & bit != 0 {
            return Err(ErrorCode::TlvTwice);
        }
        self.seen |= bit;
        match kind {
            TlvType::TenantId => self.tenant = Some(tenant(value)?),
            TlvType::CompartmentMask => self.compartments = Some(Compartments(u64::from_be_bytes(exact(value)?))),
            TlvType::Classification => {
                let [level] = exact(value)?;
                self.classification = Some(Classification::new(level).ok_or(ErrorCode::TlvMalformed)?);
            }
            TlvType::DeviceIdSrc => self.source = Some(DeviceId(u16::from_be_bytes(exact(value)?))),
            TlvType::DeviceIdDst => self.destination = Some(DeviceId(u16::from_be_bytes(exact(value)?))),
            TlvType::Timestamp => self.timestamp_ns = Some(u64::from_be_bytes(exact(value)?)),
            TlvType::SequenceNum => self.sequence = Some(u64::from_be_bytes(exact(value)?)),
            TlvType::LayerPath => self.keep(kind, value, MAX_LAYER_PATH)?,
            TlvType::ModelProfile => {
                std::str::from_utf8(value).map_err(|_| ErrorCode::TlvMalformed)?;
                self.keep(kind, value, MAX_MODEL_PROFILE_LEN)?;
            }
            TlvType::RoeLevel => {
                let [level] = exact(value)?;
                if level > 2 {
                    return Err(ErrorCode::TlvMalformed);
                }
                self.keep(kind, value, 1)?;
            }
            TlvType::RoeToken | TlvType::ClaimToken | TlvType::TwoPersonSigA | TlvType::TwoPersonSigB => {
                self.keep(kind, value, MAX_SIGNED_LEN)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, kind: TlvType, value: &[u8], max: usize) -> Result<(), ErrorCode> {
        if value.is_empty() || value.len() > max {
            return Err(ErrorCode::TlvMalformed);
        }
        self.other.push((kind, value.to_vec()));
        Ok(())
    }

    fn finish(mut self) -> Result<Tlvs, ErrorCode> {
        self.other.sort_by_key(|(kind, _)| kind.number());
        let missing = ErrorCode::TlvMissing;
        Ok(Tlvs {
            tenant: self.tenant.ok_or(missing)?,
            compartments: self.compartments.ok_or(missing)?,
            classification: self.classification.ok_or(missing)?,
            source: self.source.ok_or(missing)?,
            timestamp_ns: self.timestamp_ns.ok_or(missing)?,
            sequence: self.sequence,
            destination: self.destination,
            other: self.other,
        })
    }
}

fn split(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), ErrorCode> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(ErrorCode::TlvMalformed)?;
    let kind = u16::from_be_bytes([head[0], head[1]]);
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let (value, rest) = rest.split_at_checked(length).ok_or(ErrorCode::TlvMalformed)?;
    Ok((kind, value, rest))
}

fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], ErrorCode> {
    value.try_into().map_err(|_| ErrorCode::TlvMalformed)
}

fn tenant(value: &[u8]) -> Result<TenantId, ErrorCode> {
    let text = std::str::from_utf8(value).map_err(|_| ErrorCode::TlvMalformed)?;
    TenantId::new(text).map_err(|_| ErrorCode::TlvMalformed)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn tlvs() -> Tlvs {
        Tlvs {
            tenant: TenantId::new("demo").expect("a tenant"),
            compartments: Compartments::SOC,
            classification: Classification::UNCLASS,
            source: DeviceId::HOST,
            timestamp_ns: 1_700_000_000_000_000_000,
            sequence: Some(7),
            destination: None,
            other: vec![(TlvType::LayerPath, vec![3, 4]), (TlvType::RoeLevel, vec![1])],
        }
    }

    fn encoded(tlvs: &Tlvs) -> Vec<u8> {
        let mut out = Vec::new();
        tlvs.encode(&mut out);
        out
    }

    #[test]
    fn each_fault_has_its_code() {
        let good = encoded(&tlvs());
        assert_eq!(Tlvs::decode(&good), Ok(tlvs()));
        for cut in 1..good.len() {
            // A cut between two fields can only lose optional ones; the frame's checksum notices that.
            assert_ne!(Tlvs::decode(&good[..cut]), Ok(tlvs()), "cut at {cut}");
        }
        let with = |extra: &[u8]| Tlvs::decode(&[&good[..], extra].concat());
        assert_eq!(with(&[0x00, 0x03, 0, 1, 0]), Err(ErrorCode::TlvTwice));
        assert_eq!(with(&[0x00, 0x77, 0, 0]), Err(ErrorCode::TlvUnknown));
        assert_eq!(with(&[0x80, 0x77, 0, 1, 9]), Ok(tlvs()));
        assert_eq!(with(&[0x00, 0x0D, 0, 1, 0xFF]), Err(ErrorCode::TlvMalformed));
    }

    #[test]
    fn level_one_does_not_exist() {
        assert_eq!(Classification::new(1), None);
        assert_eq!(Classification::new(10), None);
        assert!(Classification::new(9) > Classification::new(8));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Tlvs::decode(&bytes);
        }
    }
}
