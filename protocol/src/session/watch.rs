//! What sessions of version 3 say beyond those before: each tick as it is sampled, while somebody watches.
//!
//! A LIVE frame carries a batch of one tick. It is shown and forgotten: the tick comes again in the batch that is stored and
//! acknowledged, which nothing here changes. The aggregator asks for a stretch of time and asks again while it lasts, so that
//! an aggregator that forgets, or whom nobody watches through any more, costs a host a minute at most.

use super::agent::AgentSession;
use super::aggregator::{AggregatorSession, Incoming, State, Telemetry};
use super::{Lane, Now, Outgoing};
use crate::batch::decode_header;
use crate::error::ErrorCode;
use crate::frame::{Flags, Frame, MessageType};
use crate::ids::Tick;
use crate::message::{Config, MAX_WATCH_MS, WATCH_SINCE};
use crate::metric::MetricSet;
use std::time::Duration;

/// What was on the way when the time was over is taken this much longer.
const ON_THE_WAY: Duration = Duration::from_secs(10);

impl AgentSession {
    /// Whether somebody watches, and each tick is to be sent as it is sampled.
    pub fn is_watched(&self, now: Now) -> bool {
        self.is_open() && now.mono < self.watched_until
    }

    /// Sends a tick at once: a batch of this tick alone, which nobody will acknowledge. Before the first of a metric set goes
    /// the set, or the tick would be dropped for want of it, and no other one comes in its place. False if nobody watches.
    pub fn send_live(&mut self, tick: Tick, set: &MetricSet, batch: Vec<u8>, now: Now) -> bool {
        let goes = self.is_watched(now);
        if goes {
            if self.shown_set.replace(set.id()) != Some(set.id()) {
                self.describe(Lane::Live, set.encode(), now);
            }
            let bytes = self.writer.frame(MessageType::Live, Flags::NONE, tick.0, batch, now);
            self.output.push_back(Outgoing { lane: Lane::Live, bytes });
        }
        goes
    }

    /// Says what the columns of the batches behind it on the lane are.
    pub(super) fn describe(&mut self, lane: Lane, set: Vec<u8>, now: Now) {
        let bytes = self.writer.frame(MessageType::MetricSet, Flags::NONE, 0, set, now);
        self.output.push_back(Outgoing { lane, bytes });
    }

    /// The aggregator wants each tick for so long, or no longer.
    pub(super) fn watched(&mut self, for_ms: u32, now: Now) -> Result<(), ErrorCode> {
        if self.version < WATCH_SINCE {
            return Err(ErrorCode::PayloadMalformed);
        }
        self.watched_until = now.mono + Duration::from_millis(for_ms.min(MAX_WATCH_MS).into());
        Ok(())
    }
}

impl AggregatorSession {
    /// Asks for each tick for so many milliseconds, at most [`MAX_WATCH_MS`]; 0 is no longer. False if nothing was asked: the
    /// session is not open, or the agent is of a version that cannot do it.
    pub fn watch(&mut self, for_ms: u32, now: Now) -> bool {
        let goes = matches!(self.state, State::Open) && self.version >= WATCH_SINCE;
        if goes {
            let for_ms = for_ms.min(MAX_WATCH_MS);
            self.watches_until = now.mono + Duration::from_millis(for_ms.into());
            self.say(&Config::Watch { for_ms }, now);
        }
        goes
    }

    /// A tick that was asked for.
    pub(super) fn live(&self, frame: Frame, now: Now) -> Result<Incoming, ErrorCode> {
        if self.version < WATCH_SINCE || now.mono > self.watches_until + ON_THE_WAY {
            return Err(ErrorCode::OutOfTurn);
        }
        let header = decode_header(&frame.payload).map_err(|_| ErrorCode::BatchMalformed)?;
        let range = header.range();
        if range.first != range.last || range.first.0 != frame.correlation {
            return Err(ErrorCode::BatchMalformed);
        }
        let framing = frame.head_len();
        Ok(Incoming::Live(Telemetry { header, bytes: frame.payload, framing }))
    }
}
