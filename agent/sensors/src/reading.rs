//! What a sensor writes its figures into.
//!
//! The metrics of a host hardly ever change, their values do each second. So a reading keeps the metrics of the last
//! time, compares as the sensor pushes, and takes memory only where something differs.

use dsmil_protocol::metric::{Kind, MAX_LABEL_VALUE_LEN, MAX_LABELS, MAX_NAME_LEN, Metric, Repr, Scale};
use std::borrow::Cow;
use std::collections::HashSet;

/// Metrics of one sensor: a host with 1,000 disks has 17,000 of them; one with 10,000 is cut, and its verdict says so.
pub const MAX_SENSOR_METRICS: usize = 20_000;
/// Bytes of names and label values of one sensor: the 17,000 of 1,000 disks are 900 kB; a whole set may have 3 MiB.
pub const MAX_SENSOR_TEXT: usize = 2 << 20;

/// How a metric's number behaves, is read, and is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    kind: Kind,
    repr: Repr,
    scale: Scale,
}

impl Form {
    /// An unsigned number that only grows.
    pub const fn counter(scale: Scale) -> Self {
        Self { kind: Kind::Counter, repr: Repr::U64, scale }
    }

    /// An unsigned number that goes up and down.
    pub const fn gauge(scale: Scale) -> Self {
        Self { kind: Kind::Gauge, repr: Repr::U64, scale }
    }

    /// A signed number that goes up and down; pushed as its two's complement.
    pub const fn signed_gauge(scale: Scale) -> Self {
        Self { kind: Kind::Gauge, repr: Repr::I64, scale }
    }

    /// The metric of this form.
    pub fn metric(self, name: &str, labels: &[(&str, &str)]) -> Metric {
        Metric {
            name: name.to_owned(),
            labels: labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect(),
            kind: self.kind,
            repr: self.repr,
            scale: self.scale,
        }
    }

    fn is_of(self, metric: &Metric) -> bool {
        metric.kind == self.kind && metric.repr == self.repr && metric.scale == self.scale
    }
}

/// A sensor's metrics and their values at one tick.
#[derive(Debug, Default)]
pub struct Reading {
    layout: Vec<Metric>,
    /// Of each metric of the layout: whether it repeats an earlier one. Empty while nothing repeats.
    repeated: Vec<bool>,
    values: Vec<Option<u64>>,
    text: usize,
    changed: bool,
    truncated: bool,
}

impl Reading {
    /// A reading of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a tick: the values are gone, the layout stays to be compared with.
    pub fn begin(&mut self) {
        self.values.clear();
        self.text = 0;
        self.truncated = false;
    }

    /// Adds a metric and its value at this tick; `None` is a metric that exists and could not be read.
    ///
    /// A label value longer than the protocol's limit is cut. A name outside Prometheus's rules is left out: one bad
    /// name would refuse the whole set. What exceeds the limits of a sensor is left out and reported by
    /// [`Reading::is_truncated`].
    pub fn push(&mut self, name: &str, labels: &[(&str, &str)], form: Form, bits: Option<u64>) {
        let text = name.len() + labels.iter().map(|(_, value)| fit(value).len()).sum::<usize>();
        if self.values.len() >= MAX_SENSOR_METRICS || self.text + text > MAX_SENSOR_TEXT {
            self.truncated = true;
        }
        if self.truncated {
            return;
        }
        let at = self.values.len();
        if !self.layout.get(at).is_some_and(|known| is_same(known, name, labels, form)) {
            if !is_name(name) || labels.len() > MAX_LABELS {
                return;
            }
            let mut metric = form.metric(name, &[]);
            metric.labels = labels.iter().map(|(label, value)| ((*label).into(), fit(value).into())).collect();
            match self.layout.get_mut(at) {
                Some(known) => *known = metric,
                None => self.layout.push(metric),
            }
            self.changed = true;
        }
        self.text += text;
        self.values.push(bits);
    }

    /// Adds a metric as somebody else describes it, as by [`Reading::push`].
    pub fn repeat(&mut self, metric: &Metric, bits: Option<u64>) {
        let Metric { name, labels, kind, repr, scale } = metric;
        let labels: Vec<(&str, &str)> = labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect();
        self.push(name, &labels, Form { kind: *kind, repr: *repr, scale: *scale }, bits);
    }

    /// Ends a tick in which the sensor pushed everything there is.
    pub fn complete(&mut self) {
        if self.layout.len() > self.values.len() {
            self.layout.truncate(self.values.len());
            self.changed = true;
        }
        self.find_repeated();
    }

    /// Ends a tick in which the sensor stopped half way: what it did not come to is unavailable, not gone.
    pub fn abandon(&mut self) {
        self.values.resize(self.layout.len(), None);
        self.find_repeated();
    }

    /// Whether the layout differs from that of the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether a limit left metrics out.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The metrics, each once, in a stable order.
    pub fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.layout.iter().enumerate().filter(|(at, _)| !self.is_repeated(*at)).map(|(_, metric)| metric)
    }

    /// The values of [`Reading::metrics`], in the same order.
    pub fn values(&self) -> impl Iterator<Item = Option<u64>> {
        self.values.iter().enumerate().filter(|(at, _)| !self.is_repeated(*at)).map(|(_, bits)| *bits)
    }

    fn is_repeated(&self, at: usize) -> bool {
        self.repeated.get(at).copied().unwrap_or(false)
    }

    /// Two metrics of one name and labels would be one series with two values at a time. Real kernels list a device
    /// once; a filesystem mounted twice at one place is listed twice.
    fn find_repeated(&mut self) {
        if !self.changed {
            return;
        }
        let mut seen = HashSet::with_capacity(self.layout.len());
        let repeated: Vec<bool> = self.layout.iter().map(|m| !seen.insert((&m.name, &m.labels))).collect();
        self.repeated = if repeated.contains(&true) { repeated } else { Vec::new() };
    }
}

fn is_same(known: &Metric, name: &str, labels: &[(&str, &str)], form: Form) -> bool {
    known.name == name
        && form.is_of(known)
        && known.labels.len() == labels.len()
        && known.labels.iter().zip(labels).all(|(known, (label, value))| known.0 == *label && known.1 == fit(value))
}

fn fit(value: &str) -> &str {
    if value.len() <= MAX_LABEL_VALUE_LEN { value } else { &value[..value.floor_char_boundary(MAX_LABEL_VALUE_LEN)] }
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_LEN
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Kernel text as a label value: bytes that are not UTF-8 become U+FFFD. Takes memory only for those.
pub(crate) fn label(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_protocol::metric::MetricSet;
    use proptest::prelude::*;

    const COUNT: Form = Form::counter(Scale::ONE);

    fn read(reading: &mut Reading, metrics: &[(&str, &str, u64)]) -> bool {
        reading.begin();
        for (name, device, bits) in metrics {
            reading.push(name, &[("device", device)], COUNT, Some(*bits));
        }
        reading.complete();
        reading.take_changed()
    }

    #[test]
    fn only_a_change_of_metrics_is_a_change() {
        let mut reading = Reading::new();
        assert!(read(&mut reading, &[("a", "x", 1), ("a", "y", 2)]));
        assert!(!read(&mut reading, &[("a", "x", 9), ("a", "y", 8)]));
        assert_eq!(reading.values().collect::<Vec<_>>(), [Some(9), Some(8)]);
        assert!(read(&mut reading, &[("a", "y", 8)]), "one went away");
        assert!(read(&mut reading, &[("a", "y", 8), ("a", "z", 0)]), "one came");
        assert!(read(&mut reading, &[("a", "y", 8), ("b", "z", 0)]), "one has another name");
        assert!(!read(&mut reading, &[("a", "y", 8), ("b", "z", 0)]));
    }

    #[test]
    fn a_half_read_sensor_keeps_its_metrics_without_values() {
        let mut reading = Reading::new();
        read(&mut reading, &[("a", "x", 1), ("a", "y", 2)]);
        reading.begin();
        reading.push("a", &[("device", "x")], COUNT, Some(5));
        reading.abandon();
        assert!(!reading.take_changed());
        assert_eq!(reading.values().collect::<Vec<_>>(), [Some(5), None]);
    }

    #[test]
    fn a_metric_listed_twice_is_reported_once() {
        let mut reading = Reading::new();
        let twice = [("a", "x", 1), ("a", "y", 2), ("a", "x", 3), ("a", "z", 4)];
        assert!(read(&mut reading, &twice));
        assert!(!read(&mut reading, &twice), "and does not make the set change each tick");
        assert_eq!(reading.metrics().count(), 3);
        assert_eq!(reading.values().collect::<Vec<_>>(), [Some(1), Some(2), Some(4)]);
    }

    #[test]
    fn limits_cut_and_say_so() {
        let mut reading = Reading::new();
        for _ in 0..2 {
            reading.begin();
            for i in 0..MAX_SENSOR_METRICS + 7 {
                reading.push("a", &[("device", &i.to_string())], COUNT, Some(0));
            }
            reading.complete();
            assert!(reading.is_truncated());
            assert_eq!(reading.metrics().count(), MAX_SENSOR_METRICS);
        }
        assert!(reading.take_changed());
        reading.begin();
        let long = "é".repeat(MAX_LABEL_VALUE_LEN);
        for _ in 0..3000 {
            reading.push("a", &[("device", &long)], COUNT, Some(0));
        }
        reading.complete();
        assert!(reading.is_truncated());
        assert_eq!(reading.metrics().count(), 1);
        assert!(reading.metrics().all(|m| m.labels[0].1.len() == MAX_LABEL_VALUE_LEN));
    }

    proptest! {
        /// Whatever a kernel prints, what comes out of a reading is a set that the protocol accepts.
        #[test]
        fn any_text_makes_an_acceptable_set(names in proptest::collection::vec((".{0,200}", proptest::collection::vec(any::<u8>(), 0..40)), 0..40)) {
            let mut reading = Reading::new();
            for _ in 0..2 {
                reading.begin();
                for (name, device) in &names {
                    reading.push(name, &[("device", &label(device))], COUNT, Some(1));
                    reading.push("node_x", &[("device", &label(device)), ("mode", name)], COUNT, None);
                }
                reading.complete();
                let metrics: Vec<Metric> = reading.metrics().cloned().collect();
                prop_assert_eq!(metrics.len(), reading.values().count());
                prop_assert!(MetricSet::new(metrics).is_ok());
            }
            reading.take_changed();
            reading.begin();
            for (name, device) in &names {
                reading.push(name, &[("device", &label(device))], COUNT, Some(1));
                reading.push("node_x", &[("device", &label(device)), ("mode", name)], COUNT, None);
            }
            reading.complete();
            prop_assert!(!reading.take_changed(), "the same text twice is no change");
        }
    }
}
