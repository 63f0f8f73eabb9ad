//! The host: what survives a crash of the agent, and what its driver does with a session.

use super::centre::{Centre, Ledger};
use super::clocks::Clocks;
use super::{SETS, grant};
use dsmil_protocol::batch::{Batch, BatchHeader, Encoder, Matrix, Stamp};
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::message::{
    Accounted, BootAccount, GapReason, GapRecord, Hello, HostTimes, MAX_BOOTS, MAX_GAPS, Rejected,
};
use dsmil_protocol::session::agent::{AgentSession, Event, SpooledBatch, Vitals};
use dsmil_protocol::session::{Lane, Now};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Batches that a spool holds before it evicts.
const SPOOL_BATCHES: usize = 40;
/// Ticks of a batch.
const BATCH_TICKS: usize = 10;

/// Gaps that were said and not acknowledged are said again after this.
const GAPS_AGAIN: Duration = Duration::from_secs(5);

type Key = (BootId, Tick);

pub(super) struct Host {
    boot: BootId,
    /// First and last tick of every boot that still matters, and of those before.
    answers: BTreeMap<BootId, TickRange>,
    pending: Vec<Tick>,
    batches: BTreeMap<Key, SpooledBatch>,
    gaps: Vec<GapRecord>,
    unsent_live: VecDeque<Key>,
    /// Batches that no centre can read, and those that were damaged on the way: only they may be rejected.
    pub(super) poisoned: BTreeSet<Key>,
    /// Numbers of batches of which nobody could tell the boot: one of another boot may be taken for it.
    pub(super) nameless: BTreeSet<Tick>,
    /// The gaps said last, and when.
    said: (Vec<GapRecord>, Duration),
    encoder: Encoder,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            boot: BootId([1; 16]),
            answers: BTreeMap::new(),
            pending: Vec::new(),
            batches: BTreeMap::new(),
            gaps: Vec::new(),
            unsent_live: VecDeque::new(),
            poisoned: BTreeSet::new(),
            nameless: BTreeSet::new(),
            said: Default::default(),
            encoder: Encoder::new(),
        }
    }
}

impl Host {
    /// A tick is sampled; those since the last one of this boot were missed.
    pub(super) fn sample(&mut self, tick: Tick) {
        let known = self.answers.get(&self.boot).copied();
        if let Some(last) = known.map(|known| known.last) {
            if tick <= last {
                return;
            }
            if let Some(missed) = TickRange::new(last.next(), Tick(tick.0 - 1)) {
                self.seal();
                self.gaps.push(GapRecord { boot: self.boot, ticks: missed, reason: GapReason::AgentDown });
            }
        }
        let first = known.map_or(tick, |known| known.first);
        self.answers.insert(self.boot, TickRange { first, last: tick });
        self.pending.push(tick);
        if self.pending.len() == BATCH_TICKS {
            self.seal();
        }
    }

    pub(super) fn seal(&mut self) {
        let Some(first) = self.pending.first().copied() else { return };
        let stamps: Vec<Stamp> = self.pending.drain(..).map(|tick| Stamp { tick, wall_ms: 0 }).collect();
        let set = &SETS[(first.0 / 40) as usize % SETS.len()];
        let mut matrix = Matrix::new(set.metrics().len(), stamps.len());
        (0..stamps.len()).for_each(|tick| matrix.set(0, tick, Some(first.0 * 7 + tick as u64)));
        let header = BatchHeader { boot: self.boot, set: set.id(), metrics: set.metrics().len(), stamps };
        let ticks = header.range();
        let bytes = self.encoder.encode(&Batch { header, matrix }).expect("a batch");
        self.batches.insert((self.boot, first), SpooledBatch { boot: self.boot, ticks, set: set.id(), bytes });
        self.unsent_live.push_back((self.boot, first));
        while self.batches.len() > SPOOL_BATCHES {
            let (_, evicted) = self.batches.pop_first().expect("more than the limit");
            self.gaps.push(GapRecord { boot: evicted.boot, ticks: evicted.ticks, reason: GapReason::Evicted });
        }
    }

    /// The agent begins anew in the same boot.
    pub(super) fn restart(&mut self) {
        self.unsent_live.clear();
    }

    /// Another boot, whose ticks count from the start again. Only as many boots as a HELLO may name.
    pub(super) fn reboot(&mut self) {
        self.seal();
        self.restart();
        if self.answers.len() < MAX_BOOTS {
            self.boot = BootId([self.boot.0[0] + u8::from(self.answers.contains_key(&self.boot)); 16]);
        }
    }

    /// Makes a batch one that nobody can read: its version, its header, or what follows.
    pub(super) fn poison(&mut self, which: u8, how: u8) {
        let keys: Vec<Key> = self.batches.keys().copied().collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[usize::from(which) % keys.len()];
        let Some(batch) = self.batches.get_mut(&key) else { return };
        match how % 3 {
            0 => {
                batch.bytes[0] = 0xFF;
                self.nameless.insert(key.1);
            }
            // More columns than a batch may have.
            1 => batch.bytes[33] |= 0x80,
            _ => batch.bytes.push(0),
        }
        self.poisoned.insert(key);
    }

    pub(super) fn hello(&self, clocks: &Clocks) -> Hello {
        let now = clocks.at_host();
        let accounts = self.answers.iter().map(|(boot, ticks)| BootAccount { boot: *boot, ticks: *ticks });
        Hello {
            versions: vec![1],
            host: grant().host,
            boot: self.boot,
            devices: grant().devices.into_iter().collect(),
            agent_version: "test".into(),
            accounts: accounts.collect(),
            bundle_version: 1,
            times: HostTimes { boot_ns: now.boot_ns, wall_ns: now.wall_ns },
        }
    }

    pub(super) fn vitals(&self) -> Vitals {
        Vitals { last_tick: self.answers.get(&self.boot).map(|ticks| ticks.last), ..Vitals::default() }
    }

    pub(super) fn handle(&mut self, event: Event, agent: &mut AgentSession, now: Now) {
        match event {
            Event::Accounted(accounted) => self.accounted(&accounted),
            Event::Rejected(boot, rejected) => self.set_aside(boot, rejected),
            Event::NeedSets(sets) => {
                for set in SETS.iter().filter(|set| sets.contains(&set.id())) {
                    agent.send_metric_set(set.encode(), now);
                }
            }
            Event::Welcomed(_) => {
                self.unsent_live.clear();
                self.said = Default::default();
            }
            Event::TrustBundle(_) | Event::Settings(_) => panic!("nobody sent a bundle or settings"),
            Event::Closed(_) => {}
        }
    }

    fn accounted(&mut self, accounted: &Accounted) {
        let covered = |boot, ticks| boot == accounted.boot && accounted.ranges.iter().any(|range| range.covers(ticks));
        self.batches.retain(|(boot, _), batch| !covered(*boot, batch.ticks));
        self.gaps.retain(|gap| !covered(gap.boot, gap.ticks));
    }

    fn set_aside(&mut self, boot: BootId, rejected: Rejected) {
        let may_be = self.poisoned.contains(&(boot, rejected.first)) || self.nameless.contains(&rejected.first);
        assert!(may_be, "a sound batch is rejected: {boot} {rejected:?}");
        if let Some(batch) = self.batches.remove(&(boot, rejected.first)) {
            let reason = GapReason::Rejected(rejected.code);
            self.gaps.push(GapRecord { boot, ticks: batch.ticks, reason });
        }
    }

    /// What the driver of a session sends.
    pub(super) fn send(&mut self, agent: &mut AgentSession, now: Now) {
        if !agent.is_open() {
            return;
        }
        let gaps: Vec<GapRecord> = self.gaps.iter().take(MAX_GAPS).copied().collect();
        if gaps != self.said.0 || now.mono >= self.said.1 + GAPS_AGAIN {
            agent.send_gaps(gaps.clone(), now);
            self.said = (gaps, now.mono);
        }
        while let Some(key) = self.unsent_live.pop_front() {
            if let Some(batch) = self.batches.get(&key).filter(|_| !agent.is_number_in_flight(key.1)) {
                agent.send_batch(Lane::Live, batch.clone(), now);
            }
        }
        for ((_, first), batch) in self.batches.iter().rev() {
            if agent.backlog_room(now) > 0 && !agent.is_number_in_flight(*first) {
                agent.send_batch(Lane::Backlog, batch.clone(), now);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.gaps.is_empty()
    }

    /// At the end: every tick is stored once or lost for a reason, and nothing waits.
    pub(super) fn assert_all_accounted(&self, centre: &Centre) {
        assert!(self.batches.is_empty(), "left in the spool: {:?}", self.batches.keys());
        assert!(self.gaps.is_empty(), "not accepted: {:?}", self.gaps);
        assert_eq!(centre.doubled, 0, "stored twice");
        let none = Ledger::default();
        for (boot, ticks) in &self.answers {
            let ledger = centre.ledgers.get(boot).unwrap_or(&none);
            assert_eq!(ledger.accounted().missing(*ticks), [], "of boot {boot}");
            assert_eq!(ledger.stored.len() + ledger.lost.len(), ticks.len(), "stored and lost do not overlap");
        }
    }
}
