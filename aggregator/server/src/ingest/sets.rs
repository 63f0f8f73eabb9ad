//! Metric sets at hand: most hosts share a few, so each is held once.

use dsmil_protocol::ids::TenantId;
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_store::Store;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Sets held in memory, some 60 KiB each; more are read from the store when they are needed.
const MAX_CACHED: usize = 2_000;
/// Metrics in all of them, some 250 bytes each: a set may have 65,536, and a hostile host any number of such sets.
const MAX_CACHED_METRICS: usize = 500_000;

/// The sets of a tenant.
#[derive(Debug)]
pub(super) struct Sets {
    tenant: TenantId,
    store: Store,
    cached: Mutex<HashMap<SetId, Arc<MetricSet>>>,
}

impl Sets {
    pub(super) fn new(tenant: TenantId, store: Store) -> Self {
        Self { tenant, store, cached: Mutex::default() }
    }

    /// The set of that hash, from memory or the store; nothing if the agent has to be asked, or the store cannot say now.
    pub(super) async fn get(&self, id: SetId) -> Option<Arc<MetricSet>> {
        if let Some(set) = self.lock().get(&id) {
            return Some(Arc::clone(set));
        }
        let set = self.store.metric_set(&self.tenant, id).await.ok().flatten()?;
        self.remember(&set);
        Some(set)
    }

    /// Takes a set that is on its way into the store, so that the batches behind it need not wait.
    pub(super) fn remember(&self, set: &Arc<MetricSet>) {
        let mut cached = self.lock();
        let metrics: usize = cached.values().map(|cached| cached.metrics().len()).sum();
        if cached.len() >= MAX_CACHED || metrics + set.metrics().len() > MAX_CACHED_METRICS {
            // A working set over the cap is read from the store either way; forgetting all keeps this simple.
            cached.clear();
        }
        cached.insert(set.id(), Arc::clone(set));
    }

    /// Forgets a set that the store did not take.
    pub(super) fn forget(&self, id: SetId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SetId, Arc<MetricSet>>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
