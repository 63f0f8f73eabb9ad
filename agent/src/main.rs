//! The agent's command line: parse, build, wait, drain.

mod cli;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use cli::{check, join, units};
use dsmil_agent::config::{AgentConfig, DEFAULT_PATH};
use dsmil_agent::credentials::Credentials;
use dsmil_agent::local::{self, LocalSocket};
use dsmil_agent::probes;
use dsmil_agent::reload;
use dsmil_agent::report::{Reporter, Sampled};
use dsmil_agent::run::{self, Parts};
use dsmil_agent::sampler::{HostSource, Seen};
use dsmil_agent::uplink::UplinkConfig;
use dsmil_protocol::session::Speaker;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::log;
use dsmil_runtime::notify::Manager;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use dsmil_sensors::root::Root;
use std::path::{Path, PathBuf};
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
    /// Join a fleet with a token, and write identity, trust and configuration.
    ///
    /// Run it as root or as the agent's user. Cut short, it can be run again with the same token within ten minutes.
    Join(join::JoinArgs),
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
struct ConfigArgs {
    /// The configuration.
    #[arg(long, default_value = DEFAULT_PATH, env = "DSMIL_AGENT_CONFIG")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Run(args) => run_verb(&args),
        Verb::Check { config, json } => check::run(&config.config, json),
        Verb::Join(args) => join::run(&args),
        Verb::Units { config, folder } => units::run(&config.config, &folder),
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
    runtime.block_on(serve(&args.config, config))
}

async fn serve(path: &Path, config: AgentConfig) -> anyhow::Result<ExitCode> {
    let clock = Clock::real();
    let supervisor = Supervisor::new(clock.clone());
    let root = Root::at(&config.root.proc, &config.root.sys, &config.root.rootfs)?;
    let boot = root.boot_id().context("the boot id cannot be read")?;
    let credentials = Credentials::load(config.credential_files(), config.key_exchange(), clock.clone())?;
    let reporter = Reporter::new(&config, boot, credentials.clone(), clock.clone());
    let socket = LocalSocket::bind(&config.socket)?;
    let mut sensors = dsmil_sensors::all();
    sensors.extend(probes::sensors(&config.probes.folder, config.probes.kinds.as_deref(), &clock));
    let source = HostSource::new(clock.clone(), &supervisor, Arc::new(root), sensors);
    let (reports, ticks) = (source.reports(), source.reports());
    let source = Seen::new(source, clock.clone());
    let newest = source.newest();
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
        credentials,
        join: config.join.clone(),
        clock: clock.clone(),
        supervisor: supervisor.clone(),
    })?;
    tracing::info!(host = %config.host, %boot, batches = running.opened.batches, "running");
    reload::start(path, config, running.addresses.clone(), &supervisor)?;
    let (manager, told) = (Manager::from_env(), running.clone());
    let answer = Arc::new(move |verb| {
        let (sensors, newest) = (reports.borrow(), newest.borrow());
        reporter.answer(verb, &running, Sampled { sensors: &sensors, newest: newest.as_ref() })
    });
    supervisor.spawn("local", OnFailure::Note, local::serve(socket, clock.clone(), supervisor.clone(), answer));
    // Alive is who samples: a beat waits for the next tick.
    let beat = || {
        let (mut ticks, told) = (ticks.clone(), &told);
        async move {
            ticks.mark_unchanged();
            // An error is the end of the sampler, and the supervisor sees to that.
            let _ = ticks.changed().await;
            told.standing()
        }
    };
    tokio::select! {
        stopped = supervisor.until_stop() => stopped.context("signals cannot be received")?,
        never = manager.keep_told(&clock, beat) => match never {},
    }
    manager.stopping();
    Ok(supervisor.drain(DRAIN_WITHIN).await.exit_code())
}
