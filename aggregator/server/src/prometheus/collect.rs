//! From parts of an answer of the store to series: one a label set, whatever boots and metric sets its samples came from.
//!
//! For steps, a sample matters only if it is the newest one at some step, so a series holds one candidate a step however
//! many samples are read. Nothing here relies on the order in which samples come, except that of two with one time the
//! later one counts.

use super::LOOK_BACK_MS;
use super::answer::json_labels;
use super::filter::{Filter, shown_labels};
use crate::live::Latest;
use dsmil_protocol::metric::{Metric, MetricSet, SetId};
use dsmil_store::read::Part;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Series in one answer: every metric of a host with 256 CPUs and 1,000 disks.
pub(super) const MAX_SERIES: usize = 20_000;
/// Points in one answer, and candidates while it is made: 24 MB, and 40 MB of JSON.
pub(super) const MAX_POINTS: usize = 1_000_000;
/// Bytes of labels in one answer; a label value may have a KiB, so counting series is not enough.
pub(super) const MAX_LABEL_BYTES: usize = 16 << 20;

/// The answer would be larger than one may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the answer has more than {MAX_SERIES} series, {MAX_POINTS} points or {MAX_LABEL_BYTES} bytes of labels; narrow the selector, shorten the time or raise the step"
)]
pub(super) struct TooMany;

/// Which points of a series are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The value at each of `count` moments: the newest sample of the [`LOOK_BACK_MS`] before it.
    Steps {
        /// The first moment, Unix ms.
        start_ms: i64,
        /// From one to the next; over 0.
        step_ms: i64,
        /// At least one.
        count: u32,
    },
    /// Every sample after `from_ms` (itself excluded) up to `to_ms`.
    Samples { from_ms: i64, to_ms: i64 },
}

impl Shape {
    /// The samples that matter: first and last millisecond.
    pub(super) fn bounds(self) -> (i64, i64) {
        match self {
            Self::Steps { start_ms, .. } => (start_ms.saturating_sub(LOOK_BACK_MS - 1), self.moment(self.last())),
            Self::Samples { from_ms, to_ms } => (from_ms.saturating_add(1), to_ms),
        }
    }

    fn last(self) -> u32 {
        match self {
            Self::Steps { count, .. } => count - 1,
            Self::Samples { .. } => 0,
        }
    }

    fn moment(self, step: u32) -> i64 {
        match self {
            Self::Steps { start_ms, step_ms, .. } => start_ms.saturating_add(step_ms.saturating_mul(i64::from(step))),
            Self::Samples { to_ms, .. } => to_ms,
        }
    }

    /// The first step that a sample of this time may stand for.
    fn step_of(self, time_ms: i64) -> Option<u32> {
        let (from, to) = self.bounds();
        if !(from..=to).contains(&time_ms) {
            return None;
        }
        match self {
            Self::Steps { start_ms, step_ms, .. } => {
                let after = time_ms.saturating_sub(start_ms).max(0);
                u32::try_from(after / step_ms + i64::from(after % step_ms != 0)).ok()
            }
            Self::Samples { .. } => Some(0),
        }
    }
}

/// A series of an answer: its labels as a JSON object, and its points (Unix ms, value) in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: String,
    pub(super) points: Vec<(i64, f64)>,
}

/// A sample that may count; without a value, the end of the series.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    step: u32,
    time_ms: i64,
    value: Option<f64>,
}

#[derive(Debug, Default)]
struct Column {
    labels: String,
    candidates: Vec<Candidate>,
}

/// The series found so far, of all hosts.
#[derive(Debug)]
pub(super) struct Collector {
    shape: Shape,
    columns: Vec<Column>,
    candidates: usize,
    label_bytes: usize,
}

impl Collector {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, columns: Vec::new(), candidates: 0, label_bytes: 0 }
    }

    fn column(&mut self, labels: String) -> Result<usize, TooMany> {
        self.label_bytes += labels.len();
        if self.columns.len() == MAX_SERIES || self.label_bytes > MAX_LABEL_BYTES {
            return Err(TooMany);
        }
        self.columns.push(Column { labels, candidates: Vec::new() });
        Ok(self.columns.len() - 1)
    }

    fn add(&mut self, column: usize, time_ms: i64, value: Option<f64>) -> Result<(), TooMany> {
        let Some(step) = self.shape.step_of(time_ms) else { return Ok(()) };
        let candidate = Candidate { step, time_ms, value };
        let list = &mut self.columns[column].candidates;
        if matches!(self.shape, Shape::Steps { .. }) {
            // Samples come nearly in order, so this is the last one or close to it.
            let at = list.partition_point(|other| other.step < step);
            match list.get_mut(at) {
                Some(other) if other.step == step => {
                    if other.time_ms <= time_ms {
                        *other = candidate;
                    }
                    return Ok(());
                }
                _ => list.insert(at, candidate),
            }
        } else {
            list.push(candidate);
        }
        self.candidates += 1;
        if self.candidates > MAX_POINTS { Err(TooMany) } else { Ok(()) }
    }

    /// The answer, ordered by labels; series without a point are none.
    pub(super) fn finish(self) -> Result<Vec<Series>, TooMany> {
        let (shape, mut points) = (self.shape, 0);
        let mut answer = Vec::with_capacity(self.columns.len());
        for column in self.columns {
            let series = match shape {
                Shape::Steps { .. } => fill(shape, &column.candidates),
                Shape::Samples { .. } => in_order(column.candidates),
            };
            points += series.len();
            if points > MAX_POINTS {
                return Err(TooMany);
            }
            if !series.is_empty() {
                answer.push(Series { labels: column.labels, points: series });
            }
        }
        answer.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(answer)
    }
}

/// The newest candidate at each step, if it is not too old and not the end of the series.
fn fill(shape: Shape, candidates: &[Candidate]) -> Vec<(i64, f64)> {
    let mut points = Vec::new();
    for (i, candidate) in candidates.iter().enumerate() {
        let Some(value) = candidate.value else { continue };
        let until = candidates.get(i + 1).map_or(shape.last() + 1, |next| next.step);
        let moments = (candidate.step..until).map(|step| shape.moment(step));
        points.extend(moments.take_while(|at| at - candidate.time_ms < LOOK_BACK_MS).map(|at| (at, value)));
    }
    points
}

fn in_order(mut candidates: Vec<Candidate>) -> Vec<(i64, f64)> {
    candidates.sort_by_key(|candidate| candidate.time_ms);
    let mut points: Vec<(i64, f64)> = Vec::with_capacity(candidates.len());
    for Candidate { time_ms, value, .. } in candidates {
        let Some(value) = value else { continue };
        match points.last_mut() {
            Some(last) if last.0 == time_ms => last.1 = value,
            _ => points.push((time_ms, value)),
        }
    }
    points
}

/// Takes in what is read of one host.
pub(super) struct HostCollector<'a> {
    collector: &'a mut Collector,
    filter: &'a Filter,
    host: &'a str,
    /// A host's series by its labels, and by set the series of each column read.
    by_labels: HashMap<String, usize>,
    by_set: HashMap<SetId, Arc<[Option<usize>]>>,
    /// The set that each stream (one a classification) has now.
    current: HashMap<u8, SetId>,
}

impl<'a> HostCollector<'a> {
    pub(super) fn new(collector: &'a mut Collector, filter: &'a Filter, host: &'a str) -> Self {
        let (by_labels, by_set, current) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { collector, filter, host, by_labels, by_set, current }
    }

    /// Takes in a part of the store's answer.
    pub(super) fn add(&mut self, part: &Part) -> Result<(), TooMany> {
        let Some(first) = part.times_ms.first() else { return Ok(()) };
        let columns: Vec<usize> = part.columns.iter().map(|column| column.metric).collect();
        let series = self.series_of(&part.set, &columns)?;
        self.set_in_use(part.classification.level(), &part.set, *first)?;
        for (column, series) in part.columns.iter().zip(series.iter()) {
            let (Some(series), metric) = (*series, &part.set.metrics()[column.metric]) else { continue };
            for (time, bits) in part.times_ms.iter().zip(&column.bits) {
                if let Some(bits) = bits {
                    self.collector.add(series, *time, Some(metric.value(*bits)))?;
                }
            }
        }
        Ok(())
    }

    /// Takes in the newest tick; nothing newer comes after it.
    pub(super) fn add_latest(&mut self, latest: &Latest, columns: &[usize]) -> Result<(), TooMany> {
        // Its columns need not be those that were read of the same set.
        self.by_set.remove(&latest.set.id());
        let series = self.series_of(&latest.set, columns)?;
        for (column, series) in columns.iter().zip(series.iter()) {
            let value = latest.values.get(*column).copied().flatten();
            if let (Some(series), Some(bits)) = (*series, value) {
                let value = latest.set.metrics()[*column].value(bits);
                self.collector.add(series, latest.time_ms, Some(value))?;
            }
        }
        self.set_in_use(latest.classification.level(), &latest.set, latest.time_ms)
    }

    /// The series of each of the columns that are read of a set; none for one that is not asked for.
    fn series_of(&mut self, set: &Arc<MetricSet>, columns: &[usize]) -> Result<Arc<[Option<usize>]>, TooMany> {
        if let Some(known) = self.by_set.get(&set.id()) {
            return Ok(Arc::clone(known));
        }
        let mut series = Vec::with_capacity(columns.len());
        for metric in columns.iter().map(|column| &set.metrics()[*column]) {
            series.push(if self.filter.takes(metric) { Some(self.series(metric)?) } else { None });
        }
        let series: Arc<[Option<usize>]> = series.into();
        self.by_set.insert(set.id(), Arc::clone(&series));
        Ok(series)
    }

    fn series(&mut self, metric: &Metric) -> Result<usize, TooMany> {
        let labels = json_labels(&shown_labels(self.host, metric));
        if let Some(known) = self.by_labels.get(&labels) {
            return Ok(*known);
        }
        let series = self.collector.column(labels.clone())?;
        self.by_labels.insert(labels, series);
        Ok(series)
    }

    /// A stream has this set from here on: series that only its last one named are over.
    fn set_in_use(&mut self, stream: u8, set: &MetricSet, from_ms: i64) -> Result<(), TooMany> {
        let Some(last) = self.current.insert(stream, set.id()).filter(|last| *last != set.id()) else { return Ok(()) };
        let now: HashSet<usize> =
            self.by_set.get(&set.id()).into_iter().flat_map(|s| s.iter().flatten()).copied().collect();
        let gone: Vec<usize> = self.by_set.get(&last).into_iter().flat_map(|s| s.iter().flatten()).copied().collect();
        for series in gone.into_iter().filter(|series| !now.contains(series)) {
            self.collector.add(series, from_ms, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_protocol::ids::{BootId, Tick};
    use dsmil_protocol::metric::{Kind, Repr, Scale};
    use dsmil_protocol::tlv::Classification;
    use dsmil_store::read::{Column, Tier};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn one_series(shape: Shape, samples: &[(i64, f64)]) -> Vec<(i64, f64)> {
        let mut collector = Collector::new(shape);
        let column = collector.column("{}".into()).expect("room");
        for (time, value) in samples {
            collector.add(column, *time, Some(*value)).expect("room");
        }
        collector.finish().expect("room").pop().map(|series| series.points).unwrap_or_default()
    }

    proptest! {
        /// Against the definition: at each moment the newest sample of the look-back before it, however samples come.
        #[test]
        fn each_step_has_the_newest_sample_before_it(
            times in proptest::collection::btree_set(-400_000..900_000i64, 0..80),
            shuffle in any::<u64>(),
            step_ms in 1..400_000i64,
            count in 1..60u32,
        ) {
            let mut samples: Vec<(i64, f64)> = times.iter().enumerate().map(|(i, time)| (*time, i as f64)).collect();
            samples.sort_by_key(|(time, _)| (*time as u64 ^ shuffle).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let shape = Shape::Steps { start_ms: 0, step_ms, count };
            let moments = (0..i64::from(count)).map(|i| i * step_ms);
            let newest = |at: i64| {
                let held = samples.iter().filter(|(time, _)| *time > at - LOOK_BACK_MS && *time <= at);
                held.max_by_key(|(time, _)| *time).map(|(_, value)| (at, *value))
            };
            let expected: Vec<_> = moments.filter_map(newest).collect();
            prop_assert_eq!(one_series(shape, &samples), expected);
        }

        #[test]
        fn samples_come_in_order_and_once(samples in proptest::collection::vec((0..50i64, -9.0..9.0f64), 0..60)) {
            let shape = Shape::Samples { from_ms: 10, to_ms: 40 };
            let held = samples.iter().filter(|(time, _)| (11..=40).contains(time)).copied();
            let expected: Vec<_> = held.collect::<BTreeMap<_, _>>().into_iter().collect();
            prop_assert_eq!(one_series(shape, &samples), expected, "of two with one time the later one counts");
        }
    }

    #[test]
    fn a_sample_is_too_old_to_the_millisecond() {
        let shape = Shape::Steps { start_ms: 0, step_ms: LOOK_BACK_MS - 1, count: 2 };
        assert_eq!(one_series(shape, &[(0, 1.0)]), [(0, 1.0), (LOOK_BACK_MS - 1, 1.0)]);
        let shape = Shape::Steps { start_ms: 0, step_ms: LOOK_BACK_MS, count: 2 };
        assert_eq!(one_series(shape, &[(0, 1.0)]), [(0, 1.0)]);
    }

    fn part(names: &[&str], times_ms: &[i64], values: &[Option<u64>]) -> Part {
        let metric = |name: &&str| Metric {
            name: (*name).into(),
            labels: Vec::new(),
            kind: Kind::Gauge,
            repr: Repr::U64,
            scale: Scale::ONE,
        };
        Part {
            tier: Tier::Warm,
            set: Arc::new(MetricSet::new(names.iter().map(metric).collect()).expect("a set")),
            boot: BootId([1; 16]),
            classification: Classification::UNCLASS,
            ticks: (0..times_ms.len() as u64).map(Tick).collect(),
            times_ms: times_ms.to_vec(),
            columns: (0..names.len()).map(|metric| Column { metric, bits: values.to_vec() }).collect(),
        }
    }

    fn collected(selector: &str, parts: &[Part]) -> Vec<(String, Vec<(i64, f64)>)> {
        let filter = Filter::new(&selector.parse().expect("a selector")).expect("a filter");
        let mut collector = Collector::new(Shape::Steps { start_ms: 0, step_ms: 60_000, count: 5 });
        let mut host = HostCollector::new(&mut collector, &filter, "h");
        parts.iter().for_each(|part| host.add(part).expect("room"));
        collector.finish().expect("room").into_iter().map(|series| (series.labels, series.points)).collect()
    }

    #[test]
    fn a_series_ends_with_the_last_set_that_names_it_and_not_with_an_absent_value() {
        let first = part(&["a", "b"], &[0, 30_000], &[Some(1), None]);
        let second = part(&["b", "c"], &[100_000], &[Some(2)]);
        let series = collected("{__name__=~\"a|b\"}", &[first, second]);
        let points = |name: &str| series.iter().find(|(labels, _)| labels.contains(&format!("{name:?},"))).expect(name);
        assert_eq!(points("a").1, [(0, 1.0), (60_000, 1.0)], "over with the second set");
        let through = [(0, 1.0), (60_000, 1.0), (120_000, 2.0), (180_000, 2.0), (240_000, 2.0)];
        assert_eq!(points("b").1, through);
        assert_eq!(series.len(), 2);
        assert_eq!(points("a").0, "{\"__name__\":\"a\",\"host\":\"h\"}");
    }

    #[test]
    fn an_answer_has_bounds() {
        let shape = Shape::Samples { from_ms: 0, to_ms: i64::MAX };
        let mut collector = Collector::new(shape);
        let column = collector.column("{}".into()).expect("room");
        let full = (0..).find(|i| collector.add(column, i + 1, Some(0.0)).is_err()).expect("a bound");
        assert_eq!(full, i64::try_from(MAX_POINTS).expect("small"));
        let mut collector = Collector::new(shape);
        for i in 0..MAX_SERIES {
            collector.column(i.to_string()).expect("room");
        }
        assert_eq!(collector.column("one more".into()), Err(TooMany));
        let mut collector = Collector::new(shape);
        assert_eq!(collector.column("x".repeat(MAX_LABEL_BYTES + 1)), Err(TooMany));
    }

    #[test]
    fn few_candidates_may_still_fill_too_many_points() {
        let mut collector = Collector::new(Shape::Steps { start_ms: 0, step_ms: 1, count: 11_000 });
        for i in 0..100 {
            let column = collector.column(i.to_string()).expect("room");
            collector.add(column, 0, Some(1.0)).expect("room");
        }
        assert_eq!(collector.finish(), Err(TooMany));
    }
}
