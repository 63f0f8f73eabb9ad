//! What a HELLO means for the loss ledger: what the host accounts for, and what can no longer come; and what a host is
//! told whose leaf is not good any more.

use super::Ingest;
use super::peer::{Peer, ahead};
use dsmil_protocol::ids::{BootId, HostName, Tick, TickRange};
use dsmil_protocol::message::{Accounted, Hello, MAX_RANGES};
use dsmil_protocol::tick_set::TickSet;
use dsmil_protocol::tlv::Classification;
use dsmil_store::ledger::LossReason;
use dsmil_store::record::StreamKey;
use std::sync::Arc;

impl Peer {
    /// Takes the host in, or turns it away.
    pub(super) async fn hello(&mut self, hello: Hello) {
        let now = self.ingest.now();
        if let Err(code) = self.judge_hello().await {
            self.turn_away(code);
            return;
        }
        self.bundle_version = hello.bundle_version;
        let rtt_ns = i64::try_from(self.connection.rtt().as_nanos()).unwrap_or(i64::MAX);
        self.epoch.first_guess(hello.times.boot_ns, now.wall_ns, rtt_ns);
        self.since = Tick(hello.times.boot_ns / 1_000_000_000);
        let accounted = account(&self.ingest, &hello, self.classification).await;
        self.session.welcome(self.ingest.0.settings, accounted, self.ingest.now());
        self.boot = Some(hello.boot);
        self.offer_bundle();
        self.note_old_agent().await;
        self.ingest.0.telemetry.sessions.add(1);
        let (remote, epoch) = (self.connection.remote_address(), self.epoch.epoch());
        let (negotiated, peer) = (self.ingest.0.credentials.key_exchange().negotiated(), self.shown.clone());
        tracing::info!(host = %self.host, %remote, boot = %hello.boot, "session opened");
        self.ingest.0.live.welcomed(&self.host, |host| {
            host.remote = Some(remote);
            host.negotiated = Some(negotiated);
            host.peer = Some(peer);
            host.boot = Some(hello.boot);
            host.agent_version = Some(hello.agent_version);
            host.epoch = epoch;
            host.wall_ahead_ns = epoch.map(|e| ahead(e.wall_ns, hello.times.boot_ns, hello.times.wall_ns));
        });
    }
}

/// The stream of one boot of a host.
pub(super) fn key(ingest: &Ingest, host: &HostName, boot: BootId, classification: Classification) -> Arc<StreamKey> {
    Arc::new(StreamKey { tenant: ingest.0.tenant.clone(), host: host.clone(), boot, classification })
}

/// Brings the ledger up to what the host says it holds, and returns what need not be sent again.
pub(super) async fn account(ingest: &Ingest, hello: &Hello, classification: Classification) -> Vec<Accounted> {
    let warm = ingest.0.store.warm();
    for known in warm.streams_of(&ingest.0.tenant, &hello.host) {
        let held = hello.accounts.iter().find(|account| account.boot == known.boot);
        let lost = match held {
            // What the spool held before it starts now is gone with the spool before it.
            Some(account) => unanswered(ingest, &known, Some(account.ticks), LossReason::SpoolLost),
            // The running boot, not a tick sampled yet: what is waiting cannot come from an empty spool.
            None if known.boot == hello.boot => unanswered(ingest, &known, None, LossReason::SpoolLost),
            // A boot that is over and that the spool does not hold: it went with the host's power.
            None => unanswered(ingest, &known, None, LossReason::HostDown),
        };
        if !lost.is_empty()
            && let Err(error) = warm.record_gaps(&known, lost).await
        {
            tracing::warn!(host = %hello.host, %error, "losses were not recorded; the next HELLO tries again");
        }
    }
    let mut accounted = Vec::new();
    for account in &hello.accounts {
        let stream = key(ingest, &hello.host, account.boot, classification);
        let mut known = accounted_otherwise(ingest, &stream);
        let first = known.bounds().map_or(account.ticks.first, |known| account.ticks.first.max(known.last.next()));
        if let Some(ticks) = TickRange::new(first, account.ticks.last)
            && let Err(error) = warm.expect(&stream, ticks)
        {
            tracing::warn!(host = %hello.host, %error, "the ledger could not be told what to expect");
        }
        let ranges = if known.is_empty() {
            ranges(ingest, &stream)
        } else {
            let ours = warm.ledger(&stream).map(|ledger| ledger.accounted()).unwrap_or_default();
            for range in ours.iter() {
                known.insert(range);
            }
            known.newest(MAX_RANGES)
        };
        accounted.push(Accounted { boot: account.boot, ranges });
    }
    accounted
}

/// What of the boot is accounted for in streams of other classifications: the fleet file had another one for the host
/// then. The agent need not send it again, and must not take it for lost.
fn accounted_otherwise(ingest: &Ingest, stream: &StreamKey) -> TickSet {
    let warm = ingest.0.store.warm();
    let mut streams = warm.streams_of(&ingest.0.tenant, &stream.host);
    streams.retain(|other| other.boot == stream.boot && other.classification != stream.classification);
    let mut known = TickSet::new();
    for ledger in streams.iter().filter_map(|other| warm.ledger(other)) {
        for range in ledger.accounted().iter() {
            known.insert(range);
        }
    }
    known
}

/// What of a stream is accounted for, newest first.
pub(super) fn ranges(ingest: &Ingest, stream: &StreamKey) -> Vec<TickRange> {
    ingest.0.store.warm().ledger(stream).map(|ledger| ledger.newest_accounted(MAX_RANGES)).unwrap_or_default()
}

/// Ticks that the ledger knows of and that nobody answers for any more.
fn unanswered(
    ingest: &Ingest,
    stream: &StreamKey,
    held: Option<TickRange>,
    reason: LossReason,
) -> Vec<(TickRange, LossReason)> {
    let Some(ledger) = ingest.0.store.warm().ledger(stream) else { return Vec::new() };
    let gone = ledger.named().and_then(|named| match held {
        Some(held) => TickRange::new(named.first, held.first.previous()?),
        None => Some(named),
    });
    let missing = gone.map(|range| ledger.accounted().missing(range)).unwrap_or_default();
    missing.into_iter().map(|range| (range, reason)).collect()
}
