//! The centre: what survives a crash of the aggregator.

use super::SETS;
use dsmil_protocol::batch::Decoder;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, Tick, TickRange};
use dsmil_protocol::message::{Accounted, Gap, Hello, MAX_RANGES, Rejected};
use dsmil_protocol::metric::SetId;
use dsmil_protocol::session::Now;
use dsmil_protocol::session::aggregator::{AggregatorSession, Telemetry};
use dsmil_protocol::tick_set::TickSet;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one boot.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) stored: TickSet,
    pub(super) lost: TickSet,
    batches: BTreeSet<Tick>,
}

impl Ledger {
    pub(super) fn accounted(&self) -> TickSet {
        self.stored.iter().chain(self.lost.iter()).collect()
    }
}

#[derive(Default)]
pub(super) struct Centre {
    pub(super) ledgers: BTreeMap<BootId, Ledger>,
    sets: BTreeSet<SetId>,
    /// Ticks that were stored twice.
    pub(super) doubled: u64,
}

impl Centre {
    fn ranges(&self, boot: BootId) -> Vec<TickRange> {
        self.ledgers.get(&boot).map(|ledger| ledger.accounted().newest(MAX_RANGES)).unwrap_or_default()
    }

    /// What of the boots that HELLO names need not be sent again.
    pub(super) fn account(&self, hello: &Hello) -> Vec<Accounted> {
        let named = hello.accounts.iter().map(|account| account.boot);
        named.map(|boot| Accounted { boot, ranges: self.ranges(boot) }).collect()
    }

    /// Every tick that the agent was told of is stored or recorded as lost.
    pub(super) fn assert_true(&self, told: &Accounted) {
        let known = self.ledgers.get(&told.boot).map(Ledger::accounted).unwrap_or_default();
        for range in &told.ranges {
            assert_eq!(known.missing(*range), [], "acknowledged, and neither stored nor lost");
        }
    }

    /// Takes a batch as far as a commit, or says why not.
    pub(super) fn take(
        &self,
        batch: &Telemetry,
        session: &mut AggregatorSession,
        uncommitted: &mut Vec<(BootId, TickRange)>,
        now: Now,
    ) {
        let header = &batch.header;
        if !self.sets.contains(&header.set) {
            return session.need_set(header.set, now);
        }
        let set = SETS.iter().find(|set| set.id() == header.set).expect("the host has no others");
        match Decoder::new().decode(&batch.bytes, set.metrics().len()) {
            Ok(_) => uncommitted.push((header.boot, header.range())),
            Err(_) => {
                let rejected = Rejected { first: header.range().first, code: ErrorCode::BatchMalformed.number() };
                session.reject(header.boot, rejected, now);
                session.flush(None, now);
            }
        }
    }

    pub(super) fn learn(&mut self, set: SetId) {
        self.sets.insert(set);
    }

    pub(super) fn forget_sets(&mut self) {
        self.sets.clear();
    }

    pub(super) fn lose(&mut self, gap: &Gap, session: &mut AggregatorSession) {
        for record in &gap.gaps {
            let ledger = self.ledgers.entry(record.boot).or_default();
            for missing in ledger.stored.missing(record.ticks) {
                ledger.lost.insert(missing);
            }
            session.account(record.boot, self.ranges(record.boot));
        }
    }

    pub(super) fn commit(
        &mut self,
        uncommitted: &mut Vec<(BootId, TickRange)>,
        session: &mut AggregatorSession,
        now: Now,
    ) {
        for (boot, ticks) in uncommitted.drain(..) {
            let ledger = self.ledgers.entry(boot).or_default();
            if ledger.batches.insert(ticks.first) {
                self.doubled += ledger.stored.insert(ticks);
                ledger.lost.remove(ticks);
            }
            session.account(boot, self.ranges(boot));
        }
        session.flush(None, now);
    }
}
