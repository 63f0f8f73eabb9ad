//! The agent's answers to its local socket, put together from its parts.

use crate::config::AgentConfig;
use crate::credentials::Credentials;
use crate::local::{Reply, Trouble, TroubleCode, Verb};
use crate::run::Running;
use crate::sampler::{Newest, SensorReport, Verdict, WallSteps};
use crate::spool::SpoolError;
use crate::status::{
    ClockStatus, GapSummary, GapsReport, IdentityStatus, Latest, SensorStatus, Status, StepStatus, TrustStatus,
};
use dsmil_protocol::clock::BootEpoch;
use dsmil_protocol::ids::{BootId, HostName, TenantId};
use dsmil_runtime::clock::Clock;
use dsmil_sensors::SensorError;
use std::time::Duration;

/// As many as a spool keeps at most: a sum over fewer would be wrong without a word.
const MAX_GAPS_SHOWN: usize = 16 << 10;

/// What was sampled last, for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Sampled<'a> {
    /// How each sensor did.
    pub sensors: &'a [SensorReport],
    /// What was seen last of each metric; nothing before the first tick.
    pub newest: Option<&'a Newest>,
}

/// Answers for one agent.
#[derive(Debug)]
pub struct Reporter {
    host: HostName,
    tenant: TenantId,
    boot: BootId,
    credentials: Credentials,
    clock: Clock,
    started: Duration,
}

impl Reporter {
    /// Answers from now on.
    pub fn new(config: &AgentConfig, boot: BootId, credentials: Credentials, clock: Clock) -> Self {
        let started = clock.mono();
        Self { host: config.host.clone(), tenant: config.tenant.clone(), boot, credentials, clock, started }
    }

    /// The answer to `verb`.
    pub fn answer(&self, verb: Verb, running: &Running, sampled: Sampled<'_>) -> Reply {
        let answer = match verb {
            Verb::Status => self.status(running, sampled).map(|status| Reply::Status(Box::new(status))),
            Verb::Gaps => running.spool.lock().gaps(MAX_GAPS_SHOWN).map(|gaps| Reply::Gaps(GapsReport::of(&gaps))),
            Verb::Spool => running.spool.lock().report().map(Reply::Spool),
            // The spool is not asked: who looks at a host whose spool is in trouble is to see the host.
            Verb::Latest => return self.latest(sampled),
        };
        answer.unwrap_or_else(|error| unavailable(format!("the spool cannot say: {error}")))
    }

    fn latest(&self, sampled: Sampled<'_>) -> Reply {
        match sampled.newest {
            Some(newest) => Reply::Latest(Latest::of(self.boot.to_string(), newest, sampled.sensors)),
            None => unavailable("nothing was sampled yet: ask again in a second".into()),
        }
    }

    fn status(&self, running: &Running, sampled: Sampled<'_>) -> Result<Status, SpoolError> {
        let (held, renewal) = (self.credentials.current(), self.credentials.renewal());
        let mut spool = running.spool.lock();
        Ok(Status {
            host: self.host.clone(),
            tenant: self.tenant.clone(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            boot: self.boot.to_string(),
            host_uptime_s: self.clock.boot().as_secs(),
            agent_uptime_s: self.clock.mono().saturating_sub(self.started).as_secs(),
            link: running.board.status(),
            spool: spool.status(),
            gaps: GapSummary::of(&spool.gaps(MAX_GAPS_SHOWN)?),
            sensors: sampled.sensors.iter().map(sensor).collect(),
            identity: IdentityStatus::of(&held, &renewal),
            trust: TrustStatus::of(&held, renewal.bundle_refused.clone()),
            settings: running.settings.status(),
            clock: self.clocks(running, sampled.newest.map(|newest| newest.steps).unwrap_or_default()),
        })
    }

    /// The host's wall clock beside the aggregator's, by what the two agreed on when they last talked.
    fn clocks(&self, running: &Running, steps: WallSteps) -> ClockStatus {
        let epoch = running.board.epoch();
        let boot_ns = i64::try_from(self.clock.boot().as_nanos()).unwrap_or(i64::MAX);
        let ahead_ns = |epoch: &BootEpoch| self.clock.wall_ns().saturating_sub(epoch.wall_ns.saturating_add(boot_ns));
        ClockStatus {
            wall_ms: self.clock.wall_ms(),
            ahead_ms: epoch.as_ref().map(|epoch| millis(ahead_ns(epoch))),
            uncertainty_ms: epoch.map(|epoch| u64::try_from(millis(epoch.uncertainty_ns)).unwrap_or(0).max(1)),
            steps: StepStatus {
                count: steps.count,
                last_by_ms: steps.last.map(|step| step.by_ms),
                last_s_ago: steps.last.map(|step| self.clock.boot().saturating_sub(step.at).as_secs()),
            },
        }
    }
}

fn unavailable(message: String) -> Reply {
    Reply::Error(Trouble { code: TroubleCode::Unavailable, message })
}

fn millis(ns: i64) -> i64 {
    ns.div_euclid(1_000_000)
}

fn sensor(report: &SensorReport) -> SensorStatus {
    let trouble = match report.verdict {
        Verdict::Ok => None,
        Verdict::Failed(error) => Some(error.to_string()),
        Verdict::Late { since } => Some(format!("hangs since tick {}", since.0)),
        Verdict::Panicked => Some("has a bug that this host brought to light; the log has it".into()),
    };
    SensorStatus {
        name: report.name.into(),
        ok: trouble.is_none(),
        trouble,
        remedy: remedy(&report.verdict).map(str::to_owned),
        metrics: report.metrics as u64,
        took_us: report.took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
    }
}

/// What to do about a sensor that has not reported everything; nothing if it has.
fn remedy(verdict: &Verdict) -> Option<&'static str> {
    let remedy = match verdict {
        Verdict::Ok => return None,
        Verdict::Failed(SensorError::Missing { .. }) => {
            "Nothing is wrong with the agent. Boot a kernel that has it, or turn the sensor off in the fleet's settings."
        }
        Verdict::Failed(SensorError::Unreadable { .. }) => {
            "The device behind it, or the agent's sandbox, refuses: `journalctl -k --since -10min`, and \
             `systemctl cat dsmil-agent` for what the unit lets it read."
        }
        Verdict::Failed(SensorError::Malformed { .. }) => {
            "The kernel is newer or another than the sensor knows: report it with `dsmilctl host bundle`."
        }
        Verdict::Failed(SensorError::TooMany { .. }) => {
            "The first ones are reported. Remove what is not needed (mounts, interfaces), or report it with \
             `dsmilctl host bundle`."
        }
        Verdict::Failed(SensorError::Told { remedy, .. }) => *remedy,
        Verdict::Late { .. } => {
            "A device, driver or server does not answer; the other sensors go on. `journalctl -k --since -10min` has the \
             kernel's word; a dead mount goes with `umount -l`."
        }
        Verdict::Panicked => "The agent goes on without it. Report it with `dsmilctl host bundle`.",
    };
    Some(remedy)
}
