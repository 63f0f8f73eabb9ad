//! From the sensors' metrics to the columns of a row.
//!
//! When not all of them fit, each sensor has the same share of the room, and who needs less than that has all it needs (max-min
//! fairness): a host with ten thousand disks still says how much memory it has.

use dsmil_protocol::metric::{MAX_METRIC_SET_LEN, MAX_METRICS, Metric, MetricSet};

/// Puts a metric set together within the protocol's limits.
pub(super) struct Columns {
    metrics: Vec<Metric>,
    room: usize,
}

/// How much some metrics take, or may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    metrics: usize,
    bytes: usize,
}

impl Size {
    /// Of these metrics.
    pub(super) fn of<'m>(metrics: impl Iterator<Item = &'m Metric>) -> Self {
        metrics.fold(Self { metrics: 0, bytes: 0 }, |size, metric| Self {
            metrics: size.metrics + 1,
            bytes: size.bytes + encoded_len(metric),
        })
    }
}

impl Columns {
    /// No column yet.
    pub(super) fn new() -> Self {
        // Less the version and the count of metrics, at their longest.
        Self { metrics: Vec::new(), room: MAX_METRIC_SET_LEN - 16 }
    }

    /// What each may take at most of the room that is left, where `wanted` is what each would take.
    pub(super) fn share(&self, wanted: &[Size]) -> Size {
        Size {
            metrics: fair(wanted.iter().map(|size| size.metrics), MAX_METRICS - self.metrics.len()),
            bytes: fair(wanted.iter().map(|size| size.bytes), self.room),
        }
    }

    /// Adds as many of `metrics` as the share allows, from the first on, and says how many.
    pub(super) fn add<'m>(&mut self, metrics: impl Iterator<Item = &'m Metric>, share: Size) -> usize {
        let before = self.metrics.len();
        let mut left = share.bytes.min(self.room);
        for metric in metrics.take(share.metrics.min(MAX_METRICS - before)) {
            let len = encoded_len(metric);
            if len > left {
                break;
            }
            left -= len;
            self.room -= len;
            self.metrics.push(metric.clone());
        }
        self.metrics.len() - before
    }

    /// The set.
    pub(super) fn finish(self) -> MetricSet {
        MetricSet::new(self.metrics).expect("names and labels were checked as they were pushed, and sizes here")
    }
}

/// The most that anybody may have of `room` so that all fit; no limit if they do.
fn fair(wanted: impl Iterator<Item = usize>, room: usize) -> usize {
    let mut wanted: Vec<usize> = wanted.collect();
    wanted.sort_unstable();
    let (mut left, mut askers) = (room, wanted.len());
    for want in wanted {
        // The least of those who are left gets what it wants, or they all get the same.
        if want > left / askers {
            return left / askers;
        }
        left -= want;
        askers -= 1;
    }
    usize::MAX
}

/// At least as many bytes as the metric takes in an encoded set: each length and number at its longest.
fn encoded_len(metric: &Metric) -> usize {
    let labels: usize = metric.labels.iter().map(|(label, value)| label.len() + value.len() + 6).sum();
    metric.name.len() + labels + 20
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_protocol::metric::{MAX_LABEL_VALUE_LEN, Scale};
    use dsmil_sensors::Form;
    use proptest::prelude::*;

    #[test]
    fn a_set_is_cut_at_the_protocols_limits_and_stays_acceptable() {
        let form = Form::counter(Scale { multiply: u32::MAX, divide: u32::MAX });
        let many: Vec<Metric> = (0..MAX_METRICS + 5).map(|i| form.metric("a", &[("i", &i.to_string())])).collect();
        let all = Size { metrics: usize::MAX, bytes: usize::MAX };
        let mut columns = Columns::new();
        assert_eq!(columns.add(many.iter(), all), MAX_METRICS);
        assert_eq!(columns.add(many.iter(), all), 0);
        assert_eq!(columns.finish().metrics().len(), MAX_METRICS);

        let long = form.metric("a", &[("i", &"x".repeat(MAX_LABEL_VALUE_LEN))]);
        let mut columns = Columns::new();
        let fit = columns.add(std::iter::repeat_n(&long, MAX_METRICS), all);
        assert!(fit < MAX_METRICS && fit * (MAX_LABEL_VALUE_LEN + 30) > MAX_METRIC_SET_LEN * 9 / 10);
        assert_eq!(columns.finish().metrics().len(), fit);
    }

    #[test]
    fn who_asks_for_little_has_it_and_the_rest_is_shared() {
        assert_eq!(fair([5, 3, 4].into_iter(), 12), usize::MAX);
        assert_eq!(fair([100, 3, 100].into_iter(), 13), 5, "3 for one, 5 for each of the others");
        assert_eq!(fair([100, 100].into_iter(), 1), 0);
        assert_eq!(fair(std::iter::empty(), 0), usize::MAX);
        let form = Form::counter(Scale::ONE);
        let disks: Vec<Metric> = (0..MAX_METRICS).map(|i| form.metric("disk", &[("i", &i.to_string())])).collect();
        let memory = [form.metric("memory", &[])];
        let mut columns = Columns::new();
        let wanted = [Size::of(disks.iter()), Size::of(disks.iter()), Size::of(memory.iter())];
        let share = columns.share(&wanted);
        let fit =
            [columns.add(disks.iter(), share), columns.add(disks.iter(), share), columns.add(memory.iter(), share)];
        assert!(fit[0] == fit[1] && fit[0] > MAX_METRICS / 3 && fit[2] == 1, "{fit:?}");
    }

    proptest! {
        #[test]
        fn nobody_goes_without_for_the_sake_of_somebody_who_has_more(
            wanted in proptest::collection::vec(0usize..1_000, 0..40), room in 0usize..5_000,
        ) {
            let most = fair(wanted.iter().copied(), room);
            let taken: usize = wanted.iter().map(|want| *want.min(&most)).sum();
            prop_assert!(taken <= room);
            // What is left over is not enough to give each of those who were cut one more.
            let cut = wanted.iter().filter(|want| **want > most).count();
            prop_assert!(cut == 0 || room - taken < cut);
        }
    }
}
