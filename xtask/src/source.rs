//! A Rust file seen as the verbs that read code need it: code without comments and text, the text of its literals, which
//! lines are tests, and how long its functions are.
//!
//! No parser: a scanner that knows where comments and literals begin and end is enough for laws about names and shapes,
//! and keeps this program quick to compile.

mod functions;

/// A Rust file, taken apart.
pub(crate) struct Source {
    /// Every line as written.
    pub(crate) lines: Vec<String>,
    /// Every line with comments and the insides of literals blanked out.
    pub(crate) code: Vec<String>,
    /// Every line's comments alone, the rest blanked out.
    pub(crate) comments: Vec<String>,
    /// The text of each literal and the line (from 0) on which it begins.
    pub(crate) literals: Vec<(usize, String)>,
    /// For every line: whether it is part of a test.
    pub(crate) test: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    /// The inside of a literal; its quotes count as code.
    Text,
}

impl Source {
    /// Takes a file apart. Lines under `#[cfg(test)]` are tests.
    pub(crate) fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let kinds = scan(&chars);
        let only = |wanted: Kind| {
            let kept = chars.iter().zip(&kinds).map(|(c, kind)| if *kind == wanted || *c == '\n' { *c } else { ' ' });
            kept.collect::<String>().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let code = only(Kind::Code);
        Self {
            lines: text.lines().map(str::to_owned).collect(),
            comments: only(Kind::Comment),
            literals: literals(&chars, &kinds),
            test: test_lines(&code),
            code,
        }
    }

    /// The same file, test from end to end.
    pub(crate) fn all_test(mut self) -> Self {
        self.test.fill(true);
        self
    }

    /// The modules that live in files of their own: their names, and whether they are tests.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (&str, bool)> {
        self.code.iter().zip(&self.test).filter_map(|(code, test)| {
            let declared = code.trim().strip_suffix(';')?;
            // What stands before is the visibility, or nothing; an attribute on the same line goes with it.
            let (before, name) = declared.rsplit_once(' ')?;
            let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            (plain && before.split(' ').next_back() == Some("mod")).then_some((name, *test))
        })
    }
}

/// What each character belongs to.
fn scan(chars: &[char]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; chars.len()];
    let mut at = 0;
    while at < chars.len() {
        let (kind, end) = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => (Kind::Comment, find(chars, at, |rest| rest[0] == '\n')),
            ('/', Some('*')) => (Kind::Comment, block_comment(chars, at)),
            ('"', _) => (Kind::Text, string(chars, at + 1)),
            ('r', Some('"' | '#')) if !continues_word(chars, at) || byte_prefix(chars, at) => raw_string(chars, at),
            ('\'', _) => (Kind::Text, character(chars, at)),
            _ => (Kind::Code, at + 1),
        };
        let inside = if kind == Kind::Text { at + 1..end.saturating_sub(1) } else { at..end };
        kinds.get_mut(inside).into_iter().flatten().for_each(|slot| *slot = kind);
        at = end.max(at + 1);
    }
    kinds
}

/// The first position from `at` where `found` holds of what is left, or the end.
fn find(chars: &[char], at: usize, found: impl Fn(&[char]) -> bool) -> usize {
    (at..chars.len()).find(|&i| found(&chars[i..])).unwrap_or(chars.len())
}

fn continues_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

/// Whether the `r` at `at` is that of `br"…"` or `cr"…"`.
fn byte_prefix(chars: &[char], at: usize) -> bool {
    at > 0 && matches!(chars[at - 1], 'b' | 'c') && !continues_word(chars, at - 1)
}

/// The end of the block comment at `at`; they nest.
fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0_usize, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) if depth == 1 => return i + 2,
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    i
}

/// The end, closing quote included, of the string whose text begins at `i`.
fn string(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// A raw string at `at`, or code: `r#name` is an identifier. Its hashes stay part of the text; nothing looks for them.
fn raw_string(chars: &[char], at: usize) -> (Kind, usize) {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return (Kind::Code, at + 1);
    }
    let closes = |rest: &[char]| rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|c| *c == '#');
    (Kind::Text, (find(chars, at + hashes + 2, closes) + 1 + hashes).min(chars.len()))
}

/// The end of the character at the quote `at`; a lifetime's quote ends at once.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => (find(chars, at + 3, |rest| rest[0] == '\'') + 1).min(chars.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// The text of literals, and the lines (from 0) on which they begin.
fn literals(chars: &[char], kinds: &[Kind]) -> Vec<(usize, String)> {
    let (mut found, mut line, mut i) = (Vec::new(), 0, 0);
    while i < chars.len() {
        if kinds[i] == Kind::Text {
            let end = (i..chars.len()).find(|&j| kinds[j] != Kind::Text).unwrap_or(chars.len());
            let text: String = chars[i..end].iter().collect();
            // A raw string's text still carries the quote and hashes of its opening and closing.
            found.push((line, text.trim_matches('#').trim_matches('"').to_owned()));
            line += chars[i..end].iter().filter(|c| **c == '\n').count();
            i = end;
        } else {
            line += usize::from(chars[i] == '\n');
            i += 1;
        }
    }
    found
}

/// What puts an item under test: the attribute alone, or with further conditions.
const TEST: [&str; 2] = ["#[cfg(test)]", "#[cfg(all(test,"];

/// Marks the items under [`TEST`], from the attribute to the end of the braces, or to the semicolon, that follow.
fn test_lines(code: &[String]) -> Vec<bool> {
    let mut test = vec![false; code.len()];
    let mut line = 0;
    while line < code.len() {
        if !TEST.iter().any(|attribute| code[line].contains(attribute)) {
            line += 1;
            continue;
        }
        let end = item_end(code, line);
        test[line..=end].fill(true);
        line = end + 1;
    }
    test
}

/// The line on which the item that begins on `start` ends.
fn item_end(code: &[String], start: usize) -> usize {
    // Depth counts all brackets, so that the semicolon in `[u8; 4]` ends nothing.
    let mut depth = 0_usize;
    for (line, text) in code.iter().enumerate().skip(start) {
        for c in text.chars() {
            match c {
                '{' | '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                '}' if depth <= 1 => return line,
                '}' => depth -= 1,
                ';' if depth == 0 => return line,
                _ => {}
            }
        }
    }
    code.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new(text).code.join("\n")
    }

    #[test]
    fn comments_and_text_are_not_code() {
        assert_eq!(code("let a = \"b // \\\" c\"; // d").trim_end(), "let a = \"         \";");
        assert_eq!(code("a /* b /* c */ d */ e"), "a                   e");
        assert_eq!(code("f(r#\"x \" y\"#, 'z', '\\'', '\"')").replace(' ', ""), "f(r#,'','','')");
        assert_eq!(code("fn f<'a>(x: &'a str) -> r#type {}"), "fn f<'a>(x: &'a str) -> r#type {}");
        assert_eq!(code("let b = br\"raw\\\"; x"), "let b = br     \"; x");
    }

    #[test]
    fn literals_come_with_their_lines() {
        let source = Source::new("let a = \"one\ntwo\";\nlet b = r#\"three\"#;\nlet c = 'x';");
        assert_eq!(source.literals, [(0, "one\ntwo".into()), (2, "three".into()), (3, "x".into())]);
    }

    #[test]
    fn test_items_are_marked_and_nothing_after_them() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x { y } }\n}\nfn c() {}\n#[cfg(test)]\nmod more;\nfn d() {}";
        let source = Source::new(text);
        assert_eq!(source.test, [false, true, true, true, true, false, true, true, false]);
        assert_eq!(Source::new("#[cfg(all(test, unix))]\nmod a;\nmod b;").test, [true, true, false]);
        assert!(Source::new("fn a() {}").all_test().test[0]);
    }

    #[test]
    fn modules_in_files_of_their_own_are_told_with_whether_they_are_tests() {
        let text = "mod a;\npub(crate) mod b;\n#[cfg(test)]\nmod c;\nmod d {}\n// mod e;\nuse x::f;\npub mod g;";
        let source = Source::new(text);
        assert_eq!(source.modules().collect::<Vec<_>>(), [("a", false), ("b", false), ("c", true), ("g", false)]);
    }

    #[test]
    fn what_never_ends_does_not_break_the_scanner() {
        for text in ["\"", "'", "/*", "r#\"", "'\\", "r", "#[cfg(test)]", "b'", "\"\\"] {
            Source::new(text);
        }
    }
}
