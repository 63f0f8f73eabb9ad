//! What a session does with telemetry: batches decoded and handed to the appender, gaps to the ledger.

use super::appender::{Job, Pending};
use super::hello;
use super::peer::Peer;
use crate::live::Latest;
use dsmil_protocol::batch::{Batch, decode};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, Tick};
use dsmil_protocol::message::{Gap, GapReason, Rejected};
use dsmil_protocol::metric::MetricSet;
use dsmil_protocol::session::aggregator::Telemetry;
use dsmil_store::BatchRecord;
use dsmil_store::ledger::LossReason;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

impl Peer {
    pub(super) async fn telemetry(&mut self, telemetry: Telemetry, room: Option<OwnedSemaphorePermit>) {
        let counters = &self.ingest.0.telemetry;
        counters.telemetry_bytes.add((telemetry.bytes.len() + telemetry.framing) as u64);
        counters.framing_bytes.add(telemetry.framing as u64);
        let range = telemetry.header.range();
        let Some(set) = self.ingest.0.sets.get(telemetry.header.set).await else {
            self.session.need_set(telemetry.header.set, self.ingest.now());
            return;
        };
        let boot = telemetry.header.boot;
        let batch = match decode(&telemetry.bytes, set.metrics().len()) {
            Ok(batch) => batch,
            Err(error) => return self.reject(boot, range.first, ErrorCode::BatchMalformed, &error.to_string()),
        };
        let boot_ms = self.boot_ms(&batch);
        let start_ms = at_ms(boot_ms, range.first);
        let key = hello::key(&self.ingest, &self.host, boot, self.classification);
        let record = match BatchRecord::new(key, &batch.header, start_ms, telemetry.bytes.into()) {
            Ok(record) => Arc::new(record),
            Err(error) => return self.reject(boot, range.first, ErrorCode::BatchMalformed, &error.to_string()),
        };
        let timely = self.timely(&batch);
        let samples = batch.matrix.samples();
        self.show(&batch, set, boot_ms);
        if self.jobs.try_send(Job::Batch(Pending { record, samples, timely, boot_ms, _room: room })).is_err() {
            counters.batches_deferred.add(1);
        }
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
            let key = hello::key(&self.ingest, &self.host, record.boot, self.classification);
            let _ = self.jobs.send(Job::Gaps(key, vec![(record.ticks, loss(record.reason))])).await;
        }
    }
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
