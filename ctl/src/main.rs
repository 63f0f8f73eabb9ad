//! The command line's entry: parse, ask, print, exit.

mod fleet;
mod host;
mod outcome;
mod release;

use clap::{Parser, Subcommand};
use outcome::Outcome;
use std::process::ExitCode;

/// Nothing could be asked, or the command was not understood; clap exits with the same code.
const UNREACHABLE: u8 = 2;

/// Asks the fleet's programs how things are, and checks what comes from those who make them.
///
/// Exit codes: 0 all is well, 1 something needs attention (it is named), 2 wrong usage or nobody to ask.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    scope: Scope,
}

#[derive(Subcommand)]
enum Scope {
    /// This host: over its agent's socket, and when the agent does not run, from the files it left.
    Host(host::HostArgs),
    /// The fleet: over an aggregator's API.
    Fleet(fleet::FleetArgs),
    /// Check that packages, or other files of a release, are what those who made them signed.
    ///
    /// Exit codes: 0 all are; 1 one is not (changed, not signed, signed by another key: the line says so); 2 wrong usage, or
    /// there is no key to check with.
    VerifyPackage(release::VerifyArgs),
    /// Sign packages, or other files of a release: FILE.sig beside each FILE.
    SignPackage(release::SignArgs),
    /// Keys to sign releases with.
    ReleaseKey(release::NewKeyArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().scope) {
        Ok(outcome) => ExitCode::from(u8::from(outcome == Outcome::NeedsAttention)),
        Err(error) => {
            eprintln!("dsmilctl: {error:#}");
            ExitCode::from(UNREACHABLE)
        }
    }
}

fn run(scope: Scope) -> anyhow::Result<Outcome> {
    match scope {
        Scope::Host(args) => host::run(&args),
        Scope::Fleet(args) => fleet::run(args),
        Scope::VerifyPackage(args) => release::verify(&args),
        Scope::SignPackage(args) => release::sign(&args).map(|()| Outcome::Fine),
        Scope::ReleaseKey(args) => release::new_key(&args).map(|()| Outcome::Fine),
    }
}
