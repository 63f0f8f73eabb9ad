//! `cargo xtask bench`: the figures, measured on release builds.
//!
//! The measuring is the program `bench` of the crate `e2e`; it finds the others beside itself.

use clap::Args as ClapArgs;

use crate::{cargo, tools, workspace};

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
    let programs = ["bench", "dsmil-agent", "dsmil-aggregator", "dsmilctl", "dsmil-demo", "dsmil-sim"];
    let programs = programs.map(|name| ["--bin", name]).concat();
    cargo::build(
        &[&["--release", "-p", "e2e", "-p", "dsmil-agent", "-p", "dsmil-aggregator", "-p", "dsmilctl"], &programs[..]]
            .concat(),
    )?;
    let mut pass_on = args.groups.clone();
    if args.json {
        pass_on.insert(0, "--json".into());
    }
    Err(cargo::exec(&workspace::program("release", "bench"), &pass_on))
}
