//! `dsmilctl host spool`.

use super::screen::{Screen, Tone, number, size};
use super::status;
use dsmil_agent::status::SpoolReport;

/// Rejected batches on one screen, the newest; `--json` has them all.
const SHOWN: usize = 10;

pub(super) fn draw(report: &SpoolReport, is_running: bool, screen: &mut Screen) {
    let path = report.spool.path.display();
    let (tone, state) = match (is_running, report.spool.writable, report.spool.tmpfs_full) {
        (false, ..) => (Tone::Plain, ""),
        (_, false, _) => (Tone::Bad, ": cannot be written"),
        (_, _, true) => (Tone::Bad, ": its tmpfs is full"),
        _ => (Tone::Good, ": in use"),
    };
    screen.field("file", tone, &format!("{path}{state}"));
    status::spool(&report.spool, screen);
    if !report.boots.is_empty() {
        screen.blank();
        let row = |boot: &dsmil_agent::status::BootEntry| {
            vec![boot.boot.clone(), number(boot.first), number(boot.last), number(boot.ticks_waiting)]
        };
        let rows: Vec<Vec<String>> = report.boots.iter().map(row).collect();
        screen.table(&["boot", "first tick", "last tick", "waiting"], &rows);
    }
    if report.rejected.is_empty() {
        return;
    }
    screen.blank();
    let shown = &report.rejected[..report.rejected.len().min(SHOWN)];
    let row = |batch: &dsmil_agent::status::RejectedEntry| {
        vec![batch.boot.clone(), number(batch.first), number(batch.last), size(batch.bytes), batch.code.clone()]
    };
    let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
    screen.table(&["rejected of boot", "first tick", "last tick", "size", "error"], &rows);
    if let Some(more) = report.rejected.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        screen.line(&format!("and {} older; --json has them all", number(more as u64)));
    }
    let mut named: Vec<&str> = Vec::new();
    for batch in shown {
        if !named.contains(&batch.code.as_str()) {
            named.push(&batch.code);
            screen.line(&format!("{}: {}", batch.code, batch.remedy));
        }
    }
}
