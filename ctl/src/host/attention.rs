//! What somebody has to look after: the one judgement behind the exit codes.

use dsmil_agent::status::{GapsReport, LinkState, SpoolReport, SpoolStatus, Status};

/// A certificate that ends sooner is to be renewed now: a week leaves room for a holiday.
const RENEW_WITHIN_DAYS: i64 = 7;
const DAY_S: i64 = 86_400;

/// Of a whole host.
pub(super) fn of_status(status: &Status) -> Vec<String> {
    let mut all = Vec::new();
    match &status.link.state {
        LinkState::Connected => {}
        LinkState::Connecting => all.push("the link is not up yet".into()),
        LinkState::Offline { reason, .. } => all.push(format!("the link is down: {reason}")),
        LinkState::Refused { code, remedy, .. } => all.push(format!("the link is refused: {code}. {remedy}")),
    }
    of_running(&status.spool, &mut all);
    all.extend(of_set_aside(&status.spool));
    let now_s = status.clock.wall_ms.div_euclid(1000);
    match &status.identity {
        None => all.push("the agent's certificate cannot be read: `dsmil-agent check` says why".into()),
        Some(identity) => all.extend(of_certificate(identity.not_before_s, identity.not_after_s, now_s)),
    }
    for sensor in status.sensors.iter().filter(|sensor| !sensor.ok) {
        let trouble = sensor.trouble.as_deref().unwrap_or("it reports nothing");
        all.push(format!("sensor {}: {trouble}", sensor.name));
    }
    all
}

/// Of the gaps.
pub(super) fn of_gaps(report: &GapsReport) -> Vec<String> {
    let ticks = report.summary.ticks;
    let those = if ticks == 1 { "1 second".into() } else { format!("{ticks} seconds") };
    (ticks > 0)
        .then(|| format!("{those} of this host will never come, and the aggregator does not know it yet"))
        .into_iter()
        .collect()
}

/// Of the spool of a running agent.
pub(super) fn of_spool(report: &SpoolReport) -> Vec<String> {
    let mut all = Vec::new();
    of_running(&report.spool, &mut all);
    all.extend(of_left_spool(report));
    all
}

/// Of the spool that an agent left.
pub(super) fn of_left_spool(report: &SpoolReport) -> Vec<String> {
    let mut all = Vec::new();
    if !report.rejected.is_empty() {
        all.push(format!("batches that the aggregator rejected: {}; their remedies are above", report.rejected.len()));
    }
    all.extend(of_set_aside(&report.spool));
    all
}

fn of_running(spool: &SpoolStatus, all: &mut Vec<String>) {
    if !spool.writable {
        all.push(
            "the spool cannot be written: ticks are lost, and counted, until it can; the agent's log says why".into(),
        );
    }
    if spool.tmpfs_full {
        let folder = spool.path.parent().unwrap_or(&spool.path).display();
        all.push(format!("the spool's tmpfs is full: free space on {folder}; until then the oldest batches make room"));
    }
}

fn of_set_aside(spool: &SpoolStatus) -> Option<String> {
    let files: Vec<String> = spool.set_aside.iter().map(|path| path.display().to_string()).collect();
    let remedy = "suspect the host's memory, or somebody's hand; remove them when you have looked";
    (!files.is_empty()).then(|| format!("damaged files were set aside: {} ({remedy})", files.join(", ")))
}

fn of_certificate(not_before_s: i64, not_after_s: i64, now_s: i64) -> Option<String> {
    let left_days = not_after_s.saturating_sub(now_s).div_euclid(DAY_S);
    if now_s < not_before_s {
        Some("the certificate is not valid yet: is the host's clock right (`date --utc`)?".into())
    } else if now_s > not_after_s {
        Some("the certificate is not valid any more: renew it; is the host's clock right (`date --utc`)?".into())
    } else if left_days < RENEW_WITHIN_DAYS {
        let left_s = u64::try_from(not_after_s.saturating_sub(now_s)).unwrap_or(0);
        Some(format!("the certificate ends in {}: renew it", super::screen::span(left_s)))
    } else {
        None
    }
}
