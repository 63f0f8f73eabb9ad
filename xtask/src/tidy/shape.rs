//! Laws about the shape of files.

use super::Violation;
use crate::source::Source;

/// Lines of a file, tests not counted: what can be held in the head.
const MAX_LINES: usize = crate::house::LONG_FILE;

/// How long a Rust file is and how it opens.
pub(super) fn check(path: &str, source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |line, law, remedy: String| found.push(Violation { path: path.into(), line, law, remedy });
    // The crate `e2e` is all test to the other laws, but its simulator and its programs are read like any other code.
    let counts_whole = path.starts_with("tests/src/");
    let lines = source.test.iter().filter(|test| counts_whole || !**test).count();
    if lines > MAX_LINES {
        add(
            MAX_LINES,
            "length",
            format!("{lines} lines without tests, more than {MAX_LINES}: find the two things in it and part them"),
        );
    }
    if !source.lines.iter().find(|line| !line.trim().is_empty()).is_some_and(|line| line.starts_with("//!")) {
        add(1, "module comment", "open with `//!`: what this is for, and why it is as it is".into());
    }
    found
}

/// Every crate takes the workspace's lints: one left out would be checked by none of them, in silence.
pub(super) fn manifest(path: &str, text: &str) -> Vec<Violation> {
    let violation = |remedy: String| vec![Violation { path: path.into(), line: 1, law: "lints", remedy }];
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return violation(format!("cannot be read: {}", error.message())),
    };
    let inherits = table.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    if table.contains_key("package") && inherits != Some(true) {
        return violation("add `[lints]` with `workspace = true`".into());
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn laws(path: &str, text: &str) -> Vec<&'static str> {
        check(path, &source(path, text)).into_iter().map(|v| v.law).collect()
    }

    #[test]
    fn a_long_file_is_refused_but_its_tests_do_not_count() {
        let code = |n| format!("//! x\n{}", "fn a() {}\n".repeat(n));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(500));
        assert!(laws("a/src/lib.rs", &(code(MAX_LINES - 1) + &tests)).is_empty());
        assert_eq!(laws("a/src/lib.rs", &(code(MAX_LINES) + &tests)), ["length"]);
        assert!(laws("tests/tests/outage.rs", &code(500)).is_empty());
        assert_eq!(laws("tests/src/sim.rs", &code(500)), ["length"]);
    }

    #[test]
    fn a_file_opens_with_what_it_is() {
        assert_eq!(laws("a/src/lib.rs", "\n// x\n//! y\n"), ["module comment"]);
        assert_eq!(laws("a/src/lib.rs", ""), ["module comment"]);
        assert!(laws("a/src/lib.rs", "\n//! y\nfn a() {}").is_empty());
    }

    #[test]
    fn a_crate_takes_the_lints_of_the_workspace() {
        let package = "[package]\nname = \"a\"\n";
        assert_eq!(manifest("a/Cargo.toml", package).len(), 1);
        assert_eq!(manifest("a/Cargo.toml", &format!("{package}[lints]\nworkspace = false")).len(), 1);
        assert_eq!(manifest("a/Cargo.toml", "[package").len(), 1);
        assert!(manifest("a/Cargo.toml", &format!("{package}[lints]\nworkspace = true")).is_empty());
        assert!(manifest("Cargo.toml", "[workspace]\nmembers = []").is_empty());
    }
}
