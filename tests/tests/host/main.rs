//! What a field engineer sees on a real joined host: doctor, top and bundle, with the agent running, and after it was killed.

mod dead_mount;

use anyhow::{Context, ensure};
use dsmil_agent::status::Status;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use e2e::fleet::{AgentProc, Centre, Fleet, Parents, Ports, Program, eventually};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(60);
/// A name that is in no other text.
const HOST: &str = "drillhost77";
/// A second aggregator of the configuration that nobody ever asks.
const OTHER: &str = "spare-aggregator.drill.example";
/// What somebody wrote into the log.
const STRANGER: (&str, &str, &str) = ("203.0.113.77", "2001:db8:77::7", "52:54:00:77:ab:cd");

/// What `dsmilctl host …` of this agent says: standard output, standard error, exit code.
fn ctl(fleet: &Fleet, agent: &AgentProc<'_>, args: &[&str]) -> anyhow::Result<(String, String, i32)> {
    let config = agent.config().to_str().context("text")?;
    let all = [&["host"], args, &["--config", config]].concat();
    let output = fleet.launcher().outcome(Program::Ctl, &all)?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).context("text");
    Ok((text(output.stdout)?, text(output.stderr)?, output.status.code().context("an exit code")?))
}

/// The states and words of what the doctor found, by check.
fn findings(fleet: &Fleet, agent: &AgentProc<'_>) -> anyhow::Result<Vec<(String, String, String)>> {
    let (out, err, _) = ctl(fleet, agent, &["doctor", "--json"])?;
    let document: Value = serde_json::from_str(&out).with_context(|| format!("{out}{err}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = document["findings"].as_array().context("a list")?;
    Ok(all.iter().map(|f| (text(&f["check"]), text(&f["state"]), text(&f["what"]))).collect())
}

fn has(found: &[(String, String, String)], check: &str, state: &str, said: &str) -> anyhow::Result<()> {
    let is = |(c, s, w): &(String, String, String)| c == check && s == state && w.contains(said);
    ensure!(found.iter().any(is), "no {state} of {check} that says {said:?} in {found:#?}");
    Ok(())
}

/// A centre and the one host that joined it, connected.
async fn started<'f>(fleet: &'f Fleet, clock: &Clock) -> anyhow::Result<(Centre<'f>, AgentProc<'f>)> {
    let host = HostName::new(HOST)?;
    let mut centre = Centre::init(fleet, std::slice::from_ref(&host), Ports::free()?)?;
    centre.start().await?;
    let mut agent = AgentProc::join(fleet, &centre, &host)?;
    agent.configure(|table| {
        let aggregators = table.get_mut("aggregators").and_then(toml::Value::as_array_mut).expect("it joined");
        aggregators.push(format!("{OTHER}:8100").into());
    })?;
    agent.start()?;
    let last = || agent.status().ok().and_then(|status| status.link.last_ack_ms_ago);
    eventually(clock, "the host is connected and something was acknowledged", PATIENCE, || {
        std::future::ready(Ok(last().is_some()))
    })
    .await?;
    Ok((centre, agent))
}

#[tokio::test]
async fn a_running_host_is_understood_on_the_spot_and_so_is_one_whose_agent_was_killed() -> anyhow::Result<()> {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-host", &clock)?;
    let (_centre, mut agent) = started(&fleet, &clock).await?;

    let found = findings(&fleet, &agent)?;
    has(&found, "agent", "ok", "answers on")?;
    has(&found, "link", "ok", "connected to 127.0.0.1")?;
    has(&found, "network", "ok", "aggregator 127.0.0.1")?;
    has(&found, "network", "ok", "join port 127.0.0.1")?;
    has(&found, "network", "warning", &format!("{OTHER}:8100 has no address"))?;
    has(&found, "configuration", "ok", "reads")?;
    has(&found, "identity", "ok", "certificate valid for")?;
    has(&found, "trust", "ok", "bundle")?;

    let (out, err, _) = ctl(&fleet, &agent, &["top", "--json"])?;
    let top: Value = serde_json::from_str(&out).with_context(|| format!("{out}{err}"))?;
    let shares = top["top"]["cpu"]["total"].as_object().context("two ticks tell what the cores did")?;
    let sum: f64 = shares.values().filter_map(Value::as_f64).sum();
    ensure!((sum - 1.0).abs() < 1e-6, "{shares:?}");
    let (picture, _, _) = ctl(&fleet, &agent, &["top", "--once"])?;
    ensure!(picture.contains(HOST) && picture.contains("memory") && !picture.contains('\x1b'), "{picture}");

    agent.kill()?;
    let (_, err, code) = ctl(&fleet, &agent, &["top", "--once"])?;
    ensure!(code == 2 && err.contains("no agent listens"), "{err}");
    let found = findings(&fleet, &agent)?;
    has(&found, "agent", "trouble", "no agent listens on")?;
    has(&found, "spool", "ok", "for the agent to start")?;
    has(&found, "identity", "ok", "certificate valid for")?;
    Ok(())
}

/// `dsmilctl host top` at a terminal of its own.
struct Looked {
    child: tokio::process::Child,
    seen: String,
    clock: Clock,
}

impl Looked {
    /// Opens it; script(1) makes the terminal, which does not know its size, as a serial console.
    async fn open(fleet: &Fleet, agent: &AgentProc<'_>, clock: &Clock) -> anyhow::Result<Self> {
        let (ctl, socket) = (fleet.launcher().path(Program::Ctl), agent.socket());
        let top = format!("echo pid $$ end; exec {} host top --socket {}", ctl.display(), socket.display());
        let mut command = tokio::process::Command::new("script");
        command
            .args(["-qec", &top, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().context("script(1) cannot be started")?;
        let mut looked = Self { child, seen: String::new(), clock: clock.clone() };
        looked.until("memory").await?;
        Ok(looked)
    }

    /// Reads until the terminal was sent `word`, or to its end.
    async fn until(&mut self, word: &str) -> anyhow::Result<()> {
        let out = self.child.stdout.as_mut().context("a pipe")?;
        let deadline = self.clock.mono() + PATIENCE;
        let mut bytes = [0; 4096];
        while !self.seen.contains(word) {
            let len = tokio::select! {
                len = out.read(&mut bytes) => len?,
                () = self.clock.sleep_until(deadline) => 0,
            };
            ensure!(len > 0, "no {word:?} in {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
        Ok(())
    }

    async fn press(&mut self, keys: &[u8]) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("a pipe")?;
        stdin.write_all(keys).await?;
        Ok(stdin.flush().await?)
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        let pid = self.seen.split_whitespace().skip_while(|word| *word != "pid").nth(1).context("its process id")?;
        pid.parse().ok().and_then(Pid::from_raw).context("a process id")
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(rustix::process::kill_process(self.pid()?, signal)?)
    }
}

/// The sequence with which a terminal leaves the second screen: what stood there before is there again.
const LEFT: &str = "\x1b[?1049l";

#[tokio::test]
async fn the_terminal_is_given_back_by_keys_and_by_signals_and_pages_turn() -> anyhow::Result<()> {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-top", &clock)?;
    let (_centre, agent) = started(&fleet, &clock).await?;
    let mut looked = Looked::open(&fleet, &agent, &clock).await?;
    looked.press(b"6").await?;
    looked.until("trust bundle").await?;
    looked.press(b"q").await?;
    looked.until(LEFT).await?;
    ensure!(looked.child.wait().await?.success(), "quitting is no failure");
    // The window is closed: nobody is left to ask for the end, and nobody to draw for.
    let mut closed = Looked::open(&fleet, &agent, &clock).await?;
    let pid = closed.pid()?;
    closed.child.kill().await?;
    // Nobody may be there to take it in: then its shell is left, and does nothing.
    let stat = || std::fs::read_to_string(Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("stat"));
    let is_gone = || stat().map_or(true, |stat| stat.contains(") Z "));
    eventually(&clock, "top ends with its terminal", PATIENCE, || std::future::ready(Ok(is_gone()))).await?;
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut looked = Looked::open(&fleet, &agent, &clock).await?;
        looked.signal(signal)?;
        looked.until(LEFT).await.with_context(|| format!("{signal:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bundle_of_a_joined_host_says_nothing_of_who_and_where_it_is() -> anyhow::Result<()> {
    let clock = Clock::real();
    let fleet = Fleet::new(&Parents::default(), "dsmil-bundle", &clock)?;
    let (centre, mut agent) = started(&fleet, &clock).await?;
    let status = agent.status()?;
    let token = centre.tokens(&[HostName::new(HOST)?])?.into_iter().next().context("a token")?.token;

    // The real log, and in it what must not be in any bundle.
    let identity = std::fs::read_to_string(agent.folder().join("agent.pem"))?;
    let (v4, v6, mac) = STRANGER;
    let words = format!("asked {v4}:8100 and [{v6}]:8100 from {mac} with {token}\nbearer abcdefgh12345678\n{identity}");
    let log = agent.folder().join("agent.log");
    std::fs::write(&log, std::fs::read_to_string(agent.process()?.log())? + &words)?;
    std::fs::set_permissions(&log, PermissionsExt::from_mode(0o644))?;

    for (name, is_running) in [("running", true), ("killed", false)] {
        if !is_running {
            agent.kill()?;
        }
        let archive = agent.folder().join(format!("{name}.tar.zst"));
        let log = log.to_str().context("text")?;
        let args = ["bundle", "--json", "--log", log, "--out", archive.to_str().context("text")?];
        let (out, err, code) = ctl(&fleet, &agent, &args)?;
        ensure!(code == 0 && err.contains("dsmilctl: the agent's log"), "{out}{err}");
        ensure!(std::fs::metadata(&archive)?.permissions().mode() & 0o777 == 0o600, "it is for its owner alone");
        let (_, err, code) = ctl(&fleet, &agent, &args)?;
        ensure!(code == 2 && err.contains("is not overwritten"), "{err}");

        let text = String::from_utf8_lossy(&zstd::decode_all(std::fs::File::open(&archive)?)?).into_owned();
        let wanted: &[&str] = if is_running {
            &["status.json", "metrics.prom", "node_cpu_seconds_total{cpu="]
        } else {
            &["spool-left.json", "\"missing\""]
        };
        let always =
            ["manifest.json", "doctor.json", "configuration/00.toml", "host-1", "tenant-1", "ip-", "token-1", "pem-1"];
        for word in wanted.iter().chain(&always) {
            ensure!(text.contains(word), "{name}: no {word}");
        }
        for (what, secret) in secrets(&status, &token, &identity, agent.folder())? {
            ensure!(!holds(&text, &secret), "{name}: {what} ({secret:?}) is in it:\n{}", around(&text, &secret));
        }
    }
    Ok(())
}

/// Everything that would tell whose bundle it is, or open a door.
fn secrets(status: &Status, token: &str, identity: &str, folder: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut all: Vec<(&'static str, String)> = vec![
        ("the host's name", HOST.into()),
        ("its tenant", status.tenant.to_string()),
        ("the fleet", status.trust.trust_domain.clone()),
        ("its identity", status.identity.spiffe_id.clone()),
        ("its key's fingerprint", status.identity.key.clone()),
        ("the boot", status.boot.clone()),
        ("an aggregator's name", OTHER.into()),
        ("a stranger's address", STRANGER.0.into()),
        ("a stranger's other address", STRANGER.1.into()),
        ("a stranger's hardware address", STRANGER.2.into()),
        ("a join token", token.into()),
        ("a bearer token", "abcdefgh12345678".into()),
    ];
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    all.extend((node != "localhost").then_some(("the kernel's name of it", node)));
    all.extend(identity.lines().filter(|line| line.len() > 20).map(|line| ("a key or certificate", line.to_owned())));
    let bundle = std::fs::read(folder.join("trust.bundle"))?;
    all.extend(bundle.get(..24).map(|start| ("the trust bundle", String::from_utf8_lossy(start).into_owned())));
    for interface in std::fs::read_dir("/sys/class/net")? {
        let address = std::fs::read_to_string(interface?.path().join("address")).unwrap_or_default();
        let address = address.trim();
        // That of the host's talk with itself is everybody's.
        all.extend(
            (address.len() == 17 && address != "00:00:00:00:00:00").then(|| ("a hardware address", address.into())),
        );
    }
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    all.extend((!machine.trim().is_empty()).then(|| ("the machine's id", machine.trim().to_owned())));
    Ok(all)
}

/// Whether a text has a value as a word: `vm` is not in `vmstat`.
fn holds(text: &str, value: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices(value)
        .any(|(at, _)| !is_word(text[..at].chars().next_back()) && !is_word(text[at + value.len()..].chars().next()))
}

/// The lines that hold a value.
fn around(text: &str, value: &str) -> String {
    text.lines().filter(|line| holds(line, value)).take(5).collect::<Vec<_>>().join("\n")
}
