//! `cargo xtask tidy`: the laws of the architecture that a tool can check.
//!
//! Each check is a function from text to violations, so that each can be seen to fail on a few lines. A violation is one
//! line: where, which law, what to do. There is no switch to turn a check off: what must be different is in
//! [`EXCEPTIONS`] with its reason, and an exception that excuses nothing is a violation itself.

mod crates;
mod map;
mod pages;
mod places;
mod rust;
mod shape;

use std::fmt;
use std::fs;

use anyhow::{Context, bail};

use crate::source::Source;
use crate::{tree, workspace};

/// A law broken somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    law: &'static str,
    remedy: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.law, self.remedy)
    }
}

/// Files that a law does not hold for: the law, the file, why.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// Prints every violation; an error if there is one.
pub(crate) fn run() -> anyhow::Result<()> {
    let found = violations()?;
    found.iter().for_each(|violation| println!("{violation}"));
    match found.len() {
        0 => Ok(()),
        1 => bail!("1 law is broken"),
        n => bail!("{n} laws are broken"),
    }
}

/// Every violation in the tree, in the order of its files.
pub(crate) fn violations() -> anyhow::Result<Vec<Violation>> {
    let root = workspace::root();
    let paths = tree::files(root)?;
    let mut found = crates::check(&crates::graph()?);
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    found.extend(pages::unlisted_decisions(&paths, read));
    found.extend(map::check(&map::Tree { paths: &paths, read: &read }));
    for path in &paths {
        let bytes = fs::read(root.join(path)).with_context(|| format!("cannot read {path}"))?;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        found.extend(file(path, &text));
        if path.ends_with(".md") {
            found.extend(pages::dead_links(path, &text, |target| root.join(target).exists()));
        }
    }
    let mut found = excuse(found, &EXCEPTIONS);
    found.sort();
    Ok(found)
}

/// What one file's text breaks by itself.
fn file(path: &str, text: &str) -> Vec<Violation> {
    let mut found = places::check(path, text);
    if path.ends_with(".rs") {
        let source = source(path, text);
        found.extend(rust::check(path, &source));
        found.extend(shape::check(path, &source));
    }
    if path.ends_with("Cargo.toml") {
        found.extend(shape::manifest(path, text));
    }
    found
}

/// A Rust file taken apart, with whole files of tests marked as such: the crate `e2e`, a crate's `tests` or `benches` folder,
/// a module called `tests`.
fn source(path: &str, text: &str) -> Source {
    let source = Source::new(text);
    let whole = path.split('/').any(|part| matches!(part, "tests" | "benches" | "tests.rs"));
    if whole { source.all_test() } else { source }
}

/// Takes out what is excepted, and complains of exceptions that nothing needs.
fn excuse(mut found: Vec<Violation>, exceptions: &[(&str, &str, &str)]) -> Vec<Violation> {
    for (law, path, _why) in exceptions {
        let before = found.len();
        found.retain(|violation| (violation.law, violation.path.as_str()) != (*law, *path));
        if found.len() == before {
            found.push(Violation {
                path: "xtask/src/tidy/mod.rs".into(),
                line: 1,
                law: "exceptions",
                remedy: format!("the exception from `{law}` for {path} excuses nothing; remove it"),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_files_of_tests_are_known_by_their_place() {
        for (path, test) in [("tests/src/sim.rs", true), ("a/src/spool/tests.rs", true), ("a/src/testing.rs", false)] {
            assert_eq!(source(path, "fn a() {}").test, [test], "{path}");
        }
    }

    #[test]
    fn an_exception_excuses_one_law_in_one_file_and_must_be_needed() {
        let violation = |path: &str, law| Violation { path: path.into(), line: 3, law, remedy: "mend it".into() };
        let found = vec![violation("a.rs", "length"), violation("a.rs", "sleep"), violation("b.rs", "length")];
        let kept = excuse(found, &[("length", "a.rs", "a table"), ("length", "c.rs", "gone")]);
        let lines: Vec<_> = kept.iter().map(ToString::to_string).collect();
        assert_eq!(lines[..2], ["a.rs:3: sleep: mend it", "b.rs:3: length: mend it"]);
        assert!(lines[2].contains("excuses nothing"), "{lines:?}");
    }
}
