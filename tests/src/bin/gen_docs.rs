//! `gen-docs`: writes docs/generated from the code, or says what there is out of date.

use anyhow::Context;
use clap::Parser;
use e2e::docs;
use std::path::Path;
use std::process::ExitCode;

/// Writes the reference pages under docs/generated.
///
/// Exit codes: 0 fine, 1 a page is out of date or could not be made, 2 wrong usage.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Write nothing; fail when a page is out of date.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    generate(&Cli::parse()).unwrap_or_else(|error| {
        eprintln!("gen-docs: {error:#}");
        ExitCode::FAILURE
    })
}

fn generate(cli: &Cli) -> anyhow::Result<ExitCode> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/generated");
    let this = std::env::current_exe().context("this program's own path")?;
    let pages = docs::pages(this.parent().context("a program lies in a folder")?)?;
    if !cli.check {
        docs::write(&folder, &pages)?;
        println!("{} pages in docs/generated", pages.len());
        return Ok(ExitCode::SUCCESS);
    }
    let stale = docs::differing(&folder, &pages)?;
    for name in &stale {
        eprintln!("docs/generated/{name} is out of date: run `cargo xtask docs` and commit it");
    }
    Ok(if stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
