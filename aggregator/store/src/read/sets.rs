//! Metric sets that were read lately, bounded by what they take.

use dsmil_protocol::ids::TenantId;
use dsmil_protocol::metric::{MetricSet, SetId};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Metrics of all cached sets together: about 150 bytes each, so some 64 MiB.
const MAX_CACHED_METRICS: usize = 400_000;

/// Metric sets by tenant and hash. The least recently used goes first.
#[derive(Debug, Default)]
pub(crate) struct SetCache(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    sets: HashMap<(TenantId, SetId), (Arc<MetricSet>, u64)>,
    metrics: usize,
    uses: u64,
}

/// What is stored under a hash.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Set(Arc<MetricSet>),
    /// Nothing, or only the name.
    Unknown,
    /// Something that is not what the hash says.
    Damaged,
}

impl SetCache {
    /// The set, from memory or from the journal.
    pub(crate) fn get(&self, db: &Connection, tenant: &TenantId, id: SetId) -> Result<Found, rusqlite::Error> {
        if let Some(set) = self.lookup(tenant, id) {
            return Ok(Found::Set(set));
        }
        let content: Option<Option<Vec<u8>>> = db
            .prepare_cached("SELECT content FROM metric_set WHERE tenant = ?1 AND hash = ?2")?
            .query_row(params![tenant.as_str(), id.0], |row| row.get(0))
            .optional()?;
        let Some(content) = content.flatten() else { return Ok(Found::Unknown) };
        match MetricSet::decode(&content) {
            Ok(set) if set.id() == id => {
                let set = Arc::new(set);
                self.keep(tenant, &set);
                Ok(Found::Set(set))
            }
            _ => Ok(Found::Damaged),
        }
    }

    /// The set, if it is in memory.
    pub(crate) fn lookup(&self, tenant: &TenantId, id: SetId) -> Option<Arc<MetricSet>> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.uses += 1;
        let now = cached.uses;
        let (set, used) = cached.sets.get_mut(&(tenant.clone(), id))?;
        *used = now;
        Some(Arc::clone(set))
    }

    fn keep(&self, tenant: &TenantId, set: &Arc<MetricSet>) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = cached.uses;
        if cached.sets.insert((tenant.clone(), set.id()), (Arc::clone(set), now)).is_none() {
            cached.metrics += set.metrics().len();
        }
        while cached.metrics > MAX_CACHED_METRICS && cached.sets.len() > 1 {
            let oldest = cached.sets.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| name.clone());
            let Some((gone, _)) = oldest.and_then(|name| cached.sets.remove(&name)) else { break };
            cached.metrics -= gone.metrics().len();
        }
    }
}
