//! The hosts of a throw-away fleet: this one with a real agent, and simulated ones.

use super::slot::Slot;
use super::{Centre, Fleet, Process, Program, rewrite};
use crate::sim::Summary;
use anyhow::{Context, bail};
use dsmil_agent::local::{self, Reply, Verb};
use dsmil_agent::status::Status;
use dsmil_protocol::ids::HostName;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// How long a stopping agent may take: it sends what waits, for some seconds.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How long a stopping simulator may take: all of its hosts do that at once.
const SIM_STOP_WITHIN: Duration = Duration::from_secs(60);

/// A real agent on this machine's metrics.
#[derive(Debug)]
pub struct AgentProc<'f> {
    fleet: &'f Fleet,
    host: HostName,
    config: PathBuf,
    folder: PathBuf,
    ram: PathBuf,
    slot: Slot,
}

impl<'f> AgentProc<'f> {
    /// Has a host of the centre's fleet file join, as its engineer would; the centre must be running. It is not started.
    pub fn join(fleet: &'f Fleet, centre: &Centre<'_>, host: &HostName) -> anyhow::Result<Self> {
        let ram = fleet.ram().join("agents").join(host.as_str());
        fleet.folder_for_children(&ram)?;
        let folder = fleet.disk().join("hosts").join(host.as_str());
        fleet.folder_for_children(&folder)?;
        let tokens = centre.tokens(std::slice::from_ref(host))?;
        let token = tokens.first().context("no token was made")?;
        let join = ["join", &token.token, "--dir"].map(OsString::from);
        let args: Vec<_> = join.into_iter().chain([folder.clone().into_os_string()]).collect();
        fleet.launcher().output(Program::Agent, &args)?;
        // Ours, not in the folder of the children: when we are root, nobody else is to say what we write over.
        let config = fleet.disk().join("config").join(format!("{host}.toml"));
        let text = |path: &Path| toml::Value::String(path.to_string_lossy().into_owned());
        rewrite(&folder.join("agent.toml"), &config, |table| {
            table.insert("socket".into(), text(&ram.join("s")));
            let spool = toml::Table::from_iter([("path".to_owned(), text(&ram.join("spool.sqlite")))]);
            table.insert("spool".into(), spool.into());
            let files = [("file", "agent.pem"), ("trust", "trust.bundle")];
            let files = files.map(|(key, file)| (key.to_owned(), text(&folder.join(file))));
            table.insert("identity".into(), toml::Table::from_iter(files).into());
        })?;
        let slot = Slot::empty(format!("the agent of {host}"));
        Ok(Self { fleet, host: host.clone(), config, folder, ram, slot })
    }

    /// Where its identity and its trust bundle are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts it, again if need be. It is up before it has a link.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let args = ["run".as_ref(), "--config".as_ref(), self.config.as_os_str()];
        let name = format!("agent-{}", self.host);
        self.slot.fill(self.fleet.launcher().start(&name, Program::Agent, &args)?);
        Ok(())
    }

    /// Asks it to stop, and waits until it has: it sends what waits, and says goodbye.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.slot.stop(STOP_WITHIN).await
    }

    /// Ends it at once, without a word.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.slot.kill()
    }

    /// The running program.
    pub fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.slot.running()
    }

    /// Changes its configuration, for the next start.
    pub fn configure(&self, change: impl FnOnce(&mut toml::Table)) -> anyhow::Result<()> {
        rewrite(&self.config, &self.config, change)
    }

    /// Its configuration.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its own socket, for `dsmilctl`.
    pub fn socket(&self) -> PathBuf {
        self.ram.join("s")
    }

    /// Its spool.
    pub fn spool(&self) -> PathBuf {
        self.ram.join("spool.sqlite")
    }

    /// What it says of itself.
    pub fn status(&self) -> anyhow::Result<Status> {
        match local::ask(&self.socket(), Verb::Status)? {
            Reply::Status(status) => Ok(*status),
            other => bail!("the agent answered {other:?}"),
        }
    }
}

/// How the simulator is to be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimOptions {
    /// What values are drawn from.
    pub seed: u64,
    /// The hosts' wall clocks are ahead by so much.
    pub wall_shift_s: i64,
    /// From so many seconds after the start on.
    pub wall_shift_after_s: u64,
    /// Hosts that are left out, in the order of their names.
    pub first: usize,
    /// Hosts that are taken; none: all that follow.
    pub count: Option<usize>,
    /// Time over which they start, milliseconds; none: as the simulator thinks best.
    pub ramp_ms: Option<u64>,
    /// Ticks in a batch; none: as usual.
    pub batch_ticks: Option<usize>,
}

/// The simulator with its hosts.
#[derive(Debug)]
pub struct SimProc<'f> {
    fleet: &'f Fleet,
    args: Vec<OsString>,
    slot: Slot,
}

impl<'f> SimProc<'f> {
    /// Sets the simulator up for simulated hosts of the centre's fleet file: it gets a join token for each, and has them
    /// join at its first start. It is not started.
    pub fn new(fleet: &'f Fleet, centre: &Centre<'_>, hosts: &[HostName], options: SimOptions) -> anyhow::Result<Self> {
        let tokens = fleet.disk().join("config/sim-tokens.json");
        std::fs::write(&tokens, serde_json::to_string(&centre.tokens(hosts)?)?)
            .with_context(|| format!("{} cannot be written", tokens.display()))?;
        let agents = fleet.disk().join("hosts");
        let mut args = vec!["--json".into(), "--agents-dir".into(), agents.into_os_string()];
        args.extend(["--tokens".into(), tokens.into_os_string()]);
        args.extend(["--spool-dir".into(), fleet.ram().join("sim").into_os_string()]);
        let mut flag = |name: &str, value: String| args.push(format!("--{name}={value}").into());
        flag("seed", options.seed.to_string());
        flag("wall-shift-s", options.wall_shift_s.to_string());
        flag("wall-shift-after-s", options.wall_shift_after_s.to_string());
        flag("first", options.first.to_string());
        if let Some(count) = options.count {
            flag("count", count.to_string());
        }
        if let Some(ramp) = options.ramp_ms {
            flag("ramp-ms", ramp.to_string());
        }
        if let Some(ticks) = options.batch_ticks {
            flag("batch-ticks", ticks.to_string());
        }
        Ok(Self { fleet, args, slot: Slot::empty("the simulator") })
    }

    /// Starts it, again if need be; its hosts then start one after the other.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.slot.fill(self.fleet.launcher().start("sim", Program::Sim, &self.args)?);
        Ok(())
    }

    /// Asks it to stop, waits until it has, and returns what it says became of its ticks.
    pub async fn stop(&mut self) -> anyhow::Result<Summary> {
        let process = self.slot.running()?;
        let status = process.stop(SIM_STOP_WITHIN).await?;
        if !status.success() {
            bail!("the simulator failed ({status}); its last words:\n{}", process.log_tail());
        }
        let printed = process.printed();
        let last = printed.lines().last().context("the simulator printed nothing")?;
        let summary = serde_json::from_str(last).context("the simulator printed another form")?;
        self.slot.clear();
        Ok(summary)
    }

    /// Ends it at once, without a word.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.slot.kill()
    }

    /// The running program.
    pub fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.slot.running()
    }
}
