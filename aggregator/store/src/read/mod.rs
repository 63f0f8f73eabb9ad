//! Reading: one answer across the tiers, each part saying which tier it came from.
//!
//! A batch belongs to the tier by its start: hot where hot is complete, warm elsewhere. The answer is read page by page in
//! the order of time; if hot loses its file between two pages, warm goes on where hot stopped, and ticks that were
//! delivered already are left out. Every batch is checked by its checksum before it is decoded.

mod assemble;
mod sets;
#[cfg(test)]
mod tests;

pub(crate) use sets::{Found as SetFound, SetCache};

use crate::batch_table::{self, Page, PageQuery};
use crate::hot::{Coverage, Hot};
use crate::record::Classification;
use crate::store::Store;
use crate::warm::WarmError;
use assemble::Assembler;
use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick};
use dsmil_protocol::metric::MetricSet;
use std::collections::VecDeque;
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
    /// The answer ended with an error before, or was given up in the middle of a page.
    #[error("this answer has ended; ask anew")]
    Ended,
    /// The journal failed.
    #[error("the warm journal could not be read")]
    Warm(#[from] WarmError),
}

impl ReadError {
    pub(crate) fn from_warm(error: WarmError) -> Self {
        match error {
            WarmError::Busy => Self::Busy,
            other => Self::Warm(other),
        }
    }
}

/// An answer being read, page by page.
#[derive(Debug)]
pub struct Reading {
    store: Store,
    query: Query,
    /// Lent to the reader thread while it works on a page.
    assembler: Option<Box<Assembler>>,
    ready: VecDeque<Part>,
    /// Every batch that starts before this is delivered …
    position_ms: i64,
    /// … and of those that start at it, the ones up to this row of the tier in use.
    after: Option<(i64, i64)>,
    batches: u64,
    damaged: u64,
    ended: bool,
}

/// What the next page is asked for: a tier and up to which start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    tier: Tier,
    to_ms: i64,
}

impl Reading {
    pub(crate) fn new(
        store: Store,
        query: Query,
        select: impl Fn(&MetricSet) -> Vec<usize> + Send + Sync + 'static,
    ) -> Self {
        let assembler = Assembler::new(&query, Arc::new(select), Arc::clone(store.set_cache()));
        Self {
            store,
            query,
            assembler: Some(Box::new(assembler)),
            ready: VecDeque::new(),
            position_ms: i64::MIN,
            after: None,
            batches: 0,
            damaged: 0,
            ended: false,
        }
    }

    /// The next part of the answer, nothing at its end. After an error there is nothing more.
    pub async fn next(&mut self) -> Result<Option<Part>, ReadError> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(Some(part));
            }
            if self.ended || self.query.from_ms > self.query.to_ms {
                return Ok(None);
            }
            if let Err(error) = self.turn().await {
                self.ended = true;
                self.ready.clear();
                return Err(error);
            }
        }
    }

    /// Batches that could not be read so far: damaged ones (their ticks wait again, to be asked for) and those whose metric
    /// set is not known (until an agent sends it again).
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Reads one page.
    async fn turn(&mut self) -> Result<(), ReadError> {
        let hot = self.store.hot().cloned();
        let coverage = hot.as_ref().map(|hot| hot.coverage(&self.query.tenant, &self.query.host));
        let step = plan(self.position_ms, coverage, self.query.to_ms);
        match (step.tier, hot) {
            (Tier::Hot, Some(hot)) => self.hot_page(&hot, step).await,
            _ => self.warm_page(step).await,
        }
    }

    async fn warm_page(&mut self, step: Step) -> Result<(), ReadError> {
        let query = self.page_query(step);
        let mut assembler = self.assembler.take().ok_or(ReadError::Ended)?;
        let read = self.store.warm().readers().run(move |context| {
            let page = batch_table::page(context.db, &query)?;
            let end = PageEnd::of(&page);
            let outcome = assembler.add(page.batches, Tier::Warm, context)?;
            Ok((assembler, outcome, end))
        });
        let (assembler, outcome, end) = read.await.map_err(ReadError::from_warm)?;
        self.assembler = Some(assembler);
        let parts = outcome?;
        for id in &parts.damaged {
            self.store.warm().report_damage(*id);
        }
        self.damaged += parts.damaged.len() as u64 + parts.undescribed;
        self.ready.extend(parts.parts);
        self.advance(end, step.to_ms)
    }

    async fn hot_page(&mut self, hot: &Hot, step: Step) -> Result<(), ReadError> {
        let Some((page, covered)) = hot.page(self.page_query(step)).await else {
            return self.leave_hot(hot);
        };
        if covered.floor_ms > self.position_ms {
            // It was thinned out or lost its file meanwhile: warm goes on from here.
            self.after = None;
            return Ok(());
        }
        let end = PageEnd::of(&page);
        let mut assembler = self.assembler.take().ok_or(ReadError::Ended)?;
        let read = self.store.warm().readers().run(move |context| {
            let outcome = assembler.add(page.batches, Tier::Hot, context)?;
            Ok((assembler, outcome))
        });
        let (assembler, outcome) = read.await.map_err(ReadError::from_warm)?;
        self.assembler = Some(assembler);
        let parts = outcome?;
        self.damaged += parts.undescribed;
        self.ready.extend(parts.parts);
        if parts.damaged.is_empty() {
            return self.advance(end, step.to_ms.min(covered.ceiling_ms.saturating_sub(1)));
        }
        hot.report_damage().await;
        self.leave_hot(hot)
    }

    /// Hot could not answer: warm goes on from here, if hot has seen it too.
    fn leave_hot(&mut self, hot: &Hot) -> Result<(), ReadError> {
        self.after = None;
        let coverage = hot.coverage(&self.query.tenant, &self.query.host);
        // Its floor moves before it answers that it cannot; if it has not, its thread is too busy to be asked.
        if plan(self.position_ms, Some(coverage), self.query.to_ms).tier == Tier::Hot {
            Err(ReadError::Busy)
        } else {
            Ok(())
        }
    }

    fn page_query(&self, step: Step) -> PageQuery {
        PageQuery {
            tenant: self.query.tenant.clone(),
            host: self.query.host.clone(),
            clearance: self.query.clearance,
            from_ms: self.query.from_ms,
            start_from_ms: self.position_ms,
            start_to_ms: step.to_ms,
            after: self.after,
        }
    }

    /// Goes on behind a page, or, if it was the last one up to `to_ms`, behind that.
    fn advance(&mut self, end: PageEnd, to_ms: i64) -> Result<(), ReadError> {
        self.batches += end.batches;
        match end.more_after {
            Some(last) => {
                self.position_ms = last.0;
                self.after = Some(last);
            }
            None => {
                self.ended = to_ms >= self.query.to_ms;
                self.position_ms = to_ms.saturating_add(1);
                self.after = None;
            }
        }
        if self.batches > MAX_QUERY_BATCHES { Err(ReadError::TooMuch) } else { Ok(()) }
    }
}

/// How a page ends.
struct PageEnd {
    batches: u64,
    /// Its last batch, if there are more behind it.
    more_after: Option<(i64, i64)>,
}

impl PageEnd {
    fn of(page: &Page) -> Self {
        let last = page.batches.last().map(|batch| (batch.start_ms, batch.id));
        Self { batches: page.batches.len() as u64, more_after: last.filter(|_| !page.last) }
    }
}

/// Which tier to ask for batches that start at `position_ms`, and up to which start.
fn plan(position_ms: i64, coverage: Option<Coverage>, to_ms: i64) -> Step {
    let warm = |to: i64| Step { tier: Tier::Warm, to_ms: to.min(to_ms) };
    match coverage {
        Some(c) if c.floor_ms < c.ceiling_ms && position_ms < c.floor_ms => warm(c.floor_ms - 1),
        Some(c) if c.floor_ms < c.ceiling_ms && position_ms < c.ceiling_ms => {
            Step { tier: Tier::Hot, to_ms: (c.ceiling_ms - 1).min(to_ms) }
        }
        _ => warm(i64::MAX),
    }
}
