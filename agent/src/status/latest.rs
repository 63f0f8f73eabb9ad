//! The newest tick, as the status tells it: every metric of the host with its value.

use crate::sampler::{Newest, SensorReport};
use dsmil_protocol::ids::Tick;
use dsmil_protocol::metric::{Kind, Metric};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Bytes of names, labels and values in one answer, as JSON: half of what whoever asks reads, so that the names of its fields
/// have room beside them. A host with 256 CPUs and 1,000 disks needs 2 MiB.
const MAX_TEXT: usize = crate::local::MAX_ANSWER_LEN / 2;
/// Bytes that a sample takes besides its labels: the names of its fields and two numbers at their longest.
const SAMPLE_LEN: usize = 80;
/// The same of a family.
const FAMILY_LEN: usize = 60;

/// The answer to `latest`: the newest tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latest {
    /// The boot that ticks count from.
    pub boot: String,
    /// The newest tick: whole seconds since the host booted.
    pub tick: u64,
    /// The host's wall clock then, milliseconds since 1970.
    pub wall_ms: i64,
    /// Every metric, those of one name together.
    pub families: Vec<Family>,
    /// Samples that did not fit the answer.
    pub left_out: u64,
}

/// Metrics of one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// The Prometheus name, unit included.
    pub name: String,
    /// What the numbers do over time.
    pub kind: MetricKind,
    /// One a combination of labels.
    pub samples: Vec<Sample>,
}

/// What a metric's number does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Only grows, until it restarts from zero.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Label names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The value in the metric's unit; absent if it could not be read, which is not zero.
    pub value: Option<f64>,
    /// The tick at which it was read: earlier than the newest where a sensor rests between two readings.
    pub read_at: u64,
}

impl Latest {
    /// What was seen last, by sensors that did as `reports` say.
    pub fn of(boot: String, newest: &Newest, reports: &[SensorReport]) -> Self {
        let empty = Self { boot, tick: newest.tick.0, wall_ms: newest.wall_ms, ..Self::default() };
        let mut answer = Answer { latest: empty, places: HashMap::new(), room: MAX_TEXT };
        for (column, (metric, last)) in newest.metrics().enumerate() {
            let read_at = read_at(column, newest.tick, reports);
            // What a sensor did not say when it was read last is not known any more.
            let last = last.filter(|(_, of)| *of >= read_at);
            answer.add(metric, last, read_at);
        }
        answer.latest
    }
}

/// An answer that is being filled.
struct Answer<'m> {
    latest: Latest,
    /// Where a name's family is: a sensor speaks device by device, so that metrics of one name lie apart in its set.
    places: HashMap<&'m str, usize>,
    /// Bytes that are left.
    room: usize,
}

impl<'m> Answer<'m> {
    fn add(&mut self, metric: &'m Metric, last: Option<(u64, Tick)>, read_at: Tick) {
        let place = self.places.get(&*metric.name).copied();
        let labels: usize = metric.labels.iter().map(|(name, value)| json_len(name) + json_len(value) + 2).sum();
        let family = if place.is_none() { FAMILY_LEN + json_len(&metric.name) } else { 0 };
        let Some(left) = self.room.checked_sub(SAMPLE_LEN + labels + family) else {
            self.latest.left_out += 1;
            return;
        };
        self.room = left;
        let families = &mut self.latest.families;
        let place = place.unwrap_or_else(|| {
            let (name, kind) = (metric.name.clone(), metric.kind.into());
            families.push(Family { name, kind, samples: Vec::new() });
            self.places.insert(&metric.name, families.len() - 1);
            families.len() - 1
        });
        let value = last.map(|(bits, _)| metric.value(bits)).filter(|value| value.is_finite());
        let labels = metric.labels.iter().cloned().collect();
        let read_at = last.map_or(read_at, |(_, of)| of).0;
        families[place].samples.push(Sample { labels, value, read_at });
    }
}

impl From<Kind> for MetricKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter,
            Kind::Gauge => Self::Gauge,
        }
    }
}

/// The last tick at which the sensor of a column was to be read; the sampler's own columns are of any.
fn read_at(column: usize, tick: Tick, reports: &[SensorReport]) -> Tick {
    let first = reports.iter().map(|report| report.first_column).min().unwrap_or(usize::MAX);
    if column < first {
        return Tick(0);
    }
    let owner = |report: &&SensorReport| (report.first_column..report.first_column + report.metrics).contains(&column);
    reports.iter().find(owner).map_or(tick, |report| report.read_at)
}

/// Bytes of a text as JSON: a control character takes six.
fn json_len(text: &str) -> usize {
    let len = |byte: u8| match byte {
        0..=0x1F => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    2 + text.bytes().map(len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Row, Seen, Source, Verdict};
    use dsmil_protocol::metric::{MAX_LABEL_VALUE_LEN, MetricSet, Repr, Scale};
    use dsmil_runtime::clock::Clock;
    use std::sync::Arc;

    struct Same(Row);

    impl Source for Same {
        async fn collect(&mut self, tick: Tick) -> Row {
            Row { tick, ..self.0.clone() }
        }
    }

    fn metric(name: &str, label: &str, kind: Kind) -> Metric {
        let labels = vec![("l".into(), label.into())];
        Metric { name: name.into(), labels, kind, repr: Repr::U64, scale: Scale::per(100) }
    }

    async fn newest(metrics: Vec<Metric>, ticks: &[(u64, Vec<Option<u64>>)]) -> Newest {
        let set = Arc::new(MetricSet::new(metrics).expect("a set"));
        let row = Row { tick: Tick(0), wall_ms: 7, set, values: vec![] };
        let mut seen = Seen::new(Same(row), Clock::manual().0);
        let board = seen.newest();
        for (tick, values) in ticks {
            seen.source_mut().0.values.clone_from(values);
            seen.collect(Tick(*tick)).await;
        }
        let newest = board.borrow().clone();
        newest.expect("something was sampled")
    }

    fn report(name: &'static str, first_column: usize, metrics: usize, read_at: u64) -> SensorReport {
        let verdict = Verdict::Ok;
        SensorReport { name, verdict, took: None, metrics, first_column, read_at: Tick(read_at) }
    }

    #[tokio::test]
    async fn values_are_those_of_each_sensors_last_reading_and_no_older() {
        let set = vec![
            metric("own", "", Kind::Gauge),
            metric("a", "1", Kind::Counter),
            metric("a", "2", Kind::Counter),
            metric("b", "", Kind::Gauge),
        ];
        let ticks = [(10, vec![Some(1), Some(100), Some(200), Some(300)]), (11, vec![None, Some(150), None, None])];
        // The first sensor was read at both ticks and did not say everything the second time; the second one rests.
        let reports = [report("s", 1, 2, 11), report("t", 3, 1, 10)];
        let latest = Latest::of("boot".into(), &newest(set, &ticks).await, &reports);
        let told: Vec<_> = latest.families.iter().map(|family| (family.name.as_str(), family.kind)).collect();
        let (counter, gauge) = (MetricKind::Counter, MetricKind::Gauge);
        assert_eq!(told, [("own", gauge), ("a", counter), ("b", gauge)]);
        let samples = latest.families.iter().flat_map(|family| &family.samples);
        let values: Vec<_> = samples.map(|sample| (sample.value, sample.read_at)).collect();
        assert_eq!(values, [(Some(0.01), 10), (Some(1.5), 11), (None, 11), (Some(3.0), 10)]);
        assert_eq!((latest.tick, latest.wall_ms, latest.left_out), (11, 7, 0));
    }

    #[tokio::test]
    async fn metrics_of_one_name_are_together_wherever_they_lie() {
        let gauge = |name, device| metric(name, device, Kind::Gauge);
        let set = vec![gauge("a", "1"), gauge("b", "1"), gauge("a", "2"), gauge("b", "2")];
        let values = vec![Some(100), Some(200), Some(300), Some(400)];
        let latest = Latest::of("boot".into(), &newest(set, &[(1, values)]).await, &[report("s", 0, 4, 1)]);
        let told =
            latest.families.iter().map(|family| (&*family.name, family.samples.iter().map(|s| s.value).collect()));
        let told: Vec<(&str, Vec<_>)> = told.collect();
        assert_eq!(told, [("a", vec![Some(1.0), Some(3.0)]), ("b", vec![Some(2.0), Some(4.0)])]);
    }

    #[tokio::test]
    async fn the_worst_host_fits_an_answer_and_what_does_not_is_counted() {
        let hostile = |i: usize| format!("{i:05}{}", "\u{1}\"".repeat((MAX_LABEL_VALUE_LEN - 5) / 2));
        let set: Vec<Metric> = (0..2_900).map(|i| metric("m", &hostile(i), Kind::Counter)).collect();
        let values = vec![Some(u64::MAX); set.len()];
        let latest = Latest::of("boot".into(), &newest(set, &[(1, values)]).await, &[report("s", 0, 2_900, 1)]);
        let len = serde_json::to_vec(&latest).expect("writing to memory cannot fail").len();
        assert!(len < crate::local::MAX_ANSWER_LEN && len > MAX_TEXT * 9 / 10, "{len}");
        assert_eq!(latest.families[0].samples.len() as u64 + latest.left_out, 2_900);
    }
}
