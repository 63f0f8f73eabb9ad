//! Simulated hosts whose identities were made beside the join port ([`crate::enrol`]) and live in memory only: for drills
//! that are about what comes after joining.

use super::source::{self, Layout};
use super::{RAMP_PER_HOST, SimHost, SimSource, make_room_for_files};
use anyhow::Context;
use dsmil_agent::credentials::Credentials;
use dsmil_agent::run::{self, Parts};
use dsmil_agent::spool::SpoolConfig;
use dsmil_agent::uplink::UplinkConfig;
use dsmil_crypto::identity::Identity;
use dsmil_crypto::policy::KeyExchange;
use dsmil_crypto::trust::Trust;
use dsmil_protocol::ids::HostName;
use dsmil_protocol::session::Speaker;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use dsmil_sensors::root::Root;
use std::path::PathBuf;
use std::time::Duration;

/// What enrolled hosts have in common.
#[derive(Clone, Debug)]
pub struct EnrolledConfig {
    /// As whom they speak.
    pub speaker: Speaker,
    /// The aggregator, `host:port`.
    pub aggregator: String,
    /// Whom they trust.
    pub trust: Trust,
    /// Spools go here, a folder for each host; it should be on a tmpfs.
    pub spool_dir: PathBuf,
    /// What the generated values are drawn from.
    pub seed: u64,
    /// Ticks in a batch.
    pub batch_ticks: usize,
    /// What each spool may use, MiB.
    pub capacity_mib: u64,
    /// Time over which the hosts start; none: as the simulator thinks best.
    pub ramp: Option<Duration>,
}

/// Starts them one after the other, over the ramp, under `supervisor`.
pub async fn start_enrolled(
    config: &EnrolledConfig,
    hosts: Vec<(HostName, Identity)>,
    clock: &Clock,
    supervisor: &Supervisor,
) -> anyhow::Result<Vec<SimHost>> {
    let count = u32::try_from(hosts.len()).context("that many hosts do not fit one process")?;
    make_room_for_files(hosts.len() as u64)?;
    let kernel_boot = Root::host()?.boot_id().context("the boot id cannot be read")?;
    let ramp = config.ramp.unwrap_or(RAMP_PER_HOST * count);
    let (layout, started) = (Layout::new(), clock.mono());
    let mut running = Vec::with_capacity(hosts.len());
    for (number, (host, identity)) in (0u32..).zip(hosts) {
        clock.sleep_until(started + ramp * number / count).await;
        let folder = config.spool_dir.join(host.as_str());
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let boot = source::boot_of(kernel_boot, &host);
        let parts = Parts {
            source: SimSource::new(&layout, config.seed, &host, clock.clone()),
            spool: SpoolConfig {
                path: folder.join("spool.sqlite"),
                capacity_bytes: config.capacity_mib << 20,
                batch_ticks: config.batch_ticks,
            },
            uplink: UplinkConfig {
                host: host.clone(),
                boot,
                devices: Vec::new(),
                speaker: config.speaker.clone(),
                aggregators: vec![config.aggregator.clone()],
            },
            credentials: Credentials::new(identity, config.trust.clone(), KeyExchange::Pure, None, clock.clone()),
            join: Vec::new(),
            clock: clock.clone(),
            supervisor: supervisor.clone(),
        };
        let host_running = run::start(parts).with_context(|| format!("{host} cannot start"))?;
        running.push(SimHost { name: host, boot, running: host_running });
    }
    Ok(running)
}
