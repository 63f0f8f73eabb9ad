//! What the agent and a probe say to each other over a unix socket of their host.
//!
//! A probe is a process of its own that reads one kind of thing: what needs rights, or a vendor's library that may hang or
//! crash. It may have been taken over by what it loads, so the agent believes nothing of it; and whoever may open a probe's
//! socket may send it anything. Every message has the same shape:
//!
//! | size | field |
//! |---|---|
//! | 4 | length of what follows, little-endian, [`MAX_QUESTION_LEN`] or [`MAX_ANSWER_LEN`] at most |
//! | 1 | version, 1 |
//! | the rest | [`Question`] or [`Answer`] in postcard |
//!
//! A length is judged by [`body`] before room is made for what it announces; then a message is read whole or refused:
//! another version, trailing bytes, a list or a text over its bound. A reading names its metric set by its hash and carries
//! it only for who does not know it: on most ticks a reading is its numbers.

mod fault;

pub use fault::{Fault, NotAnAddress, PciAddress, Text};

use crate::metric::{MetricSet, SetId};
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The one version of this protocol.
pub const PROBE_VERSION: u8 = 1;
/// Bytes of the length that comes first.
pub const PREFIX_LEN: usize = 4;
/// Bytes of a question behind its length: the longest has 19.
pub const MAX_QUESTION_LEN: usize = 64;
/// Bytes of an answer behind its length: sixteen GPUs of seven instances each take 600 kB, once.
pub const MAX_ANSWER_LEN: usize = 1 << 20;
/// Metrics in a reading: a byte can be one, which takes sixteen in memory.
pub const MAX_PROBE_METRICS: usize = 20_000;

/// What a probe reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProbeKind {
    /// NVIDIA's GPUs, by NVIDIA's library.
    Nvml,
    /// The processors' own energy counters.
    Rapl,
    /// The kernel's log.
    Kmsg,
    /// What GPUs do for other users' processes.
    Fdinfo,
    /// The health of disks.
    Smart,
    /// The states of systemd's units.
    Systemd,
}

impl ProbeKind {
    /// Every kind, in the order of their columns.
    pub const ALL: [Self; 6] = [Self::Nvml, Self::Rapl, Self::Kmsg, Self::Fdinfo, Self::Smart, Self::Systemd];

    /// Its name: on the command line, of its socket and unit, of its sensor.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvml => "nvml",
            Self::Rapl => "rapl",
            Self::Kmsg => "kmsg",
            Self::Fdinfo => "fdinfo",
            Self::Smart => "smart",
            Self::Systemd => "systemd",
        }
    }

    /// Seconds between two readings: more than one where figures hardly ever change, or where somebody else works for them.
    pub const fn interval_s(self) -> u16 {
        match self {
            Self::Nvml | Self::Rapl | Self::Kmsg => 1,
            // It walks through every process's open files.
            Self::Fdinfo => 10,
            // Process 1 lists its units, and does nothing else meanwhile.
            Self::Systemd => 30,
            // A disk interrupts its work to answer, and what it says changes in days.
            Self::Smart => 60,
        }
    }

    /// The kind of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl std::fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What can be asked of a probe. There is nothing that it could be told to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Who are you? Answered at once, whatever the device does.
    Hello,
    /// What is there at this moment?
    Read {
        /// The metric set that the asker has of an earlier reading.
        known: Option<SetId>,
    },
}

/// What a probe answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Question::Hello`].
    Hello {
        /// What it reads.
        kind: ProbeKind,
        /// Its process, for whoever asks what it hangs in.
        pid: u32,
    },
    /// To [`Question::Read`].
    Reading(ProbeReading),
}

/// What a probe has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReading {
    /// What the values mean.
    pub set: SetId,
    /// [`MetricSet::encode`] of it, unless the asker knows it.
    pub metrics: Option<Vec<u8>>,
    /// A value for each metric of the set; none could be read for a metric without.
    #[serde(deserialize_with = "values")]
    pub values: Vec<Option<u64>>,
    /// How long reading took, in microseconds.
    pub took_us: u64,
    /// Why this is not everything, if it is not.
    pub fault: Option<Fault>,
}

impl ProbeReading {
    /// The metric set, if it came along; checked against its name and the number of values.
    pub fn checked_set(&self) -> Result<Option<MetricSet>, ProbeError> {
        let Some(bytes) = &self.metrics else { return Ok(None) };
        let set = MetricSet::decode(bytes).map_err(|_| ProbeError::Malformed)?;
        let fits = set.id() == self.set && set.metrics().len() == self.values.len();
        if fits { Ok(Some(set)) } else { Err(ProbeError::Malformed) }
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The length is over what a message may have.
    #[error("a message of {0} bytes is announced")]
    Length(u32),
    /// Of a version that this program does not speak.
    #[error("version {0} is unknown, this program speaks version {PROBE_VERSION}")]
    Version(u8),
    /// Not the encoding of a message, or bytes left over.
    #[error("the bytes are no message")]
    Malformed,
}

/// The bytes of a question, length included.
pub fn question(question: Question) -> Vec<u8> {
    seal(&question, MAX_QUESTION_LEN).expect("every question is short")
}

/// The bytes of an answer, length included; none if it is longer than an answer may be.
pub fn answer(answer: &Answer) -> Option<Vec<u8>> {
    seal(answer, MAX_ANSWER_LEN)
}

/// The first message in `bytes` without its length, if all of it is there; `max` is the most that it may have.
pub fn body(bytes: &[u8], max: usize) -> Result<Option<&[u8]>, ProbeError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_LEN>() else { return Ok(None) };
    let len = u32::from_le_bytes(*prefix);
    match usize::try_from(len) {
        Ok(len) if len <= max => Ok(rest.get(..len)),
        _ => Err(ProbeError::Length(len)),
    }
}

/// Reads a question out of its [`body`].
pub fn read_question(body: &[u8]) -> Result<Question, ProbeError> {
    open(body)
}

/// Reads an answer out of its [`body`].
pub fn read_answer(body: &[u8]) -> Result<Answer, ProbeError> {
    open(body)
}

fn seal<T: Serialize>(message: &T, max: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; PREFIX_LEN];
    out.push(PROBE_VERSION);
    let mut out = postcard::to_extend(message, out).expect("writing to memory cannot fail");
    let len = out.len() - PREFIX_LEN;
    let prefix = u32::try_from(len).ok().filter(|_| len <= max)?;
    out[..PREFIX_LEN].copy_from_slice(&prefix.to_le_bytes());
    Some(out)
}

fn open<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProbeError> {
    let (version, payload) = body.split_first().ok_or(ProbeError::Malformed)?;
    if *version != PROBE_VERSION {
        return Err(ProbeError::Version(*version));
    }
    let (message, rest) = postcard::take_from_bytes::<T>(payload).map_err(|_| ProbeError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(ProbeError::Malformed) }
}

/// Reads values, [`MAX_PROBE_METRICS`] at most.
fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Option<u64>>, D::Error> {
    struct Values;

    impl<'de> Visitor<'de> for Values {
        type Value = Vec<Option<u64>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MAX_PROBE_METRICS} values")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = list.next_element()? {
                if values.len() == MAX_PROBE_METRICS {
                    return Err(A::Error::invalid_length(MAX_PROBE_METRICS + 1, &self));
                }
                values.push(value);
            }
            Ok(values)
        }
    }

    deserializer.deserialize_seq(Values)
}

#[cfg(test)]
mod tests;
