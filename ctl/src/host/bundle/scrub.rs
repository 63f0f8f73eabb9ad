//! Takes out of texts who and where somebody is, and every secret: each value becomes a placeholder that stays the same
//! throughout, so that a reader can still see that two lines speak of one host.
//!
//! What is known (the host's name, its addresses as configured …) is replaced wherever it stands as a word; what is not known
//! goes by its shape. Placeholders are marked while the work goes on, so that nothing is replaced twice.

use super::shapes::Shapes;
use regex::{Captures, Regex};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Host,
    Tenant,
    /// The trust domain.
    Fleet,
    Device,
    /// A name in the DNS.
    Name,
    Ip,
    Mac,
    Serial,
    Uuid,
    Boot,
    User,
    /// A fingerprint, or another long number in hexadecimal.
    Key,
    /// Keys and certificates in PEM.
    Pem,
    Token,
    /// What is as random as a key.
    Secret,
}

impl Kind {
    /// How its placeholders begin.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Tenant => "tenant",
            Self::Fleet => "fleet",
            Self::Device => "device",
            Self::Name => "name",
            Self::Ip => "ip",
            Self::Mac => "mac",
            Self::Serial => "serial",
            Self::Uuid => "uuid",
            Self::Boot => "boot",
            Self::User => "user",
            Self::Key => "key",
            Self::Pem => "pem",
            Self::Token => "token",
            Self::Secret => "secret",
        }
    }
}

/// How often values of a kind were replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    /// Different ones.
    pub(super) distinct: u64,
    /// All of them.
    pub(super) replaced: u64,
}

/// Begins and ends a placeholder while the work goes on: characters for private use, which no text of a host has; those that
/// one has all the same are taken out first.
const MARKS: (char, char) = ('\u{E000}', '\u{E001}');

/// Replaces. One for all texts of a bundle.
pub(super) struct Scrubber {
    /// Known values by their lower-case text.
    known: HashMap<String, Kind>,
    /// All of them, the longest first.
    words: Option<Regex>,
    shapes: Shapes,
    pub(super) names: Names,
}

/// Which value has which placeholder.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<(Kind, String), u64>,
    counts: BTreeMap<Kind, Count>,
}

impl Names {
    /// The marked placeholder of a value: the same each time.
    pub(super) fn of(&mut self, kind: Kind, value: &str) -> String {
        let count = self.counts.entry(kind).or_default();
        count.replaced += 1;
        let number = *self.numbers.entry((kind, value.to_ascii_lowercase())).or_insert_with(|| {
            count.distinct += 1;
            count.distinct
        });
        format!("{}{}-{number}{}", MARKS.0, kind.name(), MARKS.1)
    }
}

/// Whether a text is, or has in it, a placeholder.
pub(super) fn is_marked(text: &str) -> bool {
    text.contains(MARKS.0)
}

impl Scrubber {
    /// Knows `values`; of one that is two things the first counts. Those that stand for nobody are left alone.
    pub(super) fn new(values: impl IntoIterator<Item = (Kind, String)>) -> anyhow::Result<Self> {
        let mut known = HashMap::new();
        for (kind, value) in values {
            let value = value.trim().to_ascii_lowercase();
            if !value.is_empty() && !NOBODY.contains(&value.as_str()) {
                known.entry(value).or_insert(kind);
            }
        }
        let mut longest: Vec<&String> = known.keys().collect();
        longest.sort_by_key(|value| (std::cmp::Reverse(value.len()), value.as_str()));
        let pattern: Vec<String> = longest.iter().map(|value| as_word(value)).collect();
        let words = (!pattern.is_empty()).then(|| Regex::new(&pattern.join("|"))).transpose()?;
        Ok(Self { known, words, shapes: Shapes::new()?, names: Names::default() })
    }

    /// A text without any of it.
    pub(super) fn text(&mut self, text: &str) -> String {
        let mut text = text.replace([MARKS.0, MARKS.1], "\u{FFFD}");
        text = self.shapes.secrets(&text, &mut self.names);
        if let Some(words) = &self.words {
            let (known, names) = (&self.known, &mut self.names);
            let put = |found: &Captures<'_>| {
                let kind = known.get(&found[0].to_ascii_lowercase()).copied().unwrap_or(Kind::Secret);
                names.of(kind, &found[0])
            };
            text = words.replace_all(&text, put).into_owned();
        }
        text = self.shapes.identities(&text, &mut self.names);
        text.replace([MARKS.0, MARKS.1], "")
    }

    /// A value that is known to be of a kind by where it stands: all of it goes.
    pub(super) fn whole(&mut self, kind: Kind, value: &str) -> String {
        if value.is_empty() || NOBODY.contains(&value.to_ascii_lowercase().as_str()) {
            return value.to_owned();
        }
        let kind = self.known.get(&value.to_ascii_lowercase()).copied().unwrap_or(kind);
        self.names.of(kind, value).replace([MARKS.0, MARKS.1], "")
    }

    /// Every text in a document; numbers and names of fields stay.
    pub(super) fn json(&mut self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.text(text),
            serde_json::Value::Array(all) => all.iter_mut().for_each(|value| self.json(value)),
            serde_json::Value::Object(all) => all.values_mut().for_each(|value| self.json(value)),
            _ => {}
        }
    }

    /// What was replaced so far.
    pub(super) fn counts(&self) -> &BTreeMap<Kind, Count> {
        &self.names.counts
    }
}

/// Values that stand for nobody, or for everybody: what they say is worth more than what they hide.
const NOBODY: [&str; 14] = [
    "localhost",
    "localhost.localdomain",
    "(none)",
    "none",
    "unknown",
    "not specified",
    "default string",
    "to be filled by o.e.m.",
    "root",
    "nobody",
    "dsmil",
    "0",
    "-",
    "n/a",
];

/// A value as a word: not within another. Names are the same in capitals.
fn as_word(value: &str) -> String {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let edge = |c: Option<char>| if is_word(c) { r"\b" } else { "" };
    let escaped = regex::escape(value);
    let body = if value.is_ascii() { format!("(?i-u:{escaped})") } else { escaped };
    format!("{}{body}{}", edge(value.chars().next()), edge(value.chars().next_back()))
}
