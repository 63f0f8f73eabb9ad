//! Tokens that let nobody in: what `dsmil-agent join` prints, and what the centre counts, name the same reason.

use crate::scene::{Scene, scene};
use anyhow::ensure;
use dsmil_aggregator::run::open_state;
use dsmil_authority::Fingerprint;
use dsmil_crypto::identity::Identity;
use dsmil_crypto::join_token::JoinToken;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::supervise::Supervisor;
use dsmil_store::state::NewToken;
use rustix::process::Signal;
use std::time::Duration;

/// A fleet file in which `stale` carries a device.
const WITH_A_DEVICE: &str = r#"
[[host]]
name = "h1"
[[host]]
name = "h2"
[[host]]
name = "stale"
devices = [9]
[[host]]
name = "out"
[[device]]
id = 9
layer = "4"
role = "a sensor"
"#;

/// Keeps a token that is over already, as one that was made an hour ago: the command line's shortest is a minute.
async fn expired(scene: &Scene<'_>, like: &JoinToken) -> anyhow::Result<String> {
    let now_ms = scene.clock.wall_ms();
    let JoinToken { addresses, trust_domain, root, host, .. } = like.clone();
    let token = JoinToken::generate(addresses, trust_domain, root, host, now_ms / 1000 - 3600);
    let supervisor = Supervisor::new(scene.clock.clone());
    let state = open_state(&scene.config()?, &supervisor)?;
    let new = NewToken {
        hash: token.hash(),
        host: HostName::new(token.host.as_str())?,
        devices: Vec::new(),
        created_ms: now_ms - 3_600_000,
        expires_ms: now_ms - 1,
        by: "a test".into(),
    };
    state.create_token(new).await?;
    drop(state);
    supervisor.drain(Duration::from_secs(10)).await;
    Ok(token.text())
}

/// Joins with `token` into a folder of its own, is refused, and is counted for the same reason.
async fn refused(scene: &Scene<'_>, token: &str, code: ErrorCode) -> anyhow::Result<()> {
    let before = scene.refused("join", "us", code.name()).await?;
    scene.join(token, code.name(), &[])?.ensure_refused(code)?;
    ensure!(scene.refused("join", "us", code.name()).await? == before + 1, "{code} was not counted");
    let names = std::fs::read_dir(scene.folder(code.name()))?.map(|entry| entry.map(|entry| entry.file_name()));
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    ensure!(names == ["agent.key.joining"], "{code} left {names:?}");
    Ok(())
}

#[test]
fn a_token_that_is_not_good_is_refused_for_the_same_reason_on_both_sides() {
    scene(&["h1", "h2", "stale", "out"], &[], async |scene| {
        scene.centre.start().await?;
        let (good, opened) = scene.token("h1")?;
        let (stale, _) = scene.token("stale")?;
        let (revoked, _) = scene.token("out")?;

        scene.join(&good, "h1", &[])?.ensure_joined()?;
        refused(scene, &good, ErrorCode::TokenUsed).await?;

        refused(scene, &expired(scene, &opened).await?, ErrorCode::TokenExpired).await?;

        let (_, mut for_h1) = scene.token("h1")?;
        for_h1.host = "h2".into();
        refused(scene, &for_h1.text(), ErrorCode::TokenWrongHost).await?;

        let JoinToken { addresses, trust_domain, root, host, created_s, .. } = opened.clone();
        let invented = JoinToken::generate(addresses, trust_domain, root, host, created_s).text();
        refused(scene, &invented, ErrorCode::TokenInvalid).await?;

        std::fs::write(scene.centre.folder().join("fleet.toml"), WITH_A_DEVICE)?;
        scene.centre.process()?.signal(Signal::HUP)?;
        scene
            .until("the fleet file is read again", async || Ok(scene.log("aggregator").contains("read again")))
            .await?;
        refused(scene, &stale, ErrorCode::TokenStale).await?;

        scene.centre.cli(&["host", "revoke", "out", "--reason", "stolen"])?;
        refused(scene, &revoked, ErrorCode::Revoked).await?;

        scene.centre.stop().await?;
        let log = scene.centre.cli(&["security", "log", "--kind", "refusal"])?;
        let codes = ["token_used", "token_expired", "token_wrong_host", "token_invalid", "token_stale", "revoked"];
        for code in codes {
            ensure!(log.contains(code), "the security log has no {code}:\n{log}");
        }
        Ok(())
    });
}

#[test]
fn a_damaged_token_or_one_of_another_fleet_tells_nobody_its_secret() {
    scene(&["h1"], &[], async |scene| {
        scene.centre.start().await?;
        let (text, token) = scene.token("h1")?;
        let damaged = scene.join(&text[..text.len() - 3], "damaged", &[])?;
        ensure!(damaged.code() == Some("token_malformed") && damaged.exit == Some(1), "{damaged:?}");
        let mut other = token.clone();
        other.root = Fingerprint([7; 48]);
        let other = scene.join(&other.text(), "other", &[])?;
        ensure!(other.code() == Some("unknown_root") && other.exit == Some(1), "{other:?}");
        ensure!(other.document["failed"]["remedy"].as_str().is_some_and(|remedy| remedy.contains("trust show")));
        scene.counted("join", "peer", "unknown_root", 1).await?;
        let tokens = scene.cli_json(&["token", "list"])?;
        ensure!(tokens["tokens"][0]["state"] == "open", "{tokens}");
        // It was not used up: it is good where it was made for.
        scene.join(&text, "h1", &[])?.ensure_joined().map(drop)
    });
}

#[test]
fn a_join_that_was_cut_short_goes_on_with_the_same_token_and_the_same_key() {
    scene(&["h1"], &[], async |scene| {
        scene.centre.start().await?;
        let (text, _) = scene.token("h1")?;
        let first = scene.join(&text, "h1", &[])?;
        let key = first.ensure_joined()?["key"].clone();
        // As it was before the answer came: a key that waits, and nothing else.
        let folder = scene.folder("h1");
        let waiting = folder.join("agent.key.joining");
        Identity::load(&folder.join("agent.pem"))?.key()?.save(&waiting)?;
        scene.fleet.user().map_or(Ok(()), |user| user.own(&waiting))?;
        for name in ["agent.pem", "agent.toml", "trust.bundle"] {
            std::fs::remove_file(folder.join(name))?;
        }
        let again = scene.join(&text, "h1", &[])?;
        ensure!(again.ensure_joined()?["key"] == key, "another key: {again:?}");
        let hosts = scene.cli_json(&["host", "list"])?;
        ensure!(hosts["hosts"][0]["key"] == key, "{hosts}");
        // With another key it is a second use.
        scene.join(&text, "elsewhere", &[])?.ensure_refused(ErrorCode::TokenUsed)
    });
}
