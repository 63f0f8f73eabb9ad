//! What somebody has to look after: the one judgement behind the exit codes.

use super::screen::span;
use dsmil_agent::status::{GapsReport, IdentityStatus, LinkState, SpoolReport, SpoolStatus, Status, TrustStatus};

/// A certificate that nobody renews and that ends sooner needs a hand: a week leaves room for a holiday.
const RENEW_WITHIN_S: i64 = 7 * DAY_S;
/// A trust bundle that ends sooner wants a new one: signing it takes the root out of its safe.
const SIGN_WITHIN_S: i64 = 30 * DAY_S;
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
    all.extend(of_identity(&status.identity, now_s));
    all.extend(of_trust(&status.trust, now_s));
    if let Some(refused) = &status.settings.refused {
        all.push(format!(
            "settings of the fleet were refused: {}: {}. {}",
            refused.fault, refused.what, refused.remedy
        ));
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

fn of_identity(identity: &IdentityStatus, now_s: i64) -> Vec<String> {
    let left_s = identity.not_after_s.saturating_sub(now_s);
    let mut all = Vec::new();
    if now_s < identity.not_before_s {
        all.push("the certificate is not valid yet: is the host's clock right (`date --utc`)?".into());
    } else if left_s < 0 {
        all.push("the certificate is not valid any more; is the host's clock right (`date --utc`)?".into());
    }
    match (&identity.renewal.failed, identity.renewal.next_in_s) {
        (Some(failed), _) => {
            all.push(format!("the certificate could not be renewed: {}. {}", failed.what, failed.remedy))
        }
        (None, None) if left_s < RENEW_WITHIN_S => {
            let ends = u64::try_from(left_s).map_or_else(|_| "has ended".into(), |s| format!("ends in {}", span(s)));
            all.push(format!(
                "the certificate {ends} and agent.toml names no join port to renew it: add `join = [\"host:8101\"]`"
            ));
        }
        _ => {}
    }
    all
}

fn of_trust(trust: &TrustStatus, now_s: i64) -> Vec<String> {
    let mut all = Vec::new();
    let left_s = trust.expires_s.saturating_sub(now_s);
    if left_s < SIGN_WITHIN_S {
        let ends = u64::try_from(left_s).map_or_else(|_| "has expired".into(), |s| format!("expires in {}", span(s)));
        all.push(format!(
            "trust bundle {} {ends}: have the root sign a new one and publish it (`dsmil-aggregator trust` there)",
            trust.version
        ));
    }
    all.extend(trust.refused.iter().map(|why| format!("a trust bundle was refused: {why}")));
    all
}
