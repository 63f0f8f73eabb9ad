//! `dsmil-agent join`: the token in, the steps out.

use super::service::{self, Service};
use anyhow::Context;
use clap::Args;
use dsmil_agent::join::{JoinError, JoinOptions, Joined, Step, join};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::config::{CredentialName, Environment};
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A token has at most 8 KiB; what is longer is another file.
const MAX_TOKEN_LEN: u64 = 16 << 10;

/// Where the installed service has its configuration, and where its own files.
const CONFIG_DIR: &str = "/etc/dsmil";
const STATE_DIR: &str = "/var/lib/dsmil/agent";

#[derive(Args)]
pub(crate) struct JoinArgs {
    /// The token that `dsmil-aggregator token create` printed. So that it stays out of the shell's history and the list of
    /// processes, `-` reads it from standard input and `credential:NAME` from a credential that systemd passes.
    #[arg(env = "DSMIL_JOIN_TOKEN", hide_env_values = true)]
    token: String,
    /// The folder of agent.toml.
    #[arg(long, value_name = "PATH", default_value = CONFIG_DIR)]
    dir: PathBuf,
    /// The folder of key, certificate and trust, which the agent's user has to be able to write. Left out:
    /// /var/lib/dsmil/agent for /etc/dsmil, otherwise that of agent.toml.
    #[arg(long, value_name = "PATH")]
    state: Option<PathBuf>,
    /// Leave the installed service alone; otherwise it is started, if this is root and agent.toml is in /etc/dsmil.
    #[arg(long)]
    no_start: bool,
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
    Joined {
        #[serde(flatten)]
        joined: &'a Joined,
        service: Service,
    },
    Failed {
        code: &'static str,
        what: String,
        remedy: String,
    },
}

pub(crate) fn run(args: &JoinArgs) -> anyhow::Result<ExitCode> {
    let token = token(&args.token, &Environment::of_process())?;
    let is_installed = args.dir == Path::new(CONFIG_DIR);
    let state = args.state.as_deref().unwrap_or(if is_installed { Path::new(STATE_DIR) } else { &args.dir });
    let options = JoinOptions {
        dir: args.dir.clone(),
        // In agent.toml it would be from its folder; what is typed here is meant from here.
        state: std::path::absolute(state)?,
        again: args.again,
        within: Duration::from_secs(args.timeout),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut say = |step: Step| {
        if !args.json {
            println!("{step}");
        }
    };
    let outcome = runtime.block_on(join(&token, &options, &Clock::real(), &mut say));
    let service = match &outcome {
        Ok(_) if is_installed && !args.no_start => service::restart(),
        _ => Service::NotOurs,
    };
    match &outcome {
        Ok(joined) if args.json => println!("{}", serde_json::to_string(&Document::Joined { joined, service })?),
        Ok(joined) => print_joined(joined, service, args.again),
        Err(error) if args.json => {
            let (code, what, remedy) = (error.code(), error.to_string(), error.remedy());
            println!("{}", serde_json::to_string(&Document::Failed { code, what, remedy })?);
        }
        Err(error) => print_failure(error),
    }
    let is_good = outcome.is_ok() && service != Service::Failed;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The token itself, or what the argument says where it is.
fn token(argument: &str, environment: &Environment) -> anyhow::Result<String> {
    if argument == "-" {
        return bounded(std::io::stdin().lock()).context("the token cannot be read from standard input");
    }
    let Some(name) = CredentialName::of(argument) else { return Ok(argument.to_owned()) };
    let path = environment.find(&name?)?;
    let read = std::fs::File::open(&path).and_then(bounded);
    read.with_context(|| format!("the token cannot be read from {}", path.display()))
}

fn bounded(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(MAX_TOKEN_LEN).read_to_string(&mut text)?;
    Ok(text)
}

fn print_joined(joined: &Joined, service: Service, again: bool) {
    println!("joined      as {} in {} ms", joined.spiffe_id, joined.took_ms);
    if !joined.differences.is_empty() {
        println!("next        decide what agent.toml is to say where it differs; until then it counts as it is");
    }
    match service {
        Service::Started => {
            println!("running     dsmil-agent.service; `systemctl status dsmil-agent` tells how it stands")
        }
        Service::Failed => {
            println!(
                "failed      dsmil-agent.service does not start: `dsmil-agent check`, `journalctl -u dsmil-agent`"
            );
        }
        Service::NotOurs => {
            let verb = if again { "restart" } else { "start" };
            println!("next        `dsmil-agent check`, then {verb} the agent: `dsmil-agent run`, or its service");
        }
    }
}

fn print_failure(error: &JoinError) {
    eprintln!("dsmil-agent: [{}] {error}\n{:13}{}", error.code(), "", error.remedy());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_argument_or_a_credential() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), "secret\n").expect("written");
        let environment = Environment { credentials: Some(folder.path().into()) };
        assert_eq!(token("dsmil-join…", &environment).expect("itself"), "dsmil-join…");
        assert_eq!(token("credential:token", &environment).expect("found"), "secret\n");
        for (bad, said) in
            [("credential:other", "LoadCredential=other:"), ("credential:../token", "no credential's name")]
        {
            let error = token(bad, &environment).expect_err("refused").to_string();
            assert!(error.contains(said), "{error}");
        }
        let error = token("credential:token", &Environment::default()).expect_err("not from systemd").to_string();
        assert!(error.contains("$CREDENTIALS_DIRECTORY is not set"), "{error}");
    }
}
