//! The reference pages under docs/generated, each a function of the product's code, so that none can be out of date
//! without a test that says so.
//!
//! `source` reads doc comments out of source files, `runbooks` says which section helps with what, `links` follows every
//! link of every page; the other modules make pages.

mod api;
mod commands;
mod configuration;
mod host_metrics;
#[cfg(test)]
mod links;
mod metrics;
mod node_exporter;
mod protocol;
mod refused;
mod runbooks;
mod source;

use anyhow::Context;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A page: its name in the folder, and everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The file's name.
    pub name: &'static str,
    /// Its content.
    pub text: String,
}

impl Page {
    /// A Markdown page: a title, an introduction, and what comes after it.
    fn markdown(name: &'static str, title: &str, introduction: &str, body: &str) -> Self {
        let text = format!(
            "# {title}\n\n<!-- Made from the code by `cargo xtask docs`: change the code, not this page. -->\n\n{introduction}\n\n{body}"
        );
        Self { name, text }
    }
}

/// Every page. `programs` is the folder in which the product's programs lie.
pub fn pages(programs: &Path) -> anyhow::Result<Vec<Page>> {
    let [metrics, openapi] = api::pages()?;
    Ok(vec![
        protocol::tlvs(),
        protocol::messages(),
        refused::errors(),
        refused::refusals(),
        refused::problems(),
        configuration::page(),
        host_metrics::page()?,
        node_exporter::page(),
        metrics,
        openapi,
        commands::page(programs)?,
    ])
}

/// Writes the pages into `folder` and removes what no page is.
pub fn write(folder: &Path, pages: &[Page]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in differing(folder, pages)? {
        let path = folder.join(&name);
        match pages.iter().find(|page| page.name == name) {
            Some(page) => fs::write(&path, &page.text),
            None => fs::remove_file(&path),
        }
        .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The names of files in `folder` that are missing, differ from their page, or are no page's.
pub fn differing(folder: &Path, pages: &[Page]) -> anyhow::Result<BTreeSet<String>> {
    let is_same = |page: &Page| fs::read_to_string(folder.join(page.name)).is_ok_and(|text| text == page.text);
    let mut names: BTreeSet<String> =
        pages.iter().filter(|page| !is_same(page)).map(|page| page.name.to_owned()).collect();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", folder.display())),
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !pages.iter().any(|page| page.name == name) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// A Markdown table.
fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line =
        |cells: &[String; N]| format!("| {} |\n", cells.each_ref().map(|cell| cell.replace('|', "\\|")).join(" | "));
    let mut text = line(&head.map(str::to_owned)) + &line(&[const { "---" }; N].map(str::to_owned));
    text.extend(rows.into_iter().map(|row| line(&row)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_end_its_column() {
        let text = table(["a", "b"], [["1 | 2".into(), "3".into()]]);
        assert_eq!(text, "| a | b |\n| --- | --- |\n| 1 \\| 2 | 3 |\n");
    }

    #[test]
    fn what_is_missing_changed_or_left_over_is_named_and_mended() {
        let folder = tempfile::tempdir().expect("a folder");
        let page = |name, text: &str| Page { name, text: text.into() };
        let pages = [page("same.md", "1"), page("changed.md", "2"), page("missing.md", "3")];
        for (name, text) in [("same.md", "1"), ("changed.md", "old"), ("left-over.md", "4")] {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let names = differing(folder.path(), &pages).expect("a folder");
        assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), ["changed.md", "left-over.md", "missing.md"]);
        write(folder.path(), &pages).expect("written");
        assert!(differing(folder.path(), &pages).expect("a folder").is_empty());
        assert_eq!(differing(&folder.path().join("nowhere"), &pages).expect("no folder").len(), 3);
    }
}
