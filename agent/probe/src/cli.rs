//! The command line, and the life of the process: wait for a question, answer it, end when nobody asks.

use crate::desk::Desk;
use crate::door::Door;
use crate::fdinfo::Fdinfo;
use crate::kmsg::{self, Kmsg};
use crate::nvml::Nvidia;
use crate::rapl::Rapl;
use crate::smart::{self, Smart};
use crate::source::Source;
use crate::systemd::Systemd;
use crate::talk::{self, End};
use anyhow::bail;
use clap::{CommandFactory, Parser};
use dsmil_protocol::metric::Metric;
use dsmil_protocol::probe::ProbeKind;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::log::{self, Level};
use dsmil_runtime::supervise::Supervisor;
use dsmil_sensors::Reading;
use dsmil_sensors::root::{HOST_PROC, HOST_SYS, Root};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A call that has not come back after this long is given up, and the process with it: a new one may have more luck. Not if it
/// cannot be killed: it would leave a remnant behind each time.
const GIVE_UP: Duration = Duration::from_secs(30);
/// How often to look whether a call that hangs is to be given up.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Seconds without a question after which nobody is there any more, for kinds that are asked all the time.
const SHORTEST_IDLE_S: u32 = 30;

/// Reads one kind of thing and answers the agent's questions about it: started by systemd, or by hand with --socket or --once.
///
/// Exit codes: 0 nobody asks any more, 1 it failed, 2 wrong usage.
#[derive(Parser)]
#[command(name = "dsmil-probe", version)]
struct Cli {
    /// What to read: nvml, rapl, kmsg, fdinfo, smart or systemd.
    #[arg(value_parser = kind)]
    kind: ProbeKind,
    /// The vendor's library, where the loader does not find it or another one is meant.
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,
    /// The program that the kind runs (smart: smartctl, systemd: systemctl), where it is not one of the distribution's or another one is meant.
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Where the host's processes and counters are.
    #[arg(long, value_name = "DIR", default_value = HOST_PROC)]
    proc: PathBuf,
    /// Where the host's devices are.
    #[arg(long, value_name = "DIR", default_value = HOST_SYS)]
    sys: PathBuf,
    /// Where the kernel's log is.
    #[arg(long, value_name = "PATH", default_value = kmsg::DEFAULT_PATH)]
    kmsg: PathBuf,
    /// Make this socket and answer there, instead of on the one that systemd holds.
    #[arg(long, value_name = "PATH", conflicts_with = "once")]
    socket: Option<PathBuf>,
    /// End when nobody has asked for so many seconds, and leave the devices alone: the next question starts it again. Default: 30,
    /// or three times as long as the agent lets pass between two questions to this kind.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    idle: Option<u32>,
    /// Read once, print it as Prometheus does, and end.
    #[arg(long)]
    once: bool,
}

fn kind(text: &str) -> Result<ProbeKind, String> {
    ProbeKind::of_name(text).ok_or_else(|| format!("none of {}", ProbeKind::ALL.map(ProbeKind::name).join(", ")))
}

/// The command line, for its reference.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The program.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dsmil-probe: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Cli) -> anyhow::Result<ExitCode> {
    log::start(Level::Info);
    let root = Root::at(&args.proc, &args.sys, "/".as_ref())?;
    let own = Root::host()?;
    let clock = Clock::real();
    let kind = args.kind;
    let supervisor = Supervisor::new(clock.clone());
    let mut source = source(&args, &clock, &supervisor);
    if args.once {
        return Ok(once(source.as_mut(), &root));
    }
    let door = args.socket.as_deref().map_or_else(Door::of_stdin, Door::bind)?;
    let desk = Desk::start(clock.clone(), &supervisor, root, own, source);
    let Ok(mut desk) = desk else { bail!("the thread that reads has failed") };
    tracing::info!(%kind, "running");
    let idle = args.idle.unwrap_or_else(|| (3 * u32::from(kind.interval_s())).max(SHORTEST_IDLE_S));
    answer_for_ever(kind, &door, &mut desk, &clock, Duration::from_secs(idle.into()))
}

/// What reads that kind.
fn source(args: &Cli, clock: &Clock, supervisor: &Supervisor) -> Box<dyn Source> {
    match args.kind {
        ProbeKind::Nvml => Box::new(Nvidia::new(args.library.clone(), clock.clone())),
        ProbeKind::Rapl => Box::new(Rapl::default()),
        ProbeKind::Kmsg => Box::new(Kmsg::new(args.kmsg.clone())),
        ProbeKind::Fdinfo => Box::new(Fdinfo::new(clock.clone())),
        ProbeKind::Smart => {
            // Who asks once wants everything, however long that takes.
            let patience = if args.once { Duration::MAX } else { smart::PATIENCE };
            Box::new(Smart::new(args.program.clone(), clock.clone(), supervisor, patience))
        }
        ProbeKind::Systemd => Box::new(Systemd::new(args.program.clone(), clock.clone())),
    }
}

fn answer_for_ever(
    kind: ProbeKind,
    door: &Door,
    desk: &mut Desk,
    clock: &Clock,
    idle: Duration,
) -> anyhow::Result<ExitCode> {
    let mut asked = clock.mono();
    loop {
        let stuck = desk.stuck();
        if let Some((time, can_end)) = stuck
            && can_end
            && time >= GIVE_UP
        {
            bail!("a call has hung for {} s: given up, and this process with it", time.as_secs());
        }
        let left = idle.saturating_sub(clock.mono().saturating_sub(asked));
        if stuck.is_none() && !desk.listens() && left.is_zero() {
            tracing::info!(%kind, "nobody asks");
            return Ok(ExitCode::SUCCESS);
        }
        let patience = if stuck.is_some() || desk.listens() { LOOK_EVERY } else { left };
        let Some(stream) = door.wait(patience)? else { continue };
        asked = clock.mono();
        match talk::serve(stream, kind, desk, clock) {
            End::Done => {}
            End::Refused(error) => tracing::warn!(%error, "an asker sent no question"),
            End::Broken(error) => tracing::debug!(%error, "a connection ended early"),
            End::Gone => bail!("the thread that reads has failed"),
        }
    }
}

fn once(source: &mut dyn Source, root: &Root) -> ExitCode {
    let mut reading = Reading::new();
    reading.begin();
    let fault = source.read(root, &mut reading).err();
    reading.complete();
    for (metric, bits) in reading.metrics().zip(reading.values()) {
        if let Some(bits) = bits {
            println!("{} {}", series(metric), metric.value(bits));
        }
    }
    match fault {
        Some(fault) => {
            eprintln!("dsmil-probe: {fault}");
            ExitCode::FAILURE
        }
        None if reading.metrics().next().is_none() => {
            eprintln!("dsmil-probe: there is nothing of this kind on this host");
            ExitCode::SUCCESS
        }
        None => ExitCode::SUCCESS,
    }
}

/// `name{label="value"}`, as in Prometheus's text.
fn series(metric: &Metric) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<_> = metric.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if labels.is_empty() { metric.name.clone() } else { format!("{}{{{}}}", metric.name, labels.join(",")) }
}
