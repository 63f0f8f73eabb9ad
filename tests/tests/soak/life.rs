//! What happens to the fleet, cycle by cycle, and how long that goes on.

use crate::rig::Rig;
use anyhow::{Context, bail, ensure};
use dsmil_agent::join::JoinError;
use dsmil_protocol::error::ErrorCode;
use dsmil_runtime::clock::Clock;
use e2e::client::ApiClient;
use e2e::fleet::eventually;
use rustix::process::Signal;
use std::convert::Infallible;
use std::time::Duration;

/// The hour.
const MINUTES: u64 = 60;
/// Hosts that are simulated: load that a debug build carries with a fifth of a core.
const HOSTS: usize = 50;
/// A cycle is this part of the whole: five minutes.
const CYCLES: u32 = 12;
/// What is done in a cycle, at even distances.
const HAPPENINGS: u32 = 6;
/// Somebody has pulled a cable, or the machine under the aggregator is moved: longer than a link lives without a word.
const OUTAGE: Duration = Duration::from_secs(20);
/// How long the simulated hosts are away when their agents are upgraded.
const UPGRADE: Duration = Duration::from_secs(3);
/// A dashboard asks this often.
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// How often in a cycle a token is tried that was used, and the API without a token.
const TRIES: usize = 10;
/// Until a link is there again: a back-off, a handshake that hangs, a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// How long, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    length: Duration,
    /// Simulated hosts.
    pub(crate) hosts: usize,
}

impl Plan {
    /// The hour, or what the environment says.
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse().ok();
        let minutes = number("DSMIL_SOAK_MINUTES").unwrap_or(MINUTES);
        let hosts = number("DSMIL_SOAK_HOSTS").and_then(|hosts| usize::try_from(hosts).ok()).unwrap_or(HOSTS);
        Self { length: Duration::from_secs(minutes * 60), hosts }
    }

    /// Half of it. Everything has happened six times: there are as many sessions to be resumed as are remembered (256), as
    /// many metric sets out of use as are kept (32). What takes longest are the allocator's arenas, one for each thread that
    /// decodes, stores or reads: in the hours that were watched they rounded up for more than half an hour, less and less.
    pub(crate) fn warm_up(&self) -> Duration {
        self.length / 2
    }

    /// After this it happens again.
    pub(crate) fn cycle(&self) -> Duration {
        self.length / CYCLES
    }

    /// How often the metrics of the restless host are other ones.
    pub(crate) fn changes_every(&self) -> Duration {
        self.cycle() / 60
    }
}

/// Has everything happen, cycle by cycle, to the plan's end.
pub(crate) async fn live(rig: &mut Rig<'_>, plan: &Plan) -> anyhow::Result<()> {
    let started = rig.clock.mono();
    let used = rig.newcomer.join(&rig.centre).await?;
    for number in 0..CYCLES * HAPPENINGS {
        rig.clock.sleep_until(started + plan.cycle() * number / HAPPENINGS).await;
        match number % HAPPENINGS {
            0 => cut(rig).await,
            1 => arrive(rig).await,
            2 => turn_away(rig, &used).await,
            3 => rig.restless.renew(),
            4 => pause(rig).await,
            _ => upgrade(rig).await,
        }
        .with_context(|| format!("in cycle {}", number / HAPPENINGS))?;
    }
    rig.clock.sleep_until(started + plan.length).await;
    Ok(())
}

/// Asks what a dashboard and a scraper ask, until it is dropped.
pub(crate) async fn ask(api: &ApiClient, clock: &Clock) -> anyhow::Result<Infallible> {
    const HOST: &str = "sim-0001";
    let selector = format!("node_load1%7Bhost%3D%22{HOST}%22%7D");
    loop {
        let now_s = clock.wall_ms() / 1000;
        let range = format!("query={selector}&start={}&end={now_s}&step=10", now_s - 300);
        for path in [
            "/health/pipeline",
            "/metrics",
            "/api/v1/hosts",
            &format!("/api/v1/hosts/{HOST}"),
            "/api/v1/security/link",
            &format!("/prometheus/api/v1/query?query={selector}"),
            &format!("/prometheus/api/v1/query_range?{range}"),
        ] {
            api.text(path).await?;
        }
        clock.sleep(ASKED_EVERY).await;
    }
}

/// The link of one agent is cut: what it samples waits, and is sent again where no acknowledgement came through.
async fn cut(rig: &Rig<'_>) -> anyhow::Result<()> {
    rig.relay.cut();
    rig.clock.sleep(OUTAGE).await;
    rig.relay.mend();
    eventually(&rig.clock, "the agent has its link again", BACK_WITHIN, || std::future::ready(Ok(rig.is_linked())))
        .await
}

/// A host is set up anew.
async fn arrive(rig: &mut Rig<'_>) -> anyhow::Result<()> {
    rig.newcomer.stop().await?;
    rig.newcomer.join(&rig.centre).await?;
    rig.newcomer.start()
}

/// Somebody tries a token that was used, and the API without one. The outcast calls by itself.
async fn turn_away(rig: &Rig<'_>, used: &str) -> anyhow::Result<()> {
    let root = std::fs::read(rig.centre.https_root())?;
    let stranger = ApiClient::new(rig.centre.api().address(), &root, "no token", rig.clock.clone())?;
    for _ in 0..TRIES {
        match rig.newcomer.join_with(used).await {
            Err(JoinError::Refused { code: ErrorCode::TokenUsed, .. }) => {}
            other => bail!("a token that was used: {other:?}"),
        }
        let status = stranger.get("/api/v1/hosts").await?.status;
        ensure!(status.as_u16() == 401, "without a token: {status}");
    }
    Ok(())
}

/// The aggregator stands still, as its machine may, and everybody comes back at once.
async fn pause(rig: &mut Rig<'_>) -> anyhow::Result<()> {
    let process = rig.centre.process()?;
    process.signal(Signal::STOP)?;
    rig.clock.sleep(OUTAGE).await;
    process.signal(Signal::CONT)?;
    rig.all_up().await
}

/// The simulated hosts' agents stop, and start again: they know nothing that would shorten a handshake.
async fn upgrade(rig: &mut Rig<'_>) -> anyhow::Result<()> {
    rig.sim.stop().await?;
    rig.clock.sleep(UPGRADE).await;
    rig.sim.start()?;
    rig.all_up().await
}
