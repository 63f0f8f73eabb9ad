//! Every link from one of our pages to another leads to a file that is there, and to a heading in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What GitHub makes of a heading for a link: small letters, no punctuation, hyphens for spaces.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The anchors of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text).filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// Lines outside blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        inside ^= is_fence;
        !inside && !is_fence
    })
}

/// The targets of a page's links that stay in the repository.
fn targets(text: &str) -> Vec<&str> {
    let links = prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
    links.filter(|target| !target.contains("://") && !target.is_empty()).collect()
}

/// What is wrong with the links of the page at `path`.
fn broken(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a page");
    let mut wrong = Vec::new();
    for target in targets(&text) {
        let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
        let there = if file.is_empty() { path.to_owned() } else { path.with_file_name("").join(file) };
        let found = match std::fs::read_to_string(&there) {
            Ok(other) => wanted.is_empty() || anchors(&other).contains(wanted),
            Err(_) => wanted.is_empty() && there.exists(),
        };
        if !found {
            wrong.push(format!("{}: {target}", path.display()));
        }
    }
    wrong
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|kind| kind == "md") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = pages(&root.join("docs"));
    all.push(root.join("README.md"));
    let wrong: Vec<String> = all.iter().flat_map(|page| broken(page)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(all.len() > 10);
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("a.md", "# It's `so` (yes)\n```\n[no](link.md)\n```\n[1](b.md#b), [2](#its-so-yes), [3](https://x.test/)\n");
    write("b.md", "## B\n[1](a.md#b) and [2](c.md)\n");
    assert_eq!(broken(&folder.path().join("a.md")), Vec::<String>::new());
    assert_eq!(broken(&folder.path().join("b.md")).len(), 2);
}
