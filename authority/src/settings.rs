//! What a fleet's settings say, for whom, and their limits. They hold no addresses, identities or keys: whatever they say, an
//! agent reaches its aggregator as before.

use serde::{Deserialize, Serialize};

/// Bytes of signed settings: a document at its limits has 6 KB, a signature 4.6 KB.
pub const MAX_SETTINGS_LEN: usize = 16 << 10;
/// Bytes of the note for people.
pub const MAX_NOTE_LEN: usize = 256;
/// Sensors that one document may name: more than there are, for those of newer agents.
const MAX_SENSORS: usize = 64;
/// Bytes of a sensor's name.
const MAX_SENSOR_LEN: usize = 64;
/// Bytes of a host, a group or a trust domain.
const MAX_NAME_LEN: usize = 253;
/// Seconds between two readings of a sensor.
const INTERVAL_S: std::ops::RangeInclusive<u16> = 1..=3600;
/// Ticks of a batch.
const BATCH_TICKS: std::ops::RangeInclusive<u8> = 10..=60;
/// MiB of a spool: what agent.toml may say too.
const SPOOL_MIB: std::ops::RangeInclusive<u32> = 1..=65_536;
/// KiB a second of a backlog: 1 GiB is no limit any more.
const BACKLOG_KIB: std::ops::RangeInclusive<u32> = 1..=1_048_576;

/// The sensors of an agent of this version, in the order of their columns: what whoever writes settings may name. The agent
/// has a test that these are its own.
pub const SENSORS: [&str; 54] = [
    "stat",
    "loadavg",
    "meminfo",
    "vmstat",
    "pressure",
    "diskstats",
    "filesystem",
    "filesystem_remote",
    "netdev",
    "netstat",
    "sockstat",
    "filefd",
    "selinux",
    "thermal_zone",
    "hwmon",
    "cpu",
    "cpufreq",
    "edac",
    "powersupplyclass",
    "watchdog",
    "netclass",
    "softnet",
    "conntrack",
    "arp",
    "udp_queues",
    "schedstat",
    "time",
    "os",
    "dmi",
    "bonding",
    "xfs",
    "btrfs",
    "zfs",
    "mdadm",
    "nfs",
    "infiniband",
    "nvme",
    "cgroups",
    "processes",
    "uptime",
    "uname",
    "amd_gpu",
    "intel_gpu",
    "intel_npu",
    "amd_npu",
    "coral",
    "rockchip",
    "accelerator_pci",
    // Those that a probe reads.
    "nvml",
    "rapl",
    "kmsg",
    "fdinfo",
    "smart",
    "systemd",
];

/// Settings of a part of the fleet, as the holder of an order key has signed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSettings {
    /// Grows with all settings of the fleet, from 1.
    pub version: u64,
    /// The fleet.
    pub trust_domain: String,
    /// For whom.
    pub target: Target,
    /// When they were signed, Unix seconds.
    pub issued_s: i64,
    /// Why, for people.
    pub note: String,
    /// What is to be.
    pub values: Values,
}

/// For whom settings are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// Every host.
    All,
    /// The hosts that the fleet file puts into this group.
    Group(String),
    /// This host.
    Host(String),
}

/// What is to be; whatever is absent is as agent.toml has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// Seconds between two readings of every sensor that is not named.
    pub interval_s: Option<u16>,
    /// Sensors by name, each once.
    pub sensors: Vec<(String, SensorSetting)>,
    /// MiB that the spool may use; counts if it is less than agent.toml's.
    pub spool_mib: Option<u32>,
    /// KiB a second that the backlog may use; counts if it is less than the aggregator's own cap.
    pub backlog_kib_per_second: Option<u32>,
    /// Ticks in a batch.
    pub batch_ticks: Option<u8>,
}

/// What becomes of a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SensorSetting {
    /// It is not read.
    Off,
    /// It is read each so many seconds.
    EveryS(u16),
}

impl Target {
    /// Whether a host of this group is meant.
    pub fn covers(&self, host: &str, group: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Group(name) => group == Some(name),
            Self::Host(name) => host == name,
        }
    }

    /// The narrower of two that cover a host is the greater.
    fn narrowness(&self) -> u8 {
        match self {
            Self::All => 0,
            Self::Group(_) => 1,
            Self::Host(_) => 2,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::Host(name) => write!(f, "host {name}"),
        }
    }
}

/// Which of all settings count for a host: those of the narrowest target that covers it, and of these the newest.
pub fn choose<'a, T>(
    all: impl IntoIterator<Item = &'a T>,
    of: impl Fn(&T) -> (&Target, u64),
    host: &str,
    group: Option<&str>,
) -> Option<&'a T> {
    let covering = all.into_iter().filter(|one| of(one).0.covers(host, group));
    covering.max_by_key(|one| (of(one).0.narrowness(), of(one).1))
}

impl Values {
    /// How often a sensor is read that is read each `own_s` seconds by itself; nothing if it is off. What is said of all
    /// sensors makes no slow one quicker: what is said of it alone does.
    pub fn interval_of(&self, sensor: &str, own_s: u16) -> Option<u16> {
        match self.sensors.iter().find(|(name, _)| name == sensor) {
            Some((_, SensorSetting::Off)) => None,
            Some((_, SensorSetting::EveryS(seconds))) => Some(*seconds),
            None => Some(self.interval_s.map_or(own_s, |all| all.max(own_s))),
        }
    }

    /// The first value that is out of its range, by its key in the file that it was written in.
    pub fn out_of_range(&self) -> Option<(String, String)> {
        let wrong = |key: &str, least: u32, most: u32| Some((key.to_owned(), format!("is {least} to {most}")));
        let interval = |key: &str| wrong(key, (*INTERVAL_S.start()).into(), (*INTERVAL_S.end()).into());
        if self.interval_s.is_some_and(|seconds| !INTERVAL_S.contains(&seconds)) {
            return interval("sensors.interval_s");
        }
        for (name, setting) in &self.sensors {
            if matches!(setting, SensorSetting::EveryS(seconds) if !INTERVAL_S.contains(seconds)) {
                return interval(&format!("sensors.{name}.interval_s"));
            }
        }
        if self.spool_mib.is_some_and(|mib| !SPOOL_MIB.contains(&mib)) {
            return wrong("limits.spool_mib", *SPOOL_MIB.start(), *SPOOL_MIB.end());
        }
        if self.backlog_kib_per_second.is_some_and(|kib| !BACKLOG_KIB.contains(&kib)) {
            return wrong("limits.backlog_kib_per_second", *BACKLOG_KIB.start(), *BACKLOG_KIB.end());
        }
        if self.batch_ticks.is_some_and(|ticks| !BATCH_TICKS.contains(&ticks)) {
            return wrong("batch_ticks", (*BATCH_TICKS.start()).into(), (*BATCH_TICKS.end()).into());
        }
        None
    }
}

impl FleetSettings {
    /// Whether they keep their limits and could be settings at all.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let named = |name: &str, most: usize| (1..=most).contains(&name.len()) && !name.contains(char::is_control);
        let target = match &self.target {
            Target::All => true,
            Target::Group(name) | Target::Host(name) => named(name, MAX_NAME_LEN),
        };
        let sensors = &self.values.sensors;
        let once = |(at, (name, _)): (usize, &(String, SensorSetting))| {
            named(name, MAX_SENSOR_LEN) && !sensors[..at].iter().any(|(other, _)| other == name)
        };
        let sound = self.version > 0
            && i64::try_from(self.version).is_ok()
            && named(&self.trust_domain, MAX_NAME_LEN)
            && target
            && self.note.len() <= MAX_NOTE_LEN
            && !self.note.contains(char::is_control)
            && sensors.len() <= MAX_SENSORS
            && sensors.iter().enumerate().all(once)
            && self.values.out_of_range().is_none();
        if sound { Ok(()) } else { Err(SettingsError::Limits) }
    }
}

/// Why settings were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not settings at all.
    #[error("settings_malformed: these bytes are no signed settings: push them again")]
    Malformed,
    /// Of a format that this program does not know.
    #[error("settings_format: the settings are of format {0}, which this program does not know: upgrade it")]
    Format(u8),
    /// Values or lists over their limits, or fields that contradict each other.
    #[error("settings_limits: the settings have a value that is out of its range: push others")]
    Limits,
    /// Of another fleet.
    #[error("settings_trust_domain: the settings are of {found}, this is {ours}: push those of this fleet")]
    TrustDomain {
        /// Whose they are.
        found: String,
        /// Where we are.
        ours: String,
    },
    /// Not newer than what was seen.
    #[error("settings_older: the settings have version {found}, version {seen} was here before: push them anew")]
    Older {
        /// Their version.
        found: u64,
        /// The one that was seen.
        seen: u64,
    },
    /// For another host.
    #[error("settings_other_host: the settings are for {0}: look who sends them here")]
    OtherHost(String),
    /// No order key of the trust bundle has signed them.
    #[error(
        "settings_other_key: no order key of the trust bundle has signed these settings: sign with one that `dsmil-aggregator trust show` lists"
    )]
    OtherKey,
    /// The order key's signature does not fit: somebody has changed them.
    #[error("settings_altered: the order key's signature does not fit the settings: somebody has altered them")]
    Altered,
}

impl SettingsError {
    /// The short name for logs, counters and tests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Malformed => "settings_malformed",
            Self::Format(_) => "settings_format",
            Self::Limits => "settings_limits",
            Self::TrustDomain { .. } => "settings_trust_domain",
            Self::Older { .. } => "settings_older",
            Self::OtherHost(_) => "settings_other_host",
            Self::OtherKey => "settings_other_key",
            Self::Altered => "settings_altered",
        }
    }
}
