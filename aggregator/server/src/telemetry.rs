//! The aggregator's own counters, as `/metrics` shows them.
//!
//! Counters are plain atomics, changed where things happen and read when somebody asks. The table below is the one list
//! of them; the reference in docs/generated is made from it.

use crate::refusals::Refusals;
use dsmil_protocol::error::ErrorCode;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the delay histogram, milliseconds: a batch of ten ticks makes its first one wait ten seconds.
pub const DELAY_BOUNDS_MS: [u64; 16] =
    [50, 100, 250, 500, 1000, 1500, 2000, 4000, 6000, 8000, 10_000, 11_000, 12_000, 15_000, 30_000, 60_000];

/// How long ticks took from being sampled to being stored and visible to queries.
#[derive(Debug, Default)]
pub struct Delays {
    /// One a bound, and one for what is over the last.
    buckets: [AtomicU64; DELAY_BOUNDS_MS.len() + 1],
    sum_ms: AtomicU64,
}

impl Delays {
    /// Counts a tick that took `ms`.
    pub fn observe(&self, ms: u64) {
        let bucket = DELAY_BOUNDS_MS.partition_point(|bound| *bound < ms);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// How many fell at or under each bound, and last how many there are in all.
    pub fn cumulative(&self) -> [u64; DELAY_BOUNDS_MS.len() + 1] {
        let mut total = 0;
        std::array::from_fn(|i| {
            total += self.buckets[i].load(Ordering::Relaxed);
            total
        })
    }

    /// The sum of all, milliseconds.
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms.load(Ordering::Relaxed)
    }

    /// The delay that a share (0 to 1) of the ticks did not exceed, milliseconds, by linear interpolation within its
    /// bucket as Prometheus' `histogram_quantile` does. Nothing before the first tick.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let counts = self.cumulative();
        let total = counts[counts.len() - 1];
        if total == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "counts of ticks; 2^53 of them take 285 million years")]
        let (wanted, counts) = (share * total as f64, counts.map(|c| c as f64));
        let at = counts.iter().position(|c| *c >= wanted).unwrap_or(DELAY_BOUNDS_MS.len());
        #[allow(clippy::cast_precision_loss, reason = "bounds are small")]
        let bound = |i: usize| DELAY_BOUNDS_MS.get(i).map_or(f64::INFINITY, |b| *b as f64);
        if at == DELAY_BOUNDS_MS.len() {
            return Some(bound(at - 1));
        }
        let (low, before) = if at == 0 { (0.0, 0.0) } else { (bound(at - 1), counts[at - 1]) };
        let within = counts[at] - before;
        Some(if within > 0.0 { low + (bound(at) - low) * (wanted - before) / within } else { bound(at) })
    }
}

/// The counters; clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct Telemetry(Arc<Counters>);

impl std::ops::Deref for Telemetry {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0
    }
}

/// Every counter there is.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions welcomed.
    pub sessions: Counter,
    /// Frames that passed every check.
    pub frames: Counter,
    /// Bytes of telemetry frames, header and TLVs included, UDP and QUIC excluded.
    pub telemetry_bytes: Counter,
    /// Bytes of framing in them.
    pub framing_bytes: Counter,
    /// Batches stored.
    pub batches: Counter,
    /// Batches that were stored already.
    pub batches_resent: Counter,
    /// Samples in the stored batches.
    pub samples: Counter,
    /// Ticks in the stored batches.
    pub ticks: Counter,
    /// Ticks that were shown to whoever watched their host, before their batch came.
    pub live_ticks: Counter,
    /// Batches that were not stored because the journal could not take them; the spools hold them.
    pub batches_deferred: Counter,
    /// Metric sets that waited, because their host tells of more than it may.
    pub sets_delayed: Counter,
    /// Sample to queryable, live batches only: a backlog's delay is the outage's, not ours.
    pub delays: Delays,
    faults: Mutex<BTreeMap<ErrorCode, u64>>,
    /// Refused peers.
    pub refused: Refusals,
}

impl Counters {
    /// Counts a refused frame or batch.
    pub fn fault(&self, code: ErrorCode) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// Refused frames and batches, by code.
    pub fn faults(&self) -> BTreeMap<ErrorCode, u64> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_the_bucket_of_their_tick() {
        let delays = Delays::default();
        assert_eq!(delays.quantile(0.5), None);
        for ms in [60, 70, 80, 90, 9500] {
            delays.observe(ms);
        }
        let (p50, p99) = (delays.quantile(0.5).expect("ticks"), delays.quantile(0.99).expect("ticks"));
        assert!((50.0..=100.0).contains(&p50), "{p50}");
        assert!((8000.0..=10_000.0).contains(&p99), "{p99}");
        delays.observe(1_000_000);
        assert_eq!(delays.quantile(1.0), Some(60_000.0), "what is off the scale says the scale's end");
    }
}
