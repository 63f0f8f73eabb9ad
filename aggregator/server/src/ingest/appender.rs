//! Stores what one session brings, in the order it came, so that a slow disk never stands in the way of a heartbeat.

use super::Ingest;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::message::Rejected;
use dsmil_protocol::metric::MetricSet;
use dsmil_store::ledger::LossReason;
use dsmil_store::record::{Refusal, StreamKey};
use dsmil_store::warm::WarmError;
use dsmil_store::{Appended, BatchRecord};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Jobs of one session that may wait. More means that the journal cannot keep up: the rest is left to the spool.
pub(super) const QUEUE: usize = 64;
/// Batches handed to the journal at once; their commit is one.
const GROUP: usize = 64;

/// Something to be stored.
#[derive(Debug)]
pub(super) enum Job {
    /// A checked batch.
    Batch(Pending),
    /// Ticks that will never come.
    Gaps(Arc<StreamKey>, Vec<(TickRange, LossReason)>),
    /// What columns mean, and its share of what the session may hold.
    Set(Arc<MetricSet>, Option<OwnedSemaphorePermit>),
}

/// A batch and what is counted of it once it is stored.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) record: Arc<BatchRecord>,
    pub(super) samples: u64,
    /// Ticks that were sampled while this session was there: their way to here is what we answer for.
    pub(super) timely: Vec<Tick>,
    /// Milliseconds since 1970 of tick 0.
    pub(super) boot_ms: i64,
    /// Its share of what the session may hold.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Done {
    /// The ledger of this stream has moved.
    Accounted(Arc<StreamKey>),
    /// The batch will never be taken.
    Rejected(BootId, Rejected),
    /// The store has not this set after all.
    NeedSet(dsmil_protocol::metric::SetId),
}

/// Runs until the session drops its end of `jobs`.
pub(super) async fn run(ingest: Ingest, mut jobs: mpsc::Receiver<Job>, done: mpsc::UnboundedSender<Done>) {
    let mut group = Vec::with_capacity(GROUP);
    while jobs.recv_many(&mut group, GROUP).await > 0 {
        let mut batches = Vec::new();
        for job in group.drain(..) {
            match job {
                Job::Batch(pending) => batches.push(pending),
                other => {
                    append(&ingest, std::mem::take(&mut batches), &done).await;
                    record(&ingest, other, &done).await;
                }
            }
        }
        append(&ingest, batches, &done).await;
    }
}

async fn record(ingest: &Ingest, job: Job, done: &mpsc::UnboundedSender<Done>) {
    let warm = ingest.0.store.warm();
    match job {
        Job::Gaps(key, gaps) => match warm.record_gaps(&key, gaps).await {
            Ok(()) => tell(done, Done::Accounted(key)),
            Err(error) => tracing::warn!(host = %key.host, %error, "gaps were not recorded; the agent says them again"),
        },
        Job::Set(set, _room) => {
            if let Err(error) = warm.put_metric_set(&ingest.0.tenant, Arc::clone(&set)).await {
                ingest.0.sets.forget(set.id());
                tracing::warn!(set = %set.id(), %error, "a metric set was not stored; the agent is asked again");
            }
        }
        Job::Batch(_) => unreachable!("batches are appended"),
    }
}

async fn append(ingest: &Ingest, batches: Vec<Pending>, done: &mpsc::UnboundedSender<Done>) {
    if batches.is_empty() {
        return;
    }
    let records = batches.iter().map(|pending| Arc::clone(&pending.record)).collect();
    match ingest.0.store.append(records).await {
        Ok(outcomes) => {
            for (pending, outcome) in batches.iter().zip(outcomes) {
                judge(ingest, pending, outcome, done);
            }
        }
        Err(error) => deferred(ingest, &batches, &error),
    }
}

fn deferred(ingest: &Ingest, batches: &[Pending], error: &WarmError) {
    // Not acknowledged, so the spool keeps them and sends them again; hot has them already.
    ingest.0.telemetry.batches_deferred.add(batches.len() as u64);
    tracing::debug!(batches = batches.len(), %error, "not stored for now; the spool keeps them");
}

fn judge(ingest: &Ingest, pending: &Pending, outcome: Appended, done: &mpsc::UnboundedSender<Done>) {
    let (telemetry, record) = (&ingest.0.telemetry, &pending.record);
    match outcome {
        Appended::Stored => {
            telemetry.batches.add(1);
            telemetry.samples.add(pending.samples);
            telemetry.ticks.add(record.ticks().iter().map(|r| r.len()).sum());
            let now_ms = ingest.0.clock.wall_ms();
            for tick in &pending.timely {
                let at = pending.boot_ms.saturating_add(i64::try_from(tick.0).unwrap_or(i64::MAX).saturating_mul(1000));
                telemetry.delays.observe(u64::try_from(now_ms.saturating_sub(at)).unwrap_or(0));
            }
            tell(done, Done::Accounted(Arc::clone(record.key())));
        }
        Appended::Duplicate => {
            telemetry.batches_resent.add(1);
            tell(done, Done::Accounted(Arc::clone(record.key())));
        }
        Appended::Refused(Refusal::SetUnknown) => {
            ingest.0.sets.forget(record.set());
            tell(done, Done::NeedSet(record.set()));
        }
        Appended::Refused(refusal) => {
            telemetry.fault(ErrorCode::BatchMalformed);
            tracing::warn!(host = %record.key().host, first = record.range().first.0, %refusal, "a batch was refused");
            let rejected = Rejected { first: record.range().first, code: ErrorCode::BatchMalformed.number() };
            tell(done, Done::Rejected(record.key().boot, rejected));
        }
    }
}

/// The session may be over already; what it would have been told it learns at its next HELLO.
fn tell(done: &mpsc::UnboundedSender<Done>, word: Done) {
    let _ = done.send(word);
}
