//! Metric sets: what the columns of a batch mean, described once and known by a hash.
//!
//! A batch carries numbers only. Names, labels, units and scales travel once in a METRIC_SET message and are stored
//! once, under the hash of their encoding; a batch names that hash.

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha384};

/// The format of an encoded metric set.
pub const METRIC_SET_VERSION: u8 = 1;
/// Metrics in one set: a host with 256 CPUs and 1,000 disks has about 20,000; a set must fit one 4 MiB frame.
pub const MAX_METRICS: usize = 65_536;
/// Bytes of one metric name or label name; node_exporter's longest is 60.
pub const MAX_NAME_LEN: usize = 128;
/// Bytes of one label value; a mount point can be long, `PATH_MAX` would let one set fill a frame.
pub const MAX_LABEL_VALUE_LEN: usize = 1024;
/// Labels of one metric.
pub const MAX_LABELS: usize = 16;
/// Bytes of a whole encoded set, below the frame's 4 MiB cap.
pub const MAX_METRIC_SET_LEN: usize = 3 << 20;

/// The hash of a metric set: the first 16 bytes of SHA-384 over its encoding.
///
/// An aggregator stores the first set it sees under a hash and refuses another one with the same hash, so forging
/// needs a second preimage (2^128), not a collision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SetId(pub [u8; 16]);

impl std::fmt::Display for SetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for SetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SetId({self})")
    }
}

/// What a metric's number does over time, as in the Prometheus exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Only grows, until it restarts from zero.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// How the 64 bits of a sample are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Repr {
    /// An unsigned integer: the kernel's own counter.
    U64,
    /// A signed integer, two's complement.
    I64,
    /// An IEEE 754 double.
    F64,
}

/// From a raw number to the metric's unit: `value = raw × multiply / divide`.
///
/// Samples stay the source's own integers (sectors, jiffies, kB) because integers compress and lose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scale {
    /// Multiplied first.
    pub multiply: u32,
    /// Divided by afterwards; never 0.
    pub divide: u32,
}

impl Scale {
    /// The raw number is the value.
    pub const ONE: Self = Self { multiply: 1, divide: 1 };

    /// Raw numbers are `n` of the metric's unit each (1024 for kB told in bytes, 512 for sectors).
    pub const fn times(n: u32) -> Self {
        Self { multiply: n, divide: 1 }
    }

    /// Raw numbers are the `n`th part of the metric's unit (1000 for ms told in seconds, 100 for jiffies).
    pub const fn per(n: u32) -> Self {
        Self { multiply: 1, divide: n }
    }
}

/// One metric: a name, its labels, and how its samples are to be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Metric {
    /// The Prometheus name, unit suffix included (`node_memory_MemAvailable_bytes`).
    pub name: String,
    /// Label names and values, in the order in which the exporter of that name prints them; no name twice.
    #[serde(deserialize_with = "labels")]
    pub labels: Vec<(String, String)>,
    /// Counter or gauge.
    pub kind: Kind,
    /// How a sample's bits are read.
    pub repr: Repr,
    /// From the raw number to the unit in the name.
    pub scale: Scale,
}

impl Metric {
    /// A sample's bits as a value in the metric's unit.
    pub fn value(&self, bits: u64) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "Prometheus values are doubles; 2^53 is the format's own limit")]
        let raw = match self.repr {
            Repr::U64 => bits as f64,
            Repr::I64 => bits.cast_signed() as f64,
            Repr::F64 => f64::from_bits(bits),
        };
        raw * f64::from(self.scale.multiply) / f64::from(self.scale.divide)
    }

    fn check(&self) -> Result<(), MetricSetError> {
        let text_ok = |s: &str| !s.is_empty() && s.len() <= MAX_NAME_LEN && s.bytes().all(is_name_byte);
        let first_ok = |s: &str| !s.as_bytes()[0].is_ascii_digit();
        if !text_ok(&self.name) || !first_ok(&self.name) {
            return Err(MetricSetError::Name);
        }
        if self.labels.len() > MAX_LABELS {
            return Err(MetricSetError::Labels);
        }
        for (i, (name, value)) in self.labels.iter().enumerate() {
            let taken = self.labels[..i].iter().any(|(other, _)| other == name);
            if !text_ok(name) || !first_ok(name) || name.contains(':') || name == "__name__" || taken {
                return Err(MetricSetError::Labels);
            }
            if value.len() > MAX_LABEL_VALUE_LEN {
                return Err(MetricSetError::Labels);
            }
        }
        if self.scale.divide == 0 { Err(MetricSetError::Scale) } else { Ok(()) }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// The metrics of a batch's columns, in column order, with the hash that names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricSet {
    id: SetId,
    metrics: Vec<Metric>,
}

/// Why a metric set was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricSetError {
    /// Of a version this program does not speak.
    #[error("metric set version {0} is unknown, this program reads version {METRIC_SET_VERSION}")]
    Version(u8),
    /// More metrics or bytes than the limits allow.
    #[error("a metric set holds at most {MAX_METRICS} metrics and {MAX_METRIC_SET_LEN} bytes")]
    TooLarge,
    /// Not the encoding of a metric set, or bytes left over.
    #[error("the bytes are not an encoded metric set")]
    Malformed,
    /// A metric name outside Prometheus's rules or too long.
    #[error("a metric name is 1 to {MAX_NAME_LEN} of a-z, A-Z, 0-9, '_' and ':' and starts with no digit")]
    Name,
    /// A label outside Prometheus's rules, twice, or too long.
    #[error(
        "labels are at most {MAX_LABELS}, each once, with a Prometheus name and at most {MAX_LABEL_VALUE_LEN} bytes of value"
    )]
    Labels,
    /// A scale that divides by zero.
    #[error("a scale divides by zero")]
    Scale,
}

impl MetricSet {
    /// Checks the metrics against the limits and names them by their hash.
    pub fn new(metrics: Vec<Metric>) -> Result<Self, MetricSetError> {
        if metrics.len() > MAX_METRICS {
            return Err(MetricSetError::TooLarge);
        }
        metrics.iter().try_for_each(Metric::check)?;
        let bytes = encode(&metrics);
        if bytes.len() > MAX_METRIC_SET_LEN {
            return Err(MetricSetError::TooLarge);
        }
        Ok(Self { id: hash(&bytes), metrics })
    }

    /// The hash that batches name.
    pub fn id(&self) -> SetId {
        self.id
    }

    /// The metrics in column order.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The bytes of a METRIC_SET payload and of the stored form.
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.metrics)
    }

    /// Reads [`MetricSet::encode`]'s bytes, every limit checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, MetricSetError> {
        let (&version, body) = bytes.split_first().ok_or(MetricSetError::Malformed)?;
        if version != METRIC_SET_VERSION {
            return Err(MetricSetError::Version(version));
        }
        if bytes.len() > MAX_METRIC_SET_LEN {
            return Err(MetricSetError::TooLarge);
        }
        let mut reader = postcard::Deserializer::from_bytes(body);
        let metrics = reader.deserialize_seq(Checked).map_err(|_| MetricSetError::Malformed)??;
        if !reader.finalize().is_ok_and(<[u8]>::is_empty) {
            return Err(MetricSetError::Malformed);
        }
        let set = Self::new(metrics)?;
        // One meaning, one encoding: otherwise two hashes could name one set.
        if set.id == hash(bytes) { Ok(set) } else { Err(MetricSetError::Malformed) }
    }
}

/// Reads metrics until one that may not be. Room is made as they come and not by how many are announced, and each is judged
/// before the next is read: two bytes can be a label, which takes fifty in memory.
struct Checked;

impl<'de> Visitor<'de> for Checked {
    type Value = Result<Vec<Metric>, MetricSetError>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at most {MAX_METRICS} metrics")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut metrics = Vec::new();
        while let Some(metric) = list.next_element::<Metric>()? {
            if metrics.len() == MAX_METRICS {
                return Ok(Err(MetricSetError::TooLarge));
            }
            if let Err(error) = metric.check() {
                return Ok(Err(error));
            }
            metrics.push(metric);
        }
        Ok(Ok(metrics))
    }
}

/// Reads labels, [`MAX_LABELS`] at most.
fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    struct Labels;

    impl<'de> Visitor<'de> for Labels {
        type Value = Vec<(String, String)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MAX_LABELS} labels")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut labels = Vec::new();
            while let Some(label) = list.next_element()? {
                if labels.len() == MAX_LABELS {
                    return Err(A::Error::invalid_length(MAX_LABELS + 1, &self));
                }
                labels.push(label);
            }
            Ok(labels)
        }
    }

    deserializer.deserialize_seq(Labels)
}

fn encode(metrics: &[Metric]) -> Vec<u8> {
    let start = vec![METRIC_SET_VERSION];
    postcard::to_extend(metrics, start).expect("writing to memory cannot fail")
}

fn hash(bytes: &[u8]) -> SetId {
    let digest = Sha384::digest(bytes);
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    SetId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, labels: &[(&str, &str)]) -> Metric {
        Metric {
            name: name.into(),
            labels: labels.iter().map(|(n, v)| ((*n).to_string(), (*v).to_string())).collect(),
            kind: Kind::Counter,
            repr: Repr::U64,
            scale: Scale::per(100),
        }
    }

    #[test]
    fn a_set_reads_back_and_keeps_its_hash() {
        let set = MetricSet::new(vec![
            metric("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "user")]),
            metric("node_load1", &[]),
        ])
        .expect("a set");
        let bytes = set.encode();
        assert_eq!(MetricSet::decode(&bytes), Ok(set.clone()));
        for end in 0..bytes.len() {
            assert!(MetricSet::decode(&bytes[..end]).is_err(), "truncated at {end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(MetricSet::decode(&longer), Err(MetricSetError::Malformed));
        let mut newer = bytes;
        newer[0] = 2;
        assert_eq!(MetricSet::decode(&newer), Err(MetricSetError::Version(2)));
    }

    #[test]
    fn a_value_is_in_the_unit_of_its_name() {
        assert!((metric("node_cpu_seconds_total", &[]).value(250) - 2.5).abs() < 1e-12);
        let signed = Metric { repr: Repr::I64, scale: Scale::ONE, ..metric("t", &[]) };
        assert!((signed.value((-3i64).cast_unsigned()) + 3.0).abs() < 1e-12);
    }

    #[test]
    fn what_prometheus_would_refuse_is_refused() {
        for bad in ["", "0a", "a b", "a-b", "é", &"x".repeat(MAX_NAME_LEN + 1)] {
            assert_eq!(MetricSet::new(vec![metric(bad, &[])]), Err(MetricSetError::Name), "{bad:?}");
        }
        for bad in [[("a", ""), ("a", "")], [("__name__", ""), ("b", "")], [("a:b", ""), ("b", "")]] {
            assert_eq!(MetricSet::new(vec![metric("m", &bad)]), Err(MetricSetError::Labels), "{bad:?}");
        }
        let zero = Metric { scale: Scale { multiply: 1, divide: 0 }, ..metric("m", &[]) };
        assert_eq!(MetricSet::new(vec![zero]), Err(MetricSetError::Scale));
    }

    #[test]
    fn what_may_not_be_is_refused_as_it_is_read() {
        // Three metrics are announced, the first has no name, and there is no second.
        assert_eq!(MetricSet::decode(&[METRIC_SET_VERSION, 3, 0, 0, 0, 0, 1, 1]), Err(MetricSetError::Name));
        let labels = |count: usize| (0..count).map(|i| (format!("l{i}"), String::new())).collect();
        let encoded = |count| encode(&[Metric { labels: labels(count), ..metric("m", &[]) }]);
        assert!(MetricSet::decode(&encoded(MAX_LABELS)).is_ok());
        assert_eq!(MetricSet::decode(&encoded(MAX_LABELS + 1)), Err(MetricSetError::Malformed));
        let many = encode(&vec![metric("m", &[]); MAX_METRICS + 1]);
        assert_eq!(MetricSet::decode(&many), Err(MetricSetError::TooLarge));
    }

    #[test]
    fn a_count_that_lies_allots_nothing() {
        let mut bytes = vec![METRIC_SET_VERSION];
        bytes.extend([0xFF, 0xFF, 0xFF, 0xFF, 0x7F]);
        assert_eq!(MetricSet::decode(&bytes), Err(MetricSetError::Malformed));
    }
}
