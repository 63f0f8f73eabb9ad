//! The decoded form of a batch.

use crate::ids::{BootId, Tick, TickRange};
use crate::metric::{MAX_METRICS, SetId};

/// Ticks in one batch: 10 on a normal link, 60 on a metered one; presence of a column is one `u128`.
pub const MAX_TICKS: usize = 120;
/// Bytes of one encoded batch; a whole batch goes in one frame.
pub const MAX_BATCH_LEN: usize = 4 << 20;

/// One tick of a batch: when it was sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Seconds of `CLOCK_BOOTTIME`; the tick's identity.
    pub tick: Tick,
    /// The host's own wall clock, milliseconds since 1970; an attribute that may be wrong or step.
    pub wall_ms: i64,
}

/// What a batch says of itself before its columns are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The boot its ticks count from.
    pub boot: BootId,
    /// The metric set that names its columns.
    pub set: SetId,
    /// How many columns it has; at most [`MAX_METRICS`].
    pub metrics: usize,
    /// Its ticks, strictly rising, 1 to [`MAX_TICKS`].
    pub stamps: Vec<Stamp>,
}

impl BatchHeader {
    /// First to last tick. The first one is the batch's sequence number: unique in a boot, since a tick is sampled once.
    pub fn range(&self) -> TickRange {
        let (first, last) = (self.stamps[0], self.stamps[self.stamps.len() - 1]);
        TickRange { first: first.tick, last: last.tick }
    }
}

/// The samples: one row of 64-bit values a metric, one column a tick; a value may be absent, which is not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    ticks: usize,
    /// Bit `t` of entry `m`: metric `m` has a value at tick `t`.
    present: Vec<u128>,
    /// Row `m` at `m * ticks ..`; absent values are 0.
    values: Vec<u64>,
}

impl Matrix {
    /// A matrix without any value. Panics on sizes over the limits: the caller has checked them.
    pub fn new(metrics: usize, ticks: usize) -> Self {
        assert!(metrics <= MAX_METRICS && ticks <= MAX_TICKS, "sizes are checked before memory is allotted");
        Self { ticks, present: vec![0; metrics], values: vec![0; metrics * ticks] }
    }

    /// How many metrics (rows).
    pub fn metrics(&self) -> usize {
        self.present.len()
    }

    /// How many ticks (columns).
    pub fn ticks(&self) -> usize {
        self.ticks
    }

    /// How many values are there.
    pub fn samples(&self) -> u64 {
        self.present.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// The bits of `metric` at `tick`, if it was there.
    pub fn get(&self, metric: usize, tick: usize) -> Option<u64> {
        (self.present[metric] >> tick & 1 == 1).then(|| self.values[metric * self.ticks + tick])
    }

    /// Sets or clears a value.
    pub fn set(&mut self, metric: usize, tick: usize, value: Option<u64>) {
        assert!(tick < self.ticks, "a tick of this matrix");
        let bit = 1u128 << tick;
        match value {
            Some(_) => self.present[metric] |= bit,
            None => self.present[metric] &= !bit,
        }
        self.values[metric * self.ticks + tick] = value.unwrap_or(0);
    }

    /// Presence bits and values of one metric, a value a tick (0 where absent).
    pub fn row(&self, metric: usize) -> (u128, &[u64]) {
        (self.present[metric], &self.values[metric * self.ticks..][..self.ticks])
    }

    /// Makes row `to` the same as the earlier row `from`.
    pub(super) fn copy_row(&mut self, from: usize, to: usize) {
        self.present[to] = self.present[from];
        self.values.copy_within(from * self.ticks..(from + 1) * self.ticks, to * self.ticks);
    }

    /// The presence bits and values of one metric, for a decoder to fill; absent values stay 0.
    pub fn row_mut(&mut self, metric: usize) -> (&mut u128, &mut [u64]) {
        (&mut self.present[metric], &mut self.values[metric * self.ticks..][..self.ticks])
    }
}

/// A decoded batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Boot, set and ticks.
    pub header: BatchHeader,
    /// Its values; `matrix.ticks() == header.stamps.len()`, `matrix.metrics() == header.metrics`.
    pub matrix: Matrix,
}

/// Why a batch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Of a version this program does not speak.
    #[error("batch version {0} is unknown")]
    Version(u8),
    /// The bytes end too early, or go on too long.
    #[error("the batch's length does not fit its content")]
    Length,
    /// More ticks, metrics or bytes than the limits allow, or none.
    #[error("a batch holds 1 to {MAX_TICKS} ticks, at most {MAX_METRICS} metrics and {MAX_BATCH_LEN} bytes")]
    Count,
    /// Ticks that do not strictly rise.
    #[error("the ticks of a batch do not rise")]
    Ticks,
    /// A column that no encoder of ours writes.
    #[error("a column of the batch is malformed")]
    Column,
    /// The compressed part does not decompress.
    #[error("the compressed part of the batch is damaged")]
    Compression,
    /// The batch's columns are not those of its metric set.
    #[error("the batch has {columns} columns, its metric set {metrics}")]
    Columns {
        /// Columns in the batch.
        columns: usize,
        /// Metrics in the set.
        metrics: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_is_not_zero() {
        let mut m = Matrix::new(2, 3);
        m.set(1, 2, Some(0));
        assert_eq!(m.get(1, 2), Some(0));
        assert_eq!(m.get(1, 1), None);
        assert_eq!(m.samples(), 1);
        m.set(1, 2, None);
        assert_eq!(m.get(1, 2), None);
    }
}
