//! The fleet file classifies a host anew while the host runs.

use crate::rig::{Setup, drill, set};
use anyhow::ensure;

#[test]
fn a_host_that_is_classified_anew_loses_nothing() {
    drill(Setup { seed: 91, batch_ticks: 1, ..Setup::default() }, async |rig| {
        rig.centre.configure(|table| set(table, "api", "clearance", 3.into()))?;
        rig.start().await?;
        rig.caught_up().await?;
        rig.centre.stop().await?;
        rig.classify(3)?;
        rig.centre.start().await?;
        rig.until("the host is heard in its new class", async || {
            Ok(rig.detail(&rig.host).await?.boots.iter().any(|boot| boot.classification == 3 && boot.totals.stored > 2))
        })
        .await?;
        let spool = rig.agent.status()?.spool;
        let all = rig.centre.pipeline().await?.ledger;
        ensure!(all.lost == 0 && all.duplicates == 0, "{all:?}");
        // What was named in the old class and came in the new one waits in the old one for ever: the last heartbeat's.
        ensure!(all.waiting <= 6, "{all:?}; {spool:?}");
        Ok(())
    });
}
