//! Printing: whole or not at all, tables aligned, and no panic when the reader has gone away.

use serde::Serialize;
use std::io::{self, Write};

/// Writes to standard output, with a line's end.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.trim_end_matches('\n').as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes JSON on one line.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(print(&serde_json::to_string(value)?)?)
}

/// Writes a table, or to standard error that there is nothing to show.
pub(super) fn print_table(head: &[&str], rows: &[Vec<String>], nothing: &str) -> io::Result<()> {
    if rows.is_empty() {
        eprintln!("{nothing}");
        return Ok(());
    }
    print(&table(head, rows))
}

/// Columns under their heads, two spaces apart.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_string()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first digits of a fingerprint: enough for a person to tell two apart.
pub(super) fn short(bytes: &[u8; 48]) -> String {
    hex(&bytes[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["h1".to_string(), "enrolled".into()], vec!["a-long-name".into(), String::new()]];
        assert_eq!(table(&["HOST", "STATE"], &rows), "HOST         STATE\nh1           enrolled\na-long-name\n");
    }
}
