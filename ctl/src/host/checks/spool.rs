//! The spool: whether it can be written, how full it is, what was set aside, and what was lost.

use super::super::facts::Facts;
use super::super::finding::Finding;
use super::super::screen::{count, number, size, span};
use dsmil_agent::status::{GapSummary, SpoolReport, SpoolStatus};

/// A spool fuller than this many hundredths soon has to let the oldest batches go.
const NEARLY_FULL: u64 = 80;

/// The spool of a running agent, as its status has it.
pub(super) fn spool(facts: &Facts) -> Vec<Finding> {
    let Some(status) = &facts.status else { return Vec::new() };
    let spool = &status.spool;
    let mut found = of_running(spool);
    found.extend(set_aside(spool));
    if found.is_empty() {
        let used = format!("{} of {} used", size(spool.used_bytes), size(spool.capacity_bytes));
        found.push(Finding::ok(SPOOL, format!("{}; {used}", count(spool.ticks_waiting, "tick waits", "ticks wait"))));
    }
    found
}

/// What is wrong with the spool of a running agent.
pub(super) fn of_running(spool: &SpoolStatus) -> Vec<Finding> {
    let mut found = Vec::new();
    if !spool.writable {
        found.push(Finding::trouble(
            SPOOL,
            "the spool cannot be written: ticks are lost, and counted, until it can",
            "the agent's log says why: `journalctl -u dsmil-agent -n 20`",
        ));
    }
    let folder = spool.path.parent().unwrap_or(&spool.path).display();
    if spool.tmpfs_full {
        found.push(Finding::trouble(
            SPOOL,
            "the spool's tmpfs is full; until there is room the oldest batches make it",
            format!("free space on {folder} (`df -h {folder}`), or give it more (`mount -o remount,size=…`)"),
        ));
    }
    let is_nearly_full = spool.used_bytes.saturating_mul(100) >= spool.capacity_bytes.saturating_mul(NEARLY_FULL);
    if spool.capacity_bytes > 0 && is_nearly_full && found.is_empty() {
        let what = format!("the spool is nearly full: {} of {}", size(spool.used_bytes), size(spool.capacity_bytes));
        let remedy = "bring the link up before the oldest ticks have to go; `spool.capacity_mib` in agent.toml gives it more \
                      (then `systemctl restart dsmil-agent`)";
        found.push(Finding::warning(SPOOL, what, remedy));
    }
    found
}

/// What is wrong with a spool whether the agent runs or not.
pub(super) fn of_left(report: &SpoolReport) -> Vec<Finding> {
    let mut found = Vec::new();
    if !report.rejected.is_empty() {
        let what = format!("batches that the aggregator rejected: {}", report.rejected.len());
        found.push(Finding::warning(SPOOL, what, "`dsmilctl host spool` names them and their remedies"));
    }
    found.extend(set_aside(&report.spool));
    found
}

fn set_aside(spool: &SpoolStatus) -> Option<Finding> {
    let files: Vec<String> = spool.set_aside.iter().map(|path| path.display().to_string()).collect();
    let remedy =
        || format!("suspect the host's memory, or somebody's hand; when you have looked, `rm {}`", files.join(" "));
    let what = || format!("damaged files were set aside: {}", files.join(", "));
    (!files.is_empty()).then(|| Finding::warning(SPOOL, what(), remedy()))
}

/// The spool that an agent left.
pub(super) fn left(facts: &Facts) -> Vec<Finding> {
    match &facts.left {
        None => Vec::new(),
        Some(Err(why)) => {
            let what = format!("what the agent left cannot be read: {why}");
            vec![Finding::unseen(SPOOL, what, "`sudo dsmilctl host spool`, or name its path with --spool")]
        }
        Some(Ok(None)) => vec![Finding::ok(SPOOL, "there is none: nothing waits for the agent to start")],
        Some(Ok(Some(inspection))) => {
            let waiting = inspection.spool.spool.ticks_waiting;
            let what = format!("{} for the agent to start", count(waiting, "tick waits", "ticks wait"));
            let mut found = vec![Finding::ok(SPOOL, what)];
            found.extend(inspection.damage.as_ref().map(|damage| {
                let remedy =
                    "nothing: the agent brings over what can be read when it starts (`systemctl start dsmil-agent`)";
                Finding::warning(SPOOL, damage.clone(), remedy)
            }));
            found.extend(of_left(&inspection.spool));
            found
        }
    }
}

/// Ticks that will never come.
pub(super) fn gaps(facts: &Facts) -> Vec<Finding> {
    let summary = match (&facts.status, &facts.left) {
        (Some(status), _) => &status.gaps,
        (None, Some(Ok(Some(inspection)))) => &inspection.gaps.summary,
        _ => return Vec::new(),
    };
    let GapSummary { gaps, ticks, by_reason } = summary;
    if *ticks == 0 {
        return vec![Finding::ok(GAPS, "none that the aggregator does not know")];
    }
    let reasons: Vec<String> = by_reason.iter().map(|(why, ticks)| format!("{why} {}", number(*ticks))).collect();
    let which = count(*gaps, "gap", "gaps");
    let what = format!("{} in {which} will never come ({})", span(*ticks), reasons.join(", "));
    vec![Finding::warning(
        GAPS,
        what,
        "nothing: the aggregator is told when the link is up; `dsmilctl host gaps` says more",
    )]
}

const SPOOL: &str = "spool";
const GAPS: &str = "gaps";
