//! What is stored: a batch as it came, under the identity that makes sending it twice harmless.

use bytes::Bytes;
use dsmil_protocol::batch::{BatchHeader, MAX_BATCH_LEN};
use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick, TickRange};
use dsmil_protocol::metric::SetId;
use std::sync::Arc;

pub use dsmil_protocol::tlv::Classification;

/// The last tick there can be here: 34,000 years of uptime. It keeps every sum of ticks and milliseconds inside an `i64`.
pub const MAX_TICK: Tick = Tick(1 << 40);

/// Wall times beyond the year 4000 either way come from a broken clock; the bound keeps sums inside an `i64`.
pub const MAX_WALL_MS: i64 = 64_060_588_800_000;

/// Whose ticks: one boot of one host, one classification. Ledgers and batches are kept by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// The tenant of the aggregator.
    pub tenant: TenantId,
    /// The host in that tenant.
    pub host: HostName,
    /// The boot whose ticks are counted.
    pub boot: BootId,
    /// The classification of the data.
    pub classification: Classification,
}

/// A batch to be stored: its identity (key and first tick), when it was, and its bytes as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    pub(crate) key: Arc<StreamKey>,
    pub(crate) ticks: Vec<TickRange>,
    pub(crate) start_ms: i64,
    pub(crate) set: SetId,
    pub(crate) blob: Bytes,
}

/// Why a batch cannot be stored at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The header names another boot than the key.
    #[error("the batch is of boot {batch}, the stream of boot {stream}")]
    Boot {
        /// In the batch.
        batch: BootId,
        /// In the key.
        stream: BootId,
    },
    /// A tick or a time that no working clock shows.
    #[error("the batch's ticks or times are beyond what a clock can show; check the host's clock")]
    Time,
    /// Larger than a batch may be.
    #[error("the batch has {0} bytes, at most {MAX_BATCH_LEN} are stored")]
    TooLarge(usize),
}

impl BatchRecord {
    /// Takes a checked batch: `header` as decoded from `blob`, `start_ms` the corrected wall time (Unix ms) of its first tick.
    pub fn new(key: Arc<StreamKey>, header: &BatchHeader, start_ms: i64, blob: Bytes) -> Result<Self, RecordError> {
        if header.boot != key.boot {
            return Err(RecordError::Boot { batch: header.boot, stream: key.boot });
        }
        if blob.len() > MAX_BATCH_LEN {
            return Err(RecordError::TooLarge(blob.len()));
        }
        let ticks = runs(header);
        if header.range().last > MAX_TICK || start_ms.abs() > MAX_WALL_MS {
            return Err(RecordError::Time);
        }
        Ok(Self { key, ticks, start_ms, set: header.set, blob })
    }

    /// Whose batch it is.
    pub fn key(&self) -> &Arc<StreamKey> {
        &self.key
    }

    /// The ticks it holds, oldest first; one range unless ticks are missing inside the batch.
    pub fn ticks(&self) -> &[TickRange] {
        &self.ticks
    }

    /// First to last tick. The first is the batch's sequence.
    pub fn range(&self) -> TickRange {
        TickRange { first: self.ticks[0].first, last: self.ticks[self.ticks.len() - 1].last }
    }

    /// Corrected wall time of the first tick, Unix ms.
    pub fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// Corrected wall time of the last tick, Unix ms.
    pub fn end_ms(&self) -> i64 {
        tick_ms(self.start_ms, self.range().first, self.range().last)
    }

    /// The metric set that names its columns.
    pub fn set(&self) -> SetId {
        self.set
    }

    /// The bytes as they came.
    pub fn blob(&self) -> &Bytes {
        &self.blob
    }
}

/// When `tick` was, of a batch whose `first` tick was at `start_ms`. Ticks are seconds of a clock that counts suspend too.
pub(crate) fn tick_ms(start_ms: i64, first: Tick, tick: Tick) -> i64 {
    let seconds = i64::try_from(tick.0.saturating_sub(first.0)).unwrap_or(i64::MAX);
    start_ms.saturating_add(seconds.saturating_mul(1000))
}

/// The ticks of a batch as ranges.
pub(crate) fn runs(header: &BatchHeader) -> Vec<TickRange> {
    let mut runs: Vec<TickRange> = Vec::with_capacity(1);
    for stamp in &header.stamps {
        match runs.last_mut() {
            Some(run) if run.last.next() == stamp.tick => run.last = stamp.tick,
            _ => runs.push(TickRange { first: stamp.tick, last: stamp.tick }),
        }
    }
    runs
}

/// What became of an appended batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the journal, durably.
    Stored,
    /// Every tick of it was there already; nothing was written.
    Duplicate,
    /// It was refused; its ticks are recorded as lost with [`crate::ledger::LossReason::Rejected`] by whoever rejects it.
    Refused(Refusal),
}

/// Why one batch was refused while the rest of its append went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another batch with the same first tick and other ticks is stored, and neither contains the other.
    #[error("a batch with the same first tick and other ticks is stored already")]
    Conflict,
    /// The metric set that names its columns is not stored: ask for it (NEED_METRIC_SET) and append the batch again.
    #[error("the batch's metric set is not stored yet")]
    SetUnknown,
    /// Its host has been through so many boots in the time that is kept that no more ledgers are opened.
    #[error("the host has too many boots in the time that is kept")]
    TooManyBoots,
    /// The boot's ledger has so many holes that no more are kept.
    #[error("the ledger of this boot has reached {} segments", crate::ledger::MAX_SEGMENTS)]
    Fragmented,
}
