//! Looking at the host: everything that the checks judge, gathered in some seconds whatever hangs.

pub(super) mod command;
mod network;
mod unit;

use super::facts::{Answered, ConfigFacts, Configured, Facts, Holds, Kernel, Memory, Probe, Role, Volume};
use super::places::Places;
use dsmil_agent::config::{AgentConfig, ConfigError, DEFAULT_PROBES};
use dsmil_agent::local::{self, ClientError, Reply, Verb};
use dsmil_agent::probes::{self, ProbeKind};
use dsmil_agent::spool::{InspectError, Inspection, inspect};
use dsmil_agent::status::{Latest, Status};
use dsmil_runtime::clock::Clock;
use dsmil_sensors::root::{Root, RootError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The group whose members may ask the agent.
const GROUP: &str = "dsmil";

/// Gathers everything.
pub(super) async fn facts(places: &Places, clock: &Clock) -> Facts {
    let (agent, status) = ask(&places.socket);
    let (config, read) = configured(places);
    let left = (agent != Answered::Silent && status.is_none()).then(|| left(&places.spool));
    let latest = status.is_some().then(|| latest(&places.socket)).flatten();
    let root = Root::host().ok();
    let peers = network::reach(whom(read.as_ref(), status.as_deref()), clock).await;
    Facts {
        now_s: clock.wall_ms().div_euclid(1000),
        agent: Some(agent),
        status,
        latest,
        unit: unit::unit(clock).await,
        config: Some(config),
        left,
        peers,
        probes: root.as_ref().map(|root| wanted_probes(root, read.as_ref())).unwrap_or_default(),
        volumes: root.as_ref().map(|root| volumes(root, read.as_ref())).unwrap_or_default(),
        memory: root.as_ref().and_then(memory),
        kernel: root.as_ref().map(kernel),
    }
}

/// What an agent left in its spool; it is on a tmpfs, so that after a boot there is none.
fn left(spool: &Path) -> Result<Option<Inspection>, String> {
    match inspect(spool) {
        Ok(inspection) => Ok(Some(inspection)),
        Err(InspectError::Missing { .. }) => Ok(None),
        Err(error) => Err(said(&error)),
    }
}

/// An error with its causes.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn ask(socket: &Path) -> (Answered, Option<Box<Status>>) {
    let path = socket.to_owned();
    match local::ask(socket, Verb::Status) {
        Ok(Reply::Status(status)) => (Answered::Well { socket: path }, Some(status)),
        Ok(Reply::Error(trouble)) => {
            (Answered::Otherwise { what: format!("the agent cannot say: {}", trouble.message) }, None)
        }
        Ok(_) => (Answered::Otherwise { what: "the agent answered something else".into() }, None),
        Err(ClientError::NotRunning { .. }) => (Answered::NotRunning { socket: path }, None),
        Err(ClientError::Forbidden { .. }) => {
            (Answered::Forbidden { socket: path, is_member_elsewhere: is_member_elsewhere() }, None)
        }
        Err(ClientError::Silent(_)) => (Answered::Silent, None),
        Err(error) => (Answered::Otherwise { what: said(&error) }, None),
    }
}

/// What the sensors have read last; an agent of an older release cannot say.
fn latest(socket: &Path) -> Option<Box<Latest>> {
    match local::ask(socket, Verb::Latest) {
        Ok(Reply::Latest(latest)) => Some(Box::new(latest)),
        _ => None,
    }
}

/// Whether the group's file names this user and this session has not the group: it began before.
fn is_member_elsewhere() -> bool {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    is_member(&groups, &user)
}

/// Whether a text of the form group(5) has `user` among the members of our group.
fn is_member(groups: &str, user: &str) -> bool {
    let group = groups.lines().find_map(|line| line.strip_prefix(GROUP)?.strip_prefix(':'));
    let members = group.and_then(|group| group.rsplit_once(':')).map_or("", |(_, members)| members);
    !user.is_empty() && members.split(',').any(|member| member == user)
}

fn configured(places: &Places) -> (Configured, Option<AgentConfig>) {
    let path = places.config.clone();
    let document = match AgentConfig::document(&path) {
        Ok(document) => document,
        Err(ConfigError::Unreadable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return (Configured::Missing { path }, None);
        }
        Err(ConfigError::Unreadable { source, .. } | ConfigError::DropIn { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            return (Configured::Forbidden { path }, None);
        }
        Err(error) => return (Configured::Wrong { what: said(&error) }, None),
    };
    let config = match AgentConfig::of(&document, &path) {
        Ok(config) => config,
        Err(error) => return (Configured::Wrong { what: said(&error) }, None),
    };
    let is_ours = sees_as_the_agent(&config.identity.file);
    let credentials = is_ours.then(|| config.credentials());
    let (identity, trust) = match credentials {
        None => (None, None),
        Some(found) => {
            (Some(found.identity.map_err(|error| said(&error))), Some(found.trust.map_err(|error| said(&error))))
        }
    };
    let facts = ConfigFacts {
        path,
        files: document.files().count(),
        findings: is_ours.then(|| config.check()),
        identity,
        trust,
        renews: !config.join.is_empty(),
    };
    (Configured::Read(Box::new(facts)), Some(config))
}

/// Whether this user is root or the agent's: anybody else would be told that nothing can be written or read.
fn sees_as_the_agent(identity: &Path) -> bool {
    let user = rustix::process::geteuid();
    // The identity's folder, if the file is not there: it is the agent's too.
    let owner = [Some(identity), identity.parent()].into_iter().flatten().find_map(|path| std::fs::metadata(path).ok());
    user.is_root() || owner.is_some_and(|owner| owner.uid() == user.as_raw())
}

/// Whom the agent has to reach: as the configuration says, or as the agent says if this user may not read that.
fn whom(config: Option<&AgentConfig>, status: Option<&Status>) -> Vec<(Role, String)> {
    let Some(config) = config else {
        let aggregator = status.and_then(|status| status.link.aggregator.clone());
        return aggregator.into_iter().map(|address| (Role::Aggregator, address)).collect();
    };
    let aggregators = config.aggregators.iter().map(|address| (Role::Aggregator, address.clone()));
    aggregators.chain(config.join.iter().map(|address| (Role::JoinPort, address.clone()))).collect()
}

/// Probes that have something to read here, unless the configuration names others.
fn wanted_probes(root: &Root, config: Option<&AgentConfig>) -> Vec<Probe> {
    let kinds = [
        (ProbeKind::Nvml, "NVIDIA's GPUs", true),
        (ProbeKind::Rapl, "the processors' energy", false),
        (ProbeKind::Kmsg, "faults in the kernel's log", false),
        (ProbeKind::Fdinfo, "what processes do on GPUs and NPUs", false),
        (ProbeKind::Smart, "the health of disks", false),
        (ProbeKind::Systemd, "the states of services", false),
    ];
    let folder = config.map_or(Path::new(DEFAULT_PROBES), |config| &config.probes.folder);
    let named = config.and_then(|config| config.probes.kinds.as_ref());
    let is_asked = |kind: ProbeKind| named.is_none_or(|kinds| kinds.contains(&kind));
    let probe = |(kind, reads, matters): (ProbeKind, &'static str, bool)| {
        let has_socket = folder.join(format!("{kind}.sock")).exists();
        let is_wanted = is_asked(kind) && probes::is_of_use(kind, root);
        is_wanted.then_some(Probe { kind: kind.name(), reads, matters, has_socket })
    };
    kinds.into_iter().filter_map(probe).collect()
}

fn volumes(root: &Root, config: Option<&AgentConfig>) -> Vec<Volume> {
    let identity = config.and_then(|config| config.identity.file.parent()).map(|folder| (folder, Holds::Identity));
    let places = [(Path::new("/"), Holds::System)].into_iter().chain(identity);
    let volume = |(path, holds): (&Path, Holds)| {
        let size = root.statfs(path.as_os_str().as_encoded_bytes()).ok()?;
        Some(Volume {
            path: path.to_owned(),
            holds,
            size_bytes: size.blocks.saturating_mul(size.block_len),
            available_bytes: size.blocks_available.saturating_mul(size.block_len),
        })
    };
    places.filter_map(volume).collect()
}

fn memory(root: &Root) -> Option<Memory> {
    let mut buffer = Vec::new();
    let text = String::from_utf8_lossy(root.proc("meminfo", &mut buffer).ok()?);
    let kib = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let bytes = |name| Some(kib(name)?.saturating_mul(1024));
    Some(Memory { total_bytes: bytes("MemTotal")?, available_bytes: bytes("MemAvailable")? })
}

fn kernel(root: &Root) -> Kernel {
    let mut buffer = Vec::new();
    let release = root.proc("sys/kernel/osrelease", &mut buffer).map(String::from_utf8_lossy).unwrap_or_default();
    Kernel {
        release: release.trim().to_owned(),
        // Whatever else is wrong with it, it is there.
        has_pressure: root.proc("pressure/cpu", &mut Vec::new()) != Err(RootError::Missing),
        has_cgroup2: root.sys("fs/cgroup/cgroup.controllers", &mut Vec::new()) != Err(RootError::Missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_the_group_is_found_by_its_whole_name() {
        let groups = "dsmilx:x:1:jane\ndsmil:x:2:jane,joe\nother:x:3:ann\n";
        assert!(is_member(groups, "jane") && is_member(groups, "joe"));
        assert!(!is_member(groups, "ann") && !is_member(groups, "jo") && !is_member(groups, ""));
        assert!(!is_member("dsmil:x:2:\n", ""));
    }
}
