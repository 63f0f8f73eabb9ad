//! The fleet simulator: many hosts in one process, each with the agent's own spool, session and uplink.
//!
//! Only what the sensors would say is made up, and that by a pure function of seed, host and tick (see `wave`), so that
//! whoever reads the centre's store can tell whether it is what was sent. Identities are real ones: each host joins with
//! a token of its own, and its folder is what joining leaves behind.

mod catalogue;
mod enrolled;
mod join;
mod source;
mod wave;

pub use enrolled::{EnrolledConfig, start_enrolled};
pub use join::join_all;
pub use source::SimSource;

use anyhow::{Context, ensure};
use dsmil_agent::config::AgentConfig;
use dsmil_agent::credentials::Credentials;
use dsmil_agent::run::{self, Parts, Running};
use dsmil_agent::spool::SpoolConfig;
use dsmil_agent::uplink::UplinkConfig;
use dsmil_protocol::ids::{BootId, HostName};
use dsmil_protocol::session::Speaker;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_sensors::root::Root;
use serde::{Deserialize, Serialize};
use source::Layout;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Simulated hosts are those whose names begin so; the folder may hold real ones too.
pub const NAME_PREFIX: &str = "sim-";
/// Files that one host holds open: a socket, a database with its log and index, its folder, and some to spare.
const FILES_PER_HOST: u64 = 8;
/// Files of the process itself: runtime, standard streams, identities while they are read.
const FILES_BESIDE: u64 = 64;
/// One host starts after the other by so much, as real ones do: a handshake is about a millisecond of arithmetic at
/// either end.
const RAMP_PER_HOST: Duration = Duration::from_millis(10);

/// Which hosts, and where they keep things.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// A folder for each host, as joining leaves it.
    pub agents_dir: PathBuf,
    /// Spools go here, a folder for each host; it should be on a tmpfs.
    pub spool_dir: PathBuf,
    /// What the generated values are drawn from.
    pub seed: u64,
    /// Leave out so many of the hosts, in the order of their names.
    pub first: usize,
    /// Take so many; none: all that follow.
    pub count: Option<usize>,
    /// Ticks in a batch; none: as each host's configuration says.
    pub batch_ticks: Option<usize>,
    /// What each spool may use, MiB.
    pub capacity_mib: u64,
    /// Time over which the hosts start; none: [`RAMP_PER_HOST`] each.
    pub ramp: Option<Duration>,
}

/// A running simulated host.
#[derive(Clone, Debug)]
pub struct SimHost {
    /// Its name.
    pub name: HostName,
    /// Its boot.
    pub boot: BootId,
    /// Its parts.
    pub running: Running,
}

/// What became of all ticks, seen from the hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Hosts that were started.
    pub hosts: u64,
    /// Of these, hosts with a link.
    pub connected: u64,
    /// Ticks sampled and taken in by spools.
    pub ticks_taken: u64,
    /// Ticks acknowledged.
    pub ticks_accounted: u64,
    /// Ticks that wait in spools.
    pub ticks_waiting: u64,
    /// Ticks that made room for newer ones.
    pub ticks_evicted: u64,
    /// Ticks that found no room.
    pub ticks_refused: u64,
    /// Ticks lost to damage of a spool.
    pub ticks_damaged: u64,
    /// Ticks in batches that the aggregator rejected.
    pub ticks_rejected: u64,
}

impl Summary {
    /// Adds up what the hosts say of themselves.
    pub fn of(hosts: &[SimHost]) -> Self {
        let mut all = Self { hosts: hosts.len() as u64, ..Self::default() };
        for host in hosts {
            all.connected += u64::from(host.running.board.is_connected());
            let spool = host.running.spool.lock().status();
            all.ticks_waiting += spool.ticks_waiting;
            all.ticks_taken += spool.totals.ticks_taken;
            all.ticks_accounted += spool.totals.ticks_accounted;
            all.ticks_evicted += spool.totals.ticks_evicted;
            all.ticks_refused += spool.totals.ticks_refused;
            all.ticks_damaged += spool.totals.ticks_damaged;
            all.ticks_rejected += spool.totals.ticks_rejected;
        }
        all
    }
}

/// Starts the hosts one after the other, over the ramp, under `supervisor`. A stop ends the ramp.
pub async fn start(config: &SimConfig, clock: &Clock, supervisor: &Supervisor) -> anyhow::Result<Vec<SimHost>> {
    let folders = folders(config)?;
    let count = u32::try_from(folders.len()).context("that many hosts do not fit one process")?;
    make_room_for_files(folders.len() as u64)?;
    let kernel_boot = Root::host()?.boot_id().context("the boot id cannot be read")?;
    let ramp = config.ramp.unwrap_or(RAMP_PER_HOST * count);
    let (layout, stop, started) = (Layout::new(), supervisor.stop(), clock.mono());
    let mut hosts = Vec::with_capacity(folders.len());
    for (number, folder) in (0u32..).zip(&folders) {
        tokio::select! {
            () = clock.sleep_until(started + ramp * number / count) => {}
            () = stop.requested() => break,
        }
        let host = start_one(config, folder, kernel_boot, &layout, clock, supervisor);
        hosts.push(host.with_context(|| format!("the host of {} cannot start", folder.display()))?);
    }
    Ok(hosts)
}

fn start_one(
    config: &SimConfig,
    folder: &Path,
    kernel_boot: BootId,
    layout: &Layout,
    clock: &Clock,
    supervisor: &Supervisor,
) -> anyhow::Result<SimHost> {
    let agent = AgentConfig::load(&folder.join("agent.toml"))?;
    let spool = config.spool_dir.join(agent.host.as_str());
    std::fs::create_dir_all(&spool).with_context(|| format!("{} cannot be made", spool.display()))?;
    let boot = source::boot_of(kernel_boot, &agent.host);
    let running = run::start(Parts {
        source: SimSource::new(layout, config.seed, &agent.host, clock.clone()),
        spool: SpoolConfig {
            path: spool.join("spool.sqlite"),
            capacity_bytes: config.capacity_mib << 20,
            batch_ticks: config.batch_ticks.unwrap_or(agent.spool.batch_ticks),
        },
        uplink: UplinkConfig {
            host: agent.host.clone(),
            boot,
            devices: agent.devices.clone(),
            speaker: Speaker {
                tenant: agent.tenant.clone(),
                compartments: agent.compartments,
                classification: agent.classification,
            },
            aggregators: agent.aggregators.clone(),
        },
        credentials: Credentials::load(agent.credential_files(), agent.key_exchange(), clock.clone())?,
        join: agent.join.clone(),
        clock: clock.clone(),
        supervisor: supervisor.clone(),
    })?;
    Ok(SimHost { name: agent.host, boot, running })
}

/// The folders of the hosts that are asked for, in the order of their names.
fn folders(config: &SimConfig) -> anyhow::Result<Vec<PathBuf>> {
    let dir = &config.agents_dir;
    let entries = std::fs::read_dir(dir).with_context(|| format!("{} cannot be read", dir.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(NAME_PREFIX) {
            found.push(entry.path());
        }
    }
    found.sort();
    let found: Vec<_> = found.into_iter().skip(config.first).take(config.count.unwrap_or(usize::MAX)).collect();
    ensure!(!found.is_empty(), "{} has no folder {NAME_PREFIX}… left: have some join, with --tokens", dir.display());
    Ok(found)
}

/// A login's soft limit of 1,024 open files is too few for some hundred hosts; the hard one is ours to use.
fn make_room_for_files(hosts: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let needed = hosts * FILES_PER_HOST + FILES_BESIDE;
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    ensure!(
        needed <= allowed,
        "{hosts} hosts need {needed} open files, {allowed} are allowed: `ulimit -Hn {needed}` as root"
    );
    if limit.current.is_some_and(|current| current < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })?;
    }
    Ok(())
}
