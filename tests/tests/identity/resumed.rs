//! TLS looks at no certificate when it resumes a session, so the aggregator looks again at every HELLO.

use crate::scene::{Scene, is_linked, scene};
use anyhow::{Context, ensure};
use dsmil_protocol::error::ErrorCode;
use e2e::fleet::{AgentProc, Relay};

/// Bytes of the aggregator's certificate and of its signature alone, in a handshake that is not resumed.
const PROOF_LEN: u64 = 7_300 + 4_627;

/// Lays a host's link through a relay; before its agent starts.
async fn behind_a_relay<'f>(scene: &Scene<'f>, host: &str) -> anyhow::Result<(AgentProc<'f>, Relay)> {
    let agent = scene.agent(host)?;
    let relay = Relay::start(scene.ports.quic, &scene.supervisor).await?;
    let aggregators = vec![toml::Value::from(relay.address.to_string())];
    agent.configure(|table| drop(table.insert("aggregators".into(), aggregators.into())))?;
    Ok((agent, relay))
}

/// While they are cut off one host is revoked, the issuer of another is retired, and a third has both happen to it. They come
/// back with sessions that are resumed.
#[test]
fn a_resumed_session_is_refused_at_hello_for_what_happened_meanwhile() {
    scene(&["revoked", "retired", "both"], &[], async |scene| {
        scene.centre.start().await?;
        let (mut revoked, to_revoked) = behind_a_relay(scene, "revoked").await?;
        let (mut retired, to_retired) = behind_a_relay(scene, "retired").await?;
        let (mut both, to_both) = behind_a_relay(scene, "both").await?;
        for agent in [&mut revoked, &mut retired, &mut both] {
            agent.start()?;
        }
        for host in ["revoked", "retired", "both"] {
            scene.fresh(host).await?;
        }
        let first = to_revoked.carried_back();
        ensure!(first > PROOF_LEN, "{first} bytes are not even a full handshake");
        let old = scene.cli_json(&["trust", "show"])?["issuers"][0]["name"].as_str().context("an issuer")?.to_owned();
        let key = retired.status()?.identity.key;
        to_revoked.cut();
        to_retired.cut();
        to_both.cut();
        scene
            .until("all notice", async || Ok(![&revoked, &retired, &both].into_iter().any(|agent| is_linked(agent))))
            .await?;

        for host in ["revoked", "both"] {
            scene.centre.cli(&["host", "revoke", host, "--reason", "stolen"])?;
        }
        let carried = to_revoked.carried_back();
        to_revoked.mend();
        scene.until_refused(&revoked, ErrorCode::Revoked).await?;
        let carried = to_revoked.carried_back() - carried;
        println!("revoked: {carried} bytes came back");
        ensure!(carried < PROOF_LEN, "{carried} bytes are a full handshake");
        scene.counted("fleet", "us", "revoked", 1).await?;

        scene.centre.cli(&["trust", "add-issuer"])?;
        scene.publish(&[&scene.root()])?;
        scene.centre.cli(&["trust", "retire", &old])?;
        scene.publish(&[&scene.root()])?;
        scene
            .until("bundle 3 is in force", async || {
                Ok(scene.api("/api/v1/security/link").await?["trust"]["version"] == 3)
            })
            .await?;
        // This one tries again at once and renews beside it, so bytes would tell of more than its first attempt; the other has
        // shown that a session is resumed here.
        to_retired.mend();
        scene.counted("fleet", "us", "issuer_retired", 1).await?;
        // Who is shut out is told that, and not to renew, which it may not.
        to_both.mend();
        scene.until_refused(&both, ErrorCode::Revoked).await?;
        ensure!(!scene.log("agent-both").contains("issuer_retired"), "it was told to renew first");
        // What it was told sends it to the join port, and from there it comes back by itself.
        scene.fresh("retired").await?;
        ensure!(retired.status()?.identity.key != key, "it has renewed");
        ensure!(scene.log("agent-retired").contains("issuer_retired"), "it says why");
        Ok(())
    });
}
