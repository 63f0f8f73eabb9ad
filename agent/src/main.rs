//! The agent's command line: parse, build, wait, drain.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use dsmil_agent::config::{AgentConfig, DEFAULT_PATH, Severity};
use dsmil_agent::local::{self, LocalSocket};
use dsmil_agent::report::Reporter;
use dsmil_agent::root::Root;
use dsmil_agent::run::{self, Parts};
use dsmil_agent::sampler::HostSource;
use dsmil_agent::sensors;
use dsmil_agent::uplink::UplinkConfig;
use dsmil_crypto::PROVIDER_VERSION;
use dsmil_crypto::identity::{Identity, Trust};
use dsmil_protocol::session::Speaker;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::log;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a stopping agent waits for its tasks: the uplink takes up to three seconds for its last words.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// The fleet's agent on this host: samples it once a second, keeps what it sampled until it is acknowledged, sends it.
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
    #[arg(long, default_value = DEFAULT_PATH, env = "DSMIL_AGENT_CONFIG")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Run(args) => run_verb(&args),
        Verb::Check { config, json } => check_verb(&config, json),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("dsmil-agent: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_verb(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = AgentConfig::load(&args.config)?;
    log::start(config.log);
    // One thread: the agent's work is a few milliseconds a second, and a host has better uses for its cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: AgentConfig) -> anyhow::Result<ExitCode> {
    let clock = Clock::real();
    let supervisor = Supervisor::new(clock.clone());
    let root = Root::at(&config.root.proc, &config.root.sys, &config.root.rootfs)?;
    let boot = root.boot_id().context("the boot id cannot be read")?;
    let identity = Identity::load(&config.identity.certificate, &config.identity.key)?;
    let trust = Trust::load(&config.identity.trust)?;
    let reporter = Reporter::new(&config, boot, &identity, clock.clone());
    let socket = LocalSocket::bind(&config.socket)?;
    let source = HostSource::new(clock.clone(), &supervisor, Arc::new(root), sensors::all());
    let reports = source.reports();
    let running = run::start(Parts {
        source,
        spool: config.spool_config(),
        uplink: UplinkConfig {
            host: config.host.clone(),
            boot,
            devices: config.devices.clone(),
            speaker: Speaker {
                tenant: config.tenant.clone(),
                compartments: config.compartments,
                classification: config.classification,
            },
            aggregators: config.aggregators.clone(),
        },
        identity,
        trust,
        clock: clock.clone(),
        supervisor: supervisor.clone(),
    })?;
    tracing::info!(host = %config.host, %boot, batches = running.opened.batches, "running");
    let answer = Arc::new(move |verb| reporter.answer(verb, &running, &reports.borrow()));
    supervisor.spawn("local", OnFailure::Note, local::serve(socket, clock, supervisor.clone(), answer));
    supervisor.until_stop().await.context("signals cannot be received")?;
    Ok(supervisor.drain(DRAIN_WITHIN).await.exit_code())
}

fn check_verb(args: &ConfigArgs, json: bool) -> anyhow::Result<ExitCode> {
    let config = AgentConfig::load(&args.config)?;
    let findings = config.check();
    if json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        println!("{} reads; cryptography by {PROVIDER_VERSION}", args.config.display());
        for finding in &findings {
            let mark = match finding.severity {
                Severity::Warning => "warning",
                Severity::Error => "error  ",
            };
            println!("{mark}  {:<22} {}\n{:32}{}", finding.key, finding.what, "", finding.remedy);
        }
        if findings.is_empty() {
            println!("nothing to mend");
        }
    }
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
