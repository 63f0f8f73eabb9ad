//! `dsmilctl host gaps`.

use super::screen::{Screen, Tone, count, number, span};
use dsmil_agent::status::GapsReport;

/// Gaps on one screen, the newest; `--json` has them all.
const SHOWN: usize = 20;

pub(super) fn draw(report: &GapsReport, screen: &mut Screen) {
    if report.gaps.is_empty() {
        return screen.field("gaps", Tone::Good, "none that the aggregator does not know");
    }
    let summary = &report.summary;
    let total = format!("{} in {}", count(summary.ticks, "second", "seconds"), count(summary.gaps, "gap", "gaps"));
    screen.field("gaps", Tone::Plain, &total);
    for (reason, ticks) in &summary.by_reason {
        screen.field("", Tone::Plain, &format!("{reason}: {} ({})", number(*ticks), span(*ticks)));
    }
    screen.blank();
    let rows: Vec<Vec<String>> = report
        .gaps
        .iter()
        .rev()
        .take(SHOWN)
        .map(|gap| {
            let ticks = gap.last.saturating_sub(gap.first).saturating_add(1);
            vec![gap.boot.clone(), number(gap.first), number(gap.last), number(ticks), gap.reason.clone()]
        })
        .collect();
    screen.table(&["boot", "first tick", "last tick", "seconds", "reason"], &rows);
    if let Some(more) = report.gaps.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        screen.line(&format!("and {} older; --json has them all", number(more as u64)));
    }
}
