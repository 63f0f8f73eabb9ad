//! `dsmilctl fleet`: the aggregator's API, asked from wherever somebody sits.

mod client;
mod watch;

use crate::outcome::Outcome;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The aggregator on this machine.
const DEFAULT_API: &str = "localhost:8443";
/// Where `dsmil-aggregator init` leaves it.
const DEFAULT_ROOT: &str = "/etc/dsmil/identity/https-root.pem";
/// Where whoever may ask keeps a token.
const DEFAULT_TOKEN: &str = "/etc/dsmil/api-token";

/// What to ask, and whom.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    verb: FleetVerb,
    /// The aggregator's API, `host:port`.
    #[arg(long, global = true, value_name = "ADDRESS", default_value = DEFAULT_API, env = "DSMIL_API")]
    api: String,
    /// The root of the API's certificate.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_ROOT, env = "DSMIL_API_ROOT")]
    root: PathBuf,
    /// A file with a token of the API in it.
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_TOKEN, env = "DSMIL_API_TOKEN_FILE")]
    token_file: PathBuf,
}

#[derive(Subcommand)]
enum FleetVerb {
    /// Watch one host live, as `dsmilctl host top` shows it there: each tick about as soon as it is sampled.
    ///
    /// Without a terminal, or with --json or --ticks, a line a tick. It goes on until it is interrupted; an aggregator that does not answer
    /// is asked again.
    ///
    /// Exit codes: 0 it ended as asked; 2 wrong usage, there is no such host, or the API did not let us in.
    Watch(watch::WatchArgs),
}

/// Asks, prints, and says how it ended.
pub(crate) fn run(args: FleetArgs) -> anyhow::Result<Outcome> {
    let FleetArgs { verb, api, root, token_file } = args;
    match verb {
        FleetVerb::Watch(watch) => watch::run(watch, &api, &root, &token_file),
    }
}
