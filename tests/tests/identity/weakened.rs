//! Configurations that would let in what the fleet keeps out, and keys that others can read: neither program starts, and
//! `check` says what to do.

use crate::scene::{SOON, Scene, scene};
use anyhow::{Context, ensure};
use e2e::fleet::Program;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// `run` and `check` of a program with this configuration end with 1 and say all of `words`.
async fn refuses(scene: &Scene<'_>, program: Program, config: &Path, words: &[&str]) -> anyhow::Result<()> {
    for verb in ["run", "check"] {
        let name = format!("{} {verb}", program.file_name());
        let args = [OsStr::new(verb), OsStr::new("--config"), config.as_os_str()];
        let mut started = scene.fleet.launcher().start(&name, program, &args)?;
        let status = started.wait(SOON).await?;
        let said = [started.printed(), scene.log(&name)].concat();
        ensure!(status.code() == Some(1), "`{name}` ends with {status}:\n{said}");
        for words in words {
            ensure!(said.contains(words), "`{name}` does not say {words:?}:\n{said}");
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    Ok(std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?)
}

#[test]
fn an_aggregator_does_not_start_with_what_would_weaken_the_fleet() {
    scene(&["h1"], &[], async |scene| {
        let config = scene.centre.config().to_owned();
        let sound = std::fs::read_to_string(&config)?;
        let everywhere = toml::Value::from(vec!["0.0.0.0/0"]);
        let weak: [(&str, &str, toml::Value, &[&str]); 3] = [
            ("api", "allow_classical_from", everywhere, &["`api.allow_classical_from`: 0.0.0.0/0", "or smaller"]),
            ("join", "max_offline_days", 100_000.into(), &["`join.max_offline_days`: 100000", "1 to 730 days"]),
            ("link", "policy", "classical".into(), &["classical", "`pure`", "`hybrid`"]),
        ];
        for (section, key, value, words) in weak {
            scene.centre.configure(|table| {
                let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
                section.as_table_mut().expect("a section").insert(key.into(), value);
            })?;
            refuses(scene, Program::Aggregator, &config, words).await?;
            std::fs::write(&config, &sound)?;
        }

        let key = std::fs::read_dir(&scene.config()?.identity.issuers)?.next().context("a key")??.path();
        set_mode(&key, 0o644)?;
        refuses(scene, Program::Aggregator, &config, &[&key.to_string_lossy(), "chmod 600"]).await?;
        set_mode(&key, 0o600)?;
        scene.centre.start().await
    });
}

#[test]
fn an_agent_does_not_start_with_what_would_weaken_the_fleet() {
    scene(&["h1"], &[], async |scene| {
        scene.centre.start().await?;
        let mut agent = scene.agent("h1")?;
        let config = agent.config().to_owned();
        agent.configure(|table| drop(table.insert("link".into(), "classical".into())))?;
        refuses(scene, Program::Agent, &config, &["\"classical\"", "\"pure\"", "\"hybrid\""]).await?;
        agent.configure(|table| drop(table.insert("link".into(), "pure".into())))?;

        let identity = agent.folder().join("agent.pem");
        set_mode(&identity, 0o644)?;
        refuses(scene, Program::Agent, &config, &["agent.pem", "chmod 600"]).await?;
        set_mode(&identity, 0o600)?;
        agent.start()?;
        scene.fresh("h1").await
    });
}
