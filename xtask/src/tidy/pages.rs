//! Laws about Markdown pages: links lead somewhere, and every decision is in the index.

use std::path::{Component, Path, PathBuf};

use super::Violation;

/// The index of decisions.
const INDEX: &str = "docs/adr/README.md";

/// Relative links of the page `path` that lead to nothing. `exists` is asked about paths from the repository's root.
pub(super) fn dead_links(path: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (line, text) in text.lines().enumerate() {
        if text.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for link in links(text) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let target = resolve(Path::new(path), Path::new(file));
            if !target.as_deref().is_some_and(&exists) {
                let remedy = format!("`{link}` leads to nothing in this repository; mend or remove it");
                found.push(Violation { path: path.into(), line: line + 1, law: "links", remedy });
            }
        }
    }
    found
}

/// The targets of the links in a line: `[text](target "title")` and `[name]: target`, code left out.
fn links(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    // Every other part lies between backquotes.
    for text in line.split('`').step_by(2) {
        found.extend(text.match_indices("](").filter_map(|(at, _)| text[at + 2..].split([')', ' ']).next()));
    }
    if line.starts_with('[') {
        found.extend(line.split_once("]: ").and_then(|(_, target)| target.split_whitespace().next()));
    }
    // A link whose text is code ends in a part that begins with `](`; the split above keeps that part whole.
    found.into_iter().map(|link| link.trim_matches(['<', '>'])).collect()
}

/// Where a relative link leads from the page's folder; nothing if out of the repository.
fn resolve(page: &Path, link: &Path) -> Option<PathBuf> {
    let mut resolved = page.parent()?.to_owned();
    for part in link.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => resolved.pop().then_some(())?,
            Component::Normal(part) => resolved.push(part),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

/// Decisions (`docs/adr/NNNN-….md`) that the index does not name.
pub(super) fn unlisted_decisions(paths: &[String], read: impl Fn(&str) -> String) -> Vec<Violation> {
    let index = read(INDEX);
    let names = paths.iter().filter_map(|path| path.strip_prefix("docs/adr/"));
    names
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()) && !index.contains(&format!("]({name})")))
        .map(|name| Violation {
            path: format!("docs/adr/{name}"),
            line: 1,
            law: "decisions",
            remedy: format!("list it in {INDEX} in one line"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_seen() {
        let there = |path: &Path| matches!(path.to_str(), Some("docs/a.md" | "README.md" | "docs"));
        let lines = |text: &str| dead_links("docs/b.md", text, there).iter().map(|v| v.line).collect::<Vec<_>>();
        assert_eq!(lines("[a](a.md)\n[b](gone.md) [c](../gone.md)\n[`d`](gone.md)"), [2, 2, 3]);
        assert_eq!(lines("[out](../../README.md)\n[root](/etc/passwd)\n\n[r]: gone.md"), [1, 2, 4]);
        assert!(lines("[a](../README.md#part) [b](#here) [c](https://x.org/y) [d](../docs/) [`e`](a.md)").is_empty());
        assert!(lines("`[a](gone.md)`\n```\n[a](gone.md)\n```\n[r]: a.md \"title\"").is_empty());
    }

    #[test]
    fn a_decision_must_be_in_the_index() {
        let paths = ["docs/adr/0001-a.md", "docs/adr/0002-b.md", "docs/adr/README.md"].map(str::to_owned);
        let found = unlisted_decisions(&paths, |_| "- [0001](0001-a.md): a".into());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "docs/adr/0002-b.md");
    }
}
