//! Sensors that the fleet's settings let rest between ticks: a scrape shows what they read last, as a query does that looks back.
//!
//! Whether a sensor rests its own `node_scrape_collector_success` says: 1 and 0 are of one that was read, and one that was not
//! has none. A host without settings has no such tick, and nothing is looked for.

use crate::live::{Latest, Resting};
use dsmil_protocol::batch::Batch;
use dsmil_protocol::ids::{BootId, Tick};
use dsmil_protocol::metric::MetricSet;

/// Seconds after which a value is as good as gone: as far as queries look back.
const AGE: u64 = 300;
/// The sampler's own word on each sensor.
const SUCCESS: &str = "node_scrape_collector_success";

/// What the ticks of a batch before its last one have of metrics that the last one has not, by column; nothing if no sensor
/// rests at the last tick.
pub(super) fn of_batch(batch: &Batch, set: &MetricSet) -> Option<Vec<Resting>> {
    let (matrix, last) = (&batch.matrix, batch.matrix.ticks() - 1);
    let is_absent = |column: &usize| matrix.get(*column, last).is_none();
    let columns = 0..matrix.metrics().min(set.metrics().len());
    columns.clone().find(|column| set.metrics()[*column].name == SUCCESS && is_absent(column))?;
    let before = |column: usize| {
        let (at, bits) = (0..last).rev().find_map(|tick| Some((tick, matrix.get(column, tick)?)))?;
        Some(Resting { column, bits, tick: batch.header.stamps[at].tick })
    };
    Some(columns.filter(is_absent).filter_map(before).collect())
}

/// The same with what was shown before, if it was of the same boot and set, of metrics that the batch has nowhere.
pub(super) fn with_earlier(
    resting: Option<Vec<Resting>>,
    (boot, tick, set, values): (BootId, Tick, &MetricSet, &[Option<u64>]),
    earlier: Option<&Latest>,
) -> Vec<Resting> {
    let Some(mut resting) = resting else { return Vec::new() };
    let Some(earlier) = earlier.filter(|earlier| earlier.boot == boot && earlier.set.id() == set.id()) else {
        return resting;
    };
    let shown = earlier
        .values
        .iter()
        .enumerate()
        .filter_map(|(column, value)| Some(Resting { column, bits: (*value)?, tick: earlier.tick }));
    let known: Vec<bool> = {
        let mut known: Vec<bool> = values.iter().map(Option::is_some).collect();
        resting.iter().for_each(|one| known[one.column] = true);
        known
    };
    let is_wanted = |one: &Resting| known.get(one.column) == Some(&false) && one.tick.0 + AGE > tick.0;
    let more: Vec<Resting> = shown.chain(earlier.resting.iter().copied()).filter(is_wanted).collect();
    resting.extend(more);
    resting.sort_by_key(|one| one.column);
    resting
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_protocol::batch::{BatchHeader, Matrix, Stamp};
    use dsmil_protocol::metric::{Kind, Metric, Repr, Scale};
    use dsmil_protocol::tlv::Classification;
    use std::sync::Arc;

    const BOOT: BootId = BootId([1; 16]);

    fn set() -> MetricSet {
        let metric = |name: &str, sensor: &str| Metric {
            name: name.into(),
            labels: if sensor.is_empty() { vec![] } else { vec![("collector".into(), sensor.into())] },
            kind: Kind::Gauge,
            repr: Repr::U64,
            scale: Scale::ONE,
        };
        MetricSet::new(vec![metric(SUCCESS, "slow"), metric(SUCCESS, "quick"), metric("s", ""), metric("q", "")])
            .expect("a set")
    }

    /// Ten ticks of two sensors, of which one is read at each `interval`th tick.
    fn batch(first: u64, interval: u64) -> Batch {
        let stamps: Vec<_> = (first..first + 10).map(|tick| Stamp { tick: Tick(tick), wall_ms: 0 }).collect();
        let mut matrix = Matrix::new(4, 10);
        for (at, stamp) in stamps.iter().enumerate() {
            let (tick, due) = (stamp.tick.0, stamp.tick.0.is_multiple_of(interval));
            let row = [due.then_some(1), Some(1), due.then_some(tick), Some(tick)];
            row.into_iter().enumerate().for_each(|(metric, value)| matrix.set(metric, at, value));
        }
        Batch { header: BatchHeader { boot: BOOT, set: set().id(), metrics: 4, stamps }, matrix }
    }

    /// What is shown after batches of ten ticks each, from tick 0 on: column, value, tick.
    fn shown(batches: &[Batch]) -> Vec<(usize, u64, u64)> {
        let mut latest: Option<Latest> = None;
        for batch in batches {
            let (tick, last) = (batch.header.range().last, batch.matrix.ticks() - 1);
            let values: Vec<_> = (0..4).map(|metric| batch.matrix.get(metric, last)).collect();
            let resting = of_batch(batch, &set());
            let resting = with_earlier(resting, (BOOT, tick, &set(), &values), latest.as_ref());
            let (set, classification) = (Arc::new(set()), Classification::UNCLASS);
            latest = Some(Latest { set, boot: BOOT, classification, tick, time_ms: 0, values, resting });
        }
        latest.expect("a batch").resting.iter().map(|one| (one.column, one.bits, one.tick.0)).collect()
    }

    #[test]
    fn of_a_sensor_that_is_read_at_each_tick_nothing_is_looked_for() {
        assert_eq!(shown(&[batch(0, 1), batch(10, 1)]), []);
        let mut hangs = batch(0, 1);
        hangs.matrix.set(0, 9, Some(0));
        hangs.matrix.set(2, 9, None);
        assert_eq!(shown(&[hangs]), [], "one that failed rests not: its values are gone");
    }

    #[test]
    fn a_resting_sensor_shows_what_it_read_last_and_not_for_ever() {
        assert_eq!(shown(&[batch(0, 5)]), [(0, 1, 5), (2, 5, 5)]);
        let long: Vec<_> = (0..30).map(|n| batch(n * 10, 1000)).collect();
        assert_eq!(shown(&long[..3]), [(0, 1, 0), (2, 0, 0)], "read at tick 0 alone");
        assert_eq!(shown(&long[..29]).len(), 2, "289 s later");
        let longer: Vec<_> = (0..31).map(|n| batch(n * 10, 1000)).collect();
        assert_eq!(shown(&longer), [], "309 s later");
    }
}
