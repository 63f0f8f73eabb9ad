//! What the agent says of itself over its local socket: documents for people and scripts on the host.
//!
//! The same types are written by the agent and read by `dsmilctl`. Names of reasons and codes are words, not numbers:
//! whoever reads them has no table beside them.

mod identity;
mod latest;
mod link;
mod settings;

pub use identity::{IdentityStatus, RenewalFailure, RenewalStatus, TrustStatus};
pub use latest::{Family, Latest, MetricKind, Sample};
pub use link::LinkBoard;
pub use settings::{RefusedStatus, SettingsStatus};

use dsmil_crypto::policy;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{HostName, TenantId, TickRange};
use dsmil_protocol::message::{GapReason, GapRecord};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The answer to `status`: the whole host on one screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The host's name.
    pub host: HostName,
    /// Its tenant.
    pub tenant: TenantId,
    /// The version of the running agent.
    pub agent_version: String,
    /// The running boot, as in `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
    /// Seconds since the host booted, suspend included.
    pub host_uptime_s: u64,
    /// Seconds since the agent started.
    pub agent_uptime_s: u64,
    /// The link to the aggregator.
    pub link: LinkStatus,
    /// What waits on this host.
    pub spool: SpoolStatus,
    /// Ticks that will never come.
    pub gaps: GapSummary,
    /// Every sensor, at the last tick.
    pub sensors: Vec<SensorStatus>,
    /// Who the agent is on the link.
    pub identity: IdentityStatus,
    /// Whom it trusts.
    pub trust: TrustStatus,
    /// The fleet's settings here.
    #[serde(default)]
    pub settings: SettingsStatus,
    /// The host's clocks.
    pub clock: ClockStatus,
}

/// How the link stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum LinkState {
    /// No connection; the agent tries again by itself.
    Offline {
        /// Why not.
        reason: String,
        /// Milliseconds until the next attempt.
        next_attempt_in_ms: u64,
    },
    /// An attempt is under way.
    Connecting,
    /// The aggregator took the agent in.
    Connected,
    /// The aggregator, or our own check of it, said no; the agent tries again, but somebody has to act.
    Refused {
        /// The refusal's name.
        code: String,
        /// What to do about it.
        remedy: String,
        /// Milliseconds until the next attempt.
        next_attempt_in_ms: u64,
    },
}

/// The link to the aggregator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// How it stands.
    #[serde(flatten)]
    pub state: LinkState,
    /// Milliseconds for which it has been up, or down whatever the reason.
    pub since_ms: u64,
    /// The aggregator tried or connected to last, `host:port`.
    pub aggregator: Option<String>,
    /// What was agreed on with it, while connected.
    pub negotiated: Option<Negotiated>,
    /// Attempts since the link was last up.
    pub attempts: u64,
    /// Why the last attempt or connection ended.
    pub last_error: Option<String>,
    /// Milliseconds since the last acknowledgement.
    pub last_ack_ms_ago: Option<u64>,
}

/// The algorithms of a connection, by their registered names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// The key-exchange group.
    pub group: String,
    /// The signature scheme.
    pub scheme: String,
    /// The cipher suite.
    pub suite: String,
}

impl From<policy::Negotiated> for Negotiated {
    fn from(agreed: policy::Negotiated) -> Self {
        Self { group: agreed.group.into(), scheme: agreed.scheme.into(), suite: agreed.suite.into() }
    }
}

/// What waits on this host, and what became of what does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// The spool's file.
    pub path: PathBuf,
    /// Whether it can be written. If not, ticks are counted as lost until it can.
    pub writable: bool,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes it may use.
    pub capacity_bytes: u64,
    /// Whether its tmpfs is full, so that it cannot grow to its capacity.
    pub tmpfs_full: bool,
    /// Sealed batches, not acknowledged.
    pub batches_waiting: u64,
    /// Ticks in them and in the batch that is not sealed yet.
    pub ticks_waiting: u64,
    /// Of these, ticks of the batch that is not sealed yet.
    pub ticks_pending: u64,
    /// The oldest and the newest tick of the running boot that the spool answers for.
    pub boot_ticks: Option<TickRange>,
    /// What happened since the spool was made.
    pub totals: SpoolTotals,
    /// Damaged files that are kept for a look.
    pub set_aside: Vec<PathBuf>,
}

/// What happened since the spool was made; it outlives agents and ends with the host's boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolTotals {
    /// Ticks taken in.
    pub ticks_taken: u64,
    /// Ticks acknowledged and deleted.
    pub ticks_accounted: u64,
    /// Ticks that made room for newer ones.
    pub ticks_evicted: u64,
    /// Ticks that could not be taken in because the tmpfs was full.
    pub ticks_refused: u64,
    /// Ticks that were lost to damage of the file.
    pub ticks_damaged: u64,
    /// Ticks in batches that the aggregator rejected.
    pub ticks_rejected: u64,
    /// Batches that the aggregator rejected.
    pub batches_rejected: u64,
    /// Files that were damaged or of another version, and set aside.
    pub files_set_aside: u64,
}

/// Ticks that will never come and whose loss is not acknowledged yet, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapSummary {
    /// How many gaps.
    pub gaps: u64,
    /// Ticks in them.
    pub ticks: u64,
    /// Ticks a reason, the most first.
    pub by_reason: Vec<(String, u64)>,
}

impl GapSummary {
    /// Sums up gaps.
    pub fn of(gaps: &[GapRecord]) -> Self {
        let mut summary = Self { gaps: gaps.len() as u64, ..Self::default() };
        for gap in gaps {
            let (name, ticks) = (reason_name(gap.reason), gap.ticks.len());
            summary.ticks = summary.ticks.saturating_add(ticks);
            match summary.by_reason.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum = sum.saturating_add(ticks),
                None => summary.by_reason.push((name, ticks)),
            }
        }
        summary.by_reason.sort_by_key(|(_, ticks)| std::cmp::Reverse(*ticks));
        summary
    }
}

/// The answer to `gaps`: every gap that is not acknowledged yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapsReport {
    /// All in short.
    pub summary: GapSummary,
    /// The gaps, oldest first.
    pub gaps: Vec<GapEntry>,
}

impl GapsReport {
    /// The report of a list of gaps.
    pub fn of(gaps: &[GapRecord]) -> Self {
        Self { summary: GapSummary::of(gaps), gaps: gaps.iter().map(GapEntry::from).collect() }
    }
}

/// One gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapEntry {
    /// The boot whose ticks they are.
    pub boot: String,
    /// The first tick.
    pub first: u64,
    /// The last tick.
    pub last: u64,
    /// Why, as in [`reason_name`].
    pub reason: String,
}

impl From<&GapRecord> for GapEntry {
    fn from(gap: &GapRecord) -> Self {
        let (first, last) = (gap.ticks.first.0, gap.ticks.last.0);
        Self { boot: gap.boot.to_string(), first, last, reason: reason_name(gap.reason) }
    }
}

/// A gap's reason in one word; of a rejected batch with the name of the error.
pub fn reason_name(reason: GapReason) -> String {
    match reason {
        GapReason::AgentDown => "agent_down".into(),
        GapReason::SamplerLate => "sampler_late".into(),
        GapReason::HostSuspended => "host_suspended".into(),
        GapReason::Evicted => "evicted".into(),
        GapReason::Rejected(code) => format!("rejected:{}", ErrorCode::from_number(code).name()),
        GapReason::SpoolDamaged => "spool_damaged".into(),
        GapReason::SpoolFull => "spool_full".into(),
        GapReason::JournalLost => "journal_lost".into(),
    }
}

/// The answer to `spool`: what waits, boot by boot, and what was set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolReport {
    /// The spool as a whole.
    pub spool: SpoolStatus,
    /// What it answers for, the newest boot first.
    pub boots: Vec<BootEntry>,
    /// Batches that the aggregator rejected, the newest first; they are kept until newer ones take their place.
    pub rejected: Vec<RejectedEntry>,
}

/// One boot in the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootEntry {
    /// The boot.
    pub boot: String,
    /// The first tick that the spool answers for.
    pub first: u64,
    /// The last tick that the spool answers for.
    pub last: u64,
    /// Ticks that wait.
    pub ticks_waiting: u64,
}

/// A batch that the aggregator rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedEntry {
    /// Its boot.
    pub boot: String,
    /// Its first tick.
    pub first: u64,
    /// Its last tick.
    pub last: u64,
    /// The error's name.
    pub code: String,
    /// What to do about it.
    pub remedy: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A sensor at the last tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorStatus {
    /// Its name.
    pub name: String,
    /// Whether it reported everything there is.
    pub ok: bool,
    /// What is wrong, if something is.
    pub trouble: Option<String>,
    /// What to do about it.
    #[serde(default)]
    pub remedy: Option<String>,
    /// Metrics it has.
    pub metrics: u64,
    /// How long it took, in microseconds; absent while it hangs.
    pub took_us: Option<u64>,
}

/// The host's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// The host's wall clock, milliseconds since 1970.
    pub wall_ms: i64,
    /// How far the host's wall clock is ahead of the aggregator's, in milliseconds; absent until both have talked.
    pub ahead_ms: Option<i64>,
    /// The estimate is wrong by at most this, in milliseconds.
    pub uncertainty_ms: Option<u64>,
    /// Steps of the host's wall clock that the agent has seen.
    #[serde(default)]
    pub steps: StepStatus,
}

/// Steps of the host's wall clock since the agent started: somebody, or something, set it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStatus {
    /// How many.
    pub count: u64,
    /// Milliseconds of the last one; forward if positive.
    pub last_by_ms: Option<i64>,
    /// Seconds since the last one.
    pub last_s_ago: Option<u64>,
}
