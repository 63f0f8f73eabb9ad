//! The agent's side of a session.

use super::{Lane, Now, Outgoing, Speaker, Writer};
use crate::clock::{BootEpoch, EpochEstimator};
use crate::error::ErrorCode;
use crate::frame::{Flags, Frame, MessageType};
use crate::ids::{BootId, Tick, TickRange};
use crate::message::{
    Accounted, Ack, Config, Echo, Exchange, Gap, GapRecord, Goodbye, GoodbyeReason, Heartbeat, Hello, HostTimes,
    Message, NeedMetricSet, Refusal, Rejected, Settings, Welcome,
};
use crate::metric::SetId;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// An aggregator that does not answer HELLO within this is taken for dead.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// Every heartbeat is answered; after five unanswered ones the connection is useless.
const SILENCE: Duration = Duration::from_secs(10);
/// A batch that is not acknowledged within this is sent again: the aggregator could not store it then, or did not know
/// its metric set.
const RESEND_AFTER: Duration = Duration::from_secs(30);
/// Backlog may be sent ahead by this much of its bandwidth cap, so that a driver need not wake for every batch.
const BACKLOG_BURST: Duration = Duration::from_millis(250);

/// What an agent says of itself in a heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// The last tick sampled in the running boot.
    pub last_tick: Option<Tick>,
    /// Ticks in the spool, not acknowledged.
    pub waiting_ticks: u64,
    /// Bytes of the spool in use.
    pub spool_bytes: u64,
    /// Bytes the spool may use.
    pub spool_capacity: u64,
    /// Version of the trust bundle that the host holds; not the spool's to know, the driver fills it in.
    pub bundle_version: u64,
}

/// A batch of the spool, as a session sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpooledBatch {
    /// The boot its ticks count from.
    pub boot: BootId,
    /// Its ticks; the first is its sequence.
    pub ticks: TickRange,
    /// Its metric set.
    pub set: SetId,
    /// The encoded batch.
    pub bytes: Vec<u8>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The aggregator took us in: only now is the connection of use. What it accounts for comes again as
    /// [`Event::Accounted`]; all of it together is here.
    Welcomed(Box<Welcome>),
    /// These ticks may be deleted from the spool.
    Accounted(Accounted),
    /// This batch is to be set aside.
    Rejected(BootId, Rejected),
    /// The aggregator needs these metric sets: hand them to [`AgentSession::send_metric_set`].
    NeedSets(Vec<SetId>),
    /// The aggregator has another trust bundle: verify it, and keep it if it is newer. Nothing here has judged it.
    TrustBundle(Vec<u8>),
    /// The aggregator has settings of the fleet for us: verify them. Nothing here has judged them.
    Settings(Vec<u8>),
    /// The session is over.
    Closed(Closed),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The aggregator said goodbye.
    Goodbye(GoodbyeReason),
    /// The aggregator refused us.
    Refused(ErrorCode),
    /// The aggregator broke the protocol.
    Fault(ErrorCode),
    /// The aggregator fell silent.
    Silent,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Greeting { until: Duration },
    Open { settings: Settings, heartbeat_at: Duration },
    Closed,
}

#[derive(Debug)]
struct InFlight {
    boot: BootId,
    ticks: TickRange,
    set: SetId,
    since: Duration,
}

/// The agent's side of one connection.
#[derive(Debug)]
pub struct AgentSession {
    pub(super) state: State,
    /// What HELLO has offered, and what WELCOME chose of it; 0 before.
    offered: Vec<u8>,
    pub(super) version: u8,
    pub(super) writer: Writer,
    pub(super) output: VecDeque<Outgoing>,
    pub(super) events: VecDeque<Event>,
    /// By their numbers: no two with the same one at once.
    in_flight: BTreeMap<Tick, InFlight>,
    heard_at: Duration,
    exchange: Option<Exchange>,
    epoch: EpochEstimator,
    /// The moment from which the backlog may send on: each byte moves it on by its share of a second.
    backlog_free_at: Duration,
    /// What the fleet's settings let the backlog have, bytes a second.
    pub(super) backlog_cap: Option<u32>,
    /// Until when each tick is to be sent as it is sampled.
    pub(super) watched_until: Duration,
    /// The metric set of the tick that was sent so last.
    pub(super) shown_set: Option<SetId>,
}

impl AgentSession {
    /// Starts with a HELLO.
    pub fn start(speaker: Speaker, hello: &Hello, now: Now) -> Self {
        let mut session = Self {
            state: State::Greeting { until: now.mono + WELCOME_WITHIN },
            offered: hello.versions.clone(),
            version: 0,
            writer: Writer::new(speaker),
            output: VecDeque::new(),
            events: VecDeque::new(),
            in_flight: BTreeMap::new(),
            heard_at: now.mono,
            exchange: None,
            epoch: EpochEstimator::default(),
            backlog_free_at: now.mono,
            backlog_cap: None,
            watched_until: Duration::ZERO,
            shown_set: None,
        };
        session.say(hello, now);
        session
    }

    /// Takes a frame that came on the control lane.
    pub fn receive(&mut self, frame: &Frame, now: Now) {
        if self.state == State::Closed {
            return;
        }
        self.heard_at = now.mono;
        if let Err(code) = self.handle(frame, now) {
            let detail = format!("{} was not understood", frame.kind.name());
            self.say(&Refusal { code: code.number(), detail }, now);
            self.close(Closed::Fault(code));
        }
    }

    fn handle(&mut self, frame: &Frame, now: Now) -> Result<(), ErrorCode> {
        if frame.tlvs.tenant != self.writer.speaker.tenant {
            return Err(ErrorCode::TenantMismatch);
        }
        let open = matches!(self.state, State::Open { .. });
        match frame.kind {
            MessageType::Welcome if !open => self.welcomed(Welcome::decode(&frame.payload)?, now),
            MessageType::Ack if open => self.acked(Ack::decode(&frame.payload)?, now),
            MessageType::NeedMetricSet if open => {
                self.need_sets(NeedMetricSet::decode(&frame.payload)?);
                Ok(())
            }
            MessageType::Config if open => self.configured(Config::decode(&frame.payload)?, now),
            MessageType::Goodbye => {
                self.close(Closed::Goodbye(Goodbye::decode(&frame.payload)?.reason));
                Ok(())
            }
            MessageType::Error => {
                let code = Refusal::decode(&frame.payload)?.code;
                self.close(Closed::Refused(ErrorCode::from_number(code)));
                Ok(())
            }
            _ => Err(ErrorCode::OutOfTurn),
        }
    }

    fn welcomed(&mut self, welcome: Welcome, now: Now) -> Result<(), ErrorCode> {
        if !self.offered.contains(&welcome.version) {
            return Err(ErrorCode::NoCommonVersion);
        }
        self.version = welcome.version;
        // An aggregator that asks for nonsense gets the nearest sense: a heartbeat every 0 ms would eat the host.
        let settings = Settings {
            heartbeat_ms: welcome.settings.heartbeat_ms.clamp(100, 60_000),
            window_batches: welcome.settings.window_batches.clamp(1, 1024),
            backlog_bytes_per_second: welcome.settings.backlog_bytes_per_second.max(1024),
            ..welcome.settings
        };
        self.state = State::Open { settings, heartbeat_at: now.mono };
        self.exchanged(Exchange {
            sent_boot_ns: welcome.hello_boot_ns,
            received_wall_ns: welcome.received_wall_ns,
            answered_wall_ns: welcome.answered_wall_ns,
            returned_boot_ns: now.boot_ns,
        });
        let accounted = welcome.accounted.clone();
        self.events.push_back(Event::Welcomed(Box::new(Welcome { settings, ..welcome })));
        self.events.extend(accounted.into_iter().map(Event::Accounted));
        Ok(())
    }

    fn acked(&mut self, ack: Ack, now: Now) -> Result<(), ErrorCode> {
        for accounted in ack.accounted {
            self.in_flight.retain(|_, sent| {
                sent.boot != accounted.boot || !accounted.ranges.iter().any(|r| r.covers(sent.ticks))
            });
            self.events.push_back(Event::Accounted(accounted));
        }
        for (boot, rejected) in ack.rejected {
            let sent = self.in_flight.get(&rejected.first).map(|sent| sent.boot);
            let boot = if boot == BootId::UNKNOWN { sent } else { Some(boot) };
            if boot == sent {
                self.in_flight.remove(&rejected.first);
            }
            // One of an unknown boot that is not on its way any more is sent again, and rejected again.
            self.events.extend(boot.map(|boot| Event::Rejected(boot, rejected)));
        }
        if let Some(Echo { heartbeat_boot_ns, received_wall_ns, answered_wall_ns }) = ack.echo {
            if heartbeat_boot_ns > now.boot_ns {
                return Err(ErrorCode::PayloadMalformed);
            }
            self.exchanged(Exchange {
                sent_boot_ns: heartbeat_boot_ns,
                received_wall_ns,
                answered_wall_ns,
                returned_boot_ns: now.boot_ns,
            });
        }
        Ok(())
    }

    fn exchanged(&mut self, exchange: Exchange) {
        self.epoch.add(&exchange);
        self.exchange = Some(exchange);
    }

    /// When this host booted on the aggregator's clock, as far as the two have talked.
    pub fn epoch(&self) -> Option<BootEpoch> {
        self.epoch.epoch()
    }

    fn need_sets(&mut self, need: NeedMetricSet) {
        // The batches that named them were dropped: they are due again, after the sets, on the same lane.
        self.in_flight.retain(|_, sent| !need.sets.contains(&sent.set));
        self.events.push_back(Event::NeedSets(need.sets));
    }

    /// Whether the aggregator took us in and the session goes on.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When [`AgentSession::on_deadline`] is due, on the monotonic clock. Nothing once closed.
    pub fn deadline(&self) -> Option<Duration> {
        let silent_at = self.heard_at + SILENCE;
        match self.state {
            State::Greeting { until } => Some(until),
            State::Open { heartbeat_at, .. } => {
                let resend_at = self.in_flight.values().map(|sent| sent.since + RESEND_AFTER).min();
                Some(silent_at.min(heartbeat_at).min(resend_at.unwrap_or(silent_at)))
            }
            State::Closed => None,
        }
    }

    /// Does what is due: a heartbeat, giving up on batches in flight or on the aggregator.
    pub fn on_deadline(&mut self, vitals: Vitals, now: Now) {
        match self.state {
            State::Greeting { until } if until <= now.mono => self.close(Closed::Silent),
            State::Open { .. } if self.heard_at + SILENCE <= now.mono => self.close(Closed::Silent),
            State::Open { settings, heartbeat_at } => {
                self.in_flight.retain(|_, sent| now.mono < sent.since + RESEND_AFTER);
                if heartbeat_at <= now.mono {
                    let heartbeat_at = now.mono + Duration::from_millis(settings.heartbeat_ms.into());
                    self.state = State::Open { settings, heartbeat_at };
                    self.heartbeat(vitals, now);
                }
            }
            _ => {}
        }
    }

    /// Says a heartbeat now, out of turn: before a goodbye, so that the ledger knows the last tick.
    pub fn heartbeat(&mut self, vitals: Vitals, now: Now) {
        let heartbeat = Heartbeat {
            last_tick: vitals.last_tick,
            waiting_ticks: vitals.waiting_ticks,
            spool_bytes: vitals.spool_bytes,
            spool_capacity: vitals.spool_capacity,
            bundle_version: vitals.bundle_version,
            times: HostTimes { boot_ns: now.boot_ns, wall_ns: now.wall_ns },
            exchange: self.exchange.take(),
        };
        self.say(&heartbeat, now);
    }

    /// Whether a batch is on its way and need not be sent.
    pub fn is_in_flight(&self, boot: BootId, first: Tick) -> bool {
        self.in_flight.get(&first).is_some_and(|sent| sent.boot == boot)
    }

    /// Whether a batch with this number, of whatever boot, is on its way. Another one has to wait: an aggregator that
    /// cannot read a batch rejects it by its number alone, and that has to name one batch.
    pub fn is_number_in_flight(&self, first: Tick) -> bool {
        self.in_flight.contains_key(&first)
    }

    /// How many batches of the backlog may be sent now.
    pub fn backlog_room(&self, now: Now) -> usize {
        match self.state {
            State::Open { settings, .. } if self.backlog_free_at <= now.mono + BACKLOG_BURST => {
                (settings.window_batches as usize).saturating_sub(self.in_flight.len())
            }
            _ => 0,
        }
    }

    /// When the backlog's bandwidth cap lets it send on; in the past if it may.
    pub fn backlog_free_at(&self) -> Duration {
        self.backlog_free_at.saturating_sub(BACKLOG_BURST)
    }

    /// Sends a batch, unless one of its number is in flight. The live lane always takes one (they come one in ten seconds),
    /// the backlog when there is room.
    pub fn send_batch(&mut self, lane: Lane, batch: SpooledBatch, now: Now) {
        if !self.is_open() || self.is_number_in_flight(batch.ticks.first) {
            return;
        }
        let sent = InFlight { boot: batch.boot, ticks: batch.ticks, set: batch.set, since: now.mono };
        self.in_flight.insert(batch.ticks.first, sent);
        let bytes =
            self.writer.frame(MessageType::Telemetry, Flags::REQUIRE_ACK, batch.ticks.first.0, batch.bytes, now);
        if lane == Lane::Backlog {
            let share = bytes.len() as f64 / self.backlog_rate();
            self.backlog_free_at = self.backlog_free_at.max(now.mono) + Duration::from_secs_f64(share);
        }
        self.output.push_back(Outgoing { lane, bytes });
    }

    /// Sends a metric set's encoding, on the backlog lane: the batches that were dropped for want of it follow there.
    pub fn send_metric_set(&mut self, encoded: Vec<u8>, now: Now) {
        if self.is_open() {
            self.describe(Lane::Backlog, encoded, now);
        }
    }

    /// Sends gaps, at most [`crate::message::MAX_GAPS`] at once. They are accounted for by an ACK like batches.
    pub fn send_gaps(&mut self, gaps: Vec<GapRecord>, now: Now) {
        if self.is_open() && !gaps.is_empty() {
            self.say(&Gap { gaps }, now);
        }
    }

    /// Ends the session on purpose.
    pub fn goodbye(&mut self, reason: GoodbyeReason, now: Now) {
        if self.state != State::Closed {
            self.say(&Goodbye { reason }, now);
            self.close(Closed::Goodbye(reason));
        }
    }

    /// The next frame to write. Frames of one lane come in order.
    pub fn poll_output(&mut self) -> Option<Outgoing> {
        self.output.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn say<M: Message>(&mut self, message: &M, now: Now) {
        let bytes = self.writer.message(message, now);
        self.output.push_back(Outgoing { lane: Lane::Control, bytes });
    }

    fn close(&mut self, why: Closed) {
        self.state = State::Closed;
        self.events.push_back(Event::Closed(why));
    }
}
