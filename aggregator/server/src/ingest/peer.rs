//! One session: frames in, judged, handed to the appender; what became of them out.

use super::appender::{self, Done, Job};
use super::batches::Judged;
use super::streams::{self, Read};
use super::{Ingest, hello};
use crate::admission::{Gate, Place};
use crate::live::{LOST, Link};
use dsmil_crypto::policy;
use dsmil_crypto::refusal::Refusal;
use dsmil_protocol::clock::EpochEstimator;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::frame::{Frame, MessageType};
use dsmil_protocol::health::Health;
use dsmil_protocol::ids::{BootId, HostName, Tick, TickRange};
use dsmil_protocol::message::{GoodbyeReason, Heartbeat};
use dsmil_protocol::session::Now;
use dsmil_protocol::session::aggregator::{AggregatorSession, Fault, Grant, Incoming};
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::supervise::OnFailure;
use dsmil_store::record::StreamKey;
use quinn::VarInt;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// A peer that has a connection and says no HELLO within this holds a place for nothing.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Frames read ahead of being judged, over all streams of a session; also how many are judged at one go, and decoded at one.
const FRAMES_AHEAD: usize = 16;
/// A peer that does not take what it is told within this has lost its session: a few words fit into QUIC's buffers many
/// times over, so only one that takes nothing at all comes here. Until then it hears nothing of its being replaced or
/// revoked, so this is short.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);
/// The agent has closed its side, or we ours: what is on the way gets this long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs the session of `host` until either side ends it.
pub(super) async fn run(
    ingest: Ingest,
    gate: Gate,
    place: Place,
    connection: quinn::Connection,
    shown: policy::Peer,
    host: HostName,
    number: u64,
) {
    let control = tokio::select! {
        control = connection.accept_bi() => control.ok(),
        () = ingest.0.clock.sleep(HELLO_WITHIN) => None,
    };
    let Some((send, receive)) = control else {
        connection.close(VarInt::from_u32(2), b"no control stream");
        return;
    };
    let (frames, inbox) = mpsc::channel(FRAMES_AHEAD);
    let held = streams::Held::new(&ingest);
    streams::read_control(&ingest, receive, frames.clone(), held.clone());
    streams::read_lanes(&ingest, connection.clone(), frames, held);
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
    let grant = grant.unwrap_or_else(|| nothing(&host));
    let peer = Peer {
        session: AggregatorSession::accept(ingest.speaker(), grant.clone()),
        ingest,
        gate,
        place,
        connection,
        send,
        host,
        shown,
        number,
        enrolled,
        bundle_version: 0,
        health: None,
        settings_offered: 0,
        noted_at: None,
        audited: false,
        watched_until: Duration::ZERO,
        classification: grant.clearance,
        jobs,
        judged: Vec::new(),
        boot: None,
        stream: None,
        epoch: EpochEstimator::default(),
        since: Tick(0),
        why: None,
    };
    peer.serve(inbox, outcomes).await;
}

/// What a host may say that may say nothing.
fn nothing(host: &HostName) -> Grant {
    Grant {
        host: host.clone(),
        devices: BTreeSet::new(),
        clearance: Classification::UNCLASS,
        compartments: Compartments::SOC,
    }
}

pub(super) struct Peer {
    pub(super) session: AggregatorSession,
    pub(super) ingest: Ingest,
    pub(super) gate: Gate,
    pub(super) place: Place,
    pub(super) connection: quinn::Connection,
    send: quinn::SendStream,
    pub(super) host: HostName,
    /// Who its certificate says it is.
    pub(super) shown: policy::Peer,
    number: u64,
    pub(super) enrolled: bool,
    /// The trust bundle that it has.
    pub(super) bundle_version: u64,
    /// How it does with the fleet's settings, once it has said so.
    pub(super) health: Option<Health>,
    /// The newest settings that it was offered here.
    pub(super) settings_offered: u64,
    /// When something was noted of that.
    pub(super) noted_at: Option<Duration>,
    /// It has said that it was offered what nobody has signed.
    pub(super) audited: bool,
    /// Until when it was asked for each tick as it is sampled.
    pub(super) watched_until: Duration,
    /// What the fleet file gives this host's telemetry. A frame that claims less does not make it less.
    pub(super) classification: Classification,
    pub(super) jobs: mpsc::Sender<Job>,
    /// Batches that may come in, in order, and are not decoded yet.
    pub(super) judged: Vec<Judged>,
    pub(super) boot: Option<BootId>,
    /// The stream that was spoken of last: nearly always the same.
    stream: Option<Arc<StreamKey>>,
    pub(super) epoch: EpochEstimator,
    /// The tick of HELLO: later ones are timely.
    pub(super) since: Tick,
    /// Why the session ends, for people; nothing if the connection was lost.
    pub(super) why: Option<String>,
}

impl Peer {
    async fn serve(mut self, mut inbox: mpsc::Receiver<Read>, mut outcomes: mpsc::UnboundedReceiver<Done>) {
        let stop = self.ingest.0.supervisor.stop();
        let clock = self.ingest.0.clock.clone();
        let hello_due = clock.mono() + HELLO_WITHIN;
        let mut replaced = None;
        let mut registry = self.ingest.0.registry.watch();
        let mut credentials = self.ingest.0.credentials.watch();
        let mut offers = self.ingest.0.registry.watch_offers();
        let mut begins = self.ingest.0.live.watching().begins();
        let mut reads = Vec::with_capacity(FRAMES_AHEAD);
        while !self.session.is_closed() {
            let newer = async {
                match &mut replaced {
                    Some(newer) => tokio::sync::watch::Receiver::wait_for(newer, |r| *r).await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                count = inbox.recv_many(&mut reads, FRAMES_AHEAD) => {
                    if count == 0 {
                        break;
                    }
                    for read in reads.drain(..) {
                        self.receive(read).await;
                    }
                }
                Some(done) = outcomes.recv() => self.settle(done, &mut outcomes),
                Ok(()) = registry.changed(), if self.boot.is_some() => self.judge_key().await,
                Ok(()) = credentials.changed(), if self.boot.is_some() => self.judge_leaf(),
                Ok(()) = offers.changed(), if self.boot.is_some() => {
                    self.note_old_agent().await;
                    self.offer_settings();
                }
                Ok(()) = begins.changed(), if self.boot.is_some() => self.keep_watched(),
                () = stop.requested() => self.leave(GoodbyeReason::Stopping, "this aggregator stopped"),
                is_newer = newer => if is_newer {
                    self.leave(GoodbyeReason::Replaced, "a newer session of the host took its place");
                } else {
                    break;
                },
                () = clock.sleep_until(hello_due), if self.boot.is_none() => {
                    self.why = Some("it said no HELLO".into());
                    break;
                }
            }
            if self.boot.is_some() && replaced.is_none() {
                replaced = Some(self.ingest.0.sessions.enter(&self.host, self.number));
            }
            // Answers first: they need not wait until batches are decoded. What came is stored, whoever still listens.
            let is_heard = self.write().await;
            self.decode().await;
            if !is_heard || !self.write().await {
                break;
            }
        }
        self.end().await;
    }

    fn leave(&mut self, reason: GoodbyeReason, why: &str) {
        self.why = Some(why.into());
        self.session.goodbye(reason, self.ingest.now());
    }

    /// Says what the session has to say; false if the peer is gone or does not take it.
    async fn write(&mut self) -> bool {
        let due = self.ingest.0.clock.mono() + TAKEN_WITHIN;
        while let Some(out) = self.session.poll_output() {
            let is_written = tokio::select! {
                written = self.send.write_all(&out.bytes) => written.is_ok(),
                () = self.ingest.0.clock.sleep_until(due) => {
                    self.is_deaf();
                    false
                }
            };
            if !is_written {
                return false;
            }
        }
        true
    }

    /// The peer does not take what it is told.
    fn is_deaf(&mut self) {
        self.gate.refused(self.connection.remote_address().ip(), Refusal::Lost);
        tracing::warn!(host = %self.host, "it does not take what it is told: its session is ended");
        self.why = Some("it does not take what it is told".into());
        self.connection.close(VarInt::from_u32(4), b"nothing was taken");
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
            let (why, now_ms) = (self.why.take(), self.ingest.0.clock.wall_ms());
            tracing::info!(host = %self.host, why = why.as_deref().unwrap_or(LOST), "session ended");
            let ended = why.map_or(Link::Lost, |why| Link::Closed { why });
            self.ingest.0.live.update(&self.host, |now| {
                // One that was turned away is shown as that.
                if now.link == Link::Up {
                    (now.link, now.since_ms) = (ended, now_ms);
                }
            });
        }
    }

    async fn receive(&mut self, read: Read) {
        let now = self.ingest.now();
        let Read { frame, room } = read;
        if self.session.is_closed() {
            return;
        }
        let judged = match frame {
            Ok(frame) if frame.kind == MessageType::MetricSet => match self.judge_set(frame, now).await {
                Some(judged) => judged,
                None => return self.cannot_decode(),
            },
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

    /// Has a metric set judged where its size holds up nobody else; nothing if that cannot be. Nobody needs the session
    /// meanwhile.
    async fn judge_set(&mut self, frame: Frame, now: Now) -> Option<Result<Incoming, Fault>> {
        let stand_in = AggregatorSession::accept(self.ingest.speaker(), nothing(&self.host));
        let mut session = std::mem::replace(&mut self.session, stand_in);
        let (judged, session) = self.ingest.0.decoders.set(move || (session.receive(frame, now), session)).await?;
        self.session = session;
        Some(judged)
    }

    /// The program is ending, or has a mistake in it. What was not acknowledged comes again.
    pub(super) fn cannot_decode(&mut self) {
        self.leave(GoodbyeReason::Stopping, "this aggregator does not decode any more");
    }

    /// The stream of a boot of this host.
    pub(super) fn stream(&mut self, boot: BootId) -> Arc<StreamKey> {
        match &self.stream {
            Some(stream) if stream.boot == boot => Arc::clone(stream),
            _ => Arc::clone(self.stream.insert(hello::key(&self.ingest, &self.host, boot, self.classification))),
        }
    }

    fn fault(&mut self, fault: Fault) {
        let Fault { code, disconnect } = fault;
        self.ingest.0.telemetry.fault(code);
        tracing::warn!(host = %self.host, %code, disconnect, "a frame was refused: {}", code.remedy());
        if disconnect {
            self.gate.refused(self.connection.remote_address().ip(), code);
            self.why = Some(format!("refused: {code}"));
        }
    }

    async fn take(&mut self, incoming: Incoming, room: Option<OwnedSemaphorePermit>) {
        match incoming {
            Incoming::Hello(hello) => self.hello(hello).await,
            Incoming::Heartbeat(heartbeat) => {
                self.heartbeat(heartbeat);
                self.keep_watched();
                self.note_health().await;
            }
            Incoming::Health(health) => self.health(health).await,
            Incoming::Telemetry(telemetry) => self.judged.push(Judged { telemetry, room, is_live: false }),
            Incoming::Live(telemetry) => self.judged.push(Judged { telemetry, room, is_live: true }),
            Incoming::Poison(rejected) => {
                let code = ErrorCode::from_number(rejected.code);
                self.ingest.0.telemetry.fault(code);
                tracing::warn!(host = %self.host, first = rejected.first.0, %code, "a batch was rejected");
                self.session.flush(None, self.ingest.now());
            }
            Incoming::Gap(gap) => {
                // In order with the batches before it.
                self.decode().await;
                self.gaps(gap).await;
            }
            Incoming::MetricSet(set) => {
                let set = Arc::new(set);
                self.ingest.0.sets.remember(&set);
                self.decode().await;
                // In order with the batches around it; waiting here is what pushes back on the peer.
                let _ = self.jobs.send(Job::Set(set, room)).await;
            }
            Incoming::Goodbye(reason) => self.why = Some(format!("the agent said goodbye: {reason:?}")),
            Incoming::Refusal(code) => self.why = Some(format!("the agent refused us: {code}")),
        }
    }

    fn heartbeat(&mut self, heartbeat: Heartbeat) {
        if let Some(exchange) = &heartbeat.exchange {
            self.epoch.add(exchange);
        }
        self.bundle_version = heartbeat.bundle_version;
        let (Some(boot), epoch) = (self.boot, self.epoch.epoch()) else { return };
        if let Some(last) = heartbeat.last_tick {
            let key = self.stream(boot);
            if let Err(error) = self.ingest.0.store.warm().expect(&key, TickRange { first: last, last }) {
                tracing::debug!(host = %self.host, %error, "the ledger could not be told the last tick");
            }
        }
        self.ingest.0.live.heard(&self.host, |host| {
            host.epoch = epoch;
            host.wall_ahead_ns = epoch.map(|e| ahead(e.wall_ns, heartbeat.times.boot_ns, heartbeat.times.wall_ns));
            host.heartbeat = Some(heartbeat);
        });
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

/// How far a host's wall clock is ahead of ours.
pub(super) fn ahead(epoch_ns: i64, boot_ns: u64, wall_ns: i64) -> i64 {
    wall_ns.saturating_sub(epoch_ns.saturating_add(i64::try_from(boot_ns).unwrap_or(i64::MAX)))
}
