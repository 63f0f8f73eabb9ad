//! The newest tick by metric, and the rates of counters since the one before.
//!
//! A rate is the difference of two readings over the seconds between them, and nothing else: where a value is missing, where a
//! counter went back because it started again, and between two boots there is no rate, rather than a negative or a made-up one.

use dsmil_agent::status::{Latest, MetricKind, Sample};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

/// Label names and values.
pub(super) type Labels = BTreeMap<String, String>;

/// Every metric of a tick.
#[derive(Clone, Debug, Default)]
pub(super) struct Readings {
    boot: String,
    /// The tick they are of.
    pub(super) tick: u64,
    /// The host's wall clock then, milliseconds since 1970.
    pub(super) wall_ms: i64,
    families: BTreeMap<String, Vec<Reading>>,
}

/// One metric at a tick.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) labels: Labels,
    /// In the metric's unit; absent if it could not be read.
    pub(super) value: Option<f64>,
    /// Of a counter, by how much it grows in a second.
    pub(super) per_s: Option<f64>,
    /// The tick at which it was read.
    read_at: u64,
}

impl Reading {
    /// The value of a label; empty if there is none.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Whether all of these labels have these values.
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|found| found == value))
    }
}

impl Readings {
    /// A tick after another: counters have rates where both have a value. Of the first one, none has.
    pub(super) fn after(before: &Self, latest: Latest) -> Self {
        let Latest { boot, tick, wall_ms, families, .. } = latest;
        let follows = before.boot == boot && before.tick <= tick;
        let mut known: BTreeMap<String, Vec<Reading>> = BTreeMap::new();
        for family in families {
            let old = if follows { before.of(&family.name) } else { &[] };
            let by_labels = OnceCell::new();
            let readings = family.samples.into_iter().enumerate().map(|(place, sample)| {
                let before = earlier(old, place, &sample.labels, &by_labels);
                let per_s = before.filter(|_| family.kind == MetricKind::Counter).and_then(|old| rate(old, &sample));
                let Sample { labels, value, read_at } = sample;
                Reading { labels, value, per_s, read_at }
            });
            // A name that comes twice, apart, is one family all the same.
            known.entry(family.name).or_default().extend(readings);
        }
        Self { boot, tick, wall_ms, families: known }
    }

    /// All of one name.
    pub(super) fn of(&self, name: &str) -> &[Reading] {
        self.families.get(name).map_or(&[], Vec::as_slice)
    }

    /// Names that begin and end so.
    pub(super) fn named(&self, first: &str, last: &str) -> impl Iterator<Item = (&str, &[Reading])> {
        let is_so = move |name: &str| name.starts_with(first) && name.ends_with(last);
        self.families.iter().filter(move |(name, _)| is_so(name)).map(|(name, all)| (name.as_str(), all.as_slice()))
    }

    /// The value of the one without labels, or the first.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.of(name).first()?.value
    }

    /// The rate of the one without labels, or the first.
    pub(super) fn per_s(&self, name: &str) -> Option<f64> {
        self.of(name).first()?.per_s
    }

    /// The first with these labels.
    pub(super) fn with(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Reading> {
        self.near(name, 0, labels)
    }

    /// The one with these labels, looked for at `place` first: metrics of many devices come in the same order, and looking
    /// for each of 10,000 disks among all of them would take seconds.
    pub(super) fn near(&self, name: &str, place: usize, labels: &[(&str, &str)]) -> Option<&Reading> {
        let all = self.of(name);
        all.get(place).filter(|reading| reading.has(labels)).or_else(|| all.iter().find(|reading| reading.has(labels)))
    }
}

/// The reading of the same labels: at the same place, unless metrics came or went.
fn earlier<'o>(
    old: &'o [Reading],
    place: usize,
    labels: &Labels,
    by_labels: &OnceCell<HashMap<&'o Labels, &'o Reading>>,
) -> Option<&'o Reading> {
    if let Some(same) = old.get(place).filter(|reading| reading.labels == *labels) {
        return Some(same);
    }
    let index = || old.iter().map(|reading| (&reading.labels, reading)).collect();
    by_labels.get_or_init(index).get(labels).copied()
}

fn rate(old: &Reading, new: &Sample) -> Option<f64> {
    let value = new.value?;
    match new.read_at.checked_sub(old.read_at)? {
        // It rests between two readings, and what was known of it still counts.
        0 => old.per_s,
        #[allow(clippy::cast_precision_loss, reason = "seconds between two looks")]
        seconds => old.value.filter(|old| *old <= value).map(|old| (value - old) / seconds as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_agent::status::Family;

    fn latest(boot: &str, tick: u64, samples: &[(&str, Option<f64>, u64)]) -> Latest {
        let sample = |(label, value, read_at): &(&str, Option<f64>, u64)| {
            let labels = BTreeMap::from([("l".to_owned(), (*label).to_owned())]);
            Sample { labels, value: *value, read_at: *read_at }
        };
        let samples = samples.iter().map(sample).collect();
        let family = Family { name: "c".into(), kind: MetricKind::Counter, samples };
        Latest { boot: boot.into(), tick, families: vec![family], ..Latest::default() }
    }

    fn rates(before: Latest, after: Latest) -> Vec<Option<f64>> {
        let first = Readings::after(&Readings::default(), before);
        assert!(first.of("c").iter().all(|reading| reading.per_s.is_none()), "of one tick nobody knows a rate");
        Readings::after(&first, after).of("c").iter().map(|reading| reading.per_s).collect()
    }

    #[test]
    fn a_rate_needs_two_values_of_one_boot_that_did_not_go_back() {
        let one = |tick, value| latest("b", tick, &[("x", value, tick)]);
        assert_eq!(rates(one(10, Some(100.0)), one(11, Some(150.0))), [Some(50.0)]);
        assert_eq!(rates(one(10, Some(100.0)), one(15, Some(150.0))), [Some(10.0)]);
        assert_eq!(rates(one(10, Some(100.0)), one(11, Some(20.0))), [None], "it started again");
        assert_eq!(rates(one(10, None), one(11, Some(20.0))), [None]);
        assert_eq!(rates(one(10, Some(1.0)), one(11, None)), [None]);
        assert_eq!(rates(one(10, Some(1.0)), latest("other", 11, &[("x", Some(9.0), 11)])), [None]);
        assert_eq!(rates(one(10, Some(1.0)), one(9, Some(9.0))), [None]);
    }

    #[test]
    fn metrics_that_come_and_go_take_no_others_rate() {
        let before = latest("b", 10, &[("x", Some(1.0), 10), ("y", Some(100.0), 10)]);
        let after = latest("b", 11, &[("new", Some(7.0), 11), ("y", Some(130.0), 11), ("x", Some(3.0), 11)]);
        assert_eq!(rates(before, after), [None, Some(30.0), Some(2.0)]);
    }

    #[test]
    fn what_rests_keeps_its_rate_until_it_is_read_again() {
        let tick = |tick, value, read_at| latest("b", tick, &[("x", Some(value), read_at)]);
        let mut readings = Readings::after(&Readings::default(), tick(10, 5.0, 10));
        let mut seen = Vec::new();
        for (at, value, read_at) in [(11, 5.0, 10), (20, 25.0, 20), (21, 25.0, 20), (30, 25.0, 30)] {
            readings = Readings::after(&readings, tick(at, value, read_at));
            seen.push(readings.of("c")[0].per_s);
        }
        assert_eq!(seen, [None, Some(2.0), Some(2.0), Some(0.0)]);
    }
}
