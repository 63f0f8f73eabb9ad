//! `cargo xtask probe`: dsmil-probe, linked dynamically.
//!
//! Everything here is static by `.cargo/config.toml`, and a static program cannot load a vendor's library. The flag in the environment
//! takes the place of the one in that file, for this program and all that it is made of; cargo keeps both builds side by side. The
//! program only exists with its feature `dynamic`, so that no ordinary build makes one that looks right and is not.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args as ClapArgs;

use crate::{cargo, elf, tools, workspace};

/// The program, the crate and the package's file.
pub(crate) const NAME: &str = "dsmil-probe";
/// The profile of Cargo.toml that it is shipped in: as the agent, it lives on hosts with better uses for memory.
pub(crate) const PROFILE: &str = workspace::SMALL;

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Build it as it is shipped.
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tools::ensure(&[tools::C_COMPILER])?;
    let program = build(if args.release { PROFILE } else { "debug" })?;
    println!("{}", program.display());
    Ok(())
}

/// Builds it in `profile`, and says where it is.
pub(crate) fn build(profile: &str) -> anyhow::Result<PathBuf> {
    let cargo_profile = if profile == "debug" { "dev" } else { profile };
    let what = ["build", "-p", NAME, "--bin", NAME, "--features", "dynamic", "--profile", cargo_profile];
    cargo::succeed(cargo::cargo(what).env("RUSTFLAGS", "-C target-feature=-crt-static"))?;
    let program = workspace::program(profile, NAME);
    ensure!(elf::needs_loader(&program)?, "{} is static: it could not load a library", program.display());
    Ok(program)
}
