//! Metric sets: names and labels as hosts send them.

use super::Target;
use crate::memory;
use dsmil_protocol::metric::{
    Kind, MAX_LABEL_VALUE_LEN, MAX_LABELS, MAX_METRICS, MAX_NAME_LEN, Metric, MetricSet, Repr, Scale,
};

pub(super) const TARGET: Target = Target {
    name: "metric_sets",
    what: "metric sets",
    run,
    seeds,
    dictionary: &[
        b"node_",
        b"__name__",
        b"\x08__name__",
        b"\x01a\x01b",
        b"\xff\xff\x03",
        b"\xff\xff\xff\xff\x0f",
        b"\x80\x00",
    ],
    max_len: 4096,
};

/// How often its own length a set may be in memory: the shortest metric has eight bytes and is one of 64 and its name, and
/// while a list grows by doubling, the old one and the new one are there.
const SWELL: usize = 40;

fn run(input: &[u8]) {
    let Ok(set) = memory::within(SWELL * input.len() + 4096, || MetricSet::decode(input)) else { return };
    assert_eq!(set.encode(), input, "one meaning has one encoding");
    assert_eq!(MetricSet::new(set.metrics().to_vec()).as_ref(), Ok(&set), "what is read could have been made");
    assert!(set.metrics().len() <= MAX_METRICS);
    for metric in set.metrics() {
        assert!((1..=MAX_NAME_LEN).contains(&metric.name.len()) && metric.labels.len() <= MAX_LABELS);
        for (i, (label, value)) in metric.labels.iter().enumerate() {
            assert!((1..=MAX_NAME_LEN).contains(&label.len()) && value.len() <= MAX_LABEL_VALUE_LEN);
            assert!(metric.labels[..i].iter().all(|(other, _)| other != label), "no label twice");
        }
        // Any bits have a value; that of a division by zero would be none.
        for bits in [0, 1, u64::MAX, 1 << 63] {
            assert!(metric.repr == Repr::F64 || metric.value(bits).is_finite());
        }
    }
}

pub(super) fn metrics() -> Vec<Metric> {
    let metric = |name: &str, labels: &[(&str, &str)], kind, repr, scale| Metric {
        name: name.into(),
        labels: labels.iter().map(|(label, value)| ((*label).into(), (*value).into())).collect(),
        kind,
        repr,
        scale,
    };
    vec![
        metric("node_cpu_seconds_total", &[("cpu", "0"), ("mode", "user")], Kind::Counter, Repr::U64, Scale::per(100)),
        metric("node_load1", &[], Kind::Gauge, Repr::F64, Scale::ONE),
        metric("node_memory_MemFree_bytes", &[], Kind::Gauge, Repr::I64, Scale::times(1024)),
    ]
}

fn seeds() -> Vec<Vec<u8>> {
    let all = metrics();
    (0..=all.len()).map(|count| MetricSet::new(all[..count].to_vec()).expect("a set").encode()).collect()
}
