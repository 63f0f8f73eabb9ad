//! From `config push` to what hosts sample, and back.

use crate::rig::{GROUP, LOAD, SOON, rig, settings};
use anyhow::ensure;
use serde_json::json;
use std::time::Duration;

/// A minute of trial, and what a busy machine adds.
const TRIAL: Duration = Duration::from_secs(100);

#[test]
fn what_is_pushed_to_a_group_reaches_its_hosts_and_a_kill_on_trial_undoes_it() {
    rig(async |rig| {
        let (mut h1, h2) = (rig.agent("h1").await?, rig.agent("h2").await?);
        ensure!(rig.shown("h1")?["state"] == "nothing_pushed", "{:?}", rig.shown("h1"));

        // First without consequences.
        let text = "[sensors]\nloadavg = \"off\"\n";
        let dry = rig.push(text, &["--group", GROUP, "--dry-run"])?;
        ensure!(dry["hosts"] == json!(["h1"]) && dry["values"] == json!(["sensors.loadavg off"]), "{dry}");
        let pushed = rig.push(text, &["--group", GROUP, "--note", "too chatty"])?;
        ensure!(pushed["version"] == 1, "the dry run pushed nothing: {pushed}");

        rig.until_shown("h1", "on_trial", SOON).await?;
        rig.until("h1 has no load", async || Ok(!rig.samples("h1", LOAD).await?)).await?;
        ensure!(rig.samples("h1", "node_memory_MemTotal_bytes ").await?, "the other sensors go on");
        ensure!(rig.samples("h2", LOAD).await?, "h2 was not meant");
        let said = settings(&h1);
        ensure!((said.in_force, said.on_trial, said.target.as_deref()) == (0, Some(1), Some("group edge")), "{said:?}");
        ensure!(settings(&h2) == settings(&h2) && settings(&h2).on_trial.is_none());
        ensure!(rig.shown("h2")?["state"] == "nothing_pushed", "{:?}", rig.shown("h2"));

        h1.kill()?;
        h1.start()?;
        let shown = rig.until_shown("h1", "refused", SOON).await?;
        ensure!(shown["reason"] == "agent_ended" && shown["in_force"] == 0, "{shown}");
        rig.until("h1 has its load again", async || rig.samples("h1", LOAD).await).await?;
        let said = settings(&h1);
        ensure!(said.in_force == 0 && said.refused.is_some_and(|refused| refused.fault == "agent_ended"));
        rig.ensure_lossless().await?;

        // The same again is other settings, and has its chance.
        ensure!(rig.push(text, &["--group", GROUP])?["version"] == 2);
        rig.until_shown("h1", "on_trial", SOON).await?;
        let log = rig.centre.cli(&["security", "log", "--kind", "trust-change"])?;
        ensure!(log.contains("settings 1") && log.contains("too chatty") && log.contains("settings 2"), "{log}");
        Ok(())
    });
}

#[test]
fn what_a_stranger_has_signed_is_pushed_to_nobody_and_is_in_the_security_log() {
    rig(async |rig| {
        // An order key that no root has signed for.
        let stranger = rig.fleet.disk().join("centre/stranger.key");
        let stranger = stranger.to_string_lossy();
        rig.centre.cli(&["trust", "add-order-key", "--key", &stranger])?;
        let refused = rig.push("", &["--all", "--key", &stranger]).expect_err("refused").to_string();
        ensure!(refused.contains("settings_other_key"), "{refused}");
        let log = rig.centre.cli(&["security", "log", "--kind", "refusal"])?;
        ensure!(log.contains("settings_other_key") && log.contains("settings 1"), "{log}");

        // Once the root has, it may.
        let root = rig.centre.folder().join("root");
        rig.centre.cli(&["trust", "sign", "--root", &root.to_string_lossy()])?;
        let bundle = rig.centre.folder().join("state/trust.bundle");
        rig.centre.cli(&["trust", "publish", &bundle.to_string_lossy()])?;
        ensure!(rig.push("", &["--all", "--key", &stranger])?["version"] == 1);

        for (args, words) in [(["--group", "egde"], ["no group", "edge"]), (["--host", "h9"], ["h9", "host list"])] {
            let refused = rig.push("", &args).expect_err("refused").to_string();
            ensure!(words.iter().all(|word| refused.contains(word)), "{refused}");
        }
        let refused = rig.push("[sensors]\nloadavgs = \"off\"\n", &["--all"]).expect_err("refused").to_string();
        ensure!(refused.contains("line 2") && refused.contains("did you mean `loadavg`?"), "{refused}");
        Ok(())
    });
}

#[test]
fn long_settings_come_into_force_outlive_restarts_and_are_rolled_back_without_losing_a_tick() {
    rig(async |rig| {
        let (mut h1, mut h2) = (rig.agent("h1").await?, rig.agent("h2").await?);
        let text = "batch_ticks = 10\n[sensors]\ninterval_s = 10\nloadavg = { interval_s = 1 }\n\
                    [limits]\nspool_mib = 8\nbacklog_kib_per_second = 64\n";
        rig.push(text, &["--all"])?;
        for host in ["h1", "h2"] {
            rig.until_shown(host, "applied", TRIAL).await?;
        }
        ensure!(h1.status()?.spool.capacity_bytes == 8 << 20, "{:?}", h1.status()?.spool);
        ensure!(settings(&h1).in_force == 1 && settings(&h2).in_force == 1);
        // Read in one tick of ten, and in every scrape.
        for _ in 0..3 {
            ensure!(rig.samples("h1", "node_memory_MemTotal_bytes ").await?, "a sensor that rests is shown");
        }

        // A host's own come before those for all, whichever is newer.
        ensure!(rig.push("[sensors]\nloadavg = \"off\"\n", &["--host", "h2"])?["version"] == 2);
        ensure!(rig.push("", &["--all"])?["hosts"] == json!(["h1"]));
        rig.until_shown("h1", "on_trial", SOON).await?;
        rig.until_shown("h2", "on_trial", SOON).await?;
        // One ends on purpose in the middle: that is no fault of the settings.
        h2.stop().await?;
        h2.start()?;
        // The other goes on through a restart of the centre.
        rig.centre.stop().await?;
        rig.centre.start().await?;
        for (host, version) in [("h1", 3), ("h2", 2)] {
            let shown = rig.until_shown(host, "applied", 2 * TRIAL).await?;
            ensure!(shown["in_force"] == version, "{shown}");
        }
        rig.until("h2 has no load", async || Ok(!rig.samples("h2", LOAD).await?)).await?;
        ensure!(h1.status()?.spool.capacity_bytes == 64 << 20, "as agent.toml has it");

        let back = rig.signed("rollback", &["--all"])?;
        ensure!(back["version"] == 4 && back["values"][0] == "sensors.interval_s 10", "{back}");
        let back = rig.signed("rollback", &["--host", "h2"])?;
        ensure!(back["version"] == 5 && back["values"] == json!(["as agent.toml has it"]), "{back}");
        for host in ["h1", "h2"] {
            rig.until_shown(host, "applied", TRIAL).await?;
        }
        h1.kill()?;
        h1.start()?;
        rig.until("h1 is back", async || Ok(settings(&h1).in_force == 4)).await?;
        ensure!(h1.status()?.spool.capacity_bytes == 8 << 20, "a restart changes nothing");
        rig.ensure_lossless().await
    });
}
