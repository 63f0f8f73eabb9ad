//! Names and numbers that both ends of the wire must read the same way.

use serde::{Deserialize, Serialize};

/// A tick: whole seconds of `CLOCK_BOOTTIME` since the host booted.
///
/// It counts on through suspend and is untouched by wall-clock steps, so it orders samples of one boot without doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tick(pub u64);

impl Tick {
    /// The tick after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The tick before this one, none before tick 0.
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

/// Ticks `first..=last`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TickRange {
    /// The first tick in the range.
    pub first: Tick,
    /// The last tick in the range; never before `first`.
    pub last: Tick,
}

impl TickRange {
    /// The range `first..=last`, or nothing if it would be empty.
    pub fn new(first: Tick, last: Tick) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// How many ticks it holds. Never 0, hence no `is_empty`.
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u64 {
        (self.last.0 - self.first.0).saturating_add(1)
    }

    /// Whether `other` lies wholly inside this range.
    pub fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// The kernel's random identity of one boot (`/proc/sys/kernel/random/boot_id`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// Stands where a boot should and nobody knows which; the kernel gives no boot this identity.
    pub const UNKNOWN: Self = Self([0; 16]);
}

impl std::fmt::Display for BootId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for BootId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BootId({self})")
    }
}

impl std::str::FromStr for BootId {
    type Err = NameError;

    /// Reads the kernel's form: 32 hexadecimal digits, dashes ignored.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut bytes = [0u8; 16];
        let mut digits = text.bytes().filter(|b| *b != b'-');
        for byte in &mut bytes {
            let (high, low) = (hex(digits.next())?, hex(digits.next())?);
            *byte = high << 4 | low;
        }
        match digits.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(NameError::BootId),
        }
    }
}

fn hex(digit: Option<u8>) -> Result<u8, NameError> {
    match digit {
        Some(d @ b'0'..=b'9') => Ok(d - b'0'),
        Some(d @ b'a'..=b'f') => Ok(d - b'a' + 10),
        Some(d @ b'A'..=b'F') => Ok(d - b'A' + 10),
        _ => Err(NameError::BootId),
    }
}

/// One of the fleet's devices (0–103 in the shipped layout), or [`DeviceId::HOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceId(pub u16);

impl DeviceId {
    /// The host itself, or, in a frame from an aggregator, the aggregator.
    pub const HOST: Self = Self(0xFFFF);
}

/// A host's name in the fleet file and in its SPIFFE ID: 1–63 of `a-z 0-9 - .`, starting and ending with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// The tenant of an aggregator, fixed at its `init`: 1–32 of `a-z 0-9 -`, starting and ending with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a host name of ours.
    #[error("a host name is 1 to 63 of a-z, 0-9, '-' and '.', and starts and ends with a letter or digit")]
    HostName,
    /// Not a tenant name of ours.
    #[error("a tenant is 1 to 32 of a-z, 0-9 and '-', and starts and ends with a letter or digit")]
    TenantId,
    /// Not a boot id.
    #[error("a boot id is 32 hexadecimal digits, as in /proc/sys/kernel/random/boot_id")]
    BootId,
}

fn is_name(text: &str, max: usize, also: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    bytes.len() <= max
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| edge(Some(b)) || also.contains(b))
}

macro_rules! name_type {
    ($name:ident, $max:expr, $also:expr) => {
        impl $name {
            /// The longest name, in bytes.
            pub const MAX_LEN: usize = $max;

            /// Checks and takes a name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                if is_name(&text, $max, $also) { Ok(Self(text)) } else { Err(NameError::$name) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(HostName, 63, b"-.");
name_type!(TenantId, 32, b"-");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_id_reads_what_it_prints() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let boot: BootId = text.parse().expect("a kernel boot id");
        assert_eq!(boot.to_string(), text);
        for bad in ["", "0011", "zz112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff0"] {
            assert_eq!(bad.parse::<BootId>(), Err(NameError::BootId), "{bad:?}");
        }
    }

    #[test]
    fn names_refuse_what_a_path_or_a_log_line_could_choke_on() {
        for good in ["h1", "rack-3.node-7", "0", "a.b"] {
            assert!(HostName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "..", "A", "a/b", "a b", "a\n", "é", &"x".repeat(64)] {
            assert_eq!(HostName::new(bad), Err(NameError::HostName), "{bad:?}");
        }
        assert!(TenantId::new("x".repeat(32)).is_ok());
        assert!(TenantId::new("x".repeat(33)).is_err());
        assert!(TenantId::new("a.b").is_err());
    }

    #[test]
    fn a_range_is_never_empty() {
        assert_eq!(TickRange::new(Tick(5), Tick(4)), None);
        assert_eq!(TickRange::new(Tick(5), Tick(5)).map(TickRange::len), Some(1));
    }
}
