//! Two runs of `cargo xtask dist` on one commit give the same bytes.

use crate::made::{NAMES, folder, output, package};
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What lies in a folder: names and contents' sums.
fn sums(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(folder.join("SHA384SUMS"))?;
    output(Command::new("sha384sum").args(["--check", "--strict", "--quiet", "SHA384SUMS"]).current_dir(folder))?;
    let sum = |line: &str| line.split_once("  ").map(|(sum, name)| (name.to_owned(), sum.to_owned()));
    text.lines().map(|line| sum(line).with_context(|| format!("{line:?} is no sum"))).collect()
}

#[test]
fn long_packages_made_twice_are_the_same_to_the_byte() -> anyhow::Result<()> {
    let first = folder()?;
    let again = tempfile::tempdir()?;
    let agent = package("dsmil-agent", ".x86_64.rpm")?;
    let time = output(Command::new("rpm").args(["--query", "--package", "--qf", "%{BUILDTIME}"]).arg(agent))?;
    // By somebody else's habits: another umask, time zone, language and home.
    let mut dist = Command::new("sh");
    dist.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(xtask()?).args(["dist", "--debug", "--programs"]).arg(&first);
    dist.arg("--into").arg(again.path()).env("SOURCE_DATE_EPOCH", time);
    dist.envs([("TZ", "Asia/Kathmandu"), ("LC_ALL", "C.UTF-8"), ("LANG", "de_DE.UTF-8")]).env("HOME", again.path());
    // rpmbuild and lintian would have other homes; cargo's is where it was.
    let cargo_home = std::env::var_os("CARGO_HOME")
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo").into_os_string()));
    let rustup_home = std::env::var_os("RUSTUP_HOME")
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup").into_os_string()));
    dist.envs(cargo_home.map(|home| ("CARGO_HOME", home))).envs(rustup_home.map(|home| ("RUSTUP_HOME", home)));
    output(&mut dist)?;

    let (first, again) = (sums(&first)?, sums(again.path())?);
    ensure!(first.len() == 4 * NAMES.len(), "each program, with two packages and a list: {first:?}");
    ensure!(first == again, "{first:#?}\n{again:#?}");
    Ok(())
}

/// It lies where the other programs were built.
pub(crate) fn xtask() -> anyhow::Result<std::path::PathBuf> {
    let this = std::env::current_exe()?;
    let built = this.parent().and_then(Path::parent).context("a test lies in deps/")?;
    Ok(built.join("xtask"))
}
