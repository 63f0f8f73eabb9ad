//! The packages that were made, and programs run on them.

use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Name, user and group of each daemon.
pub(crate) const DAEMONS: [(&str, &str, &str); 2] =
    [("dsmil-agent", "agent", "dsmil"), ("dsmil-aggregator", "aggregator", "dsmil-aggregator")];
/// All packages.
pub(crate) const NAMES: [&str; 4] = ["dsmil-agent", PROBE, "dsmil-aggregator", "dsmilctl"];
/// The one whose program nobody types, and which is not static.
pub(crate) const PROBE: &str = "dsmil-probe";

/// Where a package has its program.
pub(crate) fn program(name: &str) -> String {
    format!("{}/{name}", if name == PROBE { "/usr/libexec/dsmil" } else { "/usr/bin" })
}

/// The folder of the packages.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    of_environment("DSMIL_PACKAGES")
}

/// A folder that `cargo xtask test --long` made and named.
pub(crate) fn of_environment(name: &str) -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os(name);
    folder.map(PathBuf::from).with_context(|| format!("{name} is not set: `cargo xtask test --long` sets it"))
}

/// The one package of a name and an ending, such as `_amd64.deb`.
pub(crate) fn package(name: &str, ending: &str) -> anyhow::Result<PathBuf> {
    let folder = folder()?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        // Behind the name comes the version, whichever the format's separator is.
        let rest = file.strip_prefix(name).and_then(|rest| rest.strip_prefix(['_', '-']));
        if file.ends_with(ending) && rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            found.push(path);
        }
    }
    ensure!(found.len() == 1, "{name}…{ending}: {found:?}");
    found.pop().context("one was there")
}

/// What a command prints; anything but success is an error.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = outcome(command)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("{command:?} failed ({}):\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

/// The same, to an end that the caller judges.
pub(crate) fn outcome(command: &mut Command) -> anyhow::Result<Output> {
    command.output().with_context(|| format!("cannot start {command:?}"))
}

/// Everything below a folder, as paths from there, sorted.
pub(crate) fn tree(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(of) = folders.pop() {
        for entry in std::fs::read_dir(&of)? {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path.clone());
            }
            found.push(path.strip_prefix(folder)?.to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(found)
}
