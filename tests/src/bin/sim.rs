//! `dsmil-sim`: the fleet simulator's command line.

use anyhow::Context;
use clap::Parser;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::log::{self, Level};
use dsmil_runtime::supervise::{Drained, OnFailure, Supervisor};
use e2e::sim::{self, SimConfig, Summary};
use std::convert::Infallible;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// How long stopping hosts may take: they seal, send and say goodbye, all at once.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);
/// How often the log says how many hosts have a link.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Many hosts in one process: real uplinks, sessions and spools, generated sensors.
///
/// Runs until SIGINT or SIGTERM. Exit codes: 0 fine, 1 it failed, 2 wrong usage.
#[derive(Parser)]
#[command(name = "dsmil-sim", version, arg_required_else_help = true)]
struct Cli {
    /// The folder with a folder for each host: its identity and configuration, as joining leaves them.
    #[arg(long)]
    agents_dir: PathBuf,
    /// Join tokens for hosts that have no folder yet: a list of `{"host": …, "token": …}`. They join first.
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// Where the spools go; should be on a tmpfs.
    #[arg(long)]
    spool_dir: PathBuf,
    /// What the generated values are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The hosts' wall clocks are ahead by so many seconds (behind, if negative).
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    wall_shift_s: i64,
    /// They were right until so many seconds after the start.
    #[arg(long, default_value_t = 0)]
    wall_shift_after_s: u64,
    /// Leave out so many of the hosts, in the order of their names.
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// Take so many hosts; all, if left out.
    #[arg(long)]
    count: Option<usize>,
    /// Ticks in a batch; as in each host's configuration, if left out.
    #[arg(long)]
    batch_ticks: Option<usize>,
    /// What each spool may use, MiB.
    #[arg(long, default_value_t = 8)]
    capacity_mib: u64,
    /// Start the hosts spread over so many milliseconds; 10 each, if left out.
    #[arg(long)]
    ramp_ms: Option<u64>,
    /// End by itself after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Log level: error, warn, info or debug.
    #[arg(long, default_value = "info")]
    log: Level,
    /// At the end, print what became of all ticks as one line of JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.log);
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(run(&cli)));
    outcome.unwrap_or_else(|error| {
        eprintln!("dsmil-sim: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let (clock, shift) = Clock::shifted();
    let supervisor = Supervisor::new(clock.clone());
    let shift_ns = cli.wall_shift_s.checked_mul(NANOS_PER_SECOND).context("--wall-shift-s is too large")?;
    let config = SimConfig {
        agents_dir: cli.agents_dir.clone(),
        spool_dir: cli.spool_dir.clone(),
        seed: cli.seed,
        first: cli.first,
        count: cli.count,
        batch_ticks: cli.batch_ticks,
        capacity_mib: cli.capacity_mib,
        ramp: cli.ramp_ms.map(Duration::from_millis),
    };
    if cli.wall_shift_after_s == 0 {
        shift.set(shift_ns);
    } else {
        at(&clock, &supervisor, Duration::from_secs(cli.wall_shift_after_s), move || shift.set(shift_ns));
    }
    if let Some(seconds) = cli.seconds {
        let stopping = supervisor.clone();
        at(&clock, &supervisor, Duration::from_secs(seconds), move || stopping.request_stop());
    }
    let stopping = supervisor.clone();
    supervisor.spawn("signals", OnFailure::Stop, async move {
        stopping.until_stop().await.map(|()| stopping.request_stop())
    });

    if let Some(tokens) = &cli.tokens {
        let joined = sim::join_all(tokens, &cli.agents_dir, &clock).await?;
        tracing::info!(joined, "hosts have joined");
    }
    let hosts = sim::start(&config, &clock, &supervisor).await?;
    tracing::info!(hosts = hosts.len(), "all are running");
    let stop = supervisor.stop();
    while !stop.is_requested() {
        tokio::select! {
            () = stop.requested() => {}
            () = clock.sleep(REPORT_EVERY) => {
                let Summary { connected, ticks_taken, ticks_waiting, .. } = Summary::of(&hosts);
                tracing::info!(connected, ticks_taken, ticks_waiting, "running");
            }
        }
    }
    let drained = supervisor.drain(DRAIN_WITHIN).await;
    report(&Summary::of(&hosts), cli.json)?;
    Ok(match drained {
        Drained::Clean => ExitCode::SUCCESS,
        Drained::Failed(reason) => {
            tracing::error!(reason, "stopped by a failure");
            ExitCode::FAILURE
        }
        Drained::Stuck(tasks) => {
            tracing::warn!(tasks, "some tasks did not end in time; the spools keep what was not sent");
            ExitCode::SUCCESS
        }
    })
}

/// Does something once, `after` so long, unless the program stops before.
fn at(clock: &Clock, supervisor: &Supervisor, after: Duration, act: impl FnOnce() + Send + 'static) {
    let (clock, stop) = (clock.clone(), supervisor.stop());
    supervisor.spawn("timer", OnFailure::Stop, async move {
        tokio::select! {
            () = clock.sleep(after) => act(),
            () = stop.requested() => {}
        }
        Ok::<(), Infallible>(())
    });
}

fn report(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(summary)?);
    } else {
        println!(
            "{} hosts sampled {} ticks: {} acknowledged, {} wait in their spools",
            summary.hosts, summary.ticks_taken, summary.ticks_accounted, summary.ticks_waiting
        );
    }
    Ok(())
}
