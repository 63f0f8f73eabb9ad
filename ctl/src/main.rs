//! The command line's entry: parse, ask, print, exit.

mod host;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Nothing could be asked, or the command was not understood; clap exits with the same code.
const UNREACHABLE: u8 = 2;

/// Asks the fleet's programs how things are.
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
}

fn main() -> ExitCode {
    let Scope::Host(args) = Cli::parse().scope;
    match host::run(&args) {
        Ok(outcome) => ExitCode::from(u8::from(outcome == host::Outcome::NeedsAttention)),
        Err(error) => {
            eprintln!("dsmilctl: {error:#}");
            ExitCode::from(UNREACHABLE)
        }
    }
}
