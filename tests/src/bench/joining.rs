//! A host that joins, as its engineer sees it, and one that renews.

use super::handshake::percentile;
use super::{Row, Target};
use crate::fleet::{Centre, Fleet, Parents, Ports, Program};
use anyhow::bail;
use dsmil_agent::addresses::Addresses;
use dsmil_agent::config::AgentConfig;
use dsmil_agent::credentials::{Credentials, Keeper, Want};
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// Hosts that join; each renews once.
const HOSTS: usize = 20;
/// How long a renewal may take.
const RENEWED_WITHIN: Duration = Duration::from_secs(10);
/// How long the tasks may take to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn figures() -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> anyhow::Result<Vec<Row>> {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-bench", &clock)?;
    let hosts = (0..HOSTS).map(|n| HostName::new(format!("h{n}"))).collect::<Result<Vec<_>, _>>()?;
    let mut centre = Centre::init(&fleet, &hosts, Ports::free()?)?;
    centre.start().await?;
    let (mut joins, mut renewals) = (Vec::with_capacity(HOSTS), Vec::with_capacity(HOSTS));
    // All joins first: what renews is this process, and it is not to be in their way.
    let mut folders = Vec::with_capacity(HOSTS);
    for token in centre.tokens(&hosts)? {
        let folder = fleet.disk().join("hosts").join(token.host.as_str());
        let args = [OsString::from("join"), token.token.into(), "--dir".into(), folder.clone().into()];
        let began = clock.mono();
        fleet.launcher().output(Program::Agent, &args)?;
        joins.push(clock.mono().saturating_sub(began).as_secs_f64());
        folders.push(folder);
    }
    for folder in &folders {
        renewals.push(renew(folder, &clock).await?.as_secs_f64());
    }
    centre.stop().await?;
    Ok(rows("join, end to end", joins, "the agent's program, from its start to its end")
        .into_iter()
        .chain(rows("renewal", renewals, "from the wish to the new identity on the disk, in a running agent"))
        .collect())
}

/// Has a host that joined renew, as its running agent does, and says how long that takes.
async fn renew(folder: &Path, clock: &Clock) -> anyhow::Result<Duration> {
    let config = AgentConfig::load(&folder.join("agent.toml"))?;
    let credentials = Credentials::load(config.credential_files(), config.key_exchange(), clock.clone())?;
    let before = credentials.current().identity().key_fingerprint()?;
    let supervisor = Supervisor::new(clock.clone());
    let addresses = Addresses::new(config.aggregators.clone(), config.join.clone());
    let keeper = Keeper::new(credentials.clone(), config.host_settings(), addresses, &supervisor, clock.clone());
    supervisor.spawn("bench-keeper", OnFailure::Note, keeper.run());
    let mut changes = credentials.changes();
    let began = clock.mono();
    credentials.renew_soon(Want::Identity, "to see how long it takes");
    let renewed = async {
        while changes.borrow_and_update().identity().key_fingerprint()? == before {
            changes.changed().await?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        renewed = renewed => renewed?,
        () = clock.sleep(RENEWED_WITHIN) => bail!("a host was not renewed: {:?}", credentials.renewal().failed),
    }
    let took = clock.mono().saturating_sub(began);
    supervisor.drain(DRAIN_WITHIN).await;
    Ok(took)
}

fn rows(what: &str, mut seconds: Vec<f64>, how: &str) -> [Row; 2] {
    seconds.sort_by(f64::total_cmp);
    let [p50, p99] = [50, 99].map(|percent| percentile(&seconds, percent) * 1e3);
    [
        Row::aimed(format!("{what}, p99"), p99, "ms", Target::Under(1_000.0))
            .note(format!("{how}; the longest of {}", seconds.len())),
        Row::told(format!("{what}, p50"), p50, "ms"),
    ]
}
