//! The map, docs/ARCHITECTURE.md, held against the tree: it names every crate and module and nothing that is not there, and
//! what it says keeps an invariant is a test or a tool that exists.
//!
//! Under `## Crates`, a heading `### ` names a crate by its folder and each item of a list a module; what else is between
//! backquotes in the item is a module within that one. Whether the second level is named is the map's choice, module by
//! module, but it is named whole or not at all. Under `## Invariants`, the second column names the keepers between
//! backquotes: `path`, `path::test` or `cargo xtask VERB`.

use std::collections::BTreeSet;

use super::Violation;
use crate::source::Source;

const MAP: &str = "docs/ARCHITECTURE.md";

/// The tree, as the map's laws look at it.
pub(super) struct Tree<'a> {
    pub(super) paths: &'a [String],
    /// The text of a file, empty if there is none.
    pub(super) read: &'a dyn Fn(&str) -> String,
}

/// A module that the map names, and what it names within it.
struct Item {
    line: usize,
    module: String,
    within: Vec<String>,
}

/// A crate's part of the map.
struct Part {
    line: usize,
    folder: String,
    items: Vec<Item>,
}

/// All that is wrong with the map.
pub(super) fn check(tree: &Tree<'_>) -> Vec<Violation> {
    let map = (tree.read)(MAP);
    let parts = parts(&map);
    let mut found = crates(&parts, tree);
    for part in &parts {
        found.extend(modules(part, tree));
    }
    found.extend(invariants(&map, tree));
    found
}

fn violation(line: usize, law: &'static str, remedy: String) -> Violation {
    Violation { path: MAP.into(), line, law, remedy }
}

/// The lines of the section under a heading `## `, with their numbers from 1.
fn section<'a>(map: &'a str, heading: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let lines = map.lines().enumerate().map(|(line, text)| (line + 1, text));
    let mut after = lines.skip_while(move |(_, text)| text.strip_prefix("## ") != Some(heading));
    after.next();
    after.take_while(|(_, text)| !text.starts_with("## "))
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn parts(map: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut in_item = false;
    for (line, text) in section(map, "Crates") {
        let item = text.strip_prefix("- ");
        if let Some(folder) = text.strip_prefix("### ").and_then(|heading| quoted(heading).next()) {
            parts.push(Part { line, folder: folder.into(), items: Vec::new() });
        } else if let (Some(item), Some(part)) = (item, parts.last_mut()) {
            let mut names = quoted(item).map(str::to_owned);
            let Some(module) = names.next() else { continue };
            part.items.push(Item { line, module, within: names.collect() });
        } else if in_item && text.starts_with("  ") {
            let item = parts.last_mut().and_then(|part| part.items.last_mut());
            item.into_iter().for_each(|item| item.within.extend(quoted(text).map(str::to_owned)));
        }
        in_item = item.is_some() || (in_item && text.starts_with("  "));
    }
    parts
}

/// Every crate has a part of the map, and every part a crate.
fn crates(parts: &[Part], tree: &Tree<'_>) -> Vec<Violation> {
    let is_crate =
        |folder: &str| ["lib.rs", "main.rs"].iter().any(|root| tree.paths.contains(&format!("{folder}/src/{root}")));
    let folders = tree.paths.iter().filter_map(|path| path.strip_suffix("/Cargo.toml")).filter(|path| is_crate(path));
    let unnamed = folders.filter(|folder| !parts.iter().any(|part| part.folder == **folder));
    let unnamed =
        unnamed.map(|folder| violation(1, "map", format!("the crate `{folder}` has no heading under Crates")));
    let gone = parts.iter().filter(|part| !is_crate(&part.folder));
    unnamed.chain(gone.map(|part| violation(part.line, "map", format!("`{}` is no crate", part.folder)))).collect()
}

/// A crate's modules and those that the map names are the same, and so are the modules within one, where it names any.
fn modules(part: &Part, tree: &Tree<'_>) -> Vec<Violation> {
    let src = format!("{}/src", part.folder);
    let mut there = declared(tree, &format!("{src}/lib.rs"));
    there.extend(declared(tree, &format!("{src}/main.rs")));
    there.extend(tree.paths.contains(&format!("{src}/main.rs")).then(|| "main".to_owned()));
    there.extend(tree.paths.iter().any(|path| path.starts_with(&format!("{src}/bin/"))).then(|| "bin".to_owned()));

    let named = part.items.iter().map(|item| (item.line, item.module.as_str()));
    let mut found = compare(part.line, &part.folder, named, &there);
    for item in part.items.iter().filter(|item| !item.within.is_empty() && there.contains(&item.module)) {
        let module = format!("{src}/{}", item.module);
        let within = match item.module.as_str() {
            // Its modules are the crate's.
            "main" => BTreeSet::new(),
            "bin" => {
                let programs = tree.paths.iter().filter_map(|path| path.strip_prefix(&format!("{module}/")));
                programs.filter_map(|path| path.strip_suffix(".rs")).map(str::to_owned).collect()
            }
            _ => &declared(tree, &format!("{module}.rs")) | &declared(tree, &format!("{module}/mod.rs")),
        };
        let named = item.within.iter().map(|name| (item.line, name.as_str()));
        found.extend(compare(item.line, &format!("{}::{}", part.folder, item.module), named, &within));
    }
    found
}

/// The modules that a file declares, those under test left out.
fn declared(tree: &Tree<'_>, path: &str) -> BTreeSet<String> {
    let source = Source::new(&(tree.read)(path));
    source.modules().filter(|(_, test)| !test).map(|(name, _)| name.to_owned()).collect()
}

/// What is named and not there, and what is there and not named.
fn compare<'a>(
    heading: usize,
    whole: &str,
    named: impl Iterator<Item = (usize, &'a str)>,
    there: &BTreeSet<String>,
) -> Vec<Violation> {
    let (mut found, mut missing) = (Vec::new(), there.clone());
    for (line, name) in named {
        missing.remove(name);
        if !there.contains(name) {
            found.push(violation(line, "map", format!("`{whole}` has no module `{name}`")));
        }
    }
    found.extend(missing.iter().map(|name| violation(heading, "map", format!("`{whole}`: name its module `{name}`"))));
    found
}

/// Each invariant names what keeps it, and that exists.
fn invariants(map: &str, tree: &Tree<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    // Before the first row stand the head of the table and its rule.
    for (line, row) in section(map, "Invariants").filter(|(_, text)| text.starts_with('|')).skip(2) {
        let keepers = row.split('|').nth(2).unwrap_or_default();
        if quoted(keepers).next().is_none() {
            found.push(violation(line, "invariants", "name the test or the tool that keeps it".into()));
        }
        let gone = quoted(keepers).filter(|keeper| !exists(keeper, tree));
        found.extend(gone.map(|keeper| violation(line, "invariants", format!("there is no `{keeper}`"))));
    }
    found
}

/// Whether a keeper is there: a file, a test in a file, or a verb of this program.
fn exists(keeper: &str, tree: &Tree<'_>) -> bool {
    let file = |path: &str| tree.paths.iter().any(|there| there == path);
    if let Some(rest) = keeper.strip_prefix("cargo xtask ") {
        let verb = rest.split(' ').next().unwrap_or_default();
        return file(&format!("xtask/src/{verb}.rs")) || file(&format!("xtask/src/{verb}/mod.rs"));
    }
    match keeper.split_once("::") {
        None => file(keeper),
        Some((path, test)) => file(path) && (tree.read)(path).contains(&format!("fn {test}(")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP_OF_A: &str = "# Map\n## Crates\n### `a`: this\n- `main`: `inner` is not text\n  but `outer` is within too\n\
         - `one`: it\n### `b`\n- `bin`: `tool`\n## Invariants\n| what | who |\n|---|---|\n\
         | this holds | `cargo xtask tidy`, `a/src/one.rs` |\n| that too | `a/src/one.rs::it_holds` |\n";

    fn laws(map: &str) -> Vec<String> {
        let files = [
            ("Cargo.toml", ""),
            ("a/Cargo.toml", ""),
            ("a/src/main.rs", "mod one;\n#[cfg(test)]\nmod tests;"),
            ("a/src/one.rs", "mod x;\nfn it_holds() {}"),
            ("b/Cargo.toml", ""),
            ("b/src/lib.rs", ""),
            ("b/src/bin/tool.rs", ""),
            ("xtask/src/tidy/mod.rs", ""),
            (MAP, map),
        ];
        let paths = files.map(|(path, _)| path.to_owned());
        let read =
            |wanted: &str| files.iter().find(|(path, _)| *path == wanted).map_or("", |(_, text)| text).to_owned();
        let said = |violation: Violation| violation.to_string().replace("docs/ARCHITECTURE.md:", "");
        check(&Tree { paths: &paths, read: &read }).into_iter().map(said).collect()
    }

    #[test]
    fn a_true_map_breaks_no_law() {
        let map = MAP_OF_A.replace("`main`: `inner` is not text\n  but `outer` is within too", "`main`: the program");
        assert_eq!(laws(&map), [""; 0]);
        assert_eq!(laws(&map.replace("`one`: it", "`one`: it has\n  `x` within")), [""; 0]);
    }

    #[test]
    fn a_module_is_named_if_and_only_if_it_is_there() {
        let said = laws(MAP_OF_A);
        assert_eq!(said, ["4: map: `a::main` has no module `inner`", "4: map: `a::main` has no module `outer`"]);
        let map = MAP_OF_A.replace(": `inner` is not text\n  but `outer` is within too", "");
        assert_eq!(
            laws(&map.replace("- `one`: it\n", "- `two`: it\n")),
            ["5: map: `a` has no module `two`", "3: map: `a`: name its module `one`"]
        );
        assert_eq!(
            laws(&map.replace("`one`: it", "`one`: `y`")),
            ["5: map: `a::one` has no module `y`", "5: map: `a::one`: name its module `x`"]
        );
        assert_eq!(laws(&map.replace("`bin`: `tool`", "`bin`: `saw`")).len(), 2);
    }

    #[test]
    fn every_crate_has_its_part_of_the_map() {
        let map = MAP_OF_A.replace(": `inner` is not text\n  but `outer` is within too", "");
        let said = laws(&map.replace("### `b`\n- `bin`: `tool`\n", "### `c`\n"));
        assert_eq!(said, ["1: map: the crate `b` has no heading under Crates", "6: map: `c` is no crate"]);
    }

    #[test]
    fn an_invariant_names_a_keeper_that_exists() {
        let map = MAP_OF_A.replace(": `inner` is not text\n  but `outer` is within too", "");
        let keeper = |new: &str| laws(&map.replace("`a/src/one.rs::it_holds`", new));
        assert_eq!(keeper("drills"), ["12: invariants: name the test or the tool that keeps it"]);
        for gone in ["a/src/two.rs", "a/src/one.rs::it_hold", "a/src/one.rs::gone", "cargo xtask dance", "a/src"] {
            assert_eq!(keeper(&format!("`{gone}`")), [format!("12: invariants: there is no `{gone}`")]);
        }
    }
}
