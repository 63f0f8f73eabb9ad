//! How long functions are, counted as clippy's `too_many_lines` counts them: lines of the body with code on them.

use super::Source;

/// A function with a body, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line of its `fn`, from 0.
    pub(crate) line: usize,
    /// Lines between its braces that are neither blank nor comment alone.
    pub(crate) lines: usize,
}

impl Source {
    /// All functions that are no tests, in the order of the file. One within another counts for itself and in the outer
    /// one; what a macro makes of other text is not seen.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let code: Vec<Vec<char>> = self.code.iter().map(|line| line.chars().collect()).collect();
        let reader = Reader { code: &code };
        let mut found = Vec::new();
        for line in (0..code.len()).filter(|line| !self.test[*line]) {
            for column in reader.keywords(line) {
                let Some((name, after)) = reader.name(line, column + "fn".len()) else { continue };
                let Some(open) = reader.body((line, after)) else { continue };
                let close = reader.closing(open);
                found.push(Function { name, line, lines: self.lines_of_code(open, close) });
            }
        }
        found
    }

    /// How many lines have code between two braces. The text of a literal is code.
    fn lines_of_code(&self, open: Place, close: Place) -> usize {
        let counts = |line: &usize| {
            let from = if *line == open.0 { open.1 + 1 } else { 0 };
            let to = if *line == close.0 { close.1 } else { usize::MAX };
            let mut both = self.lines[*line].chars().zip(self.comments[*line].chars()).take(to).skip(from);
            both.any(|(written, comment)| !written.is_whitespace() && comment == ' ')
        };
        (open.0..=close.0).filter(counts).count()
    }
}

/// A line and a column in it, both from 0.
type Place = (usize, usize);

/// Code that is walked through character by character, across lines.
struct Reader<'a> {
    code: &'a [Vec<char>],
}

impl Reader<'_> {
    /// The columns of a line at which the word `fn` stands.
    fn keywords(&self, line: usize) -> impl Iterator<Item = usize> + '_ {
        let text = &self.code[line];
        let is_word = |at: usize| text.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
        let stands = move |at: &usize| text[*at..].starts_with(&['f', 'n']) && !is_word(at + 2);
        (0..text.len()).filter(stands).filter(move |at| *at == 0 || !is_word(at - 1))
    }

    /// The name that begins behind blanks at `column`, and where it ends; none for the type `fn(u8)`.
    fn name(&self, line: usize, column: usize) -> Option<(String, usize)> {
        let text = &self.code[line];
        let start = (column..text.len()).find(|at| !text[*at].is_whitespace())?;
        let part = |at: &usize| text[*at].is_alphanumeric() || matches!(text[*at], '_' | '#');
        let end = (start..text.len()).find(|at| !part(at)).unwrap_or(text.len());
        (end > start).then(|| (text[start..end].iter().collect(), end))
    }

    /// The brace that opens the body of the function whose name ends at `from`; none where a semicolon comes first.
    fn body(&self, from: Place) -> Option<Place> {
        let (mut depth, mut before) = (0_usize, ' ');
        let mut skip_to = from;
        for (place, c) in self.from(from) {
            if place < skip_to {
                continue;
            }
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                // The braces of a constant among generic arguments: `Array<{ N + 1 }>`.
                '{' if before == '<' => skip_to = self.closing(place),
                '{' if depth == 0 => return Some(place),
                ';' if depth == 0 => return None,
                _ => {}
            }
            if !c.is_whitespace() {
                before = c;
            }
        }
        None
    }

    /// The brace that closes the one at `open`, or the end of the file.
    fn closing(&self, open: Place) -> Place {
        let mut depth = 0_usize;
        for (place, c) in self.from(open) {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => return place,
                '}' => depth -= 1,
                _ => {}
            }
        }
        (self.code.len() - 1, usize::MAX)
    }

    /// All characters from a place on.
    fn from(&self, (line, column): Place) -> impl Iterator<Item = (Place, char)> + '_ {
        let chars = |at: usize| self.code[at].iter().enumerate().map(move |(column, c)| ((at, column), *c));
        (line..self.code.len()).flat_map(chars).skip(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(text: &str) -> Vec<(String, usize)> {
        Source::new(text).functions().into_iter().map(|function| (function.name, function.lines)).collect()
    }

    #[test]
    fn lines_are_counted_as_clippy_counts_them() {
        let text = "fn a(\n    x: u8,\n) -> u8 {\n    // why\n\n    let s = \"// no comment\n    {\";\n    /* b\n    c */\n    x // d\n}\n";
        assert_eq!(functions(text), [("a".into(), 3)]);
        assert_eq!(
            functions("fn a() {}\nfn b() { c() }\nfn d() { e();\nf() }"),
            [("a".into(), 0), ("b".into(), 1), ("d".into(), 2)]
        );
    }

    #[test]
    fn what_has_no_body_is_no_function() {
        assert!(
            functions(
                "trait T {\n    fn a(&self) -> [u8; 4];\n}\nlet f: fn(u8) = g; // fn b() {}\nlet s = \"fn c() {}\";"
            )
            .is_empty()
        );
    }

    #[test]
    fn nested_functions_generic_constants_and_raw_names_are_seen() {
        let text = "impl A {\n    pub(crate) async unsafe fn r#type<const N: usize>(self) -> B<{ N + 1 }>\n    where\n        [(); N]: Sized,\n    {\n        fn inner() { x }\n        let c = |y| { y };\n    }\n}";
        assert_eq!(functions(text), [("r#type".into(), 2), ("inner".into(), 1)]);
    }

    #[test]
    fn tests_are_left_out() {
        assert_eq!(functions("fn a() { b }\n#[cfg(test)]\nmod tests {\n    fn c() { d }\n}"), [("a".into(), 1)]);
    }

    #[test]
    fn what_never_ends_does_not_break_the_count() {
        assert_eq!(functions("fn a() {\n    b"), [("a".into(), 1)]);
        assert!(functions("fn a(").is_empty() && functions("fn").is_empty());
    }
}
