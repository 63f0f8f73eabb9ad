//! The licences of everything that a program is linked of: most of them ask that their text goes along.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::sbom::{Known, crates};

/// How files with licences begin, in capitals.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
/// Where crates have the licences of the C within them.
const WITHIN: [&str; 2] = ["aws-lc", "zstd"];
/// What is linked and is no crate.
const SYSTEM: &str = "\
glibc is under the GNU LGPL 2.1 or later (/usr/share/common-licenses/LGPL-2.1 on Debian). Who wants to link a program with
another glibc builds it from its source, which is free.
Rust's standard library is under MIT or Apache-2.0, https://github.com/rust-lang/rust.
SQLite is in the public domain, https://www.sqlite.org/copyright.html.
";

/// The text for a package's documents: each licence once, with the crates that it is of.
pub(super) fn text(package: &str, known: &Known) -> anyhow::Result<String> {
    let mut of_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = format!("What {package} is linked of, and under which licence.\n\n{SYSTEM}\n");
    for part in crates::linked(package)?.crates {
        let Some(license) = known.registry_license(&part)? else { continue };
        list.push_str(&format!("{}: {license}\n", part.reference()));
        for file in files(&known.folder(&part)?)? {
            let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let text = String::from_utf8_lossy(&bytes).trim().replace("\r\n", "\n");
            let crates = of_text.entry(text).or_default();
            if crates.last() != Some(&part.reference()) {
                crates.push(part.reference());
            }
        }
    }
    ensure!(!of_text.is_empty(), "no licences were found where cargo keeps crates");
    // By the first crate of each, so that the order does not depend on the texts.
    let mut texts: Vec<_> = of_text.into_iter().map(|(text, crates)| (crates, text)).collect();
    texts.sort();
    for (crates, text) in texts {
        list.push_str(&format!("\n{}\nOf {}:\n\n{text}\n", "=".repeat(78), crates.join(", ")));
    }
    Ok(list)
}

/// The files with licences of a crate and of the C within it, sorted.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let folders = std::iter::once(folder.to_owned()).chain(WITHIN.map(|within| folder.join(within)));
    for folder in folders.filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().to_uppercase()).unwrap_or_default();
            if path.is_file() && NAMES.iter().any(|begin| name.starts_with(begin)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_strangers_is_named_and_most_have_their_text() {
        let known = Known::ask().unwrap();
        let text = text("dsmil-agent", &known).unwrap();
        for crates in ["rustls@", "zstd-sys@", "aws-lc-sys@", "tokio@"] {
            assert!(text.contains(&format!("\n{crates}")), "{crates} is not listed");
            assert!(
                text.contains(&format!("Of {crates}")) || text.contains(&format!(", {crates}")),
                "{crates}: no text"
            );
        }
        assert!(!text.contains("dsmil-protocol@"), "what is ours is under the package's own");
    }
}
