//! Configurations that would let in what the fleet keeps out, and keys that others can read: neither program starts, and
//! `check` says what to do.

use crate::scene::{Scene, scene};
use anyhow::{Context, ensure};
use e2e::fleet::{AgentProc, Program};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// `run` and `check` of a program with this configuration end with 1 and say all of `words`.
fn refuses(scene: &Scene<'_>, program: Program, config: &Path, words: &[&str]) -> anyhow::Result<()> {
    for verb in ["run", "check"] {
        let args: Vec<OsString> = [OsStr::new(verb), OsStr::new("--config"), config.as_os_str()].map(Into::into).into();
        let output = scene.fleet.launcher().outcome(program, &args)?;
        let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
        let name = program.file_name();
        ensure!(output.status.code() == Some(1), "`{name} {verb}` ends with {}:\n{said}", output.status);
        for words in words {
            ensure!(said.contains(words), "`{name} {verb}` does not say {words:?}:\n{said}");
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
        let weak = |section: &'static str, key: &'static str, value: toml::Value, words: &[&str]| {
            scene.centre.configure(|table| {
                let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
                section.as_table_mut().expect("a section").insert(key.into(), value);
            })?;
            refuses(scene, Program::Aggregator, &config, words)?;
            Ok::<(), anyhow::Error>(std::fs::write(&config, &sound)?)
        };
        let everywhere = toml::Value::from(vec!["0.0.0.0/0"]);
        weak("api", "allow_classical_from", everywhere, &["api.allow_classical_from = 0.0.0.0/0", "or smaller"])?;
        weak("join", "max_offline_days", 100_000.into(), &["join.max_offline_days = 100000", "1 to 730 days"])?;
        weak("link", "policy", "classical".into(), &["classical", "`pure`", "`hybrid`"])?;

        let key = std::fs::read_dir(&scene.config()?.identity.issuers)?.next().context("a key")??.path();
        set_mode(&key, 0o644)?;
        refuses(scene, Program::Aggregator, &config, &[&key.to_string_lossy(), "chmod 600"])?;
        set_mode(&key, 0o600)?;
        scene.centre.start().await
    });
}

#[test]
fn an_agent_does_not_start_with_what_would_weaken_the_fleet() {
    scene(&["h1"], &[], async |scene| {
        scene.centre.start().await?;
        let mut agent: AgentProc<'_> = scene.agent("h1")?;
        let config = agent.config().to_owned();
        agent.configure(|table| drop(table.insert("link".into(), "classical".into())))?;
        refuses(scene, Program::Agent, &config, &["\"classical\"", "\"pure\"", "\"hybrid\""])?;
        agent.configure(|table| drop(table.insert("link".into(), "pure".into())))?;

        let identity = agent.folder().join("agent.pem");
        set_mode(&identity, 0o644)?;
        refuses(scene, Program::Agent, &config, &["agent.pem", "chmod 600"])?;
        set_mode(&identity, 0o600)?;
        agent.start()?;
        scene.fresh("h1").await
    });
}
