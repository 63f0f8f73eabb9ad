//! The aggregator's command line: parse, build, wait, drain.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use dsmil_aggregator::check::{self, Outcome};
use dsmil_aggregator::config::{Config, Listen};
use dsmil_aggregator::{init, run};
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::log;
use dsmil_runtime::supervise::Supervisor;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long a stopping aggregator waits for its tasks.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// The centre of a fleet: takes in telemetry over post-quantum QUIC, keeps it, answers over HTTPS.
///
/// Exit codes: 0 fine, 1 it failed (or `check` found an error), 2 wrong usage.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make an identity, a configuration, and a folder for each host. Run again with more hosts it adds theirs.
    Init(Box<InitArgs>),
    /// Run until SIGINT or SIGTERM.
    Run(ConfigArgs),
    /// Look at everything that `run` will need, and say what is wrong.
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct ConfigArgs {
    /// The configuration.
    #[arg(long, default_value = "/etc/dsmil/aggregator.toml", env = "DSMIL_AGGREGATOR_CONFIG")]
    config: PathBuf,
}

#[derive(Args)]
struct InitArgs {
    /// The folder that everything goes into.
    #[arg(long, default_value = "/etc/dsmil")]
    dir: PathBuf,
    /// The aggregator's name.
    #[arg(long, default_value = "a1")]
    name: String,
    /// The tenant; it cannot be changed later.
    #[arg(long, default_value = "default")]
    tenant: TenantId,
    /// The trust domain of every identity.
    #[arg(long, default_value = "fleet.local")]
    trust_domain: String,
    /// A host to enrol and make a folder for; may be given several times. None at the first time: the shipped example
    /// of 104 devices on ten hosts.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<HostName>,
    /// Where agents reach this aggregator, host:port; the listening address where left out.
    #[arg(long)]
    advertise: Option<String>,
    /// A name or address of the API in its certificate, besides localhost; may be given several times.
    #[arg(long = "https-name", value_name = "NAME")]
    https_names: Vec<String>,
    /// Listen for agents on this UDP address.
    #[arg(long, default_value = "0.0.0.0:8100")]
    quic: SocketAddr,
    /// Listen for API clients on this TCP address.
    #[arg(long, default_value = "127.0.0.1:8443")]
    https: SocketAddr,
    /// The hot cache's file, on a tmpfs.
    #[arg(long, value_name = "FILE")]
    hot: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Init(args) => init_verb(*args),
        Verb::Run(args) => run_verb(&args),
        Verb::Check { config, json } => check_verb(&config, json),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("dsmil-aggregator: {error:#}");
        ExitCode::FAILURE
    })
}

fn init_verb(args: InitArgs) -> anyhow::Result<ExitCode> {
    let mut https_names = vec!["localhost".to_string(), "127.0.0.1".to_string(), "::1".to_string()];
    https_names.extend(args.https_names);
    let advertise = args.advertise.unwrap_or_else(|| init::advertised(args.quic));
    let made = init::run(&init::Order {
        folder: args.dir,
        name: args.name,
        tenant: args.tenant,
        trust_domain: TrustDomain::new(args.trust_domain)?,
        hosts: args.hosts,
        advertise,
        https_names,
        listen: Listen { quic: args.quic, https: args.https },
        hot: args.hot,
        now: Clock::real().wall_ns() / 1_000_000_000,
    })?;
    if args.json {
        println!("{}", serde_json::to_string(&made)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("configuration  {}", made.config.display());
    println!("API root       {}", made.https_root.display());
    for folder in &made.agents {
        println!("agent          {}   (copy it to the host as /etc/dsmil)", folder.display());
    }
    if let Some(token) = &made.api_token {
        println!("API token      {token}   (shown this once)");
    }
    println!("\nTake {} away, to a place without a network: whoever has it can make hosts.", made.root.display());
    println!("Then: dsmil-aggregator run --config {}", made.config.display());
    Ok(ExitCode::SUCCESS)
}

fn run_verb(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config)?;
    log::start(config.log.parse().map_err(anyhow::Error::msg)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::real();
        let supervisor = Supervisor::new(clock.clone());
        let running = run::start(&config, &clock, &supervisor).await;
        let running = match running {
            Ok(running) => running,
            Err(error) => {
                supervisor.drain(DRAIN_WITHIN).await;
                return Err(error);
            }
        };
        tracing::info!(quic = %running.quic, https = %running.https, "listening");
        supervisor.until_stop().await.context("signals cannot be received")?;
        Ok(supervisor.drain(DRAIN_WITHIN).await.exit_code())
    })
}

fn check_verb(args: &ConfigArgs, json: bool) -> anyhow::Result<ExitCode> {
    let findings = check::run(&args.config, &Clock::real());
    if json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        for finding in &findings {
            let mark = match finding.outcome {
                Outcome::Ok => "ok     ",
                Outcome::Warning => "warning",
                Outcome::Error => "error  ",
            };
            println!("{mark}  {:<18} {}", finding.subject, finding.detail);
        }
    }
    let failed = findings.iter().any(|finding| finding.outcome == Outcome::Error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
