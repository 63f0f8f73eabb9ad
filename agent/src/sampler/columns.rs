//! From the sensors' metrics to the columns of a row.

use dsmil_protocol::metric::{MAX_METRIC_SET_LEN, MAX_METRICS, Metric, MetricSet};

/// Puts a metric set together within the protocol's limits.
pub(super) struct Columns {
    metrics: Vec<Metric>,
    room: usize,
}

impl Columns {
    /// No column yet.
    pub(super) fn new() -> Self {
        // Less the version and the count of metrics, at their longest.
        Self { metrics: Vec::new(), room: MAX_METRIC_SET_LEN - 16 }
    }

    /// Adds as many of `metrics` as there is room for, from the first on, and says how many.
    pub(super) fn add<'m>(&mut self, metrics: impl Iterator<Item = &'m Metric>) -> usize {
        let before = self.metrics.len();
        for metric in metrics {
            let len = encoded_len(metric);
            if self.metrics.len() >= MAX_METRICS || len > self.room {
                break;
            }
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

    #[test]
    fn a_set_is_cut_at_the_protocols_limits_and_stays_acceptable() {
        let form = Form::counter(Scale { multiply: u32::MAX, divide: u32::MAX });
        let many: Vec<Metric> = (0..MAX_METRICS + 5).map(|i| form.metric("a", &[("i", &i.to_string())])).collect();
        let mut columns = Columns::new();
        assert_eq!(columns.add(many.iter()), MAX_METRICS);
        assert_eq!(columns.add(many.iter()), 0);
        assert_eq!(columns.finish().metrics().len(), MAX_METRICS);

        let long = form.metric("a", &[("i", &"x".repeat(MAX_LABEL_VALUE_LEN))]);
        let mut columns = Columns::new();
        let fit = columns.add(std::iter::repeat_n(&long, MAX_METRICS));
        assert!(fit < MAX_METRICS && fit * (MAX_LABEL_VALUE_LEN + 30) > MAX_METRIC_SET_LEN * 9 / 10);
        assert_eq!(columns.finish().metrics().len(), fit);
    }
}
