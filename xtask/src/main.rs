//! `cargo xtask`: everything the project does to itself, one file a verb.
//!
//! Light on purpose: the first command that a new user types compiles this program first.

mod bench;
mod cargo;
mod debian;
mod demo;
mod dist;
mod docs;
mod elf;
mod fuzz;
mod house;
mod picture;
mod previous;
mod probe;
mod source;
mod step;
mod test;
mod tidy;
mod tools;
mod tree;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What the project does to itself.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build and run a small fleet on this host's real metrics until Ctrl-C.
    Demo(demo::Args),
    /// Check the tree and run the tests, installing what they need.
    Test(test::Args),
    /// Build in release and measure against the targets.
    Bench(bench::Args),
    /// Run the parsers of what strangers send under a coverage-guided fuzzer.
    Fuzz(fuzz::Args),
    /// Build dsmil-probe, the one program that is not static, and say where it is.
    Probe(probe::Args),
    /// Check the laws of the architecture that a tool can check.
    Tidy,
    /// Print how long files and functions are, here and in other checkouts, beside each other.
    House(house::Args),
    /// Draw docs/pictures from the figures beside them.
    Picture,
    /// Write docs/generated from the code.
    Docs(docs::Args),
    /// Build what is shipped: static programs, and packages of them.
    Dist(dist::Args),
}

/// Exit codes: 0 done, 1 failed, 2 used wrongly or something is missing that only an administrator can install.
fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Probe(args) => probe::run(&args),
        Verb::Tidy => tidy::run(),
        Verb::House(args) => house::run(&args),
        Verb::Picture => picture::run(),
        Verb::Docs(args) => docs::run(&args),
        Verb::Dist(args) => dist::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<tools::Missing>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
