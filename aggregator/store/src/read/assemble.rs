//! From batches as they lie to parts of an answer.

use super::sets::{Found, SetCache};
use super::{Column, MAX_QUERY_SAMPLES, Part, Query, ReadError, Tier};
use crate::batch_table::StoredBatch;
use crate::record::{Classification, tick_ms};
use crate::warm::ReaderContext;
use dsmil_protocol::batch::Batch;
use dsmil_protocol::ids::{BootId, TenantId, TickRange};
use dsmil_protocol::metric::{MetricSet, SetId};
use dsmil_protocol::tick_set::TickSet;
use std::collections::HashMap;
use std::sync::Arc;

type Select = Arc<dyn Fn(&MetricSet) -> Vec<usize> + Send + Sync>;

/// A set and the columns chosen of it; nothing if the set is not known.
type Choice = Option<(Arc<MetricSet>, Arc<[usize]>)>;

/// Decodes batches and keeps what an answer must remember from page to page.
pub(super) struct Assembler {
    tenant: TenantId,
    from_ms: i64,
    to_ms: i64,
    select: Select,
    sets: Arc<SetCache>,
    choices: HashMap<SetId, Choice>,
    /// Ticks that were delivered: two batches, or two tiers, may hold the same one.
    delivered: HashMap<(BootId, Classification), TickSet>,
    samples: u64,
}

impl std::fmt::Debug for Assembler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembler").field("samples", &self.samples).finish_non_exhaustive()
    }
}

/// What a page came to.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) parts: Vec<Part>,
    /// Rows that are not as they were written.
    pub(super) damaged: Vec<i64>,
    /// Batches whose metric set is not known, or that do not fit it.
    pub(super) undescribed: u64,
}

impl Assembler {
    pub(super) fn new(query: &Query, select: Select, sets: Arc<SetCache>) -> Self {
        Self {
            tenant: query.tenant.clone(),
            from_ms: query.from_ms,
            to_ms: query.to_ms,
            select,
            sets,
            choices: HashMap::new(),
            delivered: HashMap::new(),
            samples: 0,
        }
    }

    /// Decodes a page. The outer error is the journal's, the inner one the query's.
    pub(super) fn add(
        &mut self,
        batches: Vec<StoredBatch>,
        tier: Tier,
        context: ReaderContext<'_>,
    ) -> Result<Result<Parts, ReadError>, rusqlite::Error> {
        let unsound = |stored: &StoredBatch| (!stored.is_sound()).then_some(stored.id);
        let mut parts = Parts { damaged: batches.iter().filter_map(unsound).collect(), ..Parts::default() };
        if tier == Tier::Hot && !parts.damaged.is_empty() {
            // Warm has them all, and in order.
            return Ok(Ok(parts));
        }
        for stored in batches {
            if parts.damaged.contains(&stored.id) {
                continue;
            }
            let Some((set, columns)) = self.choose(stored.set, context.db)? else {
                parts.undescribed += 1;
                continue;
            };
            if columns.is_empty() {
                continue;
            }
            match context.decoder.decode(&stored.blob, set.metrics().len()) {
                Ok(batch) => {
                    if !self.deliver(&mut parts.parts, tier, &stored, &set, &columns, &batch) {
                        return Ok(Err(ReadError::TooMuch));
                    }
                }
                // It is as it came, and was wrong when it came.
                Err(_) => parts.undescribed += 1,
            }
        }
        Ok(Ok(parts))
    }

    fn choose(&mut self, id: SetId, db: &rusqlite::Connection) -> Result<Choice, rusqlite::Error> {
        if let Some(choice) = self.choices.get(&id) {
            return Ok(choice.clone());
        }
        let choice = match self.sets.get(db, &self.tenant, id)? {
            Found::Set(set) => {
                let mut columns = (self.select)(&set);
                columns.retain(|column| *column < set.metrics().len());
                Some((set, columns.into()))
            }
            Found::Unknown | Found::Damaged => None,
        };
        self.choices.insert(id, choice.clone());
        Ok(choice)
    }

    /// Adds a batch's ticks that are asked for and not delivered yet. False if the answer becomes too large.
    fn deliver(
        &mut self,
        parts: &mut Vec<Part>,
        tier: Tier,
        stored: &StoredBatch,
        set: &Arc<MetricSet>,
        columns: &[usize],
        batch: &Batch,
    ) -> bool {
        let (boot, classification) = (stored.key.boot, stored.key.classification);
        let delivered = self.delivered.entry((boot, classification)).or_default();
        let mut wanted = Vec::with_capacity(batch.header.stamps.len());
        for (index, stamp) in batch.header.stamps.iter().enumerate() {
            let time = tick_ms(stored.start_ms, stored.range.first, stamp.tick);
            let tick = TickRange { first: stamp.tick, last: stamp.tick };
            if (self.from_ms..=self.to_ms).contains(&time) && delivered.insert(tick) == 0 {
                wanted.push((index, stamp.tick, time));
            }
        }
        self.samples += (wanted.len() * columns.len()) as u64;
        if self.samples > MAX_QUERY_SAMPLES {
            return false;
        }
        if wanted.is_empty() {
            return true;
        }
        let goes_on = parts.last().is_some_and(|part| {
            part.tier == tier && part.boot == boot && part.classification == classification && part.set.id() == set.id()
        });
        if !goes_on {
            let empty = |metric: &usize| Column { metric: *metric, bits: Vec::new() };
            parts.push(Part {
                tier,
                set: Arc::clone(set),
                boot,
                classification,
                ticks: Vec::new(),
                times_ms: Vec::new(),
                columns: columns.iter().map(empty).collect(),
            });
        }
        let part = parts.last_mut().expect("pushed if there was none");
        part.ticks.extend(wanted.iter().map(|(_, tick, _)| *tick));
        part.times_ms.extend(wanted.iter().map(|(_, _, time)| *time));
        for column in &mut part.columns {
            column.bits.extend(wanted.iter().map(|(index, _, _)| batch.matrix.get(column.metric, *index)));
        }
        true
    }
}
