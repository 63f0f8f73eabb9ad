//! The loss ledger of one boot: which ticks are stored, waiting, or lost and why. Pure.
//!
//! A tick has one fate or none. `expected = stored + waiting + lost` holds by construction: waiting is what is expected
//! and has no fate yet.

use dsmil_protocol::ids::{Tick, TickRange};
use dsmil_protocol::tick_set::TickSet;
use std::collections::{BTreeMap, BTreeSet};

/// Segments of one boot's ledger. A week with a hole every ten seconds has 60,000 stored runs; a host that makes more
/// holes than that would only fill memory.
pub const MAX_SEGMENTS: usize = 131_072;

/// Why a tick will never come. The numbers of [`LossReason::code`] are stored and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossReason {
    /// Not known (yet); a known reason replaces it.
    Unknown,
    /// The agent was not running.
    AgentDown,
    /// The agent ran and its sampler missed the second.
    TickMissed,
    /// The host was suspended.
    HostSuspended,
    /// The spool was full and this was its oldest.
    Evicted,
    /// The aggregator refused the batch, with this code of the protocol's error table.
    Rejected(u16),
    /// The spool was damaged, truncated or removed.
    SpoolLost,
    /// The host lost power, and its tmpfs spool with it.
    HostDown,
    /// It was stored and acknowledged; then the journal was damaged, and no spool has it any more.
    JournalLost,
}

impl LossReason {
    /// The stored number, and the detail beside it (an error code for `Rejected`, otherwise 0).
    pub fn code(self) -> (u8, u16) {
        match self {
            Self::Unknown => (0, 0),
            Self::AgentDown => (1, 0),
            Self::TickMissed => (2, 0),
            Self::HostSuspended => (3, 0),
            Self::Evicted => (4, 0),
            Self::Rejected(error) => (5, error),
            Self::SpoolLost => (6, 0),
            Self::HostDown => (7, 0),
            Self::JournalLost => (8, 0),
        }
    }

    /// Reads [`LossReason::code`] back; a number that is not of this version is nothing.
    pub fn from_code(code: u8, detail: u16) -> Option<Self> {
        Some(match code {
            0 => Self::Unknown,
            1 => Self::AgentDown,
            2 => Self::TickMissed,
            3 => Self::HostSuspended,
            4 => Self::Evicted,
            5 => Self::Rejected(detail),
            6 => Self::SpoolLost,
            7 => Self::HostDown,
            8 => Self::JournalLost,
            _ => return None,
        })
    }

    /// A stable name for metrics, JSON and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::AgentDown => "agent_down",
            Self::TickMissed => "tick_missed",
            Self::HostSuspended => "host_suspended",
            Self::Evicted => "evicted",
            Self::Rejected(_) => "rejected",
            Self::SpoolLost => "spool_lost",
            Self::HostDown => "host_down",
            Self::JournalLost => "journal_lost",
        }
    }
}

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// In the journal.
    Stored,
    /// Was in the journal until its time to be kept was over.
    Expired,
    /// Will never come.
    Lost(LossReason),
}

impl Fate {
    fn is_stored(self) -> bool {
        matches!(self, Self::Stored | Self::Expired)
    }
}

/// Ticks of one fate, side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which ticks.
    pub range: TickRange,
    /// What became of them.
    pub fate: Fate,
}

/// How many ticks of a boot have which fate; `expected == stored + waiting + lost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Every second from the first tick the host accounts for to the last one named.
    pub expected: u64,
    /// In the journal, or until its time to be kept was over.
    pub stored: u64,
    /// Neither stored nor known to be lost.
    pub waiting: u64,
    /// Lost, all reasons together.
    pub lost: u64,
    /// Lost, by reason.
    pub lost_by: BTreeMap<LossReason, u64>,
}

/// The ledger of one (host, boot, classification).
#[derive(Clone, Debug, Default)]
pub struct BootLedger {
    /// First tick of each segment to its last and its fate. Disjoint; neighbours that touch differ in fate.
    segments: BTreeMap<u64, (u64, Fate)>,
    /// First ticks of segments that were added, changed or removed since [`BootLedger::take_dirty`].
    dirty: BTreeSet<u64>,
    /// Ticks the host accounts for: from the first tick of the boot to the last one named.
    named: Option<TickRange>,
    overlapped: u64,
    resent: u64,
}

impl PartialEq for BootLedger {
    /// What is still to be written down is not part of what a ledger says.
    fn eq(&self, other: &Self) -> bool {
        (&self.segments, self.named, self.overlapped, self.resent)
            == (&other.segments, other.named, other.overlapped, other.resent)
    }
}

impl BootLedger {
    /// A ledger that expects nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A ledger as it was written down; overlapping segments are a sign of damage: the stored one wins.
    pub fn restore(named: Option<TickRange>, segments: &[Segment], overlapped: u64, resent: u64) -> Self {
        let mut ledger = Self { overlapped, resent, ..Self::default() };
        if let Some(range) = named {
            ledger.expect(range);
        }
        for segment in segments {
            match segment.fate {
                Fate::Lost(reason) => ledger.mark_lost(segment.range, reason),
                fate => ledger.put(segment.range, fate),
            }
        }
        ledger.dirty.clear();
        ledger
    }

    /// The host accounts for `range`: HELLO names the first tick of the boot it knows of, HEARTBEAT the last one sampled.
    /// The ledger only ever expects more.
    pub fn expect(&mut self, range: TickRange) {
        let named = self.named.get_or_insert(range);
        named.first = named.first.min(range.first);
        named.last = named.last.max(range.last);
    }

    /// The ticks of `range` are stored, and not lost after all if they were thought to be. Returns how many were stored before.
    pub fn mark_stored(&mut self, range: TickRange) -> u64 {
        let known = self.pieces(range).filter(|s| s.fate.is_stored()).map(|s| s.range.len()).sum();
        self.put(range, Fate::Stored);
        known
    }

    /// The ticks of `range` will not come. Stored ones stay stored; the first known reason stays the reason.
    pub fn mark_lost(&mut self, range: TickRange, reason: LossReason) {
        self.expect(range);
        let keeps = |s: &Segment| !matches!(s.fate, Fate::Lost(LossReason::Unknown));
        let decided: TickSet = self.pieces(range).filter(keeps).map(|s| s.range).collect();
        for piece in decided.missing(range) {
            self.put(piece, Fate::Lost(reason));
        }
    }

    /// Stored ticks of `range` have left the journal because their time to be kept is over.
    pub fn mark_expired(&mut self, range: TickRange) {
        let stored: Vec<_> = self.pieces(range).filter(|s| s.fate == Fate::Stored).collect();
        for piece in stored {
            self.put(piece.range, Fate::Expired);
        }
    }

    /// Stored ticks of `range` turned out to be unreadable: they wait again, and are asked for again.
    pub fn mark_waiting(&mut self, range: TickRange) {
        let stored: Vec<_> = self.pieces(range).filter(|s| s.fate == Fate::Stored).collect();
        for piece in stored {
            self.cut(piece.range);
        }
    }

    /// The journal turned out to hold exactly `held`: stored ticks beyond it wait again, and are asked for again; ticks
    /// in it that the ledger did not know are stored. Returns how many wait again.
    pub(crate) fn rebuild_stored(&mut self, held: &TickSet) -> u64 {
        let claimed: Vec<_> = self.segments().filter(|s| s.fate == Fate::Stored).map(|s| s.range).collect();
        let mut lost = 0;
        for missing in claimed.into_iter().flat_map(|claim| held.missing(claim)) {
            lost += missing.len();
            self.mark_waiting(missing);
        }
        for range in held.iter() {
            self.put(range, Fate::Stored);
        }
        lost
    }

    /// A batch came again: `ticks` of it were stored under another batch's identity.
    pub fn count_overlap(&mut self, ticks: u64) {
        self.overlapped = self.overlapped.saturating_add(ticks);
    }

    /// A batch came again under its own identity, `ticks` long. Harmless: its acknowledgement was lost on the way.
    pub fn count_resent(&mut self, ticks: u64) {
        self.resent = self.resent.saturating_add(ticks);
    }

    /// From the first tick the host accounts for to the last one named; nothing before the host said a word.
    pub fn named(&self) -> Option<TickRange> {
        self.named
    }

    /// Ticks that came again under another batch's identity.
    pub fn overlapped(&self) -> u64 {
        self.overlapped
    }

    /// Ticks that came again under their own batch's identity.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Whether every one of `ticks` is stored (or was, until it expired).
    pub fn covers(&self, ticks: &[TickRange]) -> bool {
        let held = |range: &TickRange| self.pieces(*range).filter(|s| s.fate.is_stored()).map(|s| s.range.len()).sum();
        ticks.iter().all(|range| range.len() == held(range))
    }

    /// How many segments there are; [`MAX_SEGMENTS`] is for the caller to keep.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// All segments, oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment> + '_ {
        self.segments.iter().map(|(first, (last, fate))| segment(*first, *last, *fate))
    }

    /// The ticks that are stored (or were, until they expired).
    pub fn stored(&self) -> TickSet {
        self.segments().filter(|s| s.fate.is_stored()).map(|s| s.range).collect()
    }

    /// The ticks that need not be sent: stored or lost. ACK and WELCOME speak of these.
    pub fn accounted(&self) -> TickSet {
        self.segments().map(|s| s.range).collect()
    }

    /// At most `count` ranges of [`BootLedger::accounted`], the newest ones, newest first, without going through the rest:
    /// every acknowledgement asks for them.
    pub fn newest_accounted(&self, count: usize) -> Vec<TickRange> {
        let mut ranges: Vec<TickRange> = Vec::with_capacity(count.min(self.segments.len()));
        for segment in self.segments().rev() {
            let is_full = ranges.len() == count;
            match ranges.last_mut() {
                Some(range) if segment.range.last.next() == range.first => range.first = segment.range.first,
                _ if is_full => break,
                _ => ranges.push(segment.range),
            }
        }
        ranges
    }

    /// The ticks that are expected and neither stored nor lost, oldest first.
    pub fn waiting(&self) -> Vec<TickRange> {
        self.named.map_or_else(Vec::new, |named| self.accounted().missing(named))
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { expected: self.named.map_or(0, TickRange::len), ..Totals::default() };
        for segment in self.segments() {
            let ticks = segment.range.len();
            match segment.fate {
                Fate::Stored | Fate::Expired => totals.stored += ticks,
                Fate::Lost(reason) => {
                    totals.lost += ticks;
                    *totals.lost_by.entry(reason).or_default() += ticks;
                }
            }
        }
        totals.waiting = self.waiting().iter().map(|r| r.len()).sum();
        totals
    }

    /// Everything must be written down: it goes to a database that has none of it.
    pub(crate) fn touch_all(&mut self) {
        self.dirty.extend(self.segments.keys());
    }

    /// What must be written down since the last call: each first tick with its segment, or with nothing if it is gone.
    pub(crate) fn take_dirty(&mut self) -> Vec<(Tick, Option<Segment>)> {
        let dirty = std::mem::take(&mut self.dirty);
        let now = |first: u64| self.segments.get(&first).map(|(last, fate)| segment(first, *last, *fate));
        dirty.into_iter().map(|first| (Tick(first), now(first))).collect()
    }

    /// The segments inside `range`, cut to it.
    fn pieces(&self, range: TickRange) -> impl Iterator<Item = Segment> + '_ {
        let (first, last) = (range.first.0, range.last.0);
        let from = self.segments.range(..=first).next_back().map_or(first, |(start, _)| *start);
        self.segments.range(from..=last).filter_map(move |(start, (end, fate))| {
            let piece = TickRange::new(Tick(first.max(*start)), Tick(last.min(*end)))?;
            Some(Segment { range: piece, fate: *fate })
        })
    }

    /// Takes every fate from the ticks of `range`.
    fn cut(&mut self, range: TickRange) {
        let (first, last) = (range.first.0, range.last.0);
        let from = self.segments.range(..=first).next_back().map_or(first, |(start, _)| *start);
        let hit: Vec<_> =
            self.segments.range(from..=last).filter(|(_, (end, _))| *end >= first).map(|(s, e)| (*s, *e)).collect();
        for (start, (end, fate)) in hit {
            self.dirty.insert(start);
            self.segments.remove(&start);
            if start < first {
                self.segments.insert(start, (first - 1, fate));
            }
            if end > last {
                self.segments.insert(last + 1, (end, fate));
                self.dirty.insert(last + 1);
            }
        }
    }

    /// Gives the ticks of `range` a fate, whatever they had, and joins neighbours of the same fate.
    fn put(&mut self, range: TickRange, fate: Fate) {
        self.expect(range);
        self.cut(range);
        let (mut first, mut last) = (range.first.0, range.last.0);
        if let Some((&start, &(end, other))) = self.segments.range(..first).next_back()
            && end.saturating_add(1) == first
            && other == fate
        {
            self.segments.remove(&start);
            first = start;
        }
        let after = last.saturating_add(1);
        if let Some(&(end, other)) = self.segments.get(&after)
            && other == fate
        {
            self.segments.remove(&after);
            self.dirty.insert(after);
            last = end;
        }
        self.segments.insert(first, (last, fate));
        self.dirty.insert(first);
    }
}

fn segment(first: u64, last: u64, fate: Fate) -> Segment {
    Segment { range: TickRange { first: Tick(first), last: Tick(last) }, fate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: u64, last: u64) -> TickRange {
        TickRange::new(Tick(first), Tick(last)).expect("a range of the test")
    }

    #[test]
    fn a_late_arrival_turns_a_loss_into_a_stored_tick() {
        let mut ledger = BootLedger::new();
        ledger.expect(range(10, 29));
        ledger.mark_lost(range(10, 19), LossReason::AgentDown);
        assert_eq!(ledger.mark_stored(range(15, 24)), 0);
        let totals = ledger.totals();
        assert_eq!((totals.expected, totals.stored, totals.waiting, totals.lost), (20, 10, 5, 5));
        ledger.mark_lost(range(10, 29), LossReason::HostDown);
        assert_eq!(ledger.totals().lost_by, [(LossReason::AgentDown, 5), (LossReason::HostDown, 5)].into());
    }

    #[test]
    fn a_known_reason_replaces_the_unknown_one_and_stays() {
        let mut ledger = BootLedger::new();
        ledger.mark_lost(range(0, 3), LossReason::Unknown);
        ledger.mark_lost(range(2, 5), LossReason::Evicted);
        ledger.mark_lost(range(0, 5), LossReason::HostDown);
        let by = ledger.totals().lost_by;
        assert_eq!(by, [(LossReason::Evicted, 4), (LossReason::HostDown, 2)].into());
    }

    #[test]
    fn unreadable_ticks_wait_again_and_expired_ones_do_not() {
        let mut ledger = BootLedger::new();
        ledger.mark_stored(range(0, 29));
        ledger.mark_expired(range(0, 9));
        ledger.mark_waiting(range(5, 14));
        assert_eq!(ledger.waiting(), vec![range(10, 14)]);
        assert_eq!(ledger.mark_stored(range(10, 14)), 0);
        assert_eq!(ledger.mark_stored(range(0, 29)), 30);
    }

    #[test]
    fn reasons_read_back() {
        for code in 0..=u8::MAX {
            if let Some(reason) = LossReason::from_code(code, 7) {
                let detail = if matches!(reason, LossReason::Rejected(_)) { 7 } else { 0 };
                assert_eq!(reason.code(), (code, detail));
            }
        }
        assert_eq!(LossReason::from_code(9, 0), None);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Expect,
        Store,
        Lose(LossReason),
        Expire,
        Unread,
    }

    fn steps() -> impl Strategy<Value = Vec<(Step, u64, u64)>> {
        let reason = (0u8..8, 0u16..2).prop_map(|(c, d)| Step::Lose(LossReason::from_code(c, d).expect("0 to 7")));
        let step = prop_oneof![Just(Step::Expect), Just(Step::Store), reason, Just(Step::Expire), Just(Step::Unread)];
        proptest::collection::vec((step, 0u64..80, 0u64..12), 1..60)
    }

    /// The ledger a plain map of ticks would be.
    #[derive(Default)]
    struct Model {
        fates: BTreeMap<u64, Fate>,
        named: Option<(u64, u64)>,
    }

    impl Model {
        fn apply(&mut self, step: Step, ticks: std::ops::RangeInclusive<u64>) {
            if matches!(step, Step::Expect | Step::Store | Step::Lose(_)) {
                let (first, last) = self.named.unwrap_or((*ticks.start(), *ticks.end()));
                self.named = Some((first.min(*ticks.start()), last.max(*ticks.end())));
            }
            for tick in ticks {
                let now = self.fates.get(&tick).copied();
                match (step, now) {
                    (Step::Store, _) => drop(self.fates.insert(tick, Fate::Stored)),
                    (Step::Lose(why), None | Some(Fate::Lost(LossReason::Unknown))) => {
                        self.fates.insert(tick, Fate::Lost(why));
                    }
                    (Step::Expire, Some(Fate::Stored)) => drop(self.fates.insert(tick, Fate::Expired)),
                    (Step::Unread, Some(Fate::Stored)) => drop(self.fates.remove(&tick)),
                    _ => {}
                }
            }
        }
    }

    proptest! {
        /// Against a plain map, through any history; and what is written down piece by piece reads back as the same ledger.
        #[test]
        fn every_expected_tick_is_stored_waiting_or_lost(steps in steps()) {
            let (mut ledger, mut model) = (BootLedger::new(), Model::default());
            let mut written: BTreeMap<u64, Segment> = BTreeMap::new();
            for (step, first, len) in steps {
                let r = range(first, first + len);
                match step {
                    Step::Expect => ledger.expect(r),
                    Step::Store => drop(ledger.mark_stored(r)),
                    Step::Lose(why) => ledger.mark_lost(r, why),
                    Step::Expire => ledger.mark_expired(r),
                    Step::Unread => ledger.mark_waiting(r),
                }
                model.apply(step, first..=first + len);
                let t = ledger.totals();
                prop_assert_eq!(t.expected, t.stored + t.waiting + t.lost);
                for count in [0, 1, 3, 1000] {
                    prop_assert_eq!(ledger.newest_accounted(count), ledger.accounted().newest(count));
                }
                prop_assert_eq!(t.lost, t.lost_by.values().sum::<u64>());
                prop_assert_eq!(t.expected, model.named.map_or(0, |(a, b)| b - a + 1));
                let listed: BTreeMap<u64, Fate> =
                    ledger.segments().flat_map(|s| (s.range.first.0..=s.range.last.0).map(move |t| (t, s.fate))).collect();
                prop_assert_eq!(&listed, &model.fates);
                for (first, segment) in ledger.take_dirty() {
                    match segment {
                        Some(segment) => drop(written.insert(first.0, segment)),
                        None => drop(written.remove(&first.0)),
                    }
                }
                let segments: Vec<_> = written.values().copied().collect();
                let restored = BootLedger::restore(ledger.named(), &segments, 0, 0);
                prop_assert_eq!(&restored, &ledger);
            }
        }
    }
}
