//! Other agents and backends, measured beside ours on the same machine in the same run.
//!
//! What a host and a backend would run is set up once for each peer and once for ours, each in a network of its own, and
//! runs side by side: their footprint is taken in the same minute, and they go through the same outage. Only what they
//! keep on disk is measured one after the other, before that. A peer that is not here, or fails, is a row that says so.
//!
//! Reading order: `package`, `place`, `rig`, `program`, `http`; `victoria`, `scrape`, `collectd`, `pipeline` (the peers),
//! `ours`, `side` (both with one face); `footprint`, `outage`, `rest` (what is measured); `table`.

mod collectd;
mod footprint;
mod ours;
mod outage;
mod package;
mod pipeline;
mod place;
mod program;
mod rest;
mod rig;
mod scrape;
mod side;
mod table;
mod victoria;

use super::{Row, codec::Capture};
use crate::fleet::Ledger;
use anyhow::ensure;
use ours::Ours;
use outage::Verdict;
use pipeline::Peer;
use place::Places;
use rig::Rig;
use side::Contender;
use table::{AtRest, Measured, Said};

pub(super) fn figures(capture: &Capture) -> anyhow::Result<Vec<Row>> {
    let rig = Rig::new()?;
    let at_rest = AtRest {
        ours: rest::ours(&rig, capture)?,
        victoria: rest::victoria(&rig, capture),
        prometheus: rest::prometheus(&rig, capture),
    };
    let mut contenders = vec![Contender::ours(Ours::start(&rig)?)];
    contenders.extend(Peer::ALL.map(|peer| Contender::peer(&rig, peer)));
    let versions: Vec<_> = contenders.iter().map(Contender::versions).collect();
    let footprints = footprint::measure(&rig, &mut contenders);
    let frames = contenders[0].ask_ours(|ours| ours.frames());
    let verdicts = outage::drill(&rig, &mut contenders);
    let ledger = contenders[0].ask_ours(|ours| ours.ledger());
    let mut measured = Vec::new();
    for (((contender, footprint), verdict), versions) in contenders.iter().zip(footprints).zip(verdicts).zip(versions) {
        let why = contender.trouble().map(|trouble| format!("{trouble:#}"));
        measured.push(Measured { name: contender.name(), versions, footprint, verdict, said: Said::default(), why });
    }
    measured[0].said.wire = frames.map(|bytes| format!("of which telemetry frames {bytes:.2}"));
    if let (Some(ledger), Some(verdict)) = (&ledger, &mut measured[0].verdict) {
        also_by_ledger(verdict, ledger);
        let others: Vec<_> = ledger.lost_by.iter().map(|(reason, ticks)| format!("{reason} {ticks}")).collect();
        measured[0].said.gaps = Some(format!("what was not sampled is told: {}", others.join(", ")));
    }
    ensure!(measured[0].why.is_none(), "ours: {}", measured[0].why.as_deref().unwrap_or_default());
    let no_wire = match &rig.places {
        Places::Own => None,
        Places::Shared(why) => Some(why.as_str()),
    };
    Ok(table::rows(&measured, &at_rest, no_wire))
}

/// Our ledger knows of every tick since the agent's first one: where it knows worse than the judged series, it counts.
fn also_by_ledger(verdict: &mut Verdict, ledger: &Ledger) {
    let dead = ledger.lost_by.get("agent_down").copied().unwrap_or(0);
    verdict.lost = verdict.lost.max(ledger.lost.saturating_sub(dead));
    verdict.doubled = verdict.doubled.max(ledger.duplicates);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_ledger_knows_worse_counts() {
        let lost_by = [("agent_down".to_owned(), 15), ("spool_lost".to_owned(), 4)].into();
        let ledger = Ledger { lost: 19, lost_by, duplicates: 1, ..Ledger::default() };
        let mut verdict = Verdict { judged: 100, lost: 2, doubled: 3, between: None };
        also_by_ledger(&mut verdict, &ledger);
        assert_eq!((verdict.lost, verdict.doubled), (4, 3));
    }
}
