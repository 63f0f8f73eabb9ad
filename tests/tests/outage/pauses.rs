//! Programs that are there and do not answer: stopped by SIGSTOP, as a suspended machine or a starved host is.

use crate::rig::{Setup, drill};
use anyhow::ensure;
use rustix::process::Signal;
use std::time::Duration;

#[test]
fn a_centre_that_hangs_is_given_up_and_found_again_and_nothing_is_lost() {
    drill(Setup { seed: 31, ..Setup::default() }, async |rig| {
        rig.start().await?;
        rig.centre.process()?.signal(Signal::STOP)?;
        rig.pass(Duration::from_secs(13)).await;
        ensure!(!rig.is_linked(), "the agent still believes in its link after 13 s of silence");
        rig.pass(Duration::from_secs(2)).await;
        let waiting = rig.agent.status()?.spool.ticks_waiting;
        ensure!(waiting >= 13, "only {waiting} ticks wait after 15 s");
        rig.centre.process()?.signal(Signal::CONT)?;
        let end = rig.settle(&[]).await?;
        ensure!(end.detail.lost_to("agent_down")?.is_empty(), "{:?}", end.ledger);
        Ok(())
    });
}

#[test]
fn the_seconds_in_which_an_agent_hangs_are_missed_by_name() {
    drill(Setup { seed: 32, ..Setup::default() }, async |rig| {
        rig.start().await?;
        let from = rig.tick();
        rig.agent.process()?.signal(Signal::STOP)?;
        rig.pass(Duration::from_secs(5)).await;
        let until = rig.tick();
        rig.agent.process()?.signal(Signal::CONT)?;
        let end = rig.settle(&["tick_missed"]).await?;
        let missed = end.detail.lost_to("tick_missed")?;
        ensure!((from + 1..until).all(|tick| missed.contains(&tick)), "hung from {from} to {until}: {missed:?}");
        let stray = missed.iter().filter(|tick| !(from..=until).contains(tick)).count();
        ensure!(stray <= 2, "hung from {from} to {until}: {missed:?}");
        Ok(())
    });
}
