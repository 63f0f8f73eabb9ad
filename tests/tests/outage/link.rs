//! The cable is cut: without a word, both ways or one.

use crate::rig::{Setup, drill};
use std::time::Duration;

#[test]
fn a_cut_link_loses_nothing_and_what_arrived_unacknowledged_is_stored_once() {
    drill(Setup { seed: 71, batch_ticks: 1, ..Setup::default() }, async |rig| {
        let relay = rig.put_relay().await?;
        rig.start().await?;
        // Batches still arrive, but no acknowledgement gets back: the agent has to send them again.
        rig.cut_back(&relay, 2).await?;
        relay.cut();
        rig.until("the agent notices", async || Ok(!rig.is_linked())).await?;
        rig.pass(Duration::from_millis(500)).await;
        relay.mend();
        rig.settle(&[]).await.map(drop)
    });
}
