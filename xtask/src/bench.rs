//! `cargo xtask bench`: the figures, measured on the programs as they are shipped.
//!
//! The measuring is the program `bench` of the crate `e2e`; it finds the others beside itself, in target/bench.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use clap::{Args as ClapArgs, Subcommand};

use crate::{cargo, probe, tools, workspace};

/// What lies beside the agent, built for speed.
const PROGRAMS: [&str; 5] = ["bench", "dsmil-aggregator", "dsmilctl", "dsmil-demo", "dsmil-sim"];

#[derive(ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Print rows as JSON: name, value, unit, target, holds.
    #[arg(long)]
    json: bool,
    /// Only these groups of figures.
    groups: Vec<String>,
}

/// What is done with the figures of the last run. Nothing is built or measured for it.
#[derive(Clone, Copy, Subcommand)]
enum Verb {
    /// Hold the last run against the baseline, and name what got more than 5 % worse.
    Compare,
    /// Make the last run's figures the baseline, those of them that mean the same on any machine.
    Keep,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = workspace::target().join("bench");
    let program = folder.join("bench");
    if let Some(verb) = args.verb {
        ensure!(program.exists(), "nothing was measured yet; `cargo xtask bench` does it");
        let verb = match verb {
            Verb::Compare => "compare",
            Verb::Keep => "keep",
        };
        return Err(cargo::exec(Command::new(&program).arg(verb)));
    }
    tools::ensure(&[tools::C_COMPILER, tools::VALGRIND])?;
    eprintln!("building in release (many minutes the first time) …");
    let programs = PROGRAMS.map(|name| ["--bin", name]).concat();
    cargo::build(&[&["--release", "-p", "e2e", "-p", "dsmil-aggregator", "-p", "dsmilctl"], &programs[..]].concat())?;
    cargo::build(&["--profile", workspace::SMALL, "-p", "dsmil-agent", "--bin", "dsmil-agent"])?;

    let probe = probe::build(probe::PROFILE)?;

    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (profile, name) in PROGRAMS.map(|name| ("release", name)).into_iter().chain([(workspace::SMALL, "dsmil-agent")])
    {
        workspace::take(profile, name, &folder)?;
    }
    workspace::copy(&probe, &folder)?;
    let mut pass_on = args.groups.clone();
    if args.json {
        pass_on.insert(0, "--json".into());
    }
    if args.groups.is_empty() || args.groups.iter().any(|group| group == "peers") {
        // Without one of them its rows say so; the others are measured.
        if let Err(missing) = tools::ensure(&tools::RIVALS) {
            eprintln!("{missing}");
        }
    }
    Err(cargo::exec(Command::new(&program).args(&pass_on).env("DSMIL_RIVALS", tools::folder())))
}
