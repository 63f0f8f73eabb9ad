//! The command line: what can be asked of an aggregator, beside a running one or without.
//!
//! A verb opens the configuration and the state, does one thing in one transaction, and prints. What is meant for another
//! program (a token, a table, JSON) goes to standard output; words to the person who typed it go to standard error.

mod centre;
mod check;
mod config;
mod host;
mod init;
mod output;
mod security;
mod token;
mod trust;
mod units;
mod when;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The centre of a fleet: takes in telemetry over post-quantum QUIC, keeps it, answers over HTTPS.
///
/// Exit codes: 0 fine, 1 it failed (or `check` found an error), 2 wrong usage.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make a root, an issuer, the first trust bundle, and a configuration. Run again with more hosts it adds theirs to the
    /// fleet file.
    Init(Box<init::InitArgs>),
    /// Run until SIGINT or SIGTERM.
    Run(ConfigArgs),
    /// Look at everything that `run` will need, and say what is wrong.
    Check(check::CheckArgs),
    /// Join tokens: each lets one host in, once.
    #[command(subcommand)]
    Token(token::TokenVerb),
    /// Which hosts are enrolled, and who is shut out.
    #[command(subcommand)]
    Host(host::HostVerb),
    /// Whom the fleet trusts: roots, issuers, revoked keys.
    #[command(subcommand)]
    Trust(trust::TrustVerb),
    /// Settings of the fleet: what hosts sample, how often, and within which limits.
    #[command(subcommand)]
    Config(config::SettingsVerb),
    /// Who was let in, shut out or refused.
    #[command(subcommand)]
    Security(security::SecurityVerb),
    /// Write what systemd has to know of the configuration, as drop-ins: the sizes of the tmpfs and of memory.
    ///
    /// The package's generator calls it at boot and at `systemctl daemon-reload`.
    Units {
        #[command(flatten)]
        config: ConfigArgs,
        /// The folder that the drop-ins go into.
        folder: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// The configuration.
    #[arg(long, default_value = "/etc/dsmil/aggregator.toml", env = "DSMIL_AGGREGATOR_CONFIG")]
    pub(crate) config: PathBuf,
}

/// Does what a verb says; [`Verb::Run`] is the program's own.
pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Init(args) => init::run(*args),
        Verb::Run(_) => anyhow::bail!("`run` is not one of these"),
        Verb::Check(args) => check::run(&args),
        Verb::Token(verb) => token::run(verb),
        Verb::Host(verb) => host::run(verb),
        Verb::Trust(verb) => trust::run(verb),
        Verb::Config(verb) => config::run(verb),
        Verb::Security(verb) => security::run(verb),
        Verb::Units { config, folder } => units::run(&config.config, &folder),
    }
}

/// Says why it failed. Whoever read the output and went away (`| head`) has not failed.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    let gone = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<std::io::Error>().is_some_and(gone) {
        return ExitCode::SUCCESS;
    }
    eprintln!("dsmil-aggregator: {error:#}");
    ExitCode::FAILURE
}
