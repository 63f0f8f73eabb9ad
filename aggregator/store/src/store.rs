//! The tiers together.

use crate::hot::{Hot, HotConfig, HotStats};
use crate::read::{Query, ReadError, Reading, SetCache, SetFound};
use crate::record::{Appended, BatchRecord, Classification, Refusal};
use crate::warm::{Warm, WarmConfig, WarmError, WarmReport};
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use rusqlite::params;
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

/// The tiers together; clones are the same one.
#[derive(Clone, Debug)]
pub struct Store {
    warm: Warm,
    hot: Option<Hot>,
    sets: Arc<SetCache>,
}

impl Store {
    /// Opens the tiers and starts their threads. Needs a tokio runtime. Only warm can fail: hot is tried again until it
    /// opens, and warm answers meanwhile.
    pub fn open(config: StoreConfig, clock: &Clock, supervisor: &Supervisor) -> Result<(Self, WarmReport), WarmError> {
        let (warm, report) = Warm::open(&config.journal, clock, supervisor, config.warm)?;
        let hot = config.hot.map(|hot| Hot::start(hot, warm.newest_at_open(), clock, supervisor));
        Ok((Self { warm, hot, sets: Arc::default() }, report))
    }

    /// The durable journal, the ledgers and the metric sets.
    pub fn warm(&self) -> &Warm {
        &self.warm
    }

    /// Stores batches in warm and shows them to hot. When it returns `Ok` they are durable and can be read; one answer a
    /// batch, in order. When warm fails, hot has them all the same, and nothing may be acknowledged.
    pub async fn append(&self, batches: Vec<Arc<BatchRecord>>) -> Result<Vec<Appended>, WarmError> {
        let Some(hot) = &self.hot else { return self.warm.append(batches).await };
        let shown = batches.clone();
        // Side by side: both have their part before a caller can be cancelled, so hot misses nothing that warm has.
        let (stored, ()) = tokio::join!(self.warm.append(batches), hot.append(&shown));
        for (answer, batch) in stored.iter().flatten().zip(&shown) {
            if let Appended::Refused(Refusal::Conflict | Refusal::Fragmented | Refusal::TooManyBoots) = answer {
                hot.leave_to_warm(batch);
            }
        }
        stored
    }

    /// Reads samples: `select` picks the columns of each metric set that occurs. The answer comes page by page.
    pub fn read(&self, query: Query, select: impl Fn(&MetricSet) -> Vec<usize> + Send + Sync + 'static) -> Reading {
        Reading::new(self.clone(), query, select)
    }

    /// The metric sets of a host's batches in a stretch of time (Unix ms) that the reader may see.
    pub async fn sets(
        &self,
        tenant: &TenantId,
        host: &HostName,
        clearance: Classification,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Arc<MetricSet>>, ReadError> {
        let (tenant, host, cache) = (tenant.clone(), host.clone(), Arc::clone(&self.sets));
        let read = self.warm.readers().run(move |context| {
            let mut select = context.db.prepare_cached(
                "SELECT DISTINCT s.hash FROM host h JOIN batch b ON b.host = h.id JOIN metric_set s ON s.id = b.metric_set
                 WHERE h.tenant = ?1 AND h.name = ?2 AND b.start_ms >= ?3 - h.max_span_ms AND b.start_ms <= ?4
                   AND b.end_ms >= ?3 AND b.classification <= ?5",
            )?;
            let bounds = params![tenant.as_str(), host.as_str(), from_ms, to_ms, clearance.level()];
            let ids: Vec<SetId> =
                select.query_map(bounds, |row| row.get(0).map(SetId))?.collect::<Result<_, _>>()?;
            let mut sets = Vec::with_capacity(ids.len());
            for id in ids {
                if let SetFound::Set(set) = cache.get(context.db, &tenant, id)? {
                    sets.push(set);
                }
            }
            Ok(sets)
        });
        read.await.map_err(ReadError::from_warm)
    }

    /// A stored metric set. One that is not known has to be asked for (NEED_METRIC_SET) before its batches are stored.
    pub async fn metric_set(&self, tenant: &TenantId, id: SetId) -> Result<Option<Arc<MetricSet>>, ReadError> {
        if let Some(set) = self.sets.lookup(tenant, id) {
            return Ok(Some(set));
        }
        let (name, cache) = (tenant.clone(), Arc::clone(&self.sets));
        let read = self.warm.readers().run(move |context| cache.get(context.db, &name, id));
        match read.await.map_err(ReadError::from_warm)? {
            SetFound::Set(set) => Ok(Some(set)),
            SetFound::Unknown => Ok(None),
            SetFound::Damaged => {
                self.warm.report_damaged_set(tenant, id);
                Ok(None)
            }
        }
    }

    /// Counts of the hot cache, if there is one.
    pub fn hot_stats(&self) -> Option<HotStats> {
        self.hot.as_ref().map(Hot::stats)
    }

    pub(crate) fn hot(&self) -> Option<&Hot> {
        self.hot.as_ref()
    }

    pub(crate) fn set_cache(&self) -> &Arc<SetCache> {
        &self.sets
    }
}
