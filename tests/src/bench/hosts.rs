//! The agent on this host, reporting to a real aggregator: what it costs here, and how soon what it saw can be asked for.

use super::handshake::percentile;
use super::probes::Probes;
use super::process::{Memory, cpu_time};
use super::{Row, Target};
use crate::fleet::{AgentProc, Centre, Fleet, Parents, Ports};
use anyhow::{Context, ensure};
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use serde::Deserialize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How long the first batch may take to be stored; only then is the agent's work steady.
const FIRST_BATCH_WITHIN: Duration = Duration::from_secs(60);

/// The figures of both groups that one run of the agent gives.
pub(super) struct Figures {
    pub(super) agent: Vec<Row>,
    pub(super) latency: Vec<Row>,
}

pub(super) fn figures(run_for: Duration) -> anyhow::Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(run_for))
}

async fn measure(run_for: Duration) -> anyhow::Result<Figures> {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-bench", &clock)?;
    let host = HostName::new("h1")?;
    let mut centre = Centre::init(&fleet, std::slice::from_ref(&host), Ports::free()?)?;
    centre.start().await?;
    let mut agent = AgentProc::join(&fleet, &centre, &host)?;
    let mut probes = Probes::start(&fleet, &agent)?;
    agent.start()?;
    let pid = agent.process()?.id();
    let give_up = clock.mono() + FIRST_BATCH_WITHIN;
    while centre.pipeline().await?.ledger.stored == 0 {
        let process = agent.process()?;
        process.check_alive()?;
        ensure!(clock.mono() < give_up, "nothing was stored; the agent's last words:\n{}", process.log_tail());
        clock.sleep(Duration::from_millis(200)).await;
    }

    let (began, cpu_before, probes_before) = (clock.mono(), cpu_time(pid)?, probes.taken(&agent)?.cpu);
    clock.sleep(run_for).await;
    let (cpu, theirs) = (cpu_time(pid)?.saturating_sub(cpu_before), probes.taken(&agent)?);
    let lasted = clock.mono().saturating_sub(began).as_secs_f64();
    let share = |cpu: Duration| 100.0 * cpu.as_secs_f64() / lasted;
    let names = match theirs.names.join(", ") {
        none if none.is_empty() => "this host has nothing for one to read, or dsmil-probe is not here".to_owned(),
        names => format!("{names}, beside the agent's"),
    };
    let memory = Memory::of(pid)?;
    let spool = tmpfs_bytes(&agent.spool())?;
    let metrics: u64 = agent.status()?.sensors.iter().map(|sensor| sensor.metrics).sum();
    let pipeline = centre.pipeline().await?;
    ensure!(pipeline.ledger.lost == 0, "ticks were lost: {:?}", pipeline.ledger);
    let watched = watched(&centre, &clock, &host).await?;
    agent.stop().await?;
    centre.stop().await?;

    let delay = pipeline.tick_to_queryable_ms.context("no tick was timed")?;
    let wire = pipeline.wire_bytes_per_sample.context("no sample was stored")?;
    Ok(Figures {
        agent: vec![
            Row::aimed("agent, memory", mib(memory.all), "MiB PSS", Target::AtMost(8.0))
                .note(format!("of which {:.1} MiB are pages of the program's own file", mib(memory.of_files))),
            Row::aimed("agent, CPU", share(cpu), "% of a core", Target::AtMost(0.5))
                .note(format!("{metrics} metrics a second, over {} s", run_for.as_secs())),
            Row::told("probes, memory", mib(theirs.memory), "MiB PSS").note(names),
            Row::told("probes, CPU", share(theirs.cpu.saturating_sub(probes_before)), "% of a core")
                .note("with the programs that they run"),
            Row::told("agent, spool on tmpfs", mib(spool), "MiB").note("beside the memory above"),
            Row::told("wire, this host", wire, "B/sample").note("frames included, UDP excluded"),
        ],
        latency: vec![
            Row::aimed("tick to queryable, p99", delay.p99 / 1000.0, "s", Target::Under(12.0))
                .note("batches of 10 ticks: the first one waits for the tenth"),
            Row::told("tick to queryable, p50", delay.p50 / 1000.0, "s"),
            Row::aimed("tick to queryable while watched, p99", watched, "s", Target::Under(1.5))
                .note(format!("{WATCHED} ticks, one question each over a new connection")),
        ],
    })
}

/// Ticks that are watched.
const WATCHED: usize = 60;

/// The part of the API's answer that is looked at.
#[derive(Deserialize)]
struct Tick {
    boot: String,
    tick: u64,
    time_ms: i64,
}

/// Seconds from a tick until whoever watches has it, the 99th percentile.
async fn watched(centre: &Centre<'_>, clock: &Clock, host: &HostName) -> anyhow::Result<f64> {
    let mut seconds = Vec::with_capacity(WATCHED);
    let path = format!("/api/v1/hosts/{host}/watch");
    let mut tick: Tick = centre.api().json(&path).await?;
    // The host hears of it with the first question, and the tick of that moment may be over.
    for number in 0..WATCHED + 2 {
        tick = centre.api().json(&format!("{path}?after={}:{}", tick.boot, tick.tick)).await?;
        if number >= 2 {
            seconds.push(Duration::from_millis(u64::try_from(clock.wall_ms() - tick.time_ms)?).as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    Ok(percentile(&seconds, 99))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes that a database and its companions take.
fn tmpfs_bytes(database: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for suffix in ["", "-wal", "-shm"] {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        match std::fs::metadata(&path) {
            // stat(2): blocks are of 512 bytes, whatever the filesystem's.
            Ok(file) => sum += file.blocks() * 512,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("{} cannot be seen", Path::new(&path).display())),
        }
    }
    Ok(sum)
}
