//! What a session does with telemetry: batches decoded, some at a time, and handed to the appender, gaps to the ledger.

use super::appender::{Job, Pending};
use super::peer::Peer;
use crate::live::Latest;
use dsmil_protocol::batch::{Batch, BatchError};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, Tick};
use dsmil_protocol::message::{Gap, GapReason, Rejected};
use dsmil_protocol::metric::MetricSet;
use dsmil_protocol::session::aggregator::Telemetry;
use dsmil_store::BatchRecord;
use dsmil_store::ledger::LossReason;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A batch that may come in, not decoded yet.
pub(super) struct Judged {
    pub(super) telemetry: Telemetry,
    /// Its share of what the session may hold.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// What it is decoded with.
struct Known {
    judged: Judged,
    set: Arc<MetricSet>,
}

impl Peer {
    /// Has decoded what was judged since the last time, and hands it on.
    pub(super) async fn decode(&mut self) {
        if self.judged.is_empty() {
            return;
        }
        let mut known = Vec::with_capacity(self.judged.len());
        for judged in std::mem::take(&mut self.judged) {
            let (telemetry, counters) = (&judged.telemetry, &self.ingest.0.telemetry);
            counters.telemetry_bytes.add((telemetry.bytes.len() + telemetry.framing) as u64);
            counters.framing_bytes.add(telemetry.framing as u64);
            match self.ingest.0.sets.get(telemetry.header.set).await {
                Some(set) => known.push(Known { judged, set }),
                None => self.session.need_set(telemetry.header.set, self.ingest.now()),
            }
        }
        let decoded = self.ingest.0.decoders.batches(|decoder| {
            let decode = |known: Known| {
                let batch = decoder.decode(&known.judged.telemetry.bytes, known.set.metrics().len());
                (known, batch)
            };
            known.into_iter().map(decode).collect::<Vec<_>>()
        });
        let Some(decoded) = decoded.await else { return self.cannot_decode() };
        let mut newest: Option<(Batch, Arc<MetricSet>, i64)> = None;
        for (Known { judged, set }, batch) in decoded {
            let Some((batch, boot_ms)) = self.hand_on(judged, batch) else { continue };
            if newest.as_ref().is_none_or(|(newest, ..)| newer(&batch, newest)) {
                newest = Some((batch, set, boot_ms));
            }
        }
        if let Some((batch, set, boot_ms)) = newest {
            self.show(&batch, set, boot_ms);
        }
    }

    /// Hands a batch to the appender, or rejects it. Returns it, and when its boot began on our clock, to be shown.
    fn hand_on(&mut self, judged: Judged, batch: Result<Batch, BatchError>) -> Option<(Batch, i64)> {
        let Judged { telemetry, room } = judged;
        let (boot, first) = (telemetry.header.boot, telemetry.header.range().first);
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                self.reject(boot, first, ErrorCode::BatchMalformed, &error.to_string());
                return None;
            }
        };
        let boot_ms = self.boot_ms(&batch);
        let record = BatchRecord::new(self.stream(boot), &batch.header, at_ms(boot_ms, first), telemetry.bytes.into());
        let record = match record {
            Ok(record) => Arc::new(record),
            Err(error) => {
                self.reject(boot, first, ErrorCode::BatchMalformed, &error.to_string());
                return None;
            }
        };
        let (timely, samples) = (self.timely(&batch), batch.matrix.samples());
        if self.jobs.try_send(Job::Batch(Pending { record, samples, timely, boot_ms, _room: room })).is_err() {
            self.ingest.0.telemetry.batches_deferred.add(1);
        }
        Some((batch, boot_ms))
    }

    fn reject(&mut self, boot: BootId, first: Tick, code: ErrorCode, detail: &str) {
        self.ingest.0.telemetry.fault(code);
        tracing::warn!(host = %self.host, first = first.0, detail, "a batch was rejected");
        let now = self.ingest.now();
        self.session.reject(boot, Rejected { first, code: code.number() }, now);
        self.session.flush(None, now);
    }

    /// When the batch's boot began on our clock, in milliseconds. For a boot that is over nobody can ask the host any
    /// more, and its own wall clock has to do.
    fn boot_ms(&self, batch: &Batch) -> i64 {
        match self.epoch.epoch() {
            Some(epoch) if self.boot == Some(batch.header.boot) => epoch.wall_ns.div_euclid(1_000_000),
            _ => {
                let first = batch.header.stamps[0];
                first.wall_ms.saturating_sub(i64::try_from(first.tick.0).unwrap_or(i64::MAX).saturating_mul(1000))
            }
        }
    }

    fn timely(&self, batch: &Batch) -> Vec<Tick> {
        let is_ours = self.boot == Some(batch.header.boot);
        batch.header.stamps.iter().map(|stamp| stamp.tick).filter(|tick| is_ours && *tick > self.since).collect()
    }

    /// Shows the newest tick to whoever asks for latest values. This does not wait for the journal.
    fn show(&self, batch: &Batch, set: Arc<MetricSet>, boot_ms: i64) {
        let classification = self.classification;
        let newest = batch.header.stamps.len() - 1;
        let tick = batch.header.stamps[newest].tick;
        let boot = batch.header.boot;
        self.ingest.0.live.update(&self.host, |host| {
            let newer = host.latest.as_ref().is_none_or(|latest| latest.boot != boot || latest.tick < tick);
            if host.boot == Some(boot) && newer {
                let values = (0..set.metrics().len()).map(|metric| batch.matrix.get(metric, newest)).collect();
                let time_ms = at_ms(boot_ms, tick);
                host.latest = Some(Arc::new(Latest { set, boot, classification, tick, time_ms, values }));
            }
        });
    }

    pub(super) async fn gaps(&mut self, gap: Gap) {
        for record in gap.gaps {
            let key = self.stream(record.boot);
            let _ = self.jobs.send(Job::Gaps(key, vec![(record.ticks, loss(record.reason))])).await;
        }
    }
}

/// Whether `batch` tells of a later time than `other`; of another boot, what came last does.
fn newer(batch: &Batch, other: &Batch) -> bool {
    batch.header.boot != other.header.boot || batch.header.range().last > other.header.range().last
}

fn loss(reason: GapReason) -> LossReason {
    match reason {
        GapReason::AgentDown => LossReason::AgentDown,
        GapReason::SamplerLate => LossReason::TickMissed,
        GapReason::HostSuspended => LossReason::HostSuspended,
        GapReason::Evicted | GapReason::SpoolFull => LossReason::Evicted,
        GapReason::Rejected(code) => LossReason::Rejected(code),
        GapReason::SpoolDamaged => LossReason::SpoolLost,
        GapReason::JournalLost => LossReason::JournalLost,
    }
}

fn at_ms(boot_ms: i64, tick: Tick) -> i64 {
    boot_ms.saturating_add(i64::try_from(tick.0).unwrap_or(i64::MAX).saturating_mul(1000))
}
