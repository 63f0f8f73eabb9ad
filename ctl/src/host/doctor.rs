//! `dsmilctl host doctor`: everything that was found, the worst first, each with its remedy.

use super::finding::{Finding, State};
use super::screen::{Screen, Tone, count};

/// Columns of a finding's state and of the check that found it.
const COLUMNS: (usize, usize) = (9, 15);

pub(super) fn draw(findings: &[Finding], screen: &mut Screen) {
    for finding in findings {
        let tone = match finding.state {
            State::Ok => Tone::Good,
            State::Unseen => Tone::Plain,
            State::Warning => Tone::Warning,
            State::Trouble => Tone::Bad,
        };
        let (state, check) = COLUMNS;
        screen.marked(
            tone,
            &format!("{:state$}", finding.state.name()),
            &format!("{:check$}{}", finding.check, finding.what),
        );
        if let Some(remedy) = &finding.remedy {
            screen.line(&format!("{:1$}→ {remedy}", "", state + check));
        }
    }
    screen.blank();
    screen.line(&summary(findings));
}

/// How much there is of each.
pub(super) fn summary(findings: &[Finding]) -> String {
    let of = |state| findings.iter().filter(|finding| finding.state == state).count() as u64;
    let parts = [
        (of(State::Trouble), "trouble", "troubles"),
        (of(State::Warning), "warning", "warnings"),
        (of(State::Unseen), "unseen", "unseen"),
        (of(State::Ok), "fine", "fine"),
    ];
    let told = parts.iter().filter(|(n, ..)| *n > 0).map(|(n, one, many)| count(*n, one, many));
    told.collect::<Vec<_>>().join(", ")
}
