//! The aggregator's program: parse, build, wait, drain. Its verbs other than `run` are in `cli`.

mod cli;

use anyhow::Context;
use clap::Parser;
use cli::{Cli, ConfigArgs, Verb};
use dsmil_aggregator::config::Config;
use dsmil_aggregator::{reload, run};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::config::Environment;
use dsmil_runtime::log;
use dsmil_runtime::notify::Manager;
use dsmil_runtime::supervise::Supervisor;
use std::process::ExitCode;
use std::time::Duration;

/// How long a stopping aggregator waits for its tasks.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Run(args) => run_verb(&args),
        verb => cli::run(verb),
    };
    outcome.unwrap_or_else(|error| cli::failed(&error))
}

fn run_verb(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let (mut config, environment) = (Config::load(&args.config)?, Environment::of_process());
    config.find_credentials(&environment)?;
    log::start(config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (clock, manager) = (Clock::real(), Manager::from_env());
        let supervisor = Supervisor::new(clock.clone());
        let running = run::start(&config, &clock, &supervisor).await;
        let running = match running {
            Ok(running) => running,
            Err(error) => {
                supervisor.drain(DRAIN_WITHIN).await;
                return Err(error);
            }
        };
        reload::start(&args.config, environment, config, running.handles.clone(), &supervisor)?;
        tracing::info!(quic = %running.quic, join = %running.join, https = %running.https, "listening");
        // Alive is who can still say which hosts are.
        let beat = || async { running.standing() };
        tokio::select! {
            stopped = supervisor.until_stop() => stopped.context("signals cannot be received")?,
            never = manager.keep_told(&clock, beat) => match never {},
        }
        manager.stopping();
        Ok(supervisor.drain(DRAIN_WITHIN).await.exit_code())
    })
}
