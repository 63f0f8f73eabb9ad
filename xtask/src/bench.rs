//! `cargo xtask bench`: the figures, measured on the programs as they are shipped.
//!
//! The measuring is the program `bench` of the crate `e2e`; it finds the others beside itself, in target/bench.

use std::fs;

use anyhow::Context;
use clap::Args as ClapArgs;

use crate::{cargo, tools, workspace};

/// What lies beside the agent, built for speed.
const PROGRAMS: [&str; 5] = ["bench", "dsmil-aggregator", "dsmilctl", "dsmil-demo", "dsmil-sim"];

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Print rows as JSON: name, value, unit, target, holds.
    #[arg(long)]
    json: bool,
    /// Only these groups of figures.
    groups: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tools::ensure(&[tools::C_COMPILER])?;
    eprintln!("building in release (many minutes the first time) …");
    let programs = PROGRAMS.map(|name| ["--bin", name]).concat();
    cargo::build(&[&["--release", "-p", "e2e", "-p", "dsmil-aggregator", "-p", "dsmilctl"], &programs[..]].concat())?;
    cargo::build(&["--profile", workspace::SMALL, "-p", "dsmil-agent", "--bin", "dsmil-agent"])?;

    let folder = workspace::target().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (profile, name) in PROGRAMS.map(|name| ("release", name)).into_iter().chain([(workspace::SMALL, "dsmil-agent")])
    {
        workspace::take(profile, name, &folder)?;
    }
    let mut pass_on = args.groups.clone();
    if args.json {
        pass_on.insert(0, "--json".into());
    }
    Err(cargo::exec(&folder.join("bench"), &pass_on))
}
