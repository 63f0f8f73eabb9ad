//! One session: frames in, judged, handed to the appender; what became of them out.

use super::appender::{self, Done, Job, Pending};
use super::streams::{self, Read};
use super::{Ingest, hello};
use crate::live::{Latest, Link};
use dsmil_crypto::policy::FLEET_NEGOTIATED;
use dsmil_protocol::batch::{Batch, decode};
use dsmil_protocol::clock::EpochEstimator;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, HostName, Tick, TickRange};
use dsmil_protocol::message::{Gap, GapReason, GoodbyeReason, Heartbeat, Hello, Rejected};
use dsmil_protocol::metric::MetricSet;
use dsmil_protocol::session::aggregator::{AggregatorSession, Fault, Grant, Incoming, Telemetry};
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::supervise::OnFailure;
use dsmil_store::BatchRecord;
use dsmil_store::ledger::LossReason;
use quinn::VarInt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// A peer that has a connection and says no HELLO within this holds a place for nothing.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Frames read ahead of being judged, over all streams of a session.
const FRAMES_AHEAD: usize = 16;
/// The agent has closed its side, or we ours: what is on the way gets this long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the session of `host` until either side ends it.
pub(super) async fn run(ingest: Ingest, connection: quinn::Connection, host: HostName, number: u64) {
    let control = tokio::select! {
        control = connection.accept_bi() => control.ok(),
        () = ingest.0.clock.sleep(HELLO_WITHIN) => None,
    };
    let Some((send, receive)) = control else {
        connection.close(VarInt::from_u32(2), b"no control stream");
        return;
    };
    let (frames, inbox) = mpsc::channel(FRAMES_AHEAD);
    streams::read_control(&ingest, receive, frames.clone());
    streams::read_lanes(&ingest, connection.clone(), frames);
    let (jobs, job_queue) = mpsc::channel(appender::QUEUE);
    let (done, outcomes) = mpsc::unbounded_channel();
    let work = appender::run(ingest.clone(), job_queue, done);
    ingest.0.supervisor.spawn("ingest-append", OnFailure::Note, async {
        work.await;
        Ok::<(), std::convert::Infallible>(())
    });
    let grant = ingest.0.fleet.get().host(&host).map(|entry| entry.grant.clone());
    let enrolled = grant.is_some();
    // Somebody with a sound certificate whom the fleet file does not name hears why, and may say nothing but HELLO.
    let grant = grant.unwrap_or_else(|| Grant {
        host: host.clone(),
        devices: BTreeSet::new(),
        clearance: Classification::UNCLASS,
        compartments: Compartments::SOC,
    });
    let peer = Peer {
        session: AggregatorSession::accept(ingest.speaker(), grant.clone()),
        ingest,
        connection,
        send,
        host,
        number,
        enrolled,
        classification: grant.clearance,
        jobs,
        boot: None,
        epoch: EpochEstimator::default(),
        since: Tick(0),
        why: String::from("the connection was lost"),
    };
    peer.serve(inbox, outcomes).await;
}

struct Peer {
    session: AggregatorSession,
    ingest: Ingest,
    connection: quinn::Connection,
    send: quinn::SendStream,
    host: HostName,
    number: u64,
    enrolled: bool,
    /// What the fleet file gives this host's telemetry. A frame that claims less does not make it less.
    classification: Classification,
    jobs: mpsc::Sender<Job>,
    boot: Option<BootId>,
    epoch: EpochEstimator,
    /// The tick of HELLO: later ones are timely.
    since: Tick,
    /// Why the session ends, for people.
    why: String,
}

impl Peer {
    async fn serve(mut self, mut inbox: mpsc::Receiver<Read>, mut outcomes: mpsc::UnboundedReceiver<Done>) {
        let stop = self.ingest.0.supervisor.stop();
        let clock = self.ingest.0.clock.clone();
        let hello_due = clock.mono() + HELLO_WITHIN;
        let mut replaced = None;
        while !self.session.is_closed() {
            let newer = async {
                match &mut replaced {
                    Some(newer) => tokio::sync::watch::Receiver::wait_for(newer, |r| *r).await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = inbox.recv() => match read {
                    Some(read) => self.receive(read).await,
                    None => break,
                },
                Some(done) = outcomes.recv() => self.settle(done, &mut outcomes),
                () = stop.requested() => self.leave(GoodbyeReason::Stopping, "this aggregator stopped"),
                is_newer = newer => if is_newer {
                    self.leave(GoodbyeReason::Replaced, "a newer session of the host took its place");
                } else {
                    break;
                },
                () = clock.sleep_until(hello_due), if self.boot.is_none() => {
                    self.why = "it said no HELLO".into();
                    break;
                }
            }
            if self.boot.is_some() && replaced.is_none() {
                replaced = Some(self.ingest.0.sessions.enter(&self.host, self.number));
            }
            if self.write().await.is_err() {
                break;
            }
        }
        self.end().await;
    }

    fn leave(&mut self, reason: GoodbyeReason, why: &str) {
        self.why = why.into();
        self.session.goodbye(reason, self.ingest.now());
    }

    async fn write(&mut self) -> Result<(), quinn::WriteError> {
        while let Some(out) = self.session.poll_output() {
            self.send.write_all(&out.bytes).await?;
        }
        Ok(())
    }

    async fn end(mut self) {
        let _ = self.send.finish();
        // The last words are on the way until the other side has them or closes.
        tokio::select! {
            _ = self.send.stopped() => {}
            _ = self.connection.closed() => {}
            () = self.ingest.0.clock.sleep(LAST_WORDS) => {}
        }
        self.connection.close(VarInt::from_u32(0), b"");
        if self.boot.is_some() && self.ingest.0.sessions.leave(&self.host, self.number) {
            let (why, now_ms) = (std::mem::take(&mut self.why), self.ingest.0.clock.wall_ms());
            tracing::info!(host = %self.host, why, "session ended");
            self.ingest.0.live.update(&self.host, |now| {
                (now.link, now.since_ms) = (Link::Closed { why }, now_ms);
            });
        }
    }

    async fn receive(&mut self, read: Read) {
        let now = self.ingest.now();
        let Read { frame, room } = read;
        let judged = match frame {
            Ok(frame) => self.session.receive(frame, now),
            Err(fault) => self.session.receive_fault(fault, now),
        };
        match judged {
            Ok(incoming) => {
                self.ingest.0.telemetry.frames.add(1);
                self.take(incoming, room).await;
            }
            Err(fault) => self.fault(fault),
        }
    }

    fn fault(&mut self, fault: Fault) {
        let Fault { code, disconnect } = fault;
        self.ingest.0.telemetry.fault(code);
        tracing::warn!(host = %self.host, %code, disconnect, "a frame was refused: {}", code.remedy());
        if disconnect {
            self.why = format!("refused: {code}");
        }
    }

    async fn take(&mut self, incoming: Incoming, room: Option<OwnedSemaphorePermit>) {
        match incoming {
            Incoming::Hello(hello) => self.hello(hello).await,
            Incoming::Heartbeat(heartbeat) => self.heartbeat(heartbeat),
            Incoming::Telemetry(batch) => self.telemetry(batch, room).await,
            Incoming::Poison(rejected) => {
                let code = ErrorCode::from_number(rejected.code);
                self.ingest.0.telemetry.fault(code);
                tracing::warn!(host = %self.host, first = rejected.first.0, %code, "a batch was rejected");
                self.session.flush(None, self.ingest.now());
            }
            Incoming::Gap(gap) => self.gaps(gap).await,
            Incoming::MetricSet(set) => {
                let set = Arc::new(set);
                self.ingest.0.sets.remember(&set);
                // In order with the batches behind it; waiting here is what pushes back on the peer.
                let _ = self.jobs.send(Job::Set(set)).await;
            }
            Incoming::Goodbye(reason) => self.why = format!("the agent said goodbye: {reason:?}"),
            Incoming::Refusal(code) => self.why = format!("the agent refused us: {code}"),
        }
    }

    async fn hello(&mut self, hello: Hello) {
        let now = self.ingest.now();
        if !self.enrolled {
            self.ingest.0.telemetry.fault(ErrorCode::NotEnrolled);
            tracing::warn!(host = %self.host, "turned away: the fleet file does not name it");
            self.session.refuse(ErrorCode::NotEnrolled, ErrorCode::NotEnrolled.remedy(), now);
            self.ingest.0.live.update(&self.host, |host| {
                (host.link, host.since_ms) = (Link::Refused { code: ErrorCode::NotEnrolled }, now.wall_ns / 1_000_000);
            });
            return;
        }
        let rtt_ns = i64::try_from(self.connection.rtt().as_nanos()).unwrap_or(i64::MAX);
        self.epoch.first_guess(hello.times.boot_ns, now.wall_ns, rtt_ns);
        self.since = Tick(hello.times.boot_ns / 1_000_000_000);
        let accounted = hello::account(&self.ingest, &hello, self.classification).await;
        self.session.welcome(self.ingest.0.settings, accounted, self.ingest.now());
        self.boot = Some(hello.boot);
        self.ingest.0.telemetry.sessions.add(1);
        let now_ms = self.ingest.0.clock.wall_ms();
        let (remote, epoch) = (self.connection.remote_address(), self.epoch.epoch());
        tracing::info!(host = %self.host, %remote, boot = %hello.boot, "session opened");
        self.ingest.0.live.update(&self.host, |host| {
            (host.link, host.since_ms, host.heard_ms) = (Link::Up, now_ms, Some(now_ms));
            host.remote = Some(remote);
            host.negotiated = Some(FLEET_NEGOTIATED);
            host.boot = Some(hello.boot);
            host.agent_version = Some(hello.agent_version);
            host.epoch = epoch;
            host.wall_ahead_ns = epoch.map(|e| ahead(e.wall_ns, hello.times.boot_ns, hello.times.wall_ns));
        });
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) {
        if let Some(exchange) = &heartbeat.exchange {
            self.epoch.add(exchange);
        }
        let (Some(boot), epoch) = (self.boot, self.epoch.epoch()) else { return };
        if let Some(last) = heartbeat.last_tick {
            let key = hello::key(&self.ingest, &self.host, boot, self.classification);
            if let Err(error) = self.ingest.0.store.warm().expect(&key, TickRange { first: last, last }) {
                tracing::debug!(host = %self.host, %error, "the ledger could not be told the last tick");
            }
        }
        let now_ms = self.ingest.0.clock.wall_ms();
        self.ingest.0.live.update(&self.host, |host| {
            host.heard_ms = Some(now_ms);
            host.epoch = epoch;
            host.wall_ahead_ns = epoch.map(|e| ahead(e.wall_ns, heartbeat.times.boot_ns, heartbeat.times.wall_ns));
            host.heartbeat = Some(heartbeat);
        });
    }

    async fn telemetry(&mut self, telemetry: Telemetry, room: Option<OwnedSemaphorePermit>) {
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

    async fn gaps(&mut self, gap: Gap) {
        for record in gap.gaps {
            let key = hello::key(&self.ingest, &self.host, record.boot, self.classification);
            let _ = self.jobs.send(Job::Gaps(key, vec![(record.ticks, loss(record.reason))])).await;
        }
    }

    /// Tells the agent what became of its batches; everything that is done by now goes into one ACK.
    fn settle(&mut self, first: Done, more: &mut mpsc::UnboundedReceiver<Done>) {
        let now = self.ingest.now();
        let mut moved = BTreeSet::new();
        let mut next = Some(first);
        while let Some(done) = next {
            match done {
                Done::Accounted(key) => {
                    moved.insert(key);
                }
                Done::Rejected(boot, rejected) => self.session.reject(boot, rejected, now),
                Done::NeedSet(set) => self.session.need_set(set, now),
            }
            next = more.try_recv().ok();
        }
        for key in moved {
            self.session.account(key.boot, hello::ranges(&self.ingest, &key));
        }
        self.session.flush(None, now);
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

/// How far a host's wall clock is ahead of ours.
fn ahead(epoch_ns: i64, boot_ns: u64, wall_ns: i64) -> i64 {
    wall_ns.saturating_sub(epoch_ns.saturating_add(i64::try_from(boot_ns).unwrap_or(i64::MAX)))
}
