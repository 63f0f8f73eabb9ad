//! A token is made, a host joins with it and runs: both sides then show who it is and how the link is protected.

use crate::scene::scene;
use anyhow::ensure;
use dsmil_agent::status::LinkState;
use e2e::fleet::Program;
use std::ffi::OsStr;
use std::time::Duration;

/// What a join may take, from the first packet to the last file.
const JOIN_WITHIN: Duration = Duration::from_secs(1);

#[test]
fn a_token_one_command_and_the_host_is_there_with_its_identity_on_both_sides() {
    scene(&["h1"], &[], async |scene| {
        scene.centre.start().await?;
        let started = scene.clock.mono();
        let (text, _) = scene.token("h1")?;
        let created = scene.clock.mono();
        let outcome = scene.join(&text, "first", &[])?;
        let (joined, ended) = (outcome.ensure_joined()?, scene.clock.mono());
        let took = Duration::from_millis(joined["took_ms"].as_u64().unwrap_or(u64::MAX));
        println!("join {took:?} (the program {:?}, `token create` {:?})", ended - created, created - started);
        ensure!(took < JOIN_WITHIN, "it took {took:?}");
        ensure!(joined["spiffe_id"] == "spiffe://demo.fleet.local/agent/h1", "{joined}");

        // The same again as fleets have it, and run.
        let mut agent = scene.agent("h1")?;
        agent.start()?;
        scene.fresh("h1").await?;
        // With its first heartbeat it says which bundle it has.
        scene.until("a heartbeat", async || Ok(scene.session("h1").await?["bundle_version"] == 1)).await?;
        let status = agent.status()?;
        let LinkState::Connected = status.link.state else { anyhow::bail!("{:?}", status.link) };

        let socket = agent.socket();
        let args = ["host", "status", "--socket"].map(OsStr::new);
        let screen = scene.fleet.launcher().outcome(Program::Ctl, &[&args[..], &[socket.as_os_str()]].concat())?;
        let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
        let shown = [
            "spiffe://demo.fleet.local/agent/h1, valid for ",
            &format!("key {}, renewed in ", status.identity.key),
            "bundle 1 of demo.fleet.local, valid for ",
            "MLKEM1024, ML-DSA-87, TLS_AES_256_GCM_SHA384",
        ];
        for words in shown {
            ensure!(screen.contains(words), "`dsmilctl host status` does not show {words:?}:\n{screen}");
        }

        let session = scene.session("h1").await?;
        let key = session["key"].as_str().unwrap_or_default();
        ensure!(key.len() == 96 && key.starts_with(&status.identity.key), "{session}");
        ensure!(session["spiffe_id"] == "spiffe://demo.fleet.local/agent/h1", "{session}");
        ensure!(session["group"] == "MLKEM1024" && session["scheme"] == "ML-DSA-87", "{session}");
        let hosts = scene.cli_json(&["host", "list"])?;
        ensure!(hosts["hosts"][0]["state"] == "enrolled" && hosts["hosts"][0]["key"] == key, "{hosts}");
        let log = scene.centre.cli(&["security", "log", "--kind", "join"])?;
        ensure!(log.lines().count() == 2 && log.contains("h1  from 127.0.0.1"), "{log}");
        agent.stop().await.map(drop)
    });
}
