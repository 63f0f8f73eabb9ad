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
/// Sets that are held beside those in use: a few hosts may go back and forth between two.
const SPARE: usize = 32;

/// The sets of a tenant.
#[derive(Debug)]
pub(super) struct Sets {
    tenant: TenantId,
    store: Store,
    cached: Mutex<Cached>,
}

impl Sets {
    pub(super) fn new(tenant: TenantId, store: Store) -> Self {
        Self { tenant, store, cached: Mutex::default() }
    }

    /// The set of that hash, from memory or the store; nothing if the agent has to be asked, or the store cannot say now.
    pub(super) async fn get(&self, id: SetId) -> Option<Arc<MetricSet>> {
        if let Some(set) = self.lock().sets.get(&id) {
            return Some(Arc::clone(set));
        }
        let set = self.store.metric_set(&self.tenant, id).await.ok().flatten()?;
        self.remember(&set);
        Some(set)
    }

    /// Takes a set that is on its way into the store, so that the batches behind it need not wait.
    pub(super) fn remember(&self, set: &Arc<MetricSet>) {
        let forgotten = self.lock().put(set);
        // Half a million metrics take a while to be freed, in which others may go on.
        drop(forgotten);
    }

    /// Forgets a set that the store did not take.
    pub(super) fn forget(&self, id: SetId) {
        self.lock().sets.remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets in memory.
#[derive(Debug, Default)]
struct Cached {
    sets: HashMap<SetId, Arc<MetricSet>>,
    /// With so many it is time to look which of them are still in use.
    tidy_at: usize,
}

impl Cached {
    /// Takes a set in, and returns what it makes room by letting go.
    fn put(&mut self, set: &Arc<MetricSet>) -> Vec<Arc<MetricSet>> {
        let mut forgotten = Vec::new();
        if self.sets.len() >= self.tidy_at {
            // Whoever is shown a host's newest values is shown them by its set. One that only we hold is of hosts that have
            // gone on to another: a fleet whose containers come and go makes thousands of those a day.
            forgotten.extend(self.sets.extract_if(|_, set| Arc::strong_count(set) == 1).map(|(_, set)| set));
            self.tidy_at = self.sets.len() + (self.sets.len() / 2).max(SPARE);
        }
        let metrics: usize = self.sets.values().map(|cached| cached.metrics().len()).sum();
        if self.sets.len() >= MAX_CACHED || metrics + set.metrics().len() > MAX_CACHED_METRICS {
            // A working set over the cap is read from the store either way; forgetting all keeps this simple.
            forgotten.extend(self.sets.drain().map(|(_, set)| set));
        }
        self.sets.insert(set.id(), Arc::clone(set));
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_protocol::metric::{Kind, Metric, Repr, Scale};

    fn set(name: usize) -> Arc<MetricSet> {
        let metric = Metric {
            name: format!("m{name}"),
            labels: Vec::new(),
            kind: Kind::Gauge,
            repr: Repr::U64,
            scale: Scale::ONE,
        };
        Arc::new(MetricSet::new(vec![metric]).expect("a set"))
    }

    #[test]
    fn sets_in_use_stay_and_others_go_when_new_ones_come() {
        let mut cached = Cached::default();
        let in_use: Vec<_> = (0..100).map(set).collect();
        in_use.iter().for_each(|set| drop(cached.put(set)));
        for name in 100..1_000 {
            cached.put(&set(name));
            assert!(cached.sets.len() <= 100 + 100, "{} sets for 100 in use", cached.sets.len());
        }
        assert!(in_use.iter().all(|set| cached.sets.contains_key(&set.id())));
        assert!(cached.sets.contains_key(&set(999).id()), "the newest is there until its batches come");
    }

    #[test]
    fn there_are_never_more_than_fit() {
        let mut cached = Cached::default();
        let in_use: Vec<_> = (0..MAX_CACHED + 10).map(set).collect();
        for set in &in_use {
            cached.put(set);
            assert!(cached.sets.len() <= MAX_CACHED);
        }
    }
}
