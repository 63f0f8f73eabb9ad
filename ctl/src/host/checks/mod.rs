//! The one judgement of a host: what is as it should be, what is not, and what to do about it.
//!
//! Each check is a function of gathered facts and says nothing of what was not gathered. `doctor` asks all of them; `status`
//! those that need nothing but the agent's own word, and its exit code is theirs.

mod agent;
mod identity;
mod link;
mod machine;
mod signs;
mod spool;
#[cfg(test)]
mod tests;

use super::facts::Facts;
use super::finding::Finding;
use dsmil_agent::status::{GapsReport, SpoolReport, Status};

/// A check.
type Check = fn(&Facts) -> Vec<Finding>;

/// Checks of what a running agent says of itself, in the order of its status.
const OF_STATUS: [Check; 7] =
    [link::link, spool::spool, identity::identity, identity::trust, identity::settings, link::clock, agent::sensors];
/// Checks of everything around it.
const OF_HOST: [Check; 10] = [
    agent::agent,
    agent::configuration,
    agent::probes,
    link::network,
    spool::left,
    spool::gaps,
    machine::memory,
    machine::disk,
    machine::kernel,
    signs::signs,
];

/// Everything that was found, the worst first.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = OF_HOST.iter().chain(&OF_STATUS).flat_map(|check| check(facts)).collect();
    findings.sort_by_key(|finding| finding.state);
    findings
}

/// What of a running agent's status needs attention, a line each.
pub(super) fn of_status(status: &Status) -> Vec<String> {
    let facts = Facts::of_status(status);
    lines(OF_STATUS.iter().flat_map(|check| check(&facts)).collect())
}

/// What of the gaps needs attention.
pub(super) fn of_gaps(report: &GapsReport) -> Vec<String> {
    let ticks = report.summary.ticks;
    let those = if ticks == 1 { "1 second".into() } else { format!("{ticks} seconds") };
    (ticks > 0)
        .then(|| format!("{those} of this host will never come, and the aggregator does not know it yet"))
        .into_iter()
        .collect()
}

/// What of a running agent's spool needs attention.
pub(super) fn of_spool(report: &SpoolReport) -> Vec<String> {
    lines([spool::of_running(&report.spool), spool::of_left(report)].concat())
}

/// What of the spool that an agent left needs attention.
pub(super) fn of_left_spool(report: &SpoolReport) -> Vec<String> {
    lines(spool::of_left(report))
}

fn lines(findings: Vec<Finding>) -> Vec<String> {
    findings.iter().filter(|finding| finding.state.needs_attention()).map(Finding::line).collect()
}
