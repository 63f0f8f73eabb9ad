//! The loss ledger in JSON: sums, and per boot what is accounted for and what is missing, bounded.

use dsmil_protocol::ids::TickRange;
use dsmil_store::StreamKey;
use dsmil_store::ledger::{BootLedger, Fate, LossReason};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Ranges in one list of a host's document; the newest ones. As many as one ACK speaks of.
const MAX_RANGES: usize = 64;

/// How many ticks have which fate. `expected` is the sum of `stored`, `waiting` and `lost`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct LedgerTotals {
    /// Seconds that the hosts account for.
    pub(super) expected: u64,
    /// In the journal, or until their time to be kept was over.
    pub(super) stored: u64,
    /// Neither stored nor known to be lost.
    pub(super) waiting: u64,
    /// Will never come.
    pub(super) lost: u64,
    /// The same, by reason.
    pub(super) lost_by: BTreeMap<&'static str, u64>,
    /// Came again under another batch's identity.
    pub(super) duplicates: u64,
    /// Came again under their own batch's identity, because an acknowledgement was lost; nothing was written.
    pub(super) resent: u64,
}

impl LedgerTotals {
    /// Adds a boot's.
    pub(super) fn add(&mut self, ledger: &BootLedger) {
        let totals = ledger.totals();
        self.expected += totals.expected;
        self.stored += totals.stored;
        self.waiting += totals.waiting;
        self.lost += totals.lost;
        self.duplicates += ledger.overlapped();
        self.resent += ledger.resent();
        for (reason, ticks) in totals.lost_by {
            *self.lost_by.entry(reason.name()).or_default() += ticks;
        }
    }
}

/// Ticks `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Ticks {
    first: u64,
    last: u64,
}

impl From<TickRange> for Ticks {
    fn from(range: TickRange) -> Self {
        Self { first: range.first.0, last: range.last.0 }
    }
}

/// Ticks that will never come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Gap {
    #[serde(flatten)]
    ticks: Ticks,
    /// Why.
    #[schema(example = "agent_down")]
    reason: &'static str,
    /// For `rejected`: the code of the protocol's error table.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<u16>,
}

/// What is known of one boot's ticks. Lists have the newest entries, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Boot {
    /// The kernel's boot id.
    boot: String,
    /// The classification of the data, 0 to 9.
    classification: u8,
    /// From the first tick that the host accounts for to the last one named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    named: Option<Ticks>,
    totals: LedgerTotals,
    /// Stored or known to be lost.
    accounted: Vec<Ticks>,
    /// Neither, yet.
    waiting: Vec<Ticks>,
    /// Will never come.
    gaps: Vec<Gap>,
    /// Whether one of the lists is cut short.
    truncated: bool,
}

impl Boot {
    pub(super) fn new(key: &StreamKey, ledger: &BootLedger) -> Self {
        let mut totals = LedgerTotals::default();
        totals.add(ledger);
        let lost = ledger.segments().rev().filter_map(|segment| match segment.fate {
            Fate::Lost(reason) => Some(gap(segment.range, reason)),
            _ => None,
        });
        let accounted = ledger.accounted().newest(MAX_RANGES + 1).into_iter().map(Ticks::from);
        let waiting = ledger.waiting().into_iter().rev().map(Ticks::from);
        let mut truncated = false;
        Self {
            boot: key.boot.to_string(),
            classification: key.classification.level(),
            named: ledger.named().map(Ticks::from),
            totals,
            accounted: cut(accounted, &mut truncated),
            waiting: cut(waiting, &mut truncated),
            gaps: cut(lost, &mut truncated),
            truncated,
        }
    }
}

fn cut<T>(mut items: impl Iterator<Item = T>, truncated: &mut bool) -> Vec<T> {
    let list = items.by_ref().take(MAX_RANGES).collect();
    *truncated |= items.next().is_some();
    list
}

fn gap(range: TickRange, reason: LossReason) -> Gap {
    let code = match reason {
        LossReason::Rejected(code) => Some(code),
        _ => None,
    };
    Gap { ticks: range.into(), reason: reason.name(), code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsmil_protocol::ids::{BootId, HostName, TenantId, Tick};
    use dsmil_protocol::tlv::Classification;

    #[test]
    fn a_ledger_with_many_holes_is_cut_short_and_says_so() {
        let range = |first, last| TickRange::new(Tick(first), Tick(last)).expect("a range");
        let mut ledger = BootLedger::new();
        ledger.expect(range(0, 999));
        ledger.mark_lost(range(990, 994), LossReason::Rejected(27));
        for n in 0..100 {
            ledger.mark_stored(range(n * 9, n * 9 + 3));
        }
        let key = StreamKey {
            tenant: TenantId::new("t").expect("a tenant"),
            host: HostName::new("h").expect("a host"),
            boot: BootId([1; 16]),
            classification: Classification::new(3).expect("a level"),
        };
        let boot = Boot::new(&key, &ledger);
        assert_eq!((boot.accounted.len(), boot.waiting.len(), boot.gaps.len()), (MAX_RANGES, MAX_RANGES, 1));
        assert!(boot.truncated);
        let gap = serde_json::to_value(&boot.gaps[0]).expect("JSON");
        assert_eq!(gap, serde_json::json!({"first": 990, "last": 994, "reason": "rejected", "code": 27}));
        let totals = boot.totals;
        assert_eq!(totals.expected, totals.stored + totals.waiting + totals.lost);
        assert_eq!((totals.expected, totals.stored, totals.lost), (1000, 400, 5));
    }
}
