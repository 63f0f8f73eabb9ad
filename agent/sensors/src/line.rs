//! A short text that is copied like a number: what a verdict says in somebody else's words.

use std::fmt;

/// Bytes of a line. It travels in every sensor's result, so it is no longer than it has to be.
const LEN: usize = 95;

/// A line of text, cut to what a screen shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Line {
    bytes: [u8; LEN],
    len: u8,
}

impl Line {
    /// As much of what `text` says as fits.
    pub fn of(text: &impl fmt::Display) -> Self {
        let text = text.to_string();
        let whole = &text[..text.floor_char_boundary(LEN)];
        let mut bytes = [0; LEN];
        bytes[..whole.len()].copy_from_slice(whole.as_bytes());
        Self { bytes, len: u8::try_from(whole.len()).expect("a line is shorter than 256 bytes") }
    }

    /// It.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("it was made of whole characters")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(Line::of(&"hangs").as_str(), "hangs");
        const { assert!(!LEN.is_multiple_of(2), "an umlaut has two bytes: the last one does not fit") };
        let line = Line::of(&"ä".repeat(LEN));
        assert_eq!(line.as_str().len(), LEN - 1);
        assert_eq!(format!("{line:?}"), format!("\"{line}\""));
    }
}
