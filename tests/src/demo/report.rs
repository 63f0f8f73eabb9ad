//! The end of the demo: what became of every tick, and whether that is all of them.

use crate::fleet::Pipeline;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What is known at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// What the centre says.
    pub(super) pipeline: Pipeline,
    /// Ticks that the hosts say they sampled.
    pub(super) sampled: u64,
    /// Hosts that nothing ever came from.
    pub(super) silent: Vec<String>,
}

/// The figures of one demo; its JSON is the last line of `--json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Hosts, this one and the simulated.
    pub hosts: u64,
    /// Seconds that the hosts account for.
    pub expected: u64,
    /// Of these, stored.
    pub stored: u64,
    /// Of these, neither stored nor known to be lost.
    pub waiting: u64,
    /// Of these, lost, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Ticks stored twice.
    pub duplicates: u64,
    /// Bytes of telemetry frames a sample; none before the first.
    pub wire_bytes_per_sample: Option<f64>,
    /// From sampled to queryable.
    pub tick_to_queryable_ms: Delays,
}

/// Delays in milliseconds; none before the first tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Delays {
    /// Half of the ticks were faster.
    pub p50: Option<f64>,
    /// 99 in 100 were faster.
    pub p99: Option<f64>,
}

impl Report {
    /// What the evidence says of `hosts` hosts.
    pub(super) fn of(hosts: u64, evidence: &Evidence) -> Self {
        let Pipeline { ledger, tick_to_queryable_ms: delay, wire_bytes_per_sample, .. } = &evidence.pipeline;
        Self {
            hosts,
            expected: ledger.expected,
            stored: ledger.stored,
            waiting: ledger.waiting,
            lost: ledger.lost_by.clone(),
            duplicates: ledger.duplicates,
            wire_bytes_per_sample: wire_bytes_per_sample.map(|bytes| rounded(bytes, 1000.0)),
            tick_to_queryable_ms: Delays {
                p50: delay.map(|delay| rounded(delay.p50, 1.0)),
                p99: delay.map(|delay| rounded(delay.p99, 1.0)),
            },
        }
    }

    /// Ticks that are lost, whatever the reason.
    pub fn lost_ticks(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Why this is not a fleet whose every tick is accounted for; nothing if it is.
    pub(super) fn troubles(&self, evidence: &Evidence) -> Vec<String> {
        let mut troubles = Vec::new();
        let accounted = self.stored + self.waiting + self.lost_ticks();
        if self.expected == 0 {
            troubles.push("no tick was ever expected".into());
        }
        if self.expected != accounted {
            troubles.push(format!("{} ticks expected, {accounted} accounted for", self.expected));
        }
        if self.expected < evidence.sampled {
            let sampled = evidence.sampled;
            troubles.push(format!("the hosts sampled {sampled} ticks, the aggregator knows of {}", self.expected));
        }
        if self.duplicates > 0 {
            troubles.push(format!("{} ticks are stored twice", self.duplicates));
        }
        if let Some(first) = evidence.silent.first() {
            troubles.push(format!("nothing came from {} hosts, {first} for one", evidence.silent.len()));
        }
        troubles
    }
}

/// To so many parts of one: more digits than were measured tell nothing.
fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, expected, stored, waiting, .. } = self;
        let hosts = if *hosts == 1 { "1 host".into() } else { format!("{hosts} hosts") };
        write!(f, "{expected} seconds of {hosts}: {stored} stored, {waiting} waiting, {} lost", self.lost_ticks())?;
        if !self.lost.is_empty() {
            let reasons: Vec<_> = self.lost.iter().map(|(reason, ticks)| format!("{reason} {ticks}")).collect();
            write!(f, " ({})", reasons.join(", "))?;
        }
        write!(f, ", {} stored twice", self.duplicates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Delay, Ledger};

    fn evidence() -> Evidence {
        let lost_by = BTreeMap::from([("agent_down".to_owned(), 2), ("evicted".to_owned(), 3)]);
        let ledger = Ledger { expected: 100, stored: 90, waiting: 5, lost: 5, lost_by, duplicates: 0 };
        let tick_to_queryable_ms = Some(Delay { p50: 4999.96, p99: 10_000.0 });
        let pipeline =
            Pipeline { ledger, tick_to_queryable_ms, wire_bytes_per_sample: Some(0.7004), ..Pipeline::default() };
        Evidence { pipeline, sampled: 98, silent: Vec::new() }
    }

    fn troubles(change: impl FnOnce(&mut Evidence)) -> String {
        let mut evidence = evidence();
        change(&mut evidence);
        Report::of(4, &evidence).troubles(&evidence).join("; ")
    }

    #[test]
    fn every_tick_accounted_for_is_no_trouble_though_some_are_lost() {
        assert_eq!(troubles(|_| {}), "");
    }

    #[test]
    fn everything_else_is() {
        assert_eq!(troubles(|e| e.pipeline.ledger.stored = 89), "100 ticks expected, 99 accounted for");
        assert_eq!(troubles(|e| e.sampled = 101), "the hosts sampled 101 ticks, the aggregator knows of 100");
        assert_eq!(troubles(|e| e.pipeline.ledger.duplicates = 1), "1 ticks are stored twice");
        let silent = troubles(|e| e.silent = vec!["sim-0002".into(), "sim-0003".into()]);
        assert_eq!(silent, "nothing came from 2 hosts, sim-0002 for one");
        let nothing = troubles(|e| *e = Evidence::default());
        assert_eq!(nothing, "no tick was ever expected");
    }

    #[test]
    fn the_json_has_the_promised_keys() {
        let json = serde_json::to_value(Report::of(4, &evidence())).expect("JSON");
        let expected = serde_json::json!({
            "hosts": 4, "expected": 100, "stored": 90, "waiting": 5, "lost": {"agent_down": 2, "evicted": 3},
            "duplicates": 0, "wire_bytes_per_sample": 0.7, "tick_to_queryable_ms": {"p50": 5000.0, "p99": 10000.0}
        });
        assert_eq!(json, expected);
    }
}
