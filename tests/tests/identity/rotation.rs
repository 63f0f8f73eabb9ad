//! Issuers and roots follow each other while the fleet runs, by the commands that its operators have: nobody falls off.

use crate::scene::{Scene, is_linked, scene};
use anyhow::{Context, ensure};
use e2e::fleet::{AgentProc, Ledger};
use std::path::Path;
use std::time::Duration;

/// From a publication until every host that runs has the bundle and a session: a second until the aggregator looks, a
/// heartbeat, and where an issuer was retired a renewal and a reconnect.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(15);

/// Waits until the agents that run have bundle `version` and a session, by their word and by the centre's.
async fn followed(
    scene: &Scene<'_>,
    agents: &[(&str, &AgentProc<'_>)],
    version: u64,
    what: &str,
) -> anyhow::Result<()> {
    let started = scene.clock.mono();
    for (host, agent) in agents {
        scene
            .until(&format!("{host} has bundle {version} and a session, after {what}"), async || {
                let held = agent.status().map_or(0, |status| status.trust.version);
                let shown = scene.detail(host).await?;
                let session = scene.session(host).await?;
                Ok(held == version
                    && is_linked(agent)
                    && shown["identity"]["bundle_version"] == version
                    && session["bundle_version"] == version)
            })
            .await?;
    }
    let took = scene.clock.mono() - started;
    println!("bundle {version} ({what}) is everywhere after {took:?}");
    ensure!(took < FOLLOWED_WITHIN, "{what} took {took:?}");
    Ok(())
}

/// Every tick that was sampled is stored, once; what is lost was sampled by nobody.
async fn whole(scene: &Scene<'_>, agents: &mut [&mut AgentProc<'_>]) -> anyhow::Result<()> {
    let mut sampled = 0;
    for agent in agents {
        agent.stop().await?;
        sampled += dsmil_agent::spool::inspect(&agent.spool())?.spool.spool.totals.ticks_taken;
    }
    let all = |ledger: &Ledger| ledger.waiting == 0 && ledger.stored >= sampled;
    let ledger = scene.centre.until("every tick is stored", crate::scene::SOON, all).await?;
    println!("{sampled} ticks sampled; {ledger:?}");
    ensure!(ledger.stored == sampled && ledger.duplicates == 0, "{sampled} sampled; {ledger:?}");
    ensure!(ledger.lost_by.keys().all(|reason| reason == "tick_missed"), "{ledger:?}");
    Ok(())
}

/// Adds an issuer, and returns the name of the one before it.
fn add_issuer(scene: &Scene<'_>, root: &Path) -> anyhow::Result<String> {
    let old = scene.cli_json(&["trust", "show"])?["issuers"][0]["name"].clone();
    scene.centre.cli(&["trust", "add-issuer"])?;
    scene.publish(&[root])?;
    old.as_str().map(str::to_owned).context("an issuer")
}

#[test]
fn an_issuer_is_replaced_and_nobody_falls_off_nor_does_who_slept_through_it() {
    scene(&["h1", "h2", "h3"], &[], async |scene| {
        scene.centre.start().await?;
        let (mut one, mut two, mut asleep) = (scene.agent("h1")?, scene.agent("h2")?, scene.agent("h3")?);
        one.start()?;
        two.start()?;
        let awake = [("h1", &one), ("h2", &two)];
        followed(scene, &awake, 1, "the start").await?;
        let keys = [one.status()?.identity.key, two.status()?.identity.key];

        let old = add_issuer(scene, &scene.root())?;
        followed(scene, &awake, 2, "an issuer was added").await?;
        ensure!(keys == [one.status()?.identity.key, two.status()?.identity.key], "nobody had to renew for that");
        scene.centre.cli(&["trust", "retire", &old])?;
        scene.publish(&[&scene.root()])?;
        scene
            .until("both have renewed", async || {
                Ok(keys[0] != one.status()?.identity.key && keys[1] != two.status()?.identity.key)
            })
            .await?;
        followed(scene, &awake, 3, "the old issuer was retired").await?;
        ensure!(scene.refused("fleet", "us", "issuer_retired").await? >= 2, "they were told why");
        ensure!(scene.refused("join", "us", "renewal_wrong_key").await? == 0);

        asleep.start()?;
        followed(scene, &[("h3", &asleep)], 3, "it had slept").await?;
        scene.fresh("h3").await?;
        whole(scene, &mut [&mut one, &mut two, &mut asleep]).await
    });
}

#[test]
fn a_root_is_replaced_and_nobody_falls_off_nor_does_who_slept_through_it() {
    scene(&["h1", "h2", "h3"], &[], async |scene| {
        scene.centre.start().await?;
        let (mut one, mut two, mut asleep) = (scene.agent("h1")?, scene.agent("h2")?, scene.agent("h3")?);
        one.start()?;
        two.start()?;
        let awake = [("h1", &one), ("h2", &two)];
        followed(scene, &awake, 1, "the start").await?;
        let sessions = [scene.session("h1").await?["since_ms"].clone(), scene.session("h2").await?["since_ms"].clone()];

        let (first, next) = (scene.root(), scene.folder("next-root"));
        let old = scene.cli_json(&["trust", "show"])?["roots"][0]["fingerprint"].clone();
        scene.centre.cli(&["trust", "add-root", "--dir", &next.to_string_lossy()])?;
        scene.publish(&[&first, &next])?;
        followed(scene, &awake, 2, "a root was added").await?;
        scene.centre.cli(&["trust", "retire", old.as_str().context("a fingerprint")?])?;
        scene.publish(&[&first, &next])?;
        followed(scene, &awake, 3, "the old root was retired").await?;
        // The issuer stayed, so nobody had to come anew.
        let now = [scene.session("h1").await?["since_ms"].clone(), scene.session("h2").await?["since_ms"].clone()];
        ensure!(sessions == now, "sessions ended: {sessions:?}, {now:?}");

        // The new root alone signs what follows, and the issuer follows it.
        let issuer = add_issuer(scene, &next)?;
        scene.centre.cli(&["trust", "retire", &issuer])?;
        scene.publish(&[&first, &next])?;
        followed(scene, &awake, 5, "the issuer of the old root was retired").await?;

        asleep.start()?;
        followed(scene, &[("h3", &asleep)], 5, "it had slept").await?;
        scene.fresh("h3").await?;
        whole(scene, &mut [&mut one, &mut two, &mut asleep]).await
    });
}
