//! The aggregator's side of a session: who may say what, judged frame by frame.

use super::limits::FrameBucket;
use super::replay::ReplayWindow;
use super::{Lane, Limits, Now, Outgoing, Speaker, Writer};
use crate::batch::{BatchHeader, decode_boot, decode_header};
use crate::error::ErrorCode;
use crate::frame::{Frame, MessageType};
use crate::health::Health;
use crate::ids::{BootId, DeviceId, HostName, Tick, TickRange};
use crate::join::MAX_BUNDLE_LEN;
use crate::message::{
    Accounted, Ack, Config, Echo, Gap, Goodbye, GoodbyeReason, Heartbeat, Hello, MAX_BOOTS, MAX_RANGES, MAX_REJECTED,
    MAX_SETS, Message, NeedMetricSet, PROTOCOL_VERSIONS, Refusal, Rejected, SETTINGS_SINCE, Settings, Welcome, clip,
};
use crate::metric::{MetricSet, SetId};
use crate::reader::ReadFault;
use crate::tlv::{Classification, Compartments};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A peer that sends this many faulty frames in [`STRIKE_PERIOD`] is disconnected.
const MAX_STRIKES: usize = 100;
const STRIKE_PERIOD: Duration = Duration::from_secs(60);

/// What a host may say, from the fleet file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The host, as its certificate names it.
    pub host: HostName,
    /// Devices placed on it.
    pub devices: BTreeSet<DeviceId>,
    /// The highest classification of what it may send.
    pub clearance: Classification,
    /// The compartments of what it may send.
    pub compartments: Compartments,
}

/// A checked message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Answer with [`AggregatorSession::welcome`] or [`AggregatorSession::refuse`].
    Hello(Hello),
    /// Already answered.
    Heartbeat(Heartbeat),
    /// What has become of the fleet's settings.
    Health(Health),
    /// A batch: store it, then [`AggregatorSession::account`], or [`AggregatorSession::reject`] it.
    Telemetry(Telemetry),
    /// A tick that was asked for: show it and forget it. A later batch brings it again, to be stored.
    Live(Telemetry),
    /// A frame in order around a batch that does not decode; already rejected, to be counted.
    Poison(Rejected),
    /// Record them, then [`AggregatorSession::account`].
    Gap(Gap),
    /// A metric set, its hash checked.
    MetricSet(MetricSet),
    /// The agent leaves on purpose.
    Goodbye(GoodbyeReason),
    /// The agent refuses us.
    Refusal(ErrorCode),
}

/// One batch as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// What the batch says of itself.
    pub header: BatchHeader,
    /// The encoded batch.
    pub bytes: Vec<u8>,
    /// Bytes of frame header and TLVs around it.
    pub framing: usize,
}

/// What a refused frame means for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was wrong.
    pub code: ErrorCode,
    /// End the whole connection, not only the stream.
    pub disconnect: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Expecting,
    Greeted { boot_ns: u64, received_wall_ns: i64 },
    Open,
    Closed,
}

/// The aggregator's side of one connection.
#[derive(Debug)]
pub struct AggregatorSession {
    pub(super) state: State,
    /// The best version that both speak, once HELLO has come.
    pub(super) version: u8,
    grant: Grant,
    writer: Writer,
    replay: ReplayWindow,
    strikes: VecDeque<Duration>,
    frames: FrameBucket,
    output: VecDeque<Outgoing>,
    /// Waiting for the next ACK: the newest word on each boot replaces the one before.
    accounted: BTreeMap<BootId, Vec<TickRange>>,
    rejected: Vec<(BootId, Rejected)>,
    needed: BTreeSet<SetId>,
    /// Until when ticks were asked for as they are sampled.
    pub(super) watches_until: Duration,
}

impl AggregatorSession {
    /// A session with an authenticated peer that has said nothing yet.
    pub fn accept(speaker: Speaker, grant: Grant) -> Self {
        Self {
            state: State::Expecting,
            version: 0,
            grant,
            writer: Writer::new(speaker),
            replay: ReplayWindow::new(),
            strikes: VecDeque::new(),
            frames: FrameBucket::new(Limits::default()),
            output: VecDeque::new(),
            accounted: BTreeMap::new(),
            rejected: Vec::new(),
            needed: BTreeSet::new(),
            watches_until: Duration::ZERO,
        }
    }

    /// The same with limits other than [`Limits::default`]. WELCOME raises them as far as its settings let an agent go.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.frames.set(limits);
        self
    }

    /// Judges a frame. A fault ends the stream it came on; the peer is told, and thrown out when there are too many.
    pub fn receive(&mut self, frame: Frame, now: Now) -> Result<Incoming, Fault> {
        let checked = self.pace(now).and_then(|()| self.check(&frame)).and_then(|()| self.read(frame, now));
        checked.map_err(|code| self.fault(code, now))
    }

    /// Judges bytes that were no sound frame. A batch that can be named is rejected and its stream goes on.
    pub fn receive_fault(&mut self, fault: ReadFault, now: Now) -> Result<Incoming, Fault> {
        if let Err(code) = self.pace(now) {
            return Err(self.fault(code, now));
        }
        match fault.batch {
            Some(sequence) if matches!(self.state, State::Open) && !self.strike(now) => {
                Ok(self.poison(BootId::UNKNOWN, sequence, fault.code, now))
            }
            _ => Err(self.fault(fault.code, now)),
        }
    }

    /// Before anything else is looked at: a frame too many is to cost as little as can be.
    fn pace(&mut self, now: Now) -> Result<(), ErrorCode> {
        if self.frames.take(now.mono) { Ok(()) } else { Err(ErrorCode::TooFast) }
    }

    /// Counts a faulty frame; true when there were too many.
    fn strike(&mut self, now: Now) -> bool {
        while self.strikes.front().is_some_and(|at| *at + STRIKE_PERIOD < now.mono) {
            self.strikes.pop_front();
        }
        self.strikes.push_back(now.mono);
        self.strikes.len() >= MAX_STRIKES
    }

    fn fault(&mut self, code: ErrorCode, now: Now) -> Fault {
        let too_many = self.strike(now);
        // Before HELLO there is nothing to lose, and a kinetic attempt ends the session whoever makes it.
        let fatal = matches!(code, ErrorCode::KineticRefused) || self.state == State::Expecting;
        let disconnect = fatal || too_many;
        self.say(&Refusal { code: code.number(), detail: clip(code.remedy()) }, now);
        if disconnect {
            self.state = State::Closed;
        }
        Fault { code, disconnect }
    }

    fn check(&mut self, frame: &Frame) -> Result<(), ErrorCode> {
        let tlvs = &frame.tlvs;
        if tlvs.compartments.is_kinetic() {
            return Err(ErrorCode::KineticRefused);
        }
        if tlvs.tenant != self.writer.speaker.tenant {
            return Err(ErrorCode::TenantMismatch);
        }
        if !self.grant.clearance.dominates(tlvs.classification) {
            return Err(ErrorCode::NotDominated);
        }
        if !self.grant.compartments.covers(tlvs.compartments) {
            return Err(ErrorCode::NotCovered);
        }
        if tlvs.source != DeviceId::HOST && !self.grant.devices.contains(&tlvs.source) {
            return Err(ErrorCode::NotOfThisHost);
        }
        let sequence = tlvs.sequence.ok_or(ErrorCode::TlvMissing)?;
        if !self.replay.is_fresh(sequence) {
            return Err(ErrorCode::Replay);
        }
        let in_turn = match self.state {
            State::Expecting => frame.kind == MessageType::Hello,
            State::Open => frame.kind != MessageType::Hello,
            State::Greeted { .. } | State::Closed => false,
        };
        if in_turn { Ok(()) } else { Err(ErrorCode::OutOfTurn) }
    }

    fn read(&mut self, frame: Frame, now: Now) -> Result<Incoming, ErrorCode> {
        let sequence = frame.tlvs.sequence;
        let incoming = match frame.kind {
            MessageType::Hello => Incoming::Hello(self.hello(&frame.payload, now)?),
            MessageType::Heartbeat => Incoming::Heartbeat(self.heartbeat(&frame.payload, now)?),
            MessageType::Health if self.version >= SETTINGS_SINCE => Incoming::Health(Health::decode(&frame.payload)?),
            MessageType::Telemetry => self.telemetry(frame, now),
            MessageType::Live => self.live(frame, now)?,
            MessageType::Gap => Incoming::Gap(Gap::decode(&frame.payload)?),
            MessageType::MetricSet => {
                let set = MetricSet::decode(&frame.payload).map_err(|_| ErrorCode::PayloadMalformed)?;
                self.needed.remove(&set.id());
                Incoming::MetricSet(set)
            }
            // Only one that can be read ends the session; another is a fault like any.
            MessageType::Goodbye => {
                let goodbye = Goodbye::decode(&frame.payload)?;
                self.state = State::Closed;
                Incoming::Goodbye(goodbye.reason)
            }
            MessageType::Error => {
                let refusal = Refusal::decode(&frame.payload)?;
                self.state = State::Closed;
                Incoming::Refusal(ErrorCode::from_number(refusal.code))
            }
            MessageType::Welcome
            | MessageType::Ack
            | MessageType::NeedMetricSet
            | MessageType::Config
            | MessageType::Health => return Err(ErrorCode::OutOfTurn),
        };
        // Last, so that a frame that any check refuses does not use up its number.
        self.replay.mark(sequence.unwrap_or(0));
        Ok(incoming)
    }

    fn hello(&mut self, payload: &[u8], now: Now) -> Result<Hello, ErrorCode> {
        let hello = Hello::decode(payload)?;
        let common = PROTOCOL_VERSIONS.into_iter().find(|version| hello.versions.contains(version));
        self.version = common.ok_or(ErrorCode::NoCommonVersion)?;
        if hello.host != self.grant.host {
            return Err(ErrorCode::IdentityMismatch);
        }
        if !hello.devices.iter().all(|device| self.grant.devices.contains(device)) {
            return Err(ErrorCode::NotOfThisHost);
        }
        self.state = State::Greeted { boot_ns: hello.times.boot_ns, received_wall_ns: now.wall_ns };
        Ok(hello)
    }

    fn poison(&mut self, boot: BootId, sequence: u64, code: ErrorCode, now: Now) -> Incoming {
        let rejected = Rejected { first: Tick(sequence), code: code.number() };
        self.reject(boot, rejected, now);
        Incoming::Poison(rejected)
    }

    fn telemetry(&mut self, frame: Frame, now: Now) -> Incoming {
        match decode_header(&frame.payload) {
            // Acknowledged by its ticks and rejected by its frame's number: if these were two things, it would come again
            // for ever.
            Ok(header) if header.range().first.0 == frame.correlation => {
                let framing = frame.head_len();
                Incoming::Telemetry(Telemetry { header, bytes: frame.payload, framing })
            }
            // The stream is sound, only this batch is not: it is set aside by name and what is behind it flows.
            Ok(_) | Err(_) => {
                let boot = decode_boot(&frame.payload).unwrap_or(BootId::UNKNOWN);
                self.poison(boot, frame.correlation, ErrorCode::BatchMalformed, now)
            }
        }
    }

    fn heartbeat(&mut self, payload: &[u8], now: Now) -> Result<Heartbeat, ErrorCode> {
        let heartbeat = Heartbeat::decode(payload)?;
        let echo = Echo {
            heartbeat_boot_ns: heartbeat.times.boot_ns,
            received_wall_ns: now.wall_ns,
            answered_wall_ns: now.wall_ns,
        };
        self.flush(Some(echo), now);
        Ok(heartbeat)
    }

    /// Takes the agent in. `accounted` is what it need not send again.
    pub fn welcome(&mut self, settings: Settings, accounted: Vec<Accounted>, now: Now) {
        let State::Greeted { boot_ns, received_wall_ns } = self.state else { return };
        let welcome = Welcome {
            version: self.version,
            settings,
            accounted: accounted.into_iter().take(MAX_BOOTS).map(bounded).collect(),
            hello_boot_ns: boot_ns,
            received_wall_ns,
            answered_wall_ns: now.wall_ns,
        };
        self.state = State::Open;
        self.frames.set(self.frames.limits().allowing(&settings));
        self.say(&welcome, now);
    }

    /// Turns the peer away.
    pub fn refuse(&mut self, code: ErrorCode, detail: &str, now: Now) {
        self.state = State::Closed;
        self.say(&Refusal { code: code.number(), detail: clip(detail) }, now);
    }

    /// These ticks of `boot` are accounted for, newest range first; said with the next [`AggregatorSession::flush`].
    pub fn account(&mut self, boot: BootId, ranges: Vec<TickRange>) {
        if self.accounted.len() < MAX_BOOTS || self.accounted.contains_key(&boot) {
            self.accounted.insert(boot, ranges);
        }
    }

    /// This batch, of [`BootId::UNKNOWN`] if nobody can tell, will never be taken; said with the next [`AggregatorSession::flush`].
    ///
    /// Only an agent that was taken in has sent one: before that, and after the end, there is nobody to tell.
    pub fn reject(&mut self, boot: BootId, rejected: Rejected, now: Now) {
        if !matches!(self.state, State::Open) {
            return;
        }
        if self.rejected.len() == MAX_REJECTED {
            self.flush(None, now);
        }
        self.rejected.push((boot, rejected));
    }

    /// Asks for a metric set, once until it comes.
    pub fn need_set(&mut self, set: SetId, now: Now) {
        if self.needed.len() < MAX_SETS && self.needed.insert(set) {
            self.say(&NeedMetricSet { sets: vec![set] }, now);
        }
    }

    /// Sends a trust bundle. False if nothing was sent: the session is not open, or no agent would take a bundle of more
    /// than [`MAX_BUNDLE_LEN`] bytes.
    pub fn send_bundle(&mut self, bundle: Vec<u8>, now: Now) -> bool {
        let goes = matches!(self.state, State::Open) && bundle.len() <= MAX_BUNDLE_LEN;
        if goes {
            self.say(&Config::TrustBundle(bundle), now);
        }
        goes
    }

    /// Says what waits to be said: one ACK for all that [`AggregatorSession::account`] and `reject` were told.
    pub fn flush(&mut self, echo: Option<Echo>, now: Now) {
        if !matches!(self.state, State::Open)
            || (echo.is_none() && self.accounted.is_empty() && self.rejected.is_empty())
        {
            return;
        }
        let accounted = std::mem::take(&mut self.accounted);
        let ack = Ack {
            accounted: accounted.into_iter().map(|(boot, ranges)| bounded(Accounted { boot, ranges })).collect(),
            rejected: std::mem::take(&mut self.rejected),
            echo,
        };
        self.say(&ack, now);
    }

    /// Ends the session on purpose.
    pub fn goodbye(&mut self, reason: GoodbyeReason, now: Now) {
        if self.state != State::Closed {
            self.flush(None, now);
            self.say(&Goodbye { reason }, now);
            self.state = State::Closed;
        }
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The next frame to write; all go on the control lane.
    pub fn poll_output(&mut self) -> Option<Outgoing> {
        self.output.pop_front()
    }

    pub(super) fn say<M: Message>(&mut self, message: &M, now: Now) {
        let bytes = self.writer.message(message, now);
        self.output.push_back(Outgoing { lane: Lane::Control, bytes });
    }
}

fn bounded(mut accounted: Accounted) -> Accounted {
    accounted.ranges.truncate(MAX_RANGES);
    accounted
}
