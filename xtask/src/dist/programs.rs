//! `cargo xtask dist`: the static release binaries with their checksums, in target/dist.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{cargo, elf, tools, workspace};

/// What is shipped, in which profile, and how large it may be in bytes.
/// The agent's limit is the project's target for a program that lives on every host; the others have none yet.
const PROGRAMS: [(&str, &str, Option<u64>); 3] = [
    ("dsmil-agent", workspace::SMALL, Some(12_000_000)),
    ("dsmil-aggregator", "release", None),
    ("dsmilctl", "release", None),
];

/// The sums, in the form that `sha384sum -c` reads.
const SUMS: &str = "SHA384SUMS";

pub(crate) fn run() -> anyhow::Result<()> {
    tools::ensure(&[tools::C_COMPILER])?;
    for (name, profile, _) in PROGRAMS {
        cargo::build(&["--profile", profile, "-p", name, "--bin", name])?;
    }

    let dist = workspace::target().join("dist");
    fs::create_dir_all(&dist).with_context(|| format!("cannot make {}", dist.display()))?;
    for (name, profile, limit) in PROGRAMS {
        let copy = workspace::take(profile, name, &dist)?;
        println!("{name:<18} {:>10} bytes, static", check(&copy, limit)?);
    }
    let sums = cargo::output(Command::new("sha384sum").args(PROGRAMS.map(|(name, ..)| name)).current_dir(&dist))?;
    fs::write(dist.join(SUMS), sums).with_context(|| format!("cannot write {SUMS}"))?;
    cargo::output(Command::new("sha384sum").args(["--check", "--strict", "--quiet", SUMS]).current_dir(&dist))?;
    println!("in {} with {SUMS}", dist.display());
    Ok(())
}

/// The size of a program that is static and within its limit.
fn check(path: &Path, limit: Option<u64>) -> anyhow::Result<u64> {
    ensure!(
        !elf::needs_loader(path)?,
        "{} is not static: is crt-static still set in .cargo/config.toml?",
        path.display()
    );
    let size = fs::metadata(path)?.len();
    if let Some(limit) = limit {
        ensure!(size <= limit, "{} has {size} bytes, more than its {limit}", path.display());
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_over_its_limit_is_refused() {
        let this = std::env::current_exe().unwrap();
        let size = check(&this, None).unwrap();
        assert_eq!(check(&this, Some(size)).unwrap(), size);
        assert!(check(&this, Some(size - 1)).unwrap_err().to_string().contains("more than"));
    }
}
