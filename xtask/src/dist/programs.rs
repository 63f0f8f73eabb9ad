//! The programs: built, static, not larger than they may be.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use super::Args;
use super::packages::PACKAGES;
use crate::{cargo, elf, probe, workspace};

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
        let how = if package.is_static { "static" } else { "dynamic" };
        println!("  {:<48} {:>10} bytes, {how}", package.name, check(&copy, package.is_static, limit)?);
    }
    Ok(())
}

fn build(debug: bool) -> anyhow::Result<()> {
    if debug {
        // As the tests build them: after a run of theirs, these are there already.
        cargo::build(&["--workspace", "--bins", "--tests"])?;
        return probe::build("debug").map(drop);
    }
    probe::build(probe::PROFILE)?;
    PACKAGES.iter().filter(|package| package.is_static).try_for_each(|package| {
        cargo::build(&["--profile", package.profile, "-p", package.name, "--bin", package.name])
    })
}

/// The size of a program that is static, or is not, as it has to be, and within its limit.
fn check(path: &Path, is_static: bool, limit: Option<u64>) -> anyhow::Result<u64> {
    let shown = path.display();
    let needs_loader = elf::needs_loader(path)?;
    ensure!(needs_loader || is_static, "{shown} is static: it could not load a library; `cargo xtask probe` builds it");
    ensure!(!needs_loader || !is_static, "{shown} is not static: is crt-static still set in .cargo/config.toml?");
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
        let size = check(&this, true, None).unwrap();
        assert_eq!(check(&this, true, Some(size)).unwrap(), size);
        assert!(check(&this, true, Some(size - 1)).unwrap_err().to_string().contains("more than"));
        assert!(check(&this, false, None).unwrap_err().to_string().contains("is static"));
    }
}
