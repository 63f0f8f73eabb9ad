//! What the checks look at: gathered first, so that judging it is pure.

use dsmil_agent::config::{Finding as ConfigFinding, IdentityFacts, TrustFacts};
use dsmil_agent::spool::Inspection;
use dsmil_agent::status::{Latest, Status};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that is known of the host. What was not looked at, or could not be, is absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Now, Unix seconds by the host's clock.
    pub(super) now_s: i64,
    /// How the agent answered.
    pub(super) agent: Option<Answered>,
    /// What it said.
    pub(super) status: Option<Box<Status>>,
    /// What its sensors have read last.
    pub(super) latest: Option<Box<Latest>>,
    /// Its service.
    pub(super) unit: Option<Unit>,
    /// Its configuration.
    pub(super) config: Option<Configured>,
    /// What it left in its spool, if it does not run; nothing where there is no spool.
    pub(super) left: Option<Result<Option<Inspection>, String>>,
    /// Who is to be reached.
    pub(super) peers: Vec<Peer>,
    /// Probes that have something to read here.
    pub(super) probes: Vec<Probe>,
    /// Filesystems that matter.
    pub(super) volumes: Vec<Volume>,
    pub(super) memory: Option<Memory>,
    pub(super) kernel: Option<Kernel>,
}

impl Facts {
    /// What a running agent says of itself, and nothing else.
    pub(super) fn of_status(status: &Status) -> Self {
        let now_s = status.clock.wall_ms.div_euclid(1000);
        Self { now_s, status: Some(Box::new(status.clone())), ..Self::default() }
    }
}

/// How the agent answered on its socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// As it should.
    Well {
        /// The socket.
        socket: PathBuf,
    },
    /// Nobody listens on the socket.
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// This user may not ask.
    Forbidden {
        /// The socket.
        socket: PathBuf,
        /// The user is in the socket's group since, but not in this session.
        is_member_elsewhere: bool,
    },
    /// It took the question and said nothing.
    Silent,
    /// It said something else.
    Otherwise {
        /// What is wrong with it.
        what: String,
    },
}

/// The agent's service, as systemd tells it. Names and values are those of `systemctl show`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// `loaded`, `not-found`, `masked` …
    pub(super) load: String,
    /// `active`, `inactive`, `failed`, `activating` …
    pub(super) active: String,
    /// `running`, `auto-restart`, `dead` …
    pub(super) sub: String,
    /// Why it ended: `success`, `exit-code`, `oom-kill`, `watchdog` …
    pub(super) result: String,
    /// Whether it starts at boot: `enabled`, `disabled` …
    pub(super) enabled: String,
    /// Its condition holds: the host has joined.
    pub(super) condition: bool,
    /// Times it was started again by itself.
    pub(super) restarts: u64,
    /// Bytes of memory charged to it, and how many it may have.
    pub(super) memory: Option<(u64, u64)>,
}

/// The configuration, as `dsmil-agent check` sees it.
#[derive(Clone, Debug)]
pub(super) enum Configured {
    /// There is none: the host has not joined.
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// This user may not read it.
    Forbidden {
        /// Where it is.
        path: PathBuf,
    },
    /// It is wrong.
    Wrong {
        /// What is wrong, with file, line and key.
        what: String,
    },
    /// It reads.
    Read(Box<ConfigFacts>),
}

/// A configuration that reads, and what it names.
#[derive(Clone, Debug)]
pub(super) struct ConfigFacts {
    /// The file.
    pub(super) path: PathBuf,
    /// It and its drop-ins.
    pub(super) files: usize,
    /// What does not fit this host; absent if this user cannot see what the agent sees.
    pub(super) findings: Option<Vec<ConfigFinding>>,
    /// The identity; absent if this user may not read it.
    pub(super) identity: Option<Result<IdentityFacts, String>>,
    /// The trust bundle; absent if this user may not read it.
    pub(super) trust: Option<Result<TrustFacts, String>>,
    /// Whether a join port is named.
    pub(super) renews: bool,
}

/// Somebody whom the agent has to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) role: Role,
    /// As it is written in the configuration: `host:port`.
    pub(super) address: String,
    pub(super) reach: Reach,
}

/// What a peer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Takes what is sampled.
    Aggregator,
    /// Renews the certificate.
    JoinPort,
}

impl Role {
    /// Its key in agent.toml.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Aggregator => "aggregators",
            Self::JoinPort => "join",
        }
    }

    /// What to call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Aggregator => "aggregator",
            Self::JoinPort => "join port",
        }
    }
}

/// How far one gets towards a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Its name leads nowhere.
    NoAddress {
        /// Why.
        why: String,
    },
    /// This host has no way there.
    NoWay {
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        why: String,
    },
    /// The machine is there and nothing listens on that port.
    NobodyListens {
        /// Its address.
        address: SocketAddr,
    },
    /// Nothing comes back.
    Silent {
        /// Its address.
        address: SocketAddr,
    },
    /// Something that speaks QUIC answered.
    Answers {
        /// Its address.
        address: SocketAddr,
        /// How long it took.
        took: Duration,
    },
}

/// A probe that has something to read on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// `nvml`, `rapl`, `kmsg`.
    pub(super) kind: &'static str,
    /// What only it reads.
    pub(super) reads: &'static str,
    /// A host is half blind without it.
    pub(super) matters: bool,
    /// Whether its socket is there.
    pub(super) has_socket: bool,
}

/// A filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Volume {
    /// A folder on it.
    pub(super) path: PathBuf,
    /// What lies there.
    pub(super) holds: Holds,
    pub(super) size_bytes: u64,
    /// Bytes that an ordinary user may still take.
    pub(super) available_bytes: u64,
}

/// What a filesystem holds that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// The system, its logs among it.
    System,
    /// The agent's identity, which is renewed there.
    Identity,
}

/// The host's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) total_bytes: u64,
    pub(super) available_bytes: u64,
}

/// What the kernel brings that the sensors read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) release: String,
    /// Pressure stall information.
    pub(super) has_pressure: bool,
    /// One hierarchy of control groups.
    pub(super) has_cgroup2: bool,
}
