//! Text for a terminal: aligned, coloured only where colours are seen, and free of what a terminal would obey.

use std::fmt::Write;

/// Columns of a line's title.
const TITLE: usize = 10;
const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// A screen being written.
pub(super) struct Screen {
    text: String,
    colours: bool,
}

/// How a value is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

impl Tone {
    fn colour(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => GREEN,
            Self::Warning => YELLOW,
            Self::Bad => RED,
        }
    }
}

impl Screen {
    pub(super) fn new(colours: bool) -> Self {
        Self { text: String::new(), colours }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }

    /// A line as it is.
    pub(super) fn line(&mut self, text: &str) {
        self.push("", text);
        self.blank();
    }

    /// A line with a title; an empty one continues the line above.
    pub(super) fn field(&mut self, title: &str, tone: Tone, text: &str) {
        let bold = if title.is_empty() { "" } else { BOLD };
        self.push(bold, &format!("{title:TITLE$}"));
        self.push(tone.colour(), text);
        self.blank();
    }

    /// A line whose beginning is to be seen from afar.
    pub(super) fn marked(&mut self, tone: Tone, mark: &str, text: &str) {
        self.push(tone.colour(), mark);
        self.line(text);
    }

    /// A heading that must not be missed.
    pub(super) fn alarm(&mut self, text: &str) {
        self.push(RED, text);
        self.blank();
    }

    /// One of several.
    pub(super) fn item(&mut self, text: &str) {
        self.push("", &format!("  - {text}"));
        self.blank();
    }

    /// Rows under headings, every column as wide as its widest cell; numbers stand on the right.
    pub(super) fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([headings[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        let numeric = |column: usize| {
            let is_number = |cell: &String| cell.bytes().all(|b| b.is_ascii_digit() || b == b',');
            rows.iter().filter_map(|row| row.get(column)).all(is_number)
        };
        let mut line = |cells: &mut dyn Iterator<Item = &str>, style: &str| {
            let mut text = String::new();
            for (column, cell) in cells.enumerate() {
                let width = widths[column];
                // Writing to a String cannot fail.
                let _ =
                    if numeric(column) { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:width$}  ") };
            }
            self.push(style, text.trim_end());
            self.blank();
        };
        line(&mut headings.iter().copied(), BOLD);
        rows.iter().for_each(|row| line(&mut row.iter().map(String::as_str), ""));
    }

    fn push(&mut self, style: &str, text: &str) {
        let styled = self.colours && !style.is_empty();
        if styled {
            self.text.push_str(style);
        }
        // What came over the network must not move the cursor.
        self.text.extend(text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }));
        if styled {
            self.text.push_str(RESET);
        }
    }
}

/// A number with its thousands apart.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 batch", "2 batches".
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(n), if n == 1 { one } else { many })
}

/// A length of time in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(length, _)| seconds >= *length).unwrap_or(units.len() - 1);
    let (length, name) = units[first];
    let mut text = format!("{} {name}", seconds / length);
    if let Some((next, name)) = units.get(first + 1)
        && seconds % length >= *next
    {
        // Writing to a String cannot fail.
        let _ = write!(text, " {} {name}", seconds % length / next);
    }
    text
}

/// A length of time given in milliseconds; below two seconds to the millisecond.
pub(super) fn span_ms(millis: u64) -> String {
    if millis < 2_000 { format!("{millis} ms") } else { span(millis / 1000) }
}

/// Bytes in KiB, MiB or GiB, the largest of which there is a whole one.
pub(super) fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        _ if bytes >= GIB => format!("{} GiB", tenths(GIB)),
        _ if bytes >= MIB => format!("{} MiB", tenths(MIB)),
        _ => format!("{} KiB", bytes.div_ceil(1024)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        assert_eq!([number(0), number(999), number(1_000), number(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([span(0), span(59), span(60), span(61)], ["0 s", "59 s", "1 min", "1 min 1 s"]);
        assert_eq!([span(3_600), span(90_061), span(86_400 + 59)], ["1 h", "1 d 1 h", "1 d"]);
        assert_eq!([span_ms(1_999), span_ms(2_000)], ["1999 ms", "2 s"]);
        assert_eq!([size(1), size(1 << 20), size((3 << 20) / 2)], ["1 KiB", "1.0 MiB", "1.5 MiB"]);
        assert_eq!([size((1 << 30) - 1), size(25 << 29)], ["1023.9 MiB", "12.5 GiB"]);
        assert_eq!([count(1, "batch", "batches"), count(2, "batch", "batches")], ["1 batch", "2 batches"]);
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        let mut screen = Screen::new(false);
        screen.field("link", Tone::Bad, "refused\x1b[2J\n");
        assert_eq!(screen.finish(), "link      refused\u{FFFD}[2J\u{FFFD}\n");
        let mut screen = Screen::new(true);
        screen.field("link", Tone::Good, "up");
        assert_eq!(screen.finish(), "\x1b[1mlink      \x1b[0m\x1b[32mup\x1b[0m\n");
    }

    #[test]
    fn columns_line_up() {
        let mut screen = Screen::new(false);
        screen.table(&["name", "n"], &[vec!["a".into(), "1,000".into()], vec!["long name".into(), "2".into()]]);
        assert_eq!(screen.finish(), "name           n\na          1,000\nlong name      2\n");
    }
}
