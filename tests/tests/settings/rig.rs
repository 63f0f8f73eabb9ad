//! A fleet of real programs whose first host is in a group, and what is asked of it.

use anyhow::{Context, ensure};
use dsmil_agent::status::SettingsStatus;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use e2e::fleet::{AgentProc, Centre, Fleet, Parents, Ports, eventually};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const NAME: &str = "dsmil-settings";
/// What happens by itself happens within this, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The group of h1; h2 is in none.
pub(crate) const GROUP: &str = "edge";
/// A metric of the sensor `loadavg`.
pub(crate) const LOAD: &str = "node_load1 ";

/// Runs a test on a fleet of its own, its centre running, and tells the last words of all programs if it fails.
pub(crate) fn rig(body: impl AsyncFnOnce(&mut Rig<'_>) -> anyhow::Result<()>) {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), NAME, &clock).expect("a fleet's folders");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let mut rig = Rig::new(&fleet, &clock).await?;
        body(&mut rig).await.with_context(|| format!("last words:\n{}", last_words(&fleet)))
    });
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// The fleet.
pub(crate) struct Rig<'f> {
    pub(crate) clock: Clock,
    pub(crate) fleet: &'f Fleet,
    pub(crate) centre: Centre<'f>,
    pub(crate) ports: Ports,
}

impl<'f> Rig<'f> {
    async fn new(fleet: &'f Fleet, clock: &Clock) -> anyhow::Result<Self> {
        let hosts = ["h1", "h2"].map(HostName::new).into_iter().collect::<Result<Vec<_>, _>>()?;
        let ports = Ports::free()?;
        let mut centre = Centre::init(fleet, &hosts, ports)?;
        let file = centre.folder().join("fleet.toml");
        let text = std::fs::read_to_string(&file)?;
        std::fs::write(&file, text.replace("name = \"h1\"", &format!("name = \"h1\"\ngroup = \"{GROUP}\"")))?;
        centre.configure(|table| {
            // The fleet comes back spread over so long; tests have little time.
            let agents = toml::Table::from_iter([("reconnect_window_ms".to_owned(), 200.into())]);
            table.insert("agents".into(), agents.into());
        })?;
        centre.start().await?;
        Ok(Self { clock: clock.clone(), fleet, centre, ports })
    }

    /// Has a host join. Each of its ticks is a batch, so that all of them are seen to arrive.
    pub(crate) fn joined(&self, host: &str) -> anyhow::Result<AgentProc<'f>> {
        let agent = AgentProc::join(self.fleet, &self.centre, &HostName::new(host)?)?;
        agent.configure(|table| {
            if let Some(spool) = table.get_mut("spool").and_then(toml::Value::as_table_mut) {
                spool.insert("batch_ticks".into(), 1.into());
            }
        })?;
        Ok(agent)
    }

    /// The same, running and heard of.
    pub(crate) async fn agent(&self, host: &str) -> anyhow::Result<AgentProc<'f>> {
        let mut agent = self.joined(host)?;
        agent.start()?;
        self.until("its load is there", async || self.samples(host, LOAD).await).await?;
        Ok(agent)
    }

    /// The order key that `init` made.
    pub(crate) fn key(&self) -> PathBuf {
        self.centre.folder().join("root/orders.key")
    }

    /// `config push` of a file with this text; what it prints with `--json`.
    pub(crate) fn push(&self, text: &str, more: &[&str]) -> anyhow::Result<Value> {
        let file = self.fleet.disk().join("config/settings.toml");
        std::fs::write(&file, text)?;
        self.signed("push", &[&[&*file.to_string_lossy()], more].concat())
    }

    /// A verb of `config` that signs.
    pub(crate) fn signed(&self, verb: &str, more: &[&str]) -> anyhow::Result<Value> {
        let key = self.key();
        let mut args = vec!["config", verb, "--json"];
        let key = key.to_string_lossy();
        if !more.contains(&"--key") {
            args.extend(["--key", &key]);
        }
        args.extend(more);
        Ok(serde_json::from_str(&self.centre.cli(&args)?)?)
    }

    /// What `config show` says of a host.
    pub(crate) fn shown(&self, host: &str) -> anyhow::Result<Value> {
        let shown: Value = serde_json::from_str(&self.centre.cli(&["config", "show", "--json"])?)?;
        let hosts = shown["hosts"].as_array().context("hosts")?;
        Ok(hosts.iter().find(|one| one["host"] == host).cloned().unwrap_or_default())
    }

    /// Waits until `config show` says this of a host.
    pub(crate) async fn until_shown(&self, host: &str, state: &str, within: Duration) -> anyhow::Result<Value> {
        let what = format!("{host} is {state}");
        let waited = eventually(&self.clock, &what, within, async || Ok(self.shown(host)?["state"] == state)).await;
        waited.with_context(|| format!("{:?}", self.shown(host)))?;
        self.shown(host)
    }

    /// Whether the newest values of a host have a line that begins so.
    pub(crate) async fn samples(&self, host: &str, line: &str) -> anyhow::Result<bool> {
        let path = format!("/api/v1/hosts/{host}/metrics");
        // Before its first tick there are none.
        let Ok(text) = self.centre.api().text(&path).await else { return Ok(false) };
        Ok(text.lines().any(|one| one.starts_with(line) || one.starts_with(&line.replace(' ', "{"))))
    }

    /// Waits until `look` says yes, for [`SOON`].
    pub(crate) async fn until(&self, what: &str, look: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        eventually(&self.clock, what, SOON, || look()).await
    }

    /// Nothing was lost but seconds in which an agent did not run.
    pub(crate) async fn ensure_lossless(&self) -> anyhow::Result<()> {
        let ledger = self.centre.until("nothing waits", SOON, |ledger| ledger.waiting <= 4).await?;
        let others: Vec<_> = ledger.lost_by.iter().filter(|(why, lost)| *why != "agent_down" && **lost > 0).collect();
        ensure!(others.is_empty() && ledger.duplicates == 0, "{ledger:?}");
        Ok(())
    }
}

/// What an agent says of its settings.
pub(crate) fn settings(agent: &AgentProc<'_>) -> SettingsStatus {
    agent.status().map(|status| status.settings).unwrap_or_default()
}

fn last_words(fleet: &Fleet) -> String {
    const LINES: usize = 25;
    let mut words = String::new();
    for entry in std::fs::read_dir(fleet.disk().join("logs")).into_iter().flatten().flatten() {
        let log = std::fs::read(entry.path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<_> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        words.extend([&*entry.file_name().to_string_lossy(), ":\n  ", &last.join("\n  "), "\n"]);
    }
    words
}
