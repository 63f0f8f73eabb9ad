//! What lies between the two: three lanes of bytes upwards, one down, each in order.

use super::centre::Centre;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::frame::{Frame, HEADER_LEN};
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::message::Settings;
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::agent::AgentSession;
use dsmil_protocol::session::aggregator::{AggregatorSession, Fault, Incoming};
use dsmil_protocol::session::{Lane, Now};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Frames that one frame may be answered with: an acknowledgement that was full, the next one, and a question.
const MAX_ANSWERS: usize = 3;

/// What becomes of a frame on its way.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// It comes in two pieces.
    Whole { cut: u8 },
    /// It comes a second time.
    Twice,
    /// A byte behind its header is another one when it comes.
    Damaged { at: u16, flip: u8 },
}

pub(super) struct Link {
    pub(super) agent: AgentSession,
    pub(super) aggregator: AggregatorSession,
    up: BTreeMap<Lane, (VecDeque<Vec<u8>>, FrameReader)>,
    down: VecDeque<Vec<u8>>,
    down_reader: FrameReader,
    /// Batches received and not committed yet; with the link they are gone.
    pub(super) uncommitted: Vec<(BootId, TickRange)>,
    /// Numbers of batches that were damaged on the way.
    pub(super) damaged: BTreeSet<Tick>,
}

impl Link {
    pub(super) fn new(agent: AgentSession, aggregator: AggregatorSession) -> Self {
        let (up, down, down_reader) = (BTreeMap::new(), VecDeque::new(), FrameReader::new());
        Self { agent, aggregator, up, down, down_reader, uncommitted: Vec::new(), damaged: BTreeSet::new() }
    }

    /// Takes what both have to say onto the lanes.
    pub(super) fn collect(&mut self) {
        while let Some(out) = self.agent.poll_output() {
            assert!(Frame::from_bytes(&out.bytes).is_ok(), "an agent's frame is sound");
            self.up.entry(out.lane).or_default().0.push_back(out.bytes);
        }
        let before = self.down.len();
        while let Some(out) = self.aggregator.poll_output() {
            assert!(
                out.lane == Lane::Control && Frame::from_bytes(&out.bytes).is_ok(),
                "an aggregator's frame is sound"
            );
            self.down.push_back(out.bytes);
        }
        assert!(self.down.len() - before <= MAX_ANSWERS, "one frame has one answer or two");
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.down.is_empty() && self.up.values().all(|(frames, _)| frames.is_empty())
    }

    /// The next frame of `lane` comes to the centre. False if the connection is over with it.
    pub(super) fn up(&mut self, lane: Lane, fate: Fate, centre: &mut Centre, settings: &Settings, now: Now) -> bool {
        if self.aggregator.is_closed() {
            return false;
        }
        let Some(mut bytes) = self.up.entry(lane).or_default().0.pop_front() else { return true };
        let (mut cut, mut times) = (0, 1);
        match fate {
            Fate::Whole { cut: at } => cut = usize::from(at) % bytes.len(),
            Fate::Twice => times = 2,
            Fate::Damaged { at, flip } => {
                // The number is in the frame's header, which stays as it is.
                self.damaged.extend(bytes[8..16].first_chunk().map(|number| Tick(u64::from_be_bytes(*number))));
                let at = HEADER_LEN + usize::from(at) % (bytes.len() - HEADER_LEN);
                bytes[at] ^= flip;
            }
        }
        for _ in 0..times {
            for piece in [&bytes[..cut], &bytes[cut..]] {
                self.up.entry(lane).or_default().1.extend(piece);
                if !self.read(lane, fate, centre, settings, now) {
                    return false;
                }
            }
        }
        true
    }

    /// Hands to the session what its reader has; false at the end.
    fn read(&mut self, lane: Lane, fate: Fate, centre: &mut Centre, settings: &Settings, now: Now) -> bool {
        loop {
            let judged = match self.up.entry(lane).or_default().1.next_frame() {
                Ok(None) => return true,
                Ok(Some(frame)) => self.aggregator.receive(frame, now),
                Err(fault) => {
                    assert!(matches!(fate, Fate::Damaged { .. }), "a sound frame is read: {fault:?}");
                    let judged = self.aggregator.receive_fault(fault, now);
                    if fault.batch.is_none() {
                        return false;
                    }
                    judged
                }
            };
            match judged {
                Ok(incoming) => self.take(incoming, centre, settings, now),
                Err(fault) => assert_expected(fault, fate),
            }
            self.collect();
            if self.aggregator.is_closed() {
                return false;
            }
        }
    }

    fn take(&mut self, incoming: Incoming, centre: &mut Centre, settings: &Settings, now: Now) {
        match incoming {
            Incoming::Hello(hello) => self.aggregator.welcome(*settings, centre.account(&hello), now),
            Incoming::Telemetry(batch) => centre.take(&batch, &mut self.aggregator, &mut self.uncommitted, now),
            Incoming::MetricSet(set) => centre.learn(set.id()),
            Incoming::Gap(gap) => centre.lose(&gap, &mut self.aggregator),
            Incoming::Poison(_) => self.aggregator.flush(None, now),
            Incoming::Heartbeat(_) | Incoming::Health(_) | Incoming::Goodbye(_) => {}
            Incoming::Live(tick) => panic!("nobody watches: {:?}", tick.header),
            Incoming::Refusal(code) => panic!("the agent refuses an honest aggregator: {code}"),
        }
    }

    /// The next frame down comes to the agent.
    pub(super) fn down(&mut self, now: Now) -> bool {
        let Some(bytes) = self.down.pop_front() else { return true };
        self.down_reader.extend(&bytes);
        let frame = self.down_reader.next_frame().expect("nothing is damaged on the way down").expect("a whole frame");
        self.agent.receive(&frame, now);
        self.collect();
        true
    }
}

/// An honest agent is refused for what the link did, and for nothing else.
fn assert_expected(fault: Fault, fate: Fate) {
    match fate {
        Fate::Twice => assert!(matches!(fault.code, ErrorCode::Replay | ErrorCode::OutOfTurn), "{fault:?}"),
        Fate::Damaged { .. } => assert_eq!(fault.code, ErrorCode::BadCrc),
        Fate::Whole { .. } => panic!("a frame of an honest agent is refused: {fault:?}"),
    }
}
