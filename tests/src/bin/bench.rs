//! `bench`: the figures, measured, beside their targets.

use anyhow::{Context, ensure};
use clap::Parser;
use e2e::bench::{self, Group, Options};
use std::process::ExitCode;
use std::time::Duration;

/// Measures the figures and prints them beside their targets; a missed one is printed as missed.
///
/// Exit codes: 0 measured, 1 something could not be measured, 2 wrong usage.
#[derive(Parser)]
#[command(version)]
struct Cli {
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
    #[arg(long, value_name = "N", default_value_t = 100)]
    connections: usize,
    /// Only these groups of figures.
    groups: Vec<Group>,
}

fn main() -> ExitCode {
    measure(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

fn measure(cli: Cli) -> anyhow::Result<ExitCode> {
    ensure!((1..=1_000).contains(&cli.connections), "--connections is 1 to 1,000: an aggregator is made for so many");
    let this = std::env::current_exe().context("this program's own path")?;
    let programs = this.parent().context("a program lies in a folder")?.to_owned();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures mean nothing; `cargo xtask bench` builds in release");
    }
    let rows = bench::run(&Options {
        groups: cli.groups.into_iter().collect(),
        agent_for: Duration::from_secs(cli.seconds),
        ingest_for: Duration::from_secs(cli.ingest_seconds),
        connections: cli.connections,
        programs,
    })?;
    if cli.json {
        println!("{}", bench::as_json(&rows)?);
    } else {
        print!("{}", bench::as_table(&rows));
    }
    Ok(ExitCode::SUCCESS)
}
