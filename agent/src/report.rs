//! The agent's answers to its local socket, put together from its parts.

use crate::config::AgentConfig;
use crate::credentials::Credentials;
use crate::local::{Reply, Trouble, TroubleCode, Verb};
use crate::run::Running;
use crate::sampler::{SensorReport, Verdict};
use crate::spool::{Spool, SpoolError};
use crate::status::{ClockStatus, GapSummary, GapsReport, IdentityStatus, SensorStatus, Status, TrustStatus};
use dsmil_protocol::clock::BootEpoch;
use dsmil_protocol::ids::{BootId, HostName, TenantId};
use dsmil_runtime::clock::Clock;
use std::time::Duration;

/// As many as a spool keeps at most: a sum over fewer would be wrong without a word.
const MAX_GAPS_SHOWN: usize = 16 << 10;

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
    pub fn answer(&self, verb: Verb, running: &Running, sensors: &[SensorReport]) -> Reply {
        let mut spool = running.spool.lock();
        let answer = match verb {
            Verb::Status => self.status(running, &mut spool, sensors).map(|status| Reply::Status(Box::new(status))),
            Verb::Gaps => spool.gaps(MAX_GAPS_SHOWN).map(|gaps| Reply::Gaps(GapsReport::of(&gaps))),
            Verb::Spool => spool.report().map(Reply::Spool),
        };
        answer.unwrap_or_else(|error| {
            Reply::Error(Trouble { code: TroubleCode::Unavailable, message: format!("the spool cannot say: {error}") })
        })
    }

    fn status(&self, running: &Running, spool: &mut Spool, sensors: &[SensorReport]) -> Result<Status, SpoolError> {
        let (held, renewal) = (self.credentials.current(), self.credentials.renewal());
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
            sensors: sensors.iter().map(sensor).collect(),
            identity: IdentityStatus::of(&held, &renewal),
            trust: TrustStatus::of(&held, renewal.bundle_refused.clone()),
            settings: running.settings.status(),
            clock: self.clocks(running),
        })
    }

    /// The host's wall clock beside the aggregator's, by what the two agreed on when they last talked.
    fn clocks(&self, running: &Running) -> ClockStatus {
        let epoch = running.board.epoch();
        let boot_ns = i64::try_from(self.clock.boot().as_nanos()).unwrap_or(i64::MAX);
        let ahead_ns = |epoch: &BootEpoch| self.clock.wall_ns().saturating_sub(epoch.wall_ns.saturating_add(boot_ns));
        ClockStatus {
            wall_ms: self.clock.wall_ms(),
            ahead_ms: epoch.as_ref().map(|epoch| millis(ahead_ns(epoch))),
            uncertainty_ms: epoch.map(|epoch| u64::try_from(millis(epoch.uncertainty_ns)).unwrap_or(0).max(1)),
        }
    }
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
        metrics: report.metrics as u64,
        took_us: report.took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
    }
}
