//! The two implementations of the post-quantum arithmetic, one at each end: a host joins, renews and streams.
//!
//! `cargo xtask test --long` builds the programs with liboqs and names their folder in `DSMIL_OQS`.

use anyhow::{Context, ensure};
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use e2e::fleet::{AgentProc, Centre, Fleet, Ledger, Parents, Ports, Program, eventually};
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn long_an_agent_with_liboqs_joins_renews_and_streams_to_an_aggregator_with_aws_lc() {
    streams(&[Program::Agent]).await.expect("it streams");
}

#[tokio::test]
async fn long_an_agent_with_aws_lc_joins_renews_and_streams_to_an_aggregator_with_liboqs() {
    streams(&[Program::Aggregator]).await.expect("it streams");
}

#[tokio::test]
async fn long_liboqs_at_both_ends() {
    streams(&[Program::Agent, Program::Aggregator]).await.expect("it streams");
}

async fn streams(with_liboqs: &[Program]) -> anyhow::Result<()> {
    let clock = Clock::real();
    let builds = std::env::var_os("DSMIL_OQS").context("DSMIL_OQS is not set: `cargo xtask test --long` sets it")?;
    let mut fleet = Fleet::new(&Parents::default(), "dsmil-oqs", &clock)?;
    for program in with_liboqs {
        fleet.put(*program, &PathBuf::from(&builds).join(program.file_name()))?;
    }
    let host = HostName::new("h1")?;
    let mut centre = Centre::init(&fleet, std::slice::from_ref(&host), Ports::free()?)?;
    centre.start().await?;
    let named = |with: Program| if with_liboqs.contains(&with) { "liboqs" } else { "aws-lc-rs" };
    let checked = centre.cli(&["check"])?;
    ensure!(checked.contains(named(Program::Aggregator)), "`check` names another implementation:\n{checked}");
    let mut agent = AgentProc::join(&fleet, &centre, &host)?;
    let config = agent.config().to_string_lossy().into_owned();
    let checked = fleet.launcher().output(Program::Agent, &["check", "--config", &config])?;
    ensure!(checked.contains(named(Program::Agent)), "`check` names another implementation:\n{checked}");
    agent.start()?;
    centre.until("ticks are stored", PATIENCE, |ledger| ledger.stored >= 10).await?;

    // A new issuer in the place of the old: the agent takes the bundle, renews by its key, and comes back.
    let before = agent.status()?.identity.key;
    let (root, signed) = (centre.folder().join("root"), centre.folder().join("state/trust.bundle"));
    let (root, signed) = (root.to_string_lossy().into_owned(), signed.to_string_lossy().into_owned());
    centre.cli(&["trust", "add-issuer"])?;
    centre.cli(&["trust", "retire", "a1-1"])?;
    centre.cli(&["trust", "sign", "--root", &root])?;
    centre.cli(&["trust", "publish", &signed])?;
    eventually(&clock, "the agent has renewed", PATIENCE, async || {
        let status = agent.status()?;
        Ok(status.identity.key != before && status.trust.version == 2)
    })
    .await?;
    let stored = centre.pipeline().await?.ledger.stored;
    centre.until("more ticks are stored", PATIENCE, |ledger| ledger.stored >= stored + 10).await?;
    ensure!(agent.stop().await?.success(), "the agent failed at its end");
    let whole = |ledger: &Ledger| ledger.waiting == 0 && ledger.lost == 0;
    centre.until("every tick is stored", PATIENCE, whole).await.map(drop)
}
