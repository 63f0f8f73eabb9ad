//! A host is shut out: its session ends within five seconds, nothing lets it back in, and both sides say so.

use crate::scene::{is_linked, scene};
use anyhow::ensure;
use dsmil_agent::status::LinkState;
use dsmil_protocol::error::ErrorCode;
use std::time::Duration;

/// What the fleet promises.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_revocation_ends_the_session_within_five_seconds_and_reinstating_lets_it_join_again() {
    scene(&["h1", "h2"], &[], async |scene| {
        scene.centre.start().await?;
        let (mut agent, mut other) = (scene.agent("h1")?, scene.agent("h2")?);
        let (open, _) = scene.token("h1")?;
        agent.start()?;
        other.start()?;
        scene.fresh("h1").await?;
        scene.fresh("h2").await?;

        let revoked_at = scene.clock.mono();
        scene.centre.cli(&["host", "revoke", "h1", "--reason", "stolen laptop"])?;
        scene.until("the session is over", async || Ok(scene.session("h1").await?.is_null())).await?;
        let took = scene.clock.mono() - revoked_at;
        println!("closed {took:?} after `host revoke` was typed");
        ensure!(took < CLOSED_WITHIN, "it took {took:?}");
        scene.until_refused(&agent, ErrorCode::Revoked).await?;
        let LinkState::Refused { next_attempt_in_ms, .. } = agent.status()?.link.state else { unreachable!() };
        ensure!(next_attempt_in_ms > 50_000, "it is back in {next_attempt_in_ms} ms");

        let shown = scene.detail("h1").await?;
        ensure!(shown["link"]["state"] == "refused", "{shown}");
        ensure!(shown["identity"]["standing"] == "revoked", "{shown}");
        ensure!(shown["identity"]["revoked"]["reason"] == "stolen laptop", "{shown}");
        scene.counted("fleet", "us", "revoked", 1).await?;
        ensure!(is_linked(&other), "the other host was not meant");
        let log = scene.log("aggregator");
        ensure!(log.lines().any(|line| line.contains("turned away") && line.contains("h1")), "{log}");
        ensure!(scene.log("agent-h1").contains("code=\"revoked\""), "{}", scene.log("agent-h1"));

        // A token from before, and possession of its key: the agent that starts again tries what it can.
        scene.join(&open, "again", &[])?.ensure_refused(ErrorCode::Revoked)?;
        scene.counted("join", "us", "revoked", 1).await?;
        agent.kill()?;
        agent.start()?;
        scene.until_refused(&agent, ErrorCode::Revoked).await?;
        let log = scene.centre.cli(&["security", "log", "--kind", "revocation"])?;
        ensure!(log.contains("h1") && log.contains("stolen laptop"), "{log}");

        scene.centre.cli(&["host", "reinstate", "h1"])?;
        let (token, _) = scene.token("h1")?;
        scene.join(&token, "h1", &["--again"])?.ensure_joined()?;
        agent.kill()?;
        agent.start()?;
        scene.fresh("h1").await?;
        ensure!(is_linked(&agent) && scene.session("h1").await?["host"] == "h1", "it is in again");
        Ok(())
    });
}

#[test]
fn a_host_that_was_revoked_while_the_aggregator_was_down_is_refused_when_it_is_back() {
    scene(&["h1"], &[], async |scene| {
        scene.centre.start().await?;
        let mut agent = scene.agent("h1")?;
        agent.start()?;
        scene.fresh("h1").await?;
        scene.centre.kill()?;
        scene.centre.cli(&["host", "revoke", "h1", "--reason", "sold"])?;
        scene.centre.start().await?;
        scene.until_refused(&agent, ErrorCode::Revoked).await?;
        scene.counted("fleet", "us", "revoked", 1).await?;
        ensure!(scene.detail("h1").await?["latest"].is_null(), "nothing of it was taken");
        Ok(())
    });
}
