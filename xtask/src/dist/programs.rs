//! The programs: built, static, not larger than they may be.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use super::Args;
use super::packages::PACKAGES;
use crate::{cargo, elf, workspace};

/// Puts all programs into `folder`, from where they are packed.
pub(super) fn gather(args: &Args, folder: &Path) -> anyhow::Result<()> {
    if args.programs.is_none() {
        build(args.debug)?;
    }
    for package in &PACKAGES {
        let profile = if args.debug { "debug" } else { package.profile };
        let built = match &args.programs {
            Some(programs) => programs.join(package.name),
            None => workspace::program(profile, package.name),
        };
        let there = folder.join(package.name);
        // They may lie where everything goes: a copy would begin by removing its source.
        let copy = if built.canonicalize().is_ok_and(|built| built == there) {
            there
        } else {
            workspace::copy(&built, folder)?
        };
        let limit = package.limit.filter(|_| !args.debug);
        println!("  {:<48} {:>10} bytes, static", package.name, check(&copy, limit)?);
    }
    Ok(())
}

fn build(debug: bool) -> anyhow::Result<()> {
    if debug {
        // As the tests build them: after a run of theirs, these are there already.
        return cargo::build(&["--workspace", "--bins", "--tests"]);
    }
    PACKAGES.iter().try_for_each(|package| {
        cargo::build(&["--profile", package.profile, "-p", package.name, "--bin", package.name])
    })
}

/// The size of a program that is static and within its limit.
fn check(path: &Path, limit: Option<u64>) -> anyhow::Result<u64> {
    ensure!(
        !elf::needs_loader(path)?,
        "{} is not static: is crt-static still set in .cargo/config.toml?",
        path.display()
    );
    let size = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?.len();
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
