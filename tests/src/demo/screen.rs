//! How the demo shows what it sees: a block that stays in its place on a terminal, a line at a time elsewhere.

use super::figures::Figures;
use std::io::{self, Write};

/// Clears the line from here to its end (ECMA-48, EL).
const CLEAR_LINE: &str = "\x1b[K";
const GIB: f64 = 1_073_741_824.0;
const UNKNOWN: &str = "–";

/// Where figures are shown.
#[derive(Debug)]
pub(super) struct Screen {
    in_place: bool,
    /// Lines of the block that is there already.
    lines: usize,
}

impl Screen {
    /// On a terminal, or not.
    pub(super) fn new(is_terminal: bool) -> Self {
        Self { in_place: is_terminal, lines: 0 }
    }

    /// Shows `figures`, in the place of the last ones if it can.
    pub(super) fn show(&mut self, figures: &Figures, out: &mut dyn Write) -> io::Result<()> {
        if !self.in_place {
            writeln!(out, "{}", line(figures))?;
            return out.flush();
        }
        let block = block(figures);
        if self.lines > 0 {
            // Up to the block's first line (ECMA-48, CUU).
            write!(out, "\x1b[{}A", self.lines)?;
        }
        block.iter().try_for_each(|line| writeln!(out, "{line}{CLEAR_LINE}"))?;
        self.lines = block.len();
        out.flush()
    }
}

fn block(figures: &Figures) -> Vec<String> {
    let ledger = &figures.ledger;
    let link = figures.link.as_ref().map_or(UNKNOWN.into(), |(group, scheme)| format!("{group} and {scheme}"));
    let memory = match (figures.memory_available_bytes, figures.memory_total_bytes) {
        (Some(available), Some(total)) => format!("{:.1} of {:.1} GiB available", available / GIB, total / GIB),
        _ => UNKNOWN.into(),
    };
    let delay = figures.delay.map_or(UNKNOWN.into(), |delay| {
        format!("half within {:.1} s, 99 % within {:.1} s", delay.p50 / 1000.0, delay.p99 / 1000.0)
    });
    vec![
        format!("  hosts       {} of {} up", figures.hosts_up, figures.hosts),
        format!("  link        {link}"),
        format!("  this CPU    {}", shown(figures.cpu_percent, 1, " %")),
        format!("  load        {}", shown(figures.load1, 2, "")),
        format!("  memory      {memory}"),
        format!(
            "  ticks       {} stored, {} waiting, {} lost, {} twice",
            ledger.stored, ledger.waiting, ledger.lost, ledger.duplicates
        ),
        format!("  queryable   {delay}"),
        format!("  on the wire {}", shown(figures.wire_bytes_per_sample, 2, " bytes a sample")),
    ]
}

fn line(figures: &Figures) -> String {
    let ledger = &figures.ledger;
    let delay = figures.delay.map_or(UNKNOWN.into(), |d| format!("{:.0}/{:.0} ms", d.p50, d.p99));
    format!(
        "up {}/{}  cpu {}  load {}  memory {}  stored {}  waiting {}  lost {}  queryable p50/p99 {delay}  wire {}  {}",
        figures.hosts_up,
        figures.hosts,
        shown(figures.cpu_percent, 1, "%"),
        shown(figures.load1, 2, ""),
        shown(figures.memory_available_bytes.map(|bytes| bytes / GIB), 1, " GiB"),
        ledger.stored,
        ledger.waiting,
        ledger.lost,
        shown(figures.wire_bytes_per_sample, 2, " B/sample"),
        figures.link.as_ref().map_or(UNKNOWN, |(group, _)| group),
    )
}

fn shown(value: Option<f64>, digits: usize, unit: &str) -> String {
    value.map_or(UNKNOWN.into(), |value| format!("{value:.digits$}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Delay, Ledger};

    fn figures() -> Figures {
        Figures {
            hosts: 4,
            hosts_up: 3,
            link: Some(("G".into(), "S".into())),
            cpu_percent: Some(12.34),
            load1: Some(0.5),
            memory_available_bytes: Some(1.5 * GIB),
            memory_total_bytes: Some(2.0 * GIB),
            ledger: Ledger { expected: 45, stored: 40, waiting: 5, ..Ledger::default() },
            delay: Some(Delay { p50: 5000.0, p99: 10_100.0 }),
            wire_bytes_per_sample: Some(0.66),
        }
    }

    #[test]
    fn elsewhere_it_is_a_line_at_a_time() {
        let mut out = Vec::new();
        let mut screen = Screen::new(false);
        screen.show(&Figures::default(), &mut out).expect("written");
        screen.show(&figures(), &mut out).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        let expected = "up 0/0  cpu –  load –  memory –  stored 0  waiting 0  lost 0  queryable p50/p99 –  wire –  –\n\
            up 3/4  cpu 12.3%  load 0.50  memory 1.5 GiB  stored 40  waiting 5  lost 0  queryable p50/p99 5000/10100 ms  \
            wire 0.66 B/sample  G\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn on_a_terminal_the_block_stays_in_its_place() {
        let (mut out, mut screen) = (Vec::new(), Screen::new(true));
        screen.show(&figures(), &mut out).expect("written");
        let first = String::from_utf8(out.clone()).expect("UTF-8");
        assert!(!first.contains("\x1b[8A") && first.contains("half within 5.0 s, 99 % within 10.1 s"), "{first}");
        screen.show(&figures(), &mut out).expect("written");
        let both = String::from_utf8(out).expect("UTF-8");
        assert_eq!(both, format!("{first}\x1b[8A{first}"));
        assert!(first.lines().all(|line| line.ends_with(CLEAR_LINE)));
    }
}
