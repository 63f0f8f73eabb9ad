//! `cargo xtask house`: how long files and functions are, here and in any other checkout, counted in one way for all.
//!
//! Counted are the lines of `.rs` files as written, comments and blank lines too, but no test: not the files in a folder
//! `tests`, `test`, `benches`, `examples` or `fuzz`, not modules and items under `#[cfg(test)]`. Functions are measured as
//! clippy's `too_many_lines` does it, by the lines of their bodies that have code. What a macro or a build script makes
//! is not there to be read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use serde::Serialize;

use crate::source::Source;
use crate::{tree, workspace};

/// A function longer than this is long: the `too-many-lines-threshold` of clippy.toml.
const LONG_FUNCTION: usize = 70;
/// A file longer than this is long: what `cargo xtask tidy` allows.
pub(crate) const LONG_FILE: usize = 400;
/// Parts of a path that make a file a test.
const TESTS: [&str; 7] = ["tests", "test", "benches", "examples", "fuzz", "tests.rs", "test.rs"];

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Folders to measure as well, below this repository.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print a JSON array, one object a folder.
    #[arg(long)]
    json: bool,
}

/// One folder, measured.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    name: String,
    /// Files that are no tests, and their lines.
    files: usize,
    lines: usize,
    median: usize,
    p90: usize,
    long_files: usize,
    /// The longest file, and its lines.
    longest_file: (String, usize),
    functions: usize,
    long_functions: usize,
    /// The longest function, `path:line name`, and its lines.
    longest_function: (String, usize),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut rows = vec![measure("this repository", workspace::root())?];
    for path in &args.paths {
        let whole = path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
        let name = whole.file_name().unwrap_or(whole.as_os_str());
        rows.push(measure(&name.to_string_lossy(), path)?);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", table(&rows));
    }
    Ok(())
}

/// Measures all that is below a folder.
fn measure(name: &str, folder: &Path) -> anyhow::Result<Row> {
    let paths = tree::files(folder)?;
    let rust = paths.iter().filter(|path| path.ends_with(".rs"));
    let read = |path: &String| {
        let bytes = fs::read(folder.join(path)).with_context(|| format!("cannot read {path}"))?;
        Ok((path.clone(), String::from_utf8_lossy(&bytes).into_owned()))
    };
    let files = rust.map(read).collect::<anyhow::Result<Vec<_>>>()?;
    match count(name, &files) {
        Some(row) => Ok(row),
        None => bail!("{}: no Rust file in it that is no test", folder.display()),
    }
}

/// Counts files, given as path and text.
fn count(name: &str, files: &[(String, String)]) -> Option<Row> {
    let sources: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), Source::new(text))).collect();
    let tests: BTreeSet<String> = sources.iter().flat_map(|(path, source)| test_modules(path, source)).collect();
    let is_test = |path: &str| {
        let below =
            |module: &String| path.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with(['/', '.']));
        path.split('/').any(|part| TESTS.contains(&part)) || tests.iter().any(below)
    };
    let (mut lengths, mut functions) = (Vec::new(), Vec::new());
    for (path, source) in sources.iter().filter(|(path, _)| !is_test(path)) {
        lengths.push((source.test.iter().filter(|test| !**test).count(), (*path).to_owned()));
        let named = source.functions().into_iter().map(|f| (f.lines, format!("{path}:{} {}", f.line + 1, f.name)));
        functions.extend(named);
    }
    // The longest last; of several, the last by name, so that the same tree has the same answer.
    lengths.sort();
    functions.sort();
    let longest = |of: &[(usize, String)]| of.last().map(|(lines, name)| (name.clone(), *lines)).unwrap_or_default();
    let over = |of: &[(usize, String)], limit| of.iter().filter(|(lines, _)| *lines > limit).count();
    Some(Row {
        name: name.into(),
        files: lengths.len(),
        lines: lengths.iter().map(|(lines, _)| lines).sum(),
        median: nearest_rank(&lengths, 50)?,
        p90: nearest_rank(&lengths, 90)?,
        long_files: over(&lengths, LONG_FILE),
        longest_file: longest(&lengths),
        functions: functions.len(),
        long_functions: over(&functions, LONG_FUNCTION),
        longest_function: longest(&functions),
    })
}

/// The modules in files of their own that a file declares under test: the beginnings of their paths, before `.rs` or `/`.
fn test_modules(path: &str, source: &Source) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').map_or(("", path), |(folder, file)| (folder, file));
    // `a.rs` keeps its modules in `a/`; these three keep them beside themselves.
    let beside = matches!(file, "mod.rs" | "lib.rs" | "main.rs");
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    parts.extend(file.strip_suffix(".rs").filter(|_| !beside));
    source.modules().filter(|(_, test)| *test).map(|(name, _)| [&parts[..], &[name]].concat().join("/")).collect()
}

/// The smallest of the sorted lengths that `percent` in a hundred do not exceed.
fn nearest_rank(sorted: &[(usize, String)], percent: usize) -> Option<usize> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).map(|(lines, _)| *lines)
}

/// The rows as a Markdown table, as docs/development.md has it, and below it the longest of each.
fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "| | files | lines | median | p90 | longest | over {LONG_FILE} | functions | over {LONG_FUNCTION} | longest |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for row in rows {
        let share = |part: usize, whole: usize| format!("{part} ({:.1} %)", 100.0 * part as f64 / whole.max(1) as f64);
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            row.name,
            row.files,
            row.lines,
            row.median,
            row.p90,
            row.longest_file.1,
            share(row.long_files, row.files),
            row.functions,
            share(row.long_functions, row.functions),
            row.longest_function.1,
        ));
    }
    text.push('\n');
    for row in rows {
        text.push_str(&format!("{}: {}, {}\n", row.name, row.longest_file.0, row.longest_function.0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> (String, String) {
        (path.into(), text.into())
    }

    #[test]
    fn files_and_functions_are_counted_and_tests_are_not() {
        let long = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(71));
        let files = [
            file("src/lib.rs", "mod a;\n#[cfg(test)]\nmod check;\n"),
            file("src/a.rs", &long),
            file("src/check.rs", &long),
            file("src/check/more.rs", &long),
            file("src/checkers.rs", "fn short() {}\n#[cfg(test)]\nmod tests {\n    fn a() {}\n}\n"),
            file("tests/big.rs", &long),
            file("src/b/tests.rs", &long),
        ];
        let row = count("x", &files).unwrap();
        assert_eq!((row.files, row.lines, row.median, row.p90), (3, 75, 1, 73));
        assert_eq!((row.functions, row.long_functions), (2, 1));
        assert_eq!(row.longest_file, ("src/a.rs".into(), 73));
        assert_eq!(row.longest_function, ("src/a.rs:1 long".into(), 71));
    }

    #[test]
    fn a_module_under_test_is_looked_for_where_the_compiler_would() {
        let source = Source::new("#[cfg(test)]\nmod t;");
        assert_eq!(test_modules("src/lib.rs", &source), ["src/t"]);
        assert_eq!(test_modules("src/a/mod.rs", &source), ["src/a/t"]);
        assert_eq!(test_modules("src/a.rs", &source), ["src/a/t"]);
        assert_eq!(test_modules("lib.rs", &source), ["t"]);
    }

    #[test]
    fn ranks_are_lengths_that_were_measured() {
        let of = |lines: &[usize]| lines.iter().map(|n| (*n, String::new())).collect::<Vec<_>>();
        assert_eq!(nearest_rank(&of(&[1, 2, 3, 4]), 50), Some(2));
        assert_eq!(nearest_rank(&of(&[1, 2, 3, 4]), 90), Some(4));
        assert_eq!(nearest_rank(&of(&[7]), 90), Some(7));
        assert_eq!(nearest_rank(&[], 50), None);
    }

    #[test]
    fn the_law_of_long_functions_is_clippys() {
        let laws = fs::read_to_string(workspace::root().join("clippy.toml")).unwrap();
        assert!(laws.contains(&format!("too-many-lines-threshold = {LONG_FUNCTION}\n")));
    }

    #[test]
    fn an_empty_folder_has_no_figures() {
        assert!(count("x", &[file("tests/a.rs", "fn a() {}")]).is_none());
    }
}
