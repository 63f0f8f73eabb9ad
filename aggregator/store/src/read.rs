//! Reading: one answer across the tiers, each part saying which tier it came from.

use crate::record::Classification;
use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick};
use dsmil_protocol::metric::{MetricSet, SetId};
use std::sync::Arc;

/// Batches one query may touch: a host's 7 days are 60,480 of ten ticks, a hundred thousand leave room for short ones.
pub const MAX_QUERY_BATCHES: u64 = 100_000;
/// Samples one query may return: 64 series of a host's 7 days. They stream page by page; the bound is on time and CPU.
pub const MAX_QUERY_SAMPLES: u64 = 40_000_000;

/// Which samples to read.
#[derive(Clone, Debug)]
pub struct Query {
    /// The tenant.
    pub tenant: TenantId,
    /// The host.
    pub host: HostName,
    /// What the reader may see: data of this classification and below.
    pub clearance: Classification,
    /// From this time (Unix ms, corrected), itself included.
    pub from_ms: i64,
    /// To this time (Unix ms, corrected), itself included.
    pub to_ms: i64,
}

/// Where a part of an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The cache on tmpfs.
    Hot,
    /// The durable journal.
    Warm,
}

/// One metric's samples of a [`Part`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column of the metric set.
    pub metric: usize,
    /// One entry a tick of the part: the sample's bits ([`dsmil_protocol::metric::Metric::value`] reads them), or absent.
    pub bits: Vec<Option<u64>>,
}

/// Decoded samples of one boot and one metric set, at full resolution, in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Where they came from.
    pub tier: Tier,
    /// What the columns mean.
    pub set: Arc<MetricSet>,
    /// The boot the ticks count from.
    pub boot: BootId,
    /// The classification of the data.
    pub classification: Classification,
    /// The ticks, rising.
    pub ticks: Vec<Tick>,
    /// The corrected wall time of each tick, Unix ms.
    pub times_ms: Vec<i64>,
    /// The chosen columns.
    pub columns: Vec<Column>,
}

/// Why a query was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The query reaches for more than one query may.
    #[error(
        "the query reaches more than {MAX_QUERY_BATCHES} batches or {MAX_QUERY_SAMPLES} samples; ask for less time or fewer metrics"
    )]
    TooMuch,
    /// Too many queries wait already.
    #[error("the store is busy reading; try again")]
    Busy,
    /// A batch names a metric set that is not stored.
    #[error("the metric set {0} is not stored")]
    SetMissing(SetId),
    /// The journal failed.
    #[error("the warm journal could not be read")]
    Warm(#[from] crate::warm::WarmError),
}
