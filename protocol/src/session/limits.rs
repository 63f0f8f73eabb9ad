//! How fast a peer may speak: a token bucket over the frames of one session.
//!
//! Bytes have their limits elsewhere: caps on payloads, the transport's windows, the room a driver gives a session.
//! Frames have theirs here, because what a frame costs to judge does not shrink with its length.

use crate::message::Settings;
use std::time::Duration;

/// The least bytes of a sound frame: its header, and tenant, compartments, classification, source, time and number, each
/// behind four bytes of type and length.
const MIN_FRAME_LEN: u32 = 32 + 6 * 4 + (1 + 8 + 1 + 2 + 8 + 8);
/// The rate for everybody: an agent's everyday frames come one or two a second, and a backlog of ordinary
/// batches (1.4 KB) under the default cap of 1 MiB/s has 750 a second. Frames at this rate, each refused or empty, keep a
/// fraction of one core busy; what a hostile peer can take from the others ends there.
const FRAMES_PER_SECOND: u32 = 20_000;
/// Beside the backlog: live batches, heartbeats, metric sets and gaps, of which an agent has a few a second.
const BESIDE_BACKLOG: u32 = 1_000;
/// What may come at once after a silence. An agent has no more on the way than its window, at most 1,024 batches, and the
/// heartbeats, sets and gaps of a few seconds; this is far above, as a link that stalled delivers in one piece.
const FRAMES_BURST: u32 = 40_000;

/// What one session may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames a second, sustained. At least 1.
    pub frames_per_second: u32,
    /// Frames at once after a silence. At least 1.
    pub frames_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frames_per_second: FRAMES_PER_SECOND, frames_burst: FRAMES_BURST }
    }
}

impl Limits {
    /// These limits, raised so far that an agent which keeps to `settings` cannot hit them: it may drain its backlog at
    /// the cap it was given even if every frame is as small as frames get.
    pub(super) fn allowing(self, settings: &Settings) -> Self {
        let backlog = settings.backlog_bytes_per_second / MIN_FRAME_LEN;
        Self {
            frames_per_second: self.frames_per_second.max(backlog.saturating_add(BESIDE_BACKLOG)),
            frames_burst: self.frames_burst.max(backlog.saturating_add(settings.window_batches)),
        }
    }
}

/// The bucket. It is kept as the moment at which it will be full again: each frame moves that on by its share.
#[derive(Debug)]
pub(super) struct FrameBucket {
    limits: Limits,
    full_at: Duration,
}

impl FrameBucket {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, full_at: Duration::ZERO }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Changes the limits. What was taken so far counts on.
    pub(super) fn set(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes a frame's share, if the bucket has it. A frame that is refused takes nothing: the peer has its rate back as
    /// soon as it slows down.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let share = Duration::from_secs(1) / self.limits.frames_per_second.max(1);
        let full_at = self.full_at.max(now) + share;
        let fits = full_at <= now + share * self.limits.frames_burst.max(1);
        if fits {
            self.full_at = full_at;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Flags, MessageType};
    use crate::ids::TenantId;
    use crate::session::{Now, Speaker, Writer};
    use crate::tlv::{Classification, Compartments};
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { frames_per_second: 1_000, frames_burst: 50 };

    fn settings(backlog_bytes_per_second: u32) -> Settings {
        Settings { heartbeat_ms: 2000, window_batches: 64, backlog_bytes_per_second, reconnect_window_ms: 1000 }
    }

    #[test]
    fn no_frame_is_smaller_than_the_smallest() {
        let tenant = TenantId::new("a").expect("the shortest name");
        let speaker = Speaker { tenant, compartments: Compartments::SOC, classification: Classification::UNCLASS };
        let frame = Writer::new(speaker).frame(MessageType::Gap, Flags::NONE, 0, Vec::new(), Now::default());
        assert_eq!(frame.len(), MIN_FRAME_LEN as usize);
    }

    #[test]
    fn the_default_is_enough_for_the_default_backlog() {
        assert_eq!(Limits::default().allowing(&settings(1 << 20)), Limits::default());
        let unbounded = Limits::default().allowing(&settings(u32::MAX));
        assert!(unbounded.frames_per_second > 40_000_000 && unbounded.frames_burst > 40_000_000);
    }

    #[test]
    fn a_burst_is_taken_at_once_and_comes_back_with_time() {
        let mut bucket = FrameBucket::new(LIMITS);
        let at = |ms| Duration::from_millis(ms);
        let taken = |bucket: &mut FrameBucket, now| (0..1_000).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, at(0)), 50);
        assert_eq!(taken(&mut bucket, at(7)), 7, "refused frames took nothing");
        assert_eq!(taken(&mut bucket, at(3_600_000)), 50, "an hour of silence is worth no more than a burst");
    }

    proptest! {
        /// An agent paced by its cap, its frames as small as can be, is never cut, however the link bunches them.
        #[test]
        fn an_honest_agent_is_never_too_fast(cap in 1_024u32..50_000_000, stalls in proptest::collection::vec(1u32..250, 1..20)) {
            let mut bucket = FrameBucket::new(LIMITS.allowing(&settings(cap)));
            let mut now = Duration::ZERO;
            for stall in stalls {
                now += Duration::from_millis(stall.into());
                let frames = u64::from(cap) * u64::from(stall) / 1_000 / u64::from(MIN_FRAME_LEN);
                for _ in 0..frames.min(100_000) {
                    prop_assert!(bucket.take(now));
                }
            }
        }

        /// Over any stretch, no more than the burst and the rate let through.
        #[test]
        fn nobody_has_more_than_burst_and_rate(pauses_us in proptest::collection::vec(0u64..3_000, 1..2_000)) {
            let mut bucket = FrameBucket::new(LIMITS);
            let (mut now, mut taken) = (Duration::ZERO, 0u64);
            for pause in pauses_us {
                now += Duration::from_micros(pause);
                taken += u64::from(bucket.take(now));
                prop_assert!(taken <= 50 + u64::try_from(now.as_millis()).expect("small"));
            }
        }
    }
}
