//! The demo: a whole fleet on this machine, of real programs, thrown away at the end.
//!
//! One aggregator, one agent on this host's real metrics, and simulated hosts if asked for, none of them as root. It
//! shows what arrives, and at the end asks whether every tick is accounted for.

mod figures;
mod report;
mod screen;

pub use report::{Delays, Report};

use crate::fleet::{AgentProc, Centre, Fleet, Parents, Ports, Program, SimOptions, SimProc};
use crate::sim::{NAME_PREFIX, Summary};
use anyhow::{Context, bail};
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use figures::Watcher;
use report::Evidence;
use screen::Screen;
use std::io::Write;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What its folders are called.
const NAME: &str = "dsmil-demo";
/// Simulated hosts that one process and one machine's loopback carry.
pub const MAX_HOSTS: u32 = 5000;
/// A week: longer than anybody watches, and short of where arithmetic with it would end.
pub const MAX_SECONDS: u64 = 604_800;
/// How often something is shown while nobody watches.
const QUIET_EVERY: u64 = 5;
/// How long the last acknowledged ticks may take to show in the ledger.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// What the demo is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Simulated hosts.
    pub hosts: u32,
    /// When to end by itself.
    pub seconds: Option<u64>,
    /// One JSON object on standard output, all else on standard error.
    pub json: bool,
    /// Leave folders and logs behind.
    pub keep: bool,
    /// Where the folders are made.
    pub parents: Parents,
}

/// Runs the demo to its end. An error is what it failed of; folders and children are gone either way.
pub async fn run(options: &Options, clock: &Clock) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let fleet = Fleet::new(&options.parents, NAME, clock)?;
    let ended = play(options, &fleet, clock, &mut signals).await;
    if options.keep {
        let (disk, ram) = fleet.keep();
        eprintln!("kept: {} (logs and configuration) and {}", disk.display(), ram.display());
    }
    ended
}

async fn play(options: &Options, fleet: &Fleet, clock: &Clock, signals: &mut Signals) -> anyhow::Result<()> {
    let mut cast = tokio::select! {
        cast = Cast::start(options, fleet) => cast?,
        () = signals.next() => bail!("interrupted before everything had started"),
    };
    let mut out: Box<dyn Write> = if options.json { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
    introduce(options, fleet, &cast, &mut out)?;
    let was_interrupted = watch(options, &mut cast, clock, signals, &mut out).await?;
    writeln!(out, "stopping: the agents send what waits and say goodbye")?;
    let evidence = tokio::select! {
        evidence = cast.end() => evidence?,
        () = signals.next() => bail!("interrupted before the agents had sent what waits"),
    };
    let report = Report::of(u64::from(options.hosts) + 1, &evidence);
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        writeln!(out, "{report}")?;
    }
    // Whoever leaves within the first second has seen nothing wrong.
    if was_interrupted && report.expected == 0 {
        return Ok(());
    }
    let troubles = report.troubles(&evidence);
    if !troubles.is_empty() {
        bail!("{}", troubles.join("; "));
    }
    Ok(())
}

/// The running programs.
struct Cast<'f> {
    host: HostName,
    agent: AgentProc<'f>,
    sim: Option<SimProc<'f>>,
    // Dropped last: agents that lose it would only complain.
    centre: Centre<'f>,
}

impl<'f> Cast<'f> {
    async fn start(options: &Options, fleet: &'f Fleet) -> anyhow::Result<Self> {
        let host = this_host(&rustix::system::uname().nodename().to_string_lossy());
        let mut hosts = vec![host.clone()];
        for number in 1..=options.hosts {
            hosts.push(HostName::new(format!("{NAME_PREFIX}{number:04}"))?);
        }
        let mut centre = Centre::init(fleet, &hosts, Ports::usual_or_free()?)?;
        centre.start().await?;
        let mut agent = AgentProc::join(fleet, &centre, &host)?;
        agent.start()?;
        let mut sim = match &hosts[1..] {
            [] => None,
            simulated => Some(SimProc::new(fleet, &centre, simulated, SimOptions::default())?),
        };
        sim.as_mut().map_or(Ok(()), SimProc::start)?;
        Ok(Self { host, agent, sim, centre })
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        self.centre.process()?.check_alive()?;
        self.agent.process()?.check_alive()?;
        match &mut self.sim {
            Some(sim) => sim.process()?.check_alive(),
            None => Ok(()),
        }
    }

    /// Stops the hosts in order, then asks the centre what has become of everything, then stops it.
    async fn end(&mut self) -> anyhow::Result<Evidence> {
        self.check_alive()?;
        // What the hosts themselves say that they sampled: the ledger must not know of less.
        let mut sampled =
            self.agent.status().context("the agent does not say what it sampled")?.spool.totals.ticks_taken;
        let (agent, sim) = tokio::join!(self.agent.stop(), async {
            match &mut self.sim {
                Some(sim) => sim.stop().await,
                None => Ok(Summary::default()),
            }
        });
        let status = agent?;
        if !status.success() {
            bail!("the agent failed at its end ({status})");
        }
        sampled += sim?.ticks_taken;
        let settled = self.centre.until("every tick stored or lost", SETTLE_WITHIN, |ledger| {
            ledger.waiting == 0 && ledger.expected >= sampled
        });
        // What is not settled by now is in the report, and no reason to give none.
        if let Err(error) = settled.await {
            eprintln!("{error:#}");
        }
        let pipeline = self.centre.pipeline().await?;
        let silent = self.centre.hosts().await?.into_iter().filter(|host| host.latest_ms.is_none());
        let silent = silent.map(|host| host.host).collect();
        self.centre.stop().await?;
        Ok(Evidence { pipeline, sampled, silent })
    }
}

/// Shows what arrives until the time is up or somebody interrupts, and says whether somebody did.
async fn watch(
    options: &Options,
    cast: &mut Cast<'_>,
    clock: &Clock,
    signals: &mut Signals,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let mut watcher = Watcher::new(cast.host.clone());
    let mut screen = Screen::new(!options.json && std::io::IsTerminal::is_terminal(&std::io::stdout()));
    let start = clock.mono();
    for second in 1.. {
        tokio::select! {
            () = clock.sleep_until(start + Duration::from_secs(second)) => {}
            () = signals.next() => return Ok(true),
        }
        cast.check_alive()?;
        if !options.json || second % QUIET_EVERY == 0 {
            match watcher.look(&cast.centre).await {
                Ok(figures) => screen.show(&figures, out)?,
                Err(error) => writeln!(out, "the API does not answer: {error:#}")?,
            }
        }
        if options.seconds.is_some_and(|seconds| second >= seconds) {
            break;
        }
    }
    Ok(false)
}

fn introduce(options: &Options, fleet: &Fleet, cast: &Cast<'_>, out: &mut dyn Write) -> anyhow::Result<()> {
    let (host, centre) = (&cast.host, &cast.centre);
    let user = fleet.user().map_or("yourself".into(), |user| format!("user {}", user.uid));
    let simulated = match options.hosts {
        0 => String::new(),
        hosts => format!(" and {hosts} simulated"),
    };
    let (address, token, root) = (centre.api().address(), centre.token(), centre.https_root().display());
    writeln!(out, "A fleet of this host ({host}){simulated}; programs run as {user}.\n")?;
    writeln!(out, "  API    https://{address}")?;
    writeln!(out, "  token  {token}")?;
    writeln!(out, "  files  {} and {}, until the end\n", fleet.disk().display(), fleet.ram().display())?;
    let curl = format!("curl -sS --cacert {root} -H \"Authorization: Bearer {token}\"");
    let ctl = fleet.launcher().path(Program::Ctl);
    writeln!(out, "What the centre knows of this host; with /metrics behind it, its newest values:")?;
    writeln!(out, "  {curl} https://{address}/api/v1/hosts/{host}")?;
    writeln!(out, "What its agent says of itself:")?;
    writeln!(out, "  {} host status --socket {}\n", ctl.display(), cast.agent.socket().display())?;
    match options.seconds {
        Some(seconds) => writeln!(out, "It ends after {seconds} s, or at Ctrl-C.\n"),
        None => writeln!(out, "Ctrl-C ends it.\n"),
    }?;
    Ok(())
}

/// The name of this host in the fleet: the kernel's, as far as it is a valid one.
fn this_host(kernel: &str) -> HostName {
    /// A socket's path is 107 bytes at most, and the name is a part of it.
    const LONGEST: usize = 32;
    let lower = kernel.to_ascii_lowercase();
    let valid: String = lower.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
    let valid = valid.trim_matches(['-', '.']);
    let short = valid[..valid.len().min(LONGEST)].trim_end_matches(['-', '.']);
    // A host that is called like a simulated one would be taken for one.
    let name = if short.starts_with(NAME_PREFIX) { format!("host-{short}") } else { short.to_owned() };
    HostName::new(name).unwrap_or_else(|_| HostName::new("this-host").expect("a valid name"))
}

/// What asks the demo to end.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        let (int, term, hup) = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
        Ok(Self([signal(int)?, signal(term)?, signal(hup)?]))
    }

    async fn next(&mut self) {
        let [int, term, hup] = &mut self.0;
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
            _ = hup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_gets_a_valid_name() {
        for (kernel, name) in [
            ("node7", "node7"),
            ("Node_7.example.COM", "node7.example.com"),
            ("", "this-host"),
            ("-._", "this-host"),
            ("sim-0001", "host-sim-0001"),
            ("a-very-long-name-of-a-virtual-machine-in-some-cloud", "a-very-long-name-of-a-virtual-ma"),
            ("a-very-long-name-of-a-virtual.m.achine", "a-very-long-name-of-a-virtual.m"),
            ("größe", "gre"),
        ] {
            assert_eq!(this_host(kernel).as_str(), name, "{kernel:?}");
        }
    }
}
