//! Why a probe has not read everything: a closed list, its texts short and harmless.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a reading is not everything there is.
///
/// Of several faults a probe names the worst: one that keeps it from everything before one of a single device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The vendor's library cannot be loaded.
    LibraryMissing {
        /// Its name or path.
        library: Text,
    },
    /// It was loaded and lacks what every version of it has, or says something nobody knows.
    LibraryUnusable {
        /// What it said or lacks.
        what: Text,
    },
    /// The program that does the reading is not installed.
    ProgramMissing {
        /// Its name or path.
        program: Text,
    },
    /// That program has failed, or says something nobody knows.
    ProgramFailed {
        /// Which, and what it said.
        what: Text,
    },
    /// The vendor's kernel driver is not loaded.
    DriverNotLoaded,
    /// Library and kernel driver are of different releases: one was upgraded and the other is still loaded.
    VersionMismatch {
        /// The loaded driver's version, where it can be told.
        driver: Option<Text>,
    },
    /// The probe lacks a right.
    NoPermission {
        /// To what.
        to: Text,
    },
    /// The driver has lost a device.
    DeviceLost {
        /// Where it is, or was.
        device: PciAddress,
    },
    /// The driver wants a device to be reset.
    ResetRequired {
        /// Where it is.
        device: PciAddress,
    },
    /// A call has not come back. What it was to read is absent; the rest of the probe still answers.
    Hung {
        /// Whole seconds since the call began.
        for_s: u32,
        /// The state of the thread that calls, as in proc(5): `D` if it cannot be killed.
        #[serde(deserialize_with = "state")]
        state: Option<char>,
        /// The kernel function in which it waits, where the kernel tells.
        wait_channel: Option<Text>,
    },
    /// A file could not be read.
    Unreadable {
        /// Which, and what the kernel said.
        what: Text,
    },
    /// More metrics than fit; the first ones are there.
    TooMany {
        /// How many are there.
        reported: u32,
    },
    /// The program has no such reading.
    NotImplemented,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LibraryMissing { library } => write!(f, "{library} cannot be loaded: it is not installed"),
            Self::LibraryUnusable { what } => write!(f, "the vendor's library cannot be used: {what}"),
            Self::ProgramMissing { program } => write!(f, "{program} cannot be run: it is not installed"),
            Self::ProgramFailed { what } => write!(f, "a program has failed: {what}"),
            Self::DriverNotLoaded => f.write_str("the driver is not loaded"),
            Self::VersionMismatch { driver: Some(version) } => {
                write!(f, "the library is not of the loaded driver's release ({version})")
            }
            Self::VersionMismatch { driver: None } => f.write_str("the library is not of the loaded driver's release"),
            Self::NoPermission { to } => write!(f, "no permission to use {to}"),
            Self::DeviceLost { device } => write!(f, "the driver has lost the device at {device}"),
            Self::ResetRequired { device } => write!(f, "the device at {device} has to be reset"),
            Self::Hung { for_s, state, wait_channel } => {
                write!(f, "a call hangs for {for_s} s")?;
                match state {
                    Some('D') => f.write_str(", state D, cannot be killed")?,
                    Some(state) => write!(f, ", state {state}")?,
                    None => {}
                }
                wait_channel.as_ref().map_or(Ok(()), |place| write!(f, ", in {place}"))
            }
            Self::Unreadable { what } => write!(f, "cannot be read: {what}"),
            Self::TooMany { reported } => write!(f, "more metrics than fit: the first {reported} are reported"),
            Self::NotImplemented => f.write_str("this release of dsmil-probe has no such reading"),
        }
    }
}

/// Bytes of a [`Text`]: a line on a screen has room for it.
const MAX_TEXT_LEN: usize = 80;

/// A short text without control characters: it ends on somebody's terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Text(pub(super) String);

impl Text {
    /// As much of `text` as fits; characters that do something become `?`.
    pub fn of(text: &str) -> Self {
        let plain: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        Self(plain[..plain.floor_char_boundary(MAX_TEXT_LEN)].to_owned())
    }

    /// It.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() <= MAX_TEXT_LEN && !text.chars().any(char::is_control) {
            Ok(Self(text))
        } else {
            Err(serde::de::Error::custom("a text is short and does nothing to a terminal"))
        }
    }
}

/// Where a device is on the PCI bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PciAddress {
    /// The domain, also called segment.
    pub domain: u32,
    /// The bus.
    pub bus: u8,
    /// The device on it, 0 to 31.
    #[serde(deserialize_with = "device")]
    pub device: u8,
    /// Its function, 0 to 7.
    #[serde(deserialize_with = "function")]
    pub function: u8,
}

/// Devices of a bus.
const DEVICES: u8 = 32;
/// Functions of a device.
const FUNCTIONS: u8 = 8;

/// As the kernel writes it: `0000:01:00.0`.
impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

/// Something is no PCI address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PCI address, as in 0000:01:00.0")]
pub struct NotAnAddress;

/// As the kernel and vendors write it: a domain of four or eight digits, in any case; a function that is left out is 0, as in
/// the lines of NVIDIA's driver.
impl FromStr for PciAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let hex = |digits: &str, longest: usize| {
            let plain = (1..=longest).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
        };
        let byte = |digits: &str, longest| u8::try_from(hex(digits, longest)?).ok();
        let parse = || {
            let (place, function) = text.split_once('.').unwrap_or((text, "0"));
            let mut parts = place.split(':');
            let (domain, bus, device) = (parts.next()?, parts.next()?, parts.next()?);
            let address = Self {
                domain: hex(domain, 8)?,
                bus: byte(bus, 2)?,
                device: byte(device, 2).filter(|device| *device < DEVICES)?,
                function: byte(function, 1).filter(|function| *function < FUNCTIONS)?,
            };
            parts.next().is_none().then_some(address)
        };
        parse().ok_or(NotAnAddress)
    }
}

/// A state is a letter: it ends on a terminal as well.
fn state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<char>, D::Error> {
    let state = Option::<char>::deserialize(deserializer)?;
    if state.is_none_or(|state| state.is_ascii_alphabetic()) {
        Ok(state)
    } else {
        Err(serde::de::Error::custom("a state is a letter"))
    }
}

fn device<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    below(DEVICES, deserializer)
}

fn function<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    below(FUNCTIONS, deserializer)
}

fn below<'de, D: Deserializer<'de>>(end: u8, deserializer: D) -> Result<u8, D::Error> {
    let number = u8::deserialize(deserializer)?;
    if number < end { Ok(number) } else { Err(serde::de::Error::custom("no bus has such an address")) }
}
