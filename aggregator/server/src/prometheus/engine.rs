//! From a selector to an answer: which hosts, what is read of each, and what memory alone can tell.
//!
//! Hosts are read one after the other: an answer holds one host's page of batches at a time, however many there are.

use super::answer::Refused;
use super::collect::{Collector, HostCollector, Series, Shape, TooMany};
use super::filter::{Filter, shown_labels};
use crate::api::ApiContext;
use crate::live::Latest;
use dsmil_protocol::ids::HostName;
use dsmil_protocol::metric::MetricSet;

use dsmil_store::read::Query;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The series that a selector names, with the points that the shape wants.
pub(super) async fn select(context: &ApiContext, filter: &Arc<Filter>, shape: Shape) -> Result<Vec<Series>, Refused> {
    let mut collector = Collector::new(shape);
    for host in context.hosts() {
        if filter.takes_host(host.as_str()) {
            let mut of_host = HostCollector::new(&mut collector, filter, host.as_str());
            host_points(context, filter, shape, &host, &mut of_host).await?;
            // Many hosts are answered from memory, and others want the thread as well.
            tokio::task::yield_now().await;
        }
    }
    Ok(collector.finish()?)
}

async fn host_points(
    context: &ApiContext,
    filter: &Arc<Filter>,
    shape: Shape,
    host: &HostName,
    collector: &mut HostCollector<'_>,
) -> Result<(), Refused> {
    let (from_ms, to_ms) = shape.bounds();
    let latest = context.latest(host).filter(|latest| (from_ms..=to_ms).contains(&latest.time_ms));
    // A single sample out of the middle of a batch would look like a hole; for a step it is the value.
    let latest = latest.filter(|_| matches!(shape, Shape::Steps { .. }));
    let columns = latest.as_deref().map(|latest| columns_of(filter, &latest.set)).unwrap_or_default();
    let is_instant = matches!(shape, Shape::Steps { count: 1, .. });
    let from_memory = latest.as_deref().filter(|latest| is_instant && tells_all(context, host, latest, &columns));
    if from_memory.is_none() {
        read(context, filter, host, from_ms, to_ms, collector).await?;
    }
    match latest {
        Some(latest) => Ok(collector.add_latest(&latest, &columns)?),
        None => Ok(()),
    }
}

/// Whether the newest tick alone answers for an instant after it: nothing asked for is missing from it, and its boot has
/// no other stream that it does not show.
fn tells_all(context: &ApiContext, host: &HostName, latest: &Latest, columns: &[usize]) -> bool {
    let streams = context.store.warm().streams_of(&context.tenant, host);
    let visible = |classification| context.clearance.dominates(classification);
    let streams = streams.iter().filter(|key| key.boot == latest.boot && visible(key.classification)).count();
    streams <= 1 && columns.iter().all(|column| matches!(latest.values.get(*column), Some(Some(_))))
}

async fn read(
    context: &ApiContext,
    filter: &Arc<Filter>,
    host: &HostName,
    from_ms: i64,
    to_ms: i64,
    collector: &mut HostCollector<'_>,
) -> Result<(), Refused> {
    let query =
        Query { tenant: context.tenant.clone(), host: host.clone(), clearance: context.clearance, from_ms, to_ms };
    let (filter, found) = (Arc::clone(filter), AtomicBool::new(false));
    let mut reading = context.store.read(query, move |set| {
        let columns = columns_of(&filter, set);
        if !columns.is_empty() {
            found.store(true, Ordering::Relaxed);
        } else if found.load(Ordering::Relaxed) && !set.metrics().is_empty() {
            // Nothing asked for is in this set any more. One column is read all the same, to see from when on.
            return vec![0];
        }
        columns
    });
    while let Some(part) = reading.next().await? {
        collector.add(&part)?;
    }
    Ok(())
}

fn columns_of(filter: &Filter, set: &MetricSet) -> Vec<usize> {
    set.metrics().iter().enumerate().filter(|(_, metric)| filter.takes(metric)).map(|(column, _)| column).collect()
}

/// What the sets of a stretch of time name. Reading them costs no sample; a series of a set may have had none.
pub(super) struct Names<'a> {
    pub(super) context: &'a ApiContext,
    /// Any of these; all, if there is none.
    pub(super) filters: &'a [Arc<Filter>],
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

/// Labels of one series, by name.
type Labels<'a> = Vec<(std::borrow::Cow<'a, str>, &'a str)>;

impl Names<'_> {
    /// Shows the labels of every series to `see`.
    pub(super) async fn each(
        &self,
        mut see: impl FnMut(&Labels<'_>) -> Result<(), TooMany> + Send,
    ) -> Result<(), Refused> {
        for host in self.context.hosts() {
            let filters: Vec<_> = self.filters.iter().filter(|filter| filter.takes_host(host.as_str())).collect();
            if filters.is_empty() && !self.filters.is_empty() {
                continue;
            }
            let (tenant, store) = (&self.context.tenant, &self.context.store);
            let stored = store.sets(tenant, &host, self.context.clearance, self.from_ms, self.to_ms).await?;
            let mut sets: BTreeMap<_, _> = stored.into_iter().map(|set| (set.id(), set)).collect();
            let latest = self.context.latest(&host).filter(|l| (self.from_ms..=self.to_ms).contains(&l.time_ms));
            sets.extend(latest.map(|latest| (latest.set.id(), Arc::clone(&latest.set))));
            for metric in sets.values().flat_map(|set| set.metrics()) {
                if self.filters.is_empty() || filters.iter().any(|filter| filter.takes(metric)) {
                    see(&shown_labels(host.as_str(), metric))?;
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Distinct texts, bounded like the labels of an answer.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    texts: BTreeSet<String>,
    bytes: usize,
}

impl Distinct {
    /// Adds one, if it is new.
    pub(super) fn add(&mut self, text: &str) -> Result<(), TooMany> {
        if self.texts.contains(text) {
            return Ok(());
        }
        self.bytes += text.len();
        if self.bytes > super::collect::MAX_LABEL_BYTES || self.texts.len() == MAX_TEXTS {
            return Err(TooMany);
        }
        self.texts.insert(text.to_owned());
        Ok(())
    }

    /// All of them, in order.
    pub(super) fn into_texts(self) -> BTreeSet<String> {
        self.texts
    }
}

/// Texts in a list: a fleet of 10,000 hosts has some hundred thousand devices and mount points.
const MAX_TEXTS: usize = 200_000;
