//! Plain selectors: `name{label="value", …}` with an optional `[range]`, as PromQL writes them.
//!
//! Everything else of PromQL (functions, operators, `offset`, `@`, numbers) is named and refused: half an answer to a
//! query would be a wrong one.

use super::moment::{parse_units, print_units};
use super::names::{is_label_name, is_metric_name};
use std::fmt;

/// Bytes of a selector. The longest that a dashboard makes (a regular expression over some dozen hosts) has one or two KiB.
pub const MAX_SELECTOR_LEN: usize = 16 << 10;
/// Matchers in one selector: each is tried on every series.
pub const MAX_MATCHERS: usize = 64;

/// How a label's value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
        }
    }
}

/// One condition on a label. A label that a series does not have is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The label; `__name__` for the metric's name.
    pub label: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: String,
}

/// A selector. Its conditions are not compiled yet: see `filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The name in front of the braces.
    pub name: Option<String>,
    /// What is in the braces.
    pub matchers: Vec<Matcher>,
    /// What is in the brackets, milliseconds.
    pub range_ms: Option<i64>,
}

/// Why a query is no plain selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Nothing there.
    #[error("unknown position: parse error: no expression found in input")]
    Empty,
    /// Longer than a selector may be.
    #[error("the query has more than {MAX_SELECTOR_LEN} bytes or {MAX_MATCHERS} matchers")]
    TooLong,
    /// PromQL, and not a plain selector.
    #[error(
        "at byte {at}: {what} is not supported: only plain selectors are, such as node_load1{{host=\"h1\"}} or node_load1[5m], with =, !=, =~ and !~"
    )]
    Unsupported {
        /// Where, from 0.
        at: usize,
        /// What was found.
        what: String,
    },
    /// Not PromQL.
    #[error("parse error at byte {at}: expected {expected}")]
    Syntax {
        /// Where, from 0.
        at: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// A name in front of the braces and one within.
    #[error("parse error: metric name must not be set twice")]
    NameTwice,
}

impl std::str::FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_SELECTOR_LEN {
            return Err(SelectorError::TooLong);
        }
        let mut parser = Parser { text, at: 0 };
        parser.selector()
    }
}

impl fmt::Display for Selector {
    /// Prints it so that it reads back the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or_default())?;
        if self.name.is_none() || !self.matchers.is_empty() {
            f.write_str("{")?;
            for (i, matcher) in self.matchers.iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                write!(f, "{comma}{}{}", matcher.label, matcher.comparison.sign())?;
                quote(f, &matcher.value)?;
            }
            f.write_str("}")?;
        }
        match self.range_ms {
            Some(ms) => write!(f, "[{}]", print_units(ms)),
            None => Ok(()),
        }
    }
}

fn quote(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in value.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            c if c.is_control() => write!(f, "\\U{:08x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

struct Parser<'a> {
    text: &'a str,
    /// A byte position on a character's edge.
    at: usize,
}

impl Parser<'_> {
    fn selector(&mut self) -> Result<Selector, SelectorError> {
        self.skip_space();
        if self.peek().is_none() {
            return Err(SelectorError::Empty);
        }
        let name = self.word(|c| c == ':');
        if name.as_deref().is_some_and(|name| !is_metric_name(name)) || (name.is_none() && self.peek() != Some('{')) {
            self.at = 0;
            self.skip_space();
            return Err(self.unsupported());
        }
        self.skip_space();
        let matchers = if self.take('{') { self.matchers()? } else { Vec::new() };
        if name.is_some() && matchers.iter().any(|m| m.label == "__name__") {
            return Err(SelectorError::NameTwice);
        }
        self.skip_space();
        let range_ms = if self.take('[') { Some(self.range()?) } else { None };
        self.skip_space();
        if self.peek().is_some() {
            return Err(self.unsupported());
        }
        Ok(Selector { name, matchers, range_ms })
    }

    /// Behind the opening brace, up to and with the closing one. A comma may follow the last matcher.
    fn matchers(&mut self) -> Result<Vec<Matcher>, SelectorError> {
        let mut matchers = Vec::new();
        loop {
            self.skip_space();
            if self.take('}') {
                return Ok(matchers);
            }
            if matchers.len() == MAX_MATCHERS {
                return Err(SelectorError::TooLong);
            }
            matchers.push(self.matcher()?);
            self.skip_space();
            if !self.take(',') && self.peek() != Some('}') {
                return Err(self.expected("\",\" or \"}\""));
            }
        }
    }

    fn matcher(&mut self) -> Result<Matcher, SelectorError> {
        let start = self.at;
        let label = self.word(|_| false).filter(|label| is_label_name(label));
        let Some(label) = label else {
            self.at = start;
            return Err(self.expected("a label name"));
        };
        self.skip_space();
        let comparison = match (self.peek(), self.peek_second()) {
            (Some('='), Some('~')) => Comparison::Matches,
            (Some('!'), Some('~')) => Comparison::MatchesNot,
            (Some('!'), Some('=')) => Comparison::NotEqual,
            (Some('='), _) => Comparison::Equal,
            _ => return Err(self.expected("one of =, !=, =~, !~")),
        };
        self.at += comparison.sign().len();
        self.skip_space();
        Ok(Matcher { label, comparison, value: self.string()? })
    }

    /// A string in any of the three kinds of quotes; in backticks nothing is escaped.
    fn string(&mut self) -> Result<String, SelectorError> {
        let quote = self.peek().filter(|c| matches!(c, '"' | '\'' | '`'));
        let Some(quote) = quote else { return Err(self.expected("a quoted string")) };
        self.at += 1;
        let mut value = String::new();
        loop {
            match self.next() {
                Some(c) if c == quote => return Ok(value),
                Some('\\') if quote != '`' => value.push(self.escape(quote)?),
                Some('\n') if quote != '`' => return Err(self.expected("the closing quote on the same line")),
                Some(c) => value.push(c),
                None => return Err(self.expected("the closing quote")),
            }
        }
    }

    /// Behind a backslash, as in Go. `\x` and octal make bytes there; here only such that are characters.
    fn escape(&mut self, quote: char) -> Result<char, SelectorError> {
        let at = self.at;
        let bad = || SelectorError::Syntax { at, expected: "a valid escape sequence" };
        Ok(match self.next().ok_or_else(bad)? {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' => '\\',
            c if c == quote => c,
            'x' => self.code(2, 16).filter(char::is_ascii).ok_or_else(bad)?,
            'u' => self.code(4, 16).ok_or_else(bad)?,
            'U' => self.code(8, 16).ok_or_else(bad)?,
            '0'..='7' => {
                self.at -= 1;
                self.code(3, 8).filter(char::is_ascii).ok_or_else(bad)?
            }
            _ => return Err(bad()),
        })
    }

    fn code(&mut self, digits: usize, radix: u32) -> Option<char> {
        let text = self.text.get(self.at..self.at + digits)?;
        if !text.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        self.at += digits;
        char::from_u32(u32::from_str_radix(text, radix).ok()?)
    }

    /// Behind the opening bracket, up to and with the closing one.
    fn range(&mut self) -> Result<i64, SelectorError> {
        self.skip_space();
        let word = self.word(|_| false).unwrap_or_default();
        let Some(ms) = parse_units(&word).filter(|ms| *ms > 0) else {
            return Err(self.expected("a duration over 0 such as 5m"));
        };
        self.skip_space();
        if self.peek() == Some(':') {
            return Err(self.unsupported());
        }
        if self.take(']') { Ok(ms) } else { Err(self.expected("\"]\"")) }
    }

    fn word(&mut self, also: impl Fn(char) -> bool) -> Option<String> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || also(c))).unwrap_or(rest.len());
        self.at += end;
        (end > 0).then(|| rest[..end].to_owned())
    }

    /// Space and comments.
    fn skip_space(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                let rest = &self.text[self.at..];
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if matches!(c, ' ' | '\t' | '\n' | '\r') {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.text[self.at..].chars().nth(1)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expected(&self, expected: &'static str) -> SelectorError {
        SelectorError::Syntax { at: self.at, expected }
    }

    fn unsupported(&self) -> SelectorError {
        let what: String = self.text[self.at..].chars().take(24).collect();
        SelectorError::Unsupported { at: self.at, what: format!("{what:?}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Selector, SelectorError> {
        text.parse()
    }

    fn matcher(label: &str, comparison: Comparison, value: &str) -> Matcher {
        Matcher { label: label.into(), comparison, value: value.into() }
    }

    #[test]
    fn every_form_of_a_plain_selector_is_read() {
        let all = parse(" up { a = \"1\", b!='2' ,c=~`x\\d`,d!~\"\\\"\\n\\u00e9\\x41\\101\", } [ 1h30m ] # why")
            .expect("read");
        assert_eq!(all.name.as_deref(), Some("up"));
        assert_eq!(all.range_ms, Some(5_400_000));
        assert_eq!(
            all.matchers,
            [
                matcher("a", Comparison::Equal, "1"),
                matcher("b", Comparison::NotEqual, "2"),
                matcher("c", Comparison::Matches, "x\\d"),
                matcher("d", Comparison::MatchesNot, "\"\néAA"),
            ]
        );
        assert_eq!(parse("a:b").expect("read").name.as_deref(), Some("a:b"));
        let braces = parse("{__name__=~\"node_.*\"}").expect("read");
        assert_eq!((braces.name, braces.matchers.len()), (None, 1));
        assert!(parse("up{}").expect("read").matchers.is_empty());
    }

    #[test]
    fn what_is_more_than_a_selector_is_named() {
        for query in [
            "rate(up[5m])",
            "up + 1",
            "1",
            "-up",
            "up offset 5m",
            "up @ 1",
            "sum by (a) (up)",
            "up[5m:1m]",
            "\"x\"",
            "(up)",
        ] {
            let error = parse(query).expect_err(query);
            assert!(matches!(error, SelectorError::Unsupported { .. }), "{query}: {error}");
            assert!(error.to_string().contains("only plain selectors"), "{error}");
        }
    }

    #[test]
    fn what_is_no_promql_is_refused_with_its_place() {
        for query in [
            "up{",
            "up{a}",
            "up{a=}",
            "up{a=\"x}",
            "up{a=\"\\q\"}",
            "up{a=\"x\" b=\"y\"}",
            "up{1=\"x\"}",
            "up[",
            "up[5]",
            "up[0s]",
            "up[5m",
            "up{,}",
            "up{a==\"x\"}",
            "up{a=\"\\xff\"}",
            "up{a=\"\\ud800\"}",
        ] {
            assert!(matches!(parse(query), Err(SelectorError::Syntax { .. })), "{query}: {:?}", parse(query));
        }
        assert_eq!(parse(" # nothing"), Err(SelectorError::Empty));
        assert_eq!(parse("up{__name__=\"down\"}"), Err(SelectorError::NameTwice));
        let long = format!("up{{{}}}", "a=\"x\",".repeat(MAX_MATCHERS + 1));
        assert_eq!(parse(&long), Err(SelectorError::TooLong));
        assert_eq!(parse(&"x".repeat(MAX_SELECTOR_LEN + 1)), Err(SelectorError::TooLong));
    }

    fn comparison() -> impl Strategy<Value = Comparison> {
        use Comparison::{Equal, Matches, MatchesNot, NotEqual};
        proptest::sample::select(vec![Equal, NotEqual, Matches, MatchesNot])
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(
            name in proptest::option::of("[a-zA-Z_:][a-zA-Z0-9_:]{0,10}"),
            matchers in proptest::collection::vec(("[a-zA-Z_][a-zA-Z0-9]{0,6}", comparison(), any::<String>()), 0..5),
            range_ms in proptest::option::of(1..1_000_000_000_000i64),
        ) {
            let matchers = matchers.into_iter().map(|(label, comparison, value)| Matcher { label, comparison, value });
            let selector = Selector { name, matchers: matchers.collect(), range_ms };
            prop_assert_eq!(parse(&selector.to_string()), Ok(selector));
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn nearly_right_text_does_no_harm(text in "(up)?[{}\\[\\]=!~\"'`\\\\xuU0-9a-f,é# \n]{0,40}") {
            if let Ok(selector) = parse(&text) {
                prop_assert_eq!(parse(&selector.to_string()), Ok(selector));
            }
        }
    }
}
