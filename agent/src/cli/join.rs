//! `dsmil-agent join`: the token in, the steps out.

use anyhow::Context;
use clap::Args;
use dsmil_agent::join::{JoinError, JoinOptions, Joined, Step, join};
use dsmil_runtime::clock::Clock;
use serde::Serialize;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A token has at most 8 KiB; what is longer is another file.
const MAX_TOKEN_LEN: u64 = 16 << 10;

#[derive(Args)]
pub(crate) struct JoinArgs {
    /// The token that `dsmil-aggregator token create` printed; `-` reads it from standard input, so that it stays out of the
    /// shell's history.
    token: String,
    /// The folder of agent.toml; certificate, key and trust go there too.
    #[arg(long, value_name = "PATH", default_value = "/etc/dsmil")]
    dir: PathBuf,
    /// Join a host that has an identity already; its old one is worth nothing afterwards.
    #[arg(long)]
    again: bool,
    /// Seconds that each join port may take to connect, and to answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Print one JSON document at the end, instead of the steps.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Document<'a> {
    Joined(&'a Joined),
    Failed { code: &'static str, what: String, remedy: String },
}

pub(crate) fn run(args: &JoinArgs) -> anyhow::Result<ExitCode> {
    let token = if args.token == "-" { from_stdin()? } else { args.token.clone() };
    let options = JoinOptions { dir: args.dir.clone(), again: args.again, within: Duration::from_secs(args.timeout) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut say = |step: Step| {
        if !args.json {
            println!("{step}");
        }
    };
    let outcome = runtime.block_on(join(&token, &options, &Clock::real(), &mut say));
    match &outcome {
        Ok(joined) if args.json => println!("{}", serde_json::to_string(&Document::Joined(joined))?),
        Ok(joined) => print_joined(joined, args.again),
        Err(error) if args.json => {
            let (code, what, remedy) = (error.code(), error.to_string(), error.remedy());
            println!("{}", serde_json::to_string(&Document::Failed { code, what, remedy })?);
        }
        Err(error) => print_failure(error),
    }
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn from_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_TOKEN_LEN).read_to_string(&mut text);
    read.context("the token cannot be read from standard input")?;
    Ok(text)
}

fn print_joined(joined: &Joined, again: bool) {
    let verb = if again { "restart" } else { "start" };
    println!("joined      as {} in {} ms", joined.spiffe_id, joined.took_ms);
    if !joined.differences.is_empty() {
        println!("next        decide what agent.toml is to say where it differs; until then it counts as it is");
    }
    println!("next        `dsmil-agent check`, then {verb} the agent: `dsmil-agent run`");
}

fn print_failure(error: &JoinError) {
    eprintln!("dsmil-agent: [{}] {error}\n{:13}{}", error.code(), "", error.remedy());
}
