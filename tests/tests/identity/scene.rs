//! A throw-away fleet of real programs, and what its tests ask of both sides: what the host prints and what the centre counts.

use anyhow::{Context, ensure};
use dsmil_agent::status::LinkState;
use dsmil_aggregator::config::Config;
use dsmil_crypto::join_token::JoinToken;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use e2e::fleet::{AgentProc, Centre, Fleet, Parents, Ports, Program, eventually};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folders of these tests begin so.
const NAME: &str = "dsmil-identity";
/// What happens by itself happens within this, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Runs a test on a fleet of its own, and tells the last words of all programs if it fails. The centre is not started.
/// `more` are arguments for `init`.
pub(crate) fn scene(hosts: &[&str], more: &[&str], body: impl AsyncFnOnce(&mut Scene<'_>) -> anyhow::Result<()>) {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), NAME, &clock).expect("a fleet's folders");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let mut scene = Scene::new(&fleet, &clock, hosts, more)?;
        let outcome = body(&mut scene).await;
        outcome.with_context(|| format!("last words:\n{}", last_words(&fleet)))
    });
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// The fleet.
pub(crate) struct Scene<'f> {
    pub(crate) clock: Clock,
    pub(crate) fleet: &'f Fleet,
    pub(crate) centre: Centre<'f>,
    pub(crate) ports: Ports,
    pub(crate) supervisor: Supervisor,
}

/// How `dsmil-agent join` ended.
#[derive(Debug)]
pub(crate) struct JoinOutcome {
    pub(crate) exit: Option<i32>,
    /// What `--json` printed: `joined`, or `failed`.
    pub(crate) document: Value,
}

impl JoinOutcome {
    /// The short name of the refusal; nothing where it joined.
    pub(crate) fn code(&self) -> Option<&str> {
        self.document["failed"]["code"].as_str()
    }

    /// It failed with this code of the protocol's table, said what to do, and ended with 1.
    pub(crate) fn ensure_refused(&self, code: ErrorCode) -> anyhow::Result<()> {
        ensure!(self.code() == Some(code.name()) && self.exit == Some(1), "not {code}: {self:?}");
        ensure!(self.document["failed"]["remedy"] == code.remedy(), "another remedy than that of {code}: {self:?}");
        Ok(())
    }

    pub(crate) fn ensure_joined(&self) -> anyhow::Result<&Value> {
        ensure!(self.exit == Some(0) && self.code().is_none(), "it did not join: {self:?}");
        Ok(&self.document["joined"])
    }
}

impl<'f> Scene<'f> {
    fn new(fleet: &'f Fleet, clock: &Clock, hosts: &[&str], more: &[&str]) -> anyhow::Result<Self> {
        let hosts: Vec<_> = hosts.iter().map(|host| HostName::new(*host)).collect::<Result<_, _>>()?;
        let ports = Ports::free()?;
        let centre = Centre::init_with(fleet, &hosts, ports, more)?;
        centre.configure(|table| {
            // The fleet comes back spread over so long; tests have little time.
            let agents = toml::Table::from_iter([("reconnect_window_ms".to_owned(), 200.into())]);
            table.insert("agents".into(), agents.into());
        })?;
        Ok(Self { clock: clock.clone(), fleet, centre, ports, supervisor: Supervisor::new(clock.clone()) })
    }

    /// Has a host join, as its engineer would. Each of its ticks is a batch, so that all of them are seen to arrive.
    pub(crate) fn agent(&self, host: &str) -> anyhow::Result<AgentProc<'f>> {
        let agent = AgentProc::join(self.fleet, &self.centre, &HostName::new(host)?)?;
        agent.configure(|table| {
            if let Some(spool) = table.get_mut("spool").and_then(toml::Value::as_table_mut) {
                spool.insert("batch_ticks".into(), 1.into());
            }
        })?;
        Ok(agent)
    }

    /// A token for a host, as text and opened.
    pub(crate) fn token(&self, host: &str) -> anyhow::Result<(String, JoinToken)> {
        let tokens = self.centre.tokens(&[HostName::new(host)?])?;
        let text = tokens.into_iter().next().context("no token was made")?.token;
        let token = text.parse()?;
        Ok((text, token))
    }

    /// Where hosts join that have no agent of [`Scene::agent`].
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.fleet.disk().join("hosts").join(name)
    }

    /// `dsmil-agent join` with a token, into [`Scene::folder`].
    pub(crate) fn join(&self, token: &str, folder: &str, more: &[&str]) -> anyhow::Result<JoinOutcome> {
        let mut args: Vec<OsString> = ["join", token, "--json", "--dir"].map(OsString::from).into();
        args.push(self.folder(folder).into_os_string());
        args.extend(more.iter().map(OsString::from));
        let output = self.fleet.launcher().outcome(Program::Agent, &args)?;
        let document = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no JSON: {}", String::from_utf8_lossy(&output.stderr)))?;
        Ok(JoinOutcome { exit: output.status.code(), document })
    }

    /// A verb of the centre's that prints JSON.
    pub(crate) fn cli_json(&self, args: &[&str]) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.centre.cli(&[args, &["--json"]].concat())?)?)
    }

    /// Signs the pending draft with these roots and publishes it; returns the version.
    pub(crate) fn publish(&self, roots: &[&Path]) -> anyhow::Result<u64> {
        let roots: Vec<_> = roots.iter().map(|root| root.to_string_lossy()).collect();
        let sign = ["trust", "sign"].into_iter().chain(roots.iter().flat_map(|root| ["--root", root.as_ref()]));
        self.centre.cli(&sign.collect::<Vec<_>>())?;
        let bundle = self.centre.folder().join("state/trust.bundle");
        let published = self.cli_json(&["trust", "publish", &bundle.to_string_lossy()])?;
        published["version"].as_u64().context("a version")
    }

    /// The folder of the first root.
    pub(crate) fn root(&self) -> PathBuf {
        self.centre.folder().join("root")
    }

    /// The centre's configuration, for what is done within this process.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::load(self.centre.config())?)
    }

    /// A document of the API.
    pub(crate) async fn api(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.centre.api().json(path).await?)
    }

    /// What the centre says of a host.
    pub(crate) async fn detail(&self, host: &str) -> anyhow::Result<Value> {
        self.api(&format!("/api/v1/hosts/{host}")).await
    }

    /// The open session of a host, as `GET /api/v1/security/link` shows it; null where there is none.
    pub(crate) async fn session(&self, host: &str) -> anyhow::Result<Value> {
        let link = self.api("/api/v1/security/link").await?;
        let sessions = link["sessions"].as_array().context("sessions")?;
        Ok(sessions.iter().find(|session| session["host"] == host).cloned().unwrap_or_default())
    }

    /// How many peers were refused so, by `GET /api/v1/security/link`, which has to agree with `/metrics`.
    pub(crate) async fn refused(&self, port: &str, side: &str, reason: &str) -> anyhow::Result<u64> {
        let link = self.api("/api/v1/security/link").await?;
        let totals = link["refusals"]["totals"].as_array().context("totals")?;
        let is_it = |total: &&Value| total["port"] == port && total["side"] == side && total["reason"] == reason;
        let count = totals.iter().find(is_it).and_then(|total| total["count"].as_u64()).unwrap_or(0);
        let name = format!("dsmil_refusals_total{{port=\"{port}\",side=\"{side}\",reason=\"{reason}\"}} ");
        let metrics = self.centre.api().text("/metrics").await?;
        let shown = metrics.lines().find_map(|line| line.strip_prefix(&name));
        let shown = shown.with_context(|| format!("/metrics has no {name}"))?;
        // Another one may have come between the two.
        let shown: u64 = shown.parse()?;
        ensure!((count..=count + 1).contains(&shown), "{name}is {shown}, and {count} in the API");
        Ok(shown)
    }

    /// Waits until a refusal has been counted at least so often.
    pub(crate) async fn counted(&self, port: &str, side: &str, reason: &str, least: u64) -> anyhow::Result<()> {
        let what = format!("{least} refused on {port} by {side}: {reason}");
        self.until(&what, async || Ok(self.refused(port, side, reason).await? >= least)).await
    }

    /// Waits until `look` says yes, for [`SOON`].
    pub(crate) async fn until(&self, what: &str, look: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        eventually(&self.clock, what, SOON, || look()).await
    }

    /// Waits until the centre has stored a tick of the host that was not sampled yet when this was called.
    pub(crate) async fn fresh(&self, host: &str) -> anyhow::Result<()> {
        let next = self.clock.boot().as_secs() + 1;
        self.until(&format!("tick {next} of {host} is stored"), async || {
            Ok(self.detail(host).await?["latest"]["tick"].as_u64().is_some_and(|tick| tick >= next))
        })
        .await
    }

    /// Waits until the agent says that it was refused with this code, and what to do.
    pub(crate) async fn until_refused(&self, agent: &AgentProc<'_>, code: ErrorCode) -> anyhow::Result<()> {
        let what = format!("the agent says {code}");
        let waited = self.until(&what, async || {
            let state = agent.status().map(|status| status.link.state);
            Ok(matches!(state, Ok(LinkState::Refused { code: said, remedy, .. }) if said == code.name() && remedy == code.remedy()))
        });
        waited.await.with_context(|| format!("{:?}", agent.status().map(|status| status.link)))
    }

    /// What a program logged so far: `aggregator`, `agent-h1`.
    pub(crate) fn log(&self, name: &str) -> String {
        log(self.fleet, name)
    }
}

/// Whether the agent says that it has a link.
pub(crate) fn is_linked(agent: &AgentProc<'_>) -> bool {
    agent.status().is_ok_and(|status| status.link.state == LinkState::Connected)
}

fn log(fleet: &Fleet, name: &str) -> String {
    let bytes = std::fs::read(fleet.disk().join("logs").join(format!("{name}.log"))).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn last_words(fleet: &Fleet) -> String {
    const LINES: usize = 25;
    let mut words = String::new();
    for entry in std::fs::read_dir(fleet.disk().join("logs")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".log") else { continue };
        let log = log(fleet, name);
        let lines: Vec<_> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        words.extend([name, ":\n  ", &last.join("\n  "), "\n"]);
    }
    words
}
