//! What a session does with telemetry: batches decoded, some at a time, and handed to the appender, gaps to the ledger.

use super::appender::{Job, Pending};
use super::peer::Peer;
use super::resting;
use crate::live::{Latest, Resting};
use dsmil_protocol::batch::{Batch, BatchError, BatchHeader, Decoder};
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
    /// A tick for whoever watches: it is shown, and comes again to be stored.
    pub(super) is_live: bool,
}

/// What it is decoded with.
struct Known {
    judged: Judged,
    set: Arc<MetricSet>,
}

/// What is needed of its values. The rest goes where it was decoded: memory is cheapest to give back there.
struct Decoded {
    header: BatchHeader,
    samples: u64,
}

/// Batches of one session, decoded.
struct Group {
    batches: Vec<(Judged, Result<Decoded, BatchError>)>,
    newest: Option<Newest>,
}

/// The newest tick of some batches of one boot.
struct Newest {
    header: BatchHeader,
    set: Arc<MetricSet>,
    values: Vec<Option<u64>>,
    /// Of sensors that rest at that tick, if there are any.
    resting: Option<Vec<Resting>>,
}

impl Group {
    /// Decodes batches; the newest tick is wanted of this boot.
    fn decode(known: Vec<Known>, boot: Option<BootId>, decoder: &mut Decoder) -> Self {
        let mut newest: Option<(Batch, Arc<MetricSet>)> = None;
        let mut batches = Vec::with_capacity(known.len());
        for Known { judged, set } in known {
            let decoded = decoder.decode(&judged.telemetry.bytes, set.metrics().len()).map(|batch| {
                let decoded = Decoded { header: batch.header.clone(), samples: batch.matrix.samples() };
                let range = batch.header.range();
                let is_newer = newest.as_ref().is_none_or(|(newest, _)| range.last > newest.header.range().last);
                if boot == Some(batch.header.boot) && is_newer {
                    newest = Some((batch, set));
                }
                decoded
            });
            batches.push((judged, decoded));
        }
        let newest = newest.map(|(batch, set)| {
            let (matrix, last) = (&batch.matrix, batch.matrix.ticks() - 1);
            let values = (0..matrix.metrics()).map(|metric| matrix.get(metric, last)).collect();
            let resting = resting::of_batch(&batch, &set);
            Newest { header: batch.header, set, values, resting }
        });
        Self { batches, newest }
    }
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
        let boot = self.boot;
        let group = self.ingest.0.decoders.batches(move |decoder| Group::decode(known, boot, decoder)).await;
        let Some(Group { batches, newest }) = group else { return self.cannot_decode() };
        for (judged, decoded) in batches {
            match (judged.is_live, decoded) {
                (false, decoded) => self.hand_on(judged, decoded),
                (true, Ok(_)) => self.ingest.0.telemetry.live_ticks.add(1),
                (true, Err(error)) => {
                    self.ingest.0.telemetry.fault(ErrorCode::BatchMalformed);
                    tracing::warn!(host = %self.host, %error, "a tick to be shown cannot be read");
                }
            }
        }
        if let Some(newest) = newest {
            self.show(newest);
        }
    }

    /// Hands a batch to the appender, or rejects it.
    fn hand_on(&mut self, judged: Judged, decoded: Result<Decoded, BatchError>) {
        let Judged { telemetry, room, .. } = judged;
        let (boot, first) = (telemetry.header.boot, telemetry.header.range().first);
        let Decoded { header, samples } = match decoded {
            Ok(decoded) => decoded,
            Err(error) => return self.reject(boot, first, ErrorCode::BatchMalformed, &error.to_string()),
        };
        let boot_ms = self.boot_ms(&header);
        let record = BatchRecord::new(self.stream(boot), &header, at_ms(boot_ms, first), telemetry.bytes.into());
        let record = match record {
            Ok(record) => Arc::new(record),
            Err(error) => return self.reject(boot, first, ErrorCode::BatchMalformed, &error.to_string()),
        };
        let timely = self.timely(&header);
        if self.jobs.try_send(Job::Batch(Pending { record, samples, timely, boot_ms, _room: room })).is_err() {
            self.ingest.0.telemetry.batches_deferred.add(1);
        }
    }

    fn reject(&mut self, boot: BootId, first: Tick, code: ErrorCode, detail: &str) {
        self.ingest.0.telemetry.fault(code);
        tracing::warn!(host = %self.host, first = first.0, detail, "a batch was rejected");
        let now = self.ingest.now();
        self.session.reject(boot, Rejected { first, code: code.number() }, now);
        self.session.flush(None, now);
    }

    /// When a batch's boot began on our clock, in milliseconds. For a boot that is over nobody can ask the host any more,
    /// and its own wall clock has to do.
    fn boot_ms(&self, header: &BatchHeader) -> i64 {
        match self.epoch.epoch() {
            Some(epoch) if self.boot == Some(header.boot) => epoch.wall_ns.div_euclid(1_000_000),
            _ => {
                let first = header.stamps[0];
                first.wall_ms.saturating_sub(i64::try_from(first.tick.0).unwrap_or(i64::MAX).saturating_mul(1000))
            }
        }
    }

    fn timely(&self, header: &BatchHeader) -> Vec<Tick> {
        let is_ours = self.boot == Some(header.boot);
        header.stamps.iter().map(|stamp| stamp.tick).filter(|tick| is_ours && *tick > self.since).collect()
    }

    /// Shows the newest tick to whoever asks for latest values. This does not wait for the journal.
    fn show(&self, newest: Newest) {
        let Newest { header, set, values, resting } = newest;
        let (boot, tick, classification) = (header.boot, header.range().last, self.classification);
        let time_ms = at_ms(self.boot_ms(&header), tick);
        self.ingest.0.live.show(&self.host, (boot, tick), |known| {
            let resting = resting::with_earlier(resting, (boot, tick, &set, &values), known);
            Latest { set, boot, classification, tick, time_ms, values, resting }
        });
    }

    pub(super) async fn gaps(&mut self, gap: Gap) {
        for record in gap.gaps {
            let key = self.stream(record.boot);
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
