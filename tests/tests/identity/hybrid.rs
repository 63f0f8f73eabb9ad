//! A fleet whose policy asks for a classical exchange beside the post-quantum one, and a host that has the latter alone.

use crate::scene::{is_linked, scene};
use anyhow::ensure;
use dsmil_agent::status::LinkState;
use e2e::fleet::Program;
use std::ffi::OsStr;

#[test]
fn a_hybrid_fleet_agrees_on_both_exchanges_and_refuses_a_host_that_has_one() {
    scene(&["h1"], &["--link", "hybrid"], async |scene| {
        scene.centre.start().await?;
        let mut agent = scene.agent("h1")?;
        agent.start()?;
        scene.fresh("h1").await?;
        let socket = agent.socket();
        let args = ["host", "status", "--socket"].map(OsStr::new);
        let screen = scene.fleet.launcher().outcome(Program::Ctl, &[&args[..], &[socket.as_os_str()]].concat())?;
        let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
        ensure!(screen.contains("SecP384r1MLKEM1024, ML-DSA-87, "), "{screen}");
        let link = scene.api("/api/v1/security/link").await?;
        ensure!(link["policy"]["key_exchange"] == "hybrid", "{link}");
        ensure!(link["sessions"][0]["group"] == "SecP384r1MLKEM1024", "{link}");

        agent.stop().await?;
        agent.configure(|table| drop(table.insert("link".into(), "pure".into())))?;
        agent.start()?;
        scene
            .until("the agent says why", async || {
                let state = agent.status().map(|status| status.link.state);
                Ok(matches!(state, Ok(LinkState::Refused { code, remedy, .. })
                    if code == "key_exchange" && remedy.contains("`link` in agent.toml")))
            })
            .await?;
        ensure!(!is_linked(&agent));
        scene.counted("fleet", "us", "key_exchange", 1).await
    });
}
