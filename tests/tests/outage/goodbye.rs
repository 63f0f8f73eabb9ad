//! An agent that is asked to stop leaves nothing behind.

use crate::rig::{Setup, drill, set};
use anyhow::ensure;
use std::time::Duration;

#[test]
fn an_agent_that_stops_sends_its_last_ticks_and_says_goodbye() {
    // Batches so long that the last ticks are in none yet when it stops.
    drill(Setup { seed: 41, batch_ticks: 60, ..Setup::default() }, async |rig| {
        // The fleet file classifies what the host sends, whatever the host says: all of it, batches, gaps and accounts.
        rig.classify(3)?;
        rig.centre.configure(|table| set(table, "api", "clearance", 3.into()))?;
        rig.centre.start().await?;
        rig.agent.start()?;
        rig.until("the agent has a link", async || Ok(rig.is_linked())).await?;
        rig.pass(Duration::from_secs(3)).await;
        // A metric that comes or goes ends a batch early, so it may be a moment until there are ticks in none again.
        rig.until("ticks that are in no batch yet", async || Ok(rig.agent.status()?.spool.ticks_pending > 0)).await?;
        let stopped = rig.tick();
        let sampled = rig.stop_hosts().await?;
        // Acknowledged before it ended: the ledger has them without waiting for anything.
        let detail = rig.detail(&rig.host).await?;
        let totals = &detail.boot()?.totals;
        ensure!(totals.stored == sampled && totals.waiting == 0 && totals.lost == 0, "{sampled} sampled: {totals:?}");
        let all = rig.centre.pipeline().await?.ledger;
        ensure!(all.stored == sampled && all.waiting == 0, "{sampled} sampled: {all:?}");
        ensure!(detail.accounted_to() >= Some(stopped - 1), "stopped in second {stopped}: {detail:?}");
        rig.until("the host is shown as gone", async || Ok(rig.detail(&rig.host).await?.link.state == "closed"))
            .await?;
        let why = rig.detail(&rig.host).await?.link.why.unwrap_or_default();
        ensure!(why.contains("goodbye"), "the reason is {why:?}");
        rig.centre.stop().await.map(drop)
    });
}
