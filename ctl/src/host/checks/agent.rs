//! Whether the agent runs, what it was told, and how its sensors do.

use super::super::facts::{Answered, ConfigFacts, Configured, Facts, Probe, Unit};
use super::super::finding::Finding;
use super::super::screen::{count, span};
use dsmil_agent::config::Severity;
use dsmil_agent::status::Status;
use std::path::Path;

/// Whether it runs and answers.
pub(super) fn agent(facts: &Facts) -> Vec<Finding> {
    let Some(answered) = &facts.agent else { return Vec::new() };
    let finding = match answered {
        Answered::Well { socket } => return well(facts.status.as_deref(), socket),
        Answered::NotRunning { socket } => not_running(facts, socket),
        Answered::Forbidden { socket, is_member_elsewhere } => forbidden(socket, *is_member_elsewhere),
        Answered::Silent => Finding::trouble(
            NAME,
            "the agent took the question and did not answer it within 5 s",
            "see what it waits for, `ps -o stat,wchan:32,cmd -C dsmil-agent`, then `systemctl restart dsmil-agent`",
        ),
        Answered::Otherwise { what } => Finding::trouble(
            NAME,
            what.clone(),
            "bring both to one release: `dsmilctl --version`, `dsmil-agent --version`, then `systemctl restart dsmil-agent`",
        ),
    };
    vec![finding]
}

fn well(status: Option<&Status>, socket: &Path) -> Vec<Finding> {
    let Some(Status { agent_version, agent_uptime_s, .. }) = status else { return Vec::new() };
    let runs = format!("{agent_version} runs for {}, and answers on {}", span(*agent_uptime_s), socket.display());
    let ours = env!("CARGO_PKG_VERSION");
    let mut found = vec![Finding::ok(NAME, runs)];
    if agent_version != ours {
        let what = format!("the agent that runs is of release {agent_version}, dsmilctl of {ours}");
        found.push(Finding::warning(NAME, what, "install both, then `systemctl restart dsmil-agent`"));
    }
    found
}

fn not_running(facts: &Facts, socket: &Path) -> Finding {
    let nobody = format!("no agent listens on {}", socket.display());
    if let Some(Configured::Missing { path }) = &facts.config {
        let what = format!("{nobody}: this host has not joined a fleet ({} is not there)", path.display());
        return Finding::trouble(NAME, what, JOIN);
    }
    let Some(unit) = &facts.unit else {
        return Finding::trouble(NAME, nobody, "start it (`dsmil-agent run`), or name its socket with --socket");
    };
    let Unit { load, active, sub, result, restarts, .. } = unit;
    let (what, remedy) = match (load.as_str(), active.as_str()) {
        ("not-found", _) => (
            "its service is not installed".into(),
            "install the package (`apt install ./dsmil-agent_*.deb`), or start it by hand (`dsmil-agent run`) and name its \
             socket with --socket",
        ),
        ("masked", _) => (
            "its service is masked".into(),
            "`systemctl unmask dsmil-agent`, then `systemctl enable --now dsmil-agent`",
        ),
        (_, "active") => (
            "its service runs, so its socket is another".into(),
            "name it with --socket; `socket` in agent.toml has it: `dsmil-agent check`",
        ),
        (_, "failed" | "activating") => (
            format!(
                "its service does not stay up ({active}, {sub}: {result}; started again {} by itself)",
                count(*restarts, "time", "times")
            ),
            "`journalctl -u dsmil-agent -n 20` says why and `dsmil-agent check` what is missing; then `systemctl restart dsmil-agent`",
        ),
        _ if !unit.condition => ("its service was not started, because the host has not joined".into(), JOIN),
        _ => (format!("its service is {active}"), "`systemctl enable --now dsmil-agent`"),
    };
    Finding::trouble(NAME, format!("{nobody}: {what}"), remedy)
}

fn forbidden(socket: &Path, is_member_elsewhere: bool) -> Finding {
    let what = format!("this user may not ask the agent: {} is for root and the group dsmil", socket.display());
    let remedy = if is_member_elsewhere {
        "you are in the group, and this session is older than that: log in again, or `newgrp dsmil`"
    } else {
        "`sudo dsmilctl host doctor`; for good: `sudo usermod -a -G dsmil $USER`, and log in again"
    };
    Finding::trouble(NAME, what, remedy)
}

/// What agent.toml says, and what of it does not fit this host.
pub(super) fn configuration(facts: &Facts) -> Vec<Finding> {
    match &facts.config {
        None => Vec::new(),
        // Said of the agent already.
        Some(Configured::Missing { .. }) if matches!(facts.agent, Some(Answered::NotRunning { .. })) => Vec::new(),
        Some(Configured::Missing { path }) => {
            vec![Finding::trouble(CONFIGURATION, format!("there is no {}", path.display()), JOIN)]
        }
        Some(Configured::Forbidden { path }) => {
            let what = format!("{} is not for this user", path.display());
            vec![Finding::unseen(CONFIGURATION, what, "`sudo dsmilctl host doctor` looks at it")]
        }
        Some(Configured::Wrong { what }) => {
            let remedy = "mend it; `dsmil-agent check` agrees when it reads; then `systemctl restart dsmil-agent`";
            vec![Finding::trouble(CONFIGURATION, what.clone(), remedy)]
        }
        Some(Configured::Read(read)) => configured(read, facts.unit.as_ref().is_some_and(|unit| unit.load == "loaded")),
    }
}

fn configured(read: &ConfigFacts, is_installed: bool) -> Vec<Finding> {
    let files = count(read.files as u64, "file", "files");
    let reads = format!("{} reads ({files})", read.path.display());
    let Some(findings) = &read.findings else {
        let what = format!("{reads}; whether it fits the host can be seen by root and the agent's user only");
        return vec![Finding::unseen(CONFIGURATION, what, "`sudo dsmilctl host doctor`")];
    };
    // systemd makes the socket's folder when it starts the service, and removes it when that ends.
    let findings: Vec<_> = findings.iter().filter(|finding| !(is_installed && finding.key == "socket")).collect();
    if findings.is_empty() {
        return vec![Finding::ok(CONFIGURATION, format!("{reads} and fits this host"))];
    }
    let found = |finding: &&dsmil_agent::config::Finding| {
        let (what, remedy) = (format!("`{}`: {}", finding.key, finding.what), finding.remedy.clone());
        match finding.severity {
            Severity::Error => Finding::trouble(CONFIGURATION, what, remedy),
            Severity::Warning => Finding::warning(CONFIGURATION, what, remedy),
        }
    };
    findings.iter().map(found).collect()
}

/// Every sensor at the last tick.
pub(super) fn sensors(facts: &Facts) -> Vec<Finding> {
    let Some(status) = &facts.status else { return Vec::new() };
    let mut found = Vec::new();
    for sensor in status.sensors.iter().filter(|sensor| !sensor.ok) {
        let trouble = sensor.trouble.as_deref().unwrap_or("it reports nothing");
        let what = format!("sensor {}: {trouble}", sensor.name);
        let remedy = sensor.remedy.as_deref().unwrap_or("`journalctl -u dsmil-agent --since -10min` says more");
        // Without a time it has not answered at all.
        found.push(match sensor.took_us {
            None => Finding::trouble(SENSORS, what, remedy),
            Some(_) => Finding::warning(SENSORS, what, remedy),
        });
    }
    if found.is_empty() {
        let metrics: u64 = status.sensors.iter().map(|sensor| sensor.metrics).sum();
        let all = count(status.sensors.len() as u64, "sensor", "sensors");
        found.push(Finding::ok(SENSORS, format!("{all} fine, {}", count(metrics, "metric", "metrics"))));
    }
    found
}

/// Whether those are there who read what the agent may not. How a probe does that is there, its sensor says.
pub(super) fn probes(facts: &Facts) -> Vec<Finding> {
    let sensors = facts.status.as_ref().map(|status| &status.sensors);
    let finding = |probe: &Probe| {
        let Probe { kind, reads, matters, has_socket } = probe;
        let is_asked = sensors.is_none_or(|sensors| sensors.iter().any(|sensor| sensor.name == *kind));
        match (has_socket, is_asked) {
            (true, true) => Finding::ok(PROBES, format!("{kind} is there for {reads}")),
            (true, false) => {
                let what = format!("nobody asks the probe {kind} for {reads}: its socket came after the agent");
                Finding::warning(PROBES, what, "`systemctl restart dsmil-agent`")
            }
            (false, _) => {
                let what = format!("nobody reads {reads}: the probe {kind} has no socket");
                let remedy = "`apt install ./dsmil-probe_*.deb`, then `systemctl restart dsmil-agent`";
                if *matters { Finding::warning(PROBES, what, remedy) } else { Finding::unseen(PROBES, what, remedy) }
            }
        }
    };
    facts.probes.iter().map(finding).collect()
}

const NAME: &str = "agent";
const CONFIGURATION: &str = "configuration";
const SENSORS: &str = "sensors";
const PROBES: &str = "probes";
/// For a host that belongs to no fleet yet.
const JOIN: &str =
    "`dsmil-agent join TOKEN`; at the centre, `dsmil-aggregator token create --host NAME` makes the token";
