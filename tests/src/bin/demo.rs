//! `dsmil-demo`: the demo's command line. `cargo xtask demo` builds everything and calls it.

use clap::Parser;
use dsmil_runtime::clock::Clock;
use e2e::demo::{self, MAX_HOSTS, MAX_SECONDS, Options};
use e2e::fleet::{Parents, guard};
use std::path::PathBuf;
use std::process::ExitCode;

/// A small fleet on this machine: one aggregator, one agent on this host's real metrics, simulated hosts if asked for.
///
/// It needs no installation and leaves nothing behind. Started as root, it runs its programs as another user. Exit codes:
/// 0 every tick is accounted for, 1 not so or it failed, 2 wrong usage.
#[derive(Parser)]
#[command(name = "dsmil-demo", version)]
struct Cli {
    /// Simulated hosts beside this one: real uplink, session and spool, generated sensors.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_HOSTS)))]
    hosts: u32,
    /// End after so many seconds; else Ctrl-C does.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    seconds: Option<u64>,
    /// Make the last line of standard output one JSON object of figures, and say all else on standard error.
    #[arg(long)]
    json: bool,
    /// Leave the folders with logs, configuration and data behind.
    #[arg(long)]
    keep: bool,
    /// A folder on a tmpfs, for spools and the hot cache.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm", env = "DSMIL_DEMO_RAM")]
    ram_dir: PathBuf,
    /// A folder on a disk, for the journal, identities and logs; $TMPDIR or /tmp if left out.
    #[arg(long, value_name = "DIR", env = "DSMIL_DEMO_DISK")]
    disk_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|verb| verb == guard::VERB) {
        eprintln!("dsmil-demo: {}", guard::become_program(args));
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    let options = Options {
        hosts: cli.hosts,
        seconds: cli.seconds,
        json: cli.json,
        keep: cli.keep,
        parents: Parents { disk: cli.disk_dir.unwrap_or_else(std::env::temp_dir), ram: cli.ram_dir },
    };
    // One thread, and the first one: children are guarded by the thread that starts them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(demo::run(&options, &Clock::real())));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dsmil-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
