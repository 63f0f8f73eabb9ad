//! Where the agent and node_exporter differ, and why: the table that the tests judge by.

use super::{Page, table};
use dsmil_sensors::comparison::{DIFFERENCES, Difference, DifferenceKind};

/// The page of the differences.
pub(super) fn page() -> Page {
    let sections = [
        (DifferenceKind::Value, "Another value"),
        (DifferenceKind::Absent, "Sometimes without a value"),
        (DifferenceKind::TheirsOnly, "Only node_exporter has it"),
        (DifferenceKind::OursOnly, "Only the agent has it"),
    ];
    let body: String = sections.map(|(kind, title)| section(kind, title)).concat();
    let introduction = "The agent reports what node_exporter's default collectors report, under the same names, with the same labels and \
                        values. The tests hold it against release 1.5.0, Debian's, on captured machines and on the machine that they \
                        run on, in the same second; every series that differs is one of these, or a test fails.";
    Page::markdown("node-exporter.md", "The agent beside node_exporter", introduction, &body)
}

fn section(kind: DifferenceKind, title: &str) -> String {
    let of_kind = |difference: &&Difference| difference.kind == kind;
    let row = |difference: &Difference| {
        let name = difference.prefix;
        let more = if name.ends_with('_') { "…" } else { "" };
        [format!("`{name}`{more}"), difference.reason.to_owned()]
    };
    let rows = DIFFERENCES.iter().filter(of_kind).map(row);
    format!("## {title}\n\n{}\n", table(["metric", "why"], rows))
}
