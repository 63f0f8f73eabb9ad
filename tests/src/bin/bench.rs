//! `bench`: the figures, measured, beside their targets.

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use e2e::bench::baseline::{Baseline, Figure, as_table};
use e2e::bench::count::{self, Work};
use e2e::bench::{self, Group, Options};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The last run's figures, beside this program.
const FIGURES: &str = "figures.json";

/// Measures the figures and prints them beside their targets; a missed one is printed as missed. The same figures are
/// written to figures.json beside this program, for `compare` and `keep`.
///
/// Exit codes: 0 measured, 1 something could not be measured or got worse, 2 wrong usage.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    measure: Measure,
}

#[derive(clap::Args)]
struct Measure {
    /// Print rows as JSON: name, value, unit, target, holds.
    #[arg(long)]
    json: bool,
    /// How long the agent runs, in seconds.
    #[arg(long, value_name = "S", default_value_t = 60)]
    seconds: u64,
    /// How long batches are pushed, in seconds, if there are so many: each connection has eight hours of them.
    #[arg(long, value_name = "S", default_value_t = 20)]
    ingest_seconds: u64,
    /// Connections that push batches.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    connections: usize,
    /// Only these groups of figures.
    groups: Vec<Group>,
}

#[derive(Subcommand)]
enum Verb {
    /// Hold the last run against the baseline, and name what got more than 5 % worse.
    ///
    /// The baseline has counts and ratios that mean the same on any machine. Exit code 1 if anything got worse.
    Compare {
        /// Figures of another run than the last one.
        figures: Option<PathBuf>,
    },
    /// Make the last run's figures the baseline; figures that it did not measure stay as they are.
    Keep {
        /// Figures of another run than the last one.
        figures: Option<PathBuf>,
    },
    /// Do work that is counted from outside: what the group `count` starts under callgrind.
    #[command(hide = true)]
    Work {
        work: Work,
        #[arg(long)]
        rounds: u32,
        input: PathBuf,
    },
}

fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let this = std::env::current_exe().context("this program's own path")?;
    let folder = this.parent().context("a program lies in a folder")?;
    let last_run = |asked: Option<PathBuf>| Figure::load(&asked.unwrap_or_else(|| folder.join(FIGURES)));
    match cli.verb {
        None => measure(cli.measure, folder),
        Some(Verb::Compare { figures }) => compare(&last_run(figures)?),
        Some(Verb::Keep { figures }) => keep(&last_run(figures)?),
        Some(Verb::Work { work, rounds, input }) => count::work(work, rounds, &input).map(|()| ExitCode::SUCCESS),
    }
}

fn measure(asked: Measure, folder: &Path) -> anyhow::Result<ExitCode> {
    ensure!((1..=1_000).contains(&asked.connections), "--connections is 1 to 1,000: an aggregator is made for so many");
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures mean nothing; `cargo xtask bench` builds in release");
    }
    let rows = bench::run(&Options {
        groups: asked.groups.into_iter().collect(),
        agent_for: Duration::from_secs(asked.seconds),
        ingest_for: Duration::from_secs(asked.ingest_seconds),
        connections: asked.connections,
        programs: folder.to_owned(),
    })?;
    let json = bench::as_json(&rows)?;
    let beside = folder.join(FIGURES);
    std::fs::write(&beside, &json).with_context(|| format!("cannot write {}", beside.display()))?;
    if asked.json {
        println!("{json}");
    } else {
        print!("{}", bench::as_table(&rows));
        println!("\nAs JSON in {}; `cargo xtask bench compare` holds it against the baseline.", beside.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn compare(run: &[Figure]) -> anyhow::Result<ExitCode> {
    let path = Baseline::path();
    let changes = Baseline::load(&path)?.compare(run);
    ensure!(!changes.is_empty(), "there is no baseline in {}; `cargo xtask bench keep` makes one", path.display());
    print!("{}", as_table(&changes));
    let is_worse = changes.iter().any(bench::baseline::Change::is_worse);
    Ok(if is_worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn keep(run: &[Figure]) -> anyhow::Result<ExitCode> {
    let path = Baseline::path();
    let mut baseline = Baseline::load(&path)?;
    let count = baseline.keep(run);
    ensure!(count > 0, "the run measured nothing that is kept: bytes, instructions and ratios are");
    baseline.save(&path)?;
    println!("{count} figures are now in {}", path.display());
    Ok(ExitCode::SUCCESS)
}
