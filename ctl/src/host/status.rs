//! `dsmilctl host status`.

use super::screen::{Screen, Tone, count, number, size, span, span_ms};
use dsmil_agent::status::{
    ClockStatus, GapSummary, IdentityStatus, LinkState, LinkStatus, RenewalFailure, SensorStatus, SettingsStatus,
    SpoolStatus, Status, TrustStatus,
};

pub(super) fn draw(status: &Status, screen: &mut Screen) {
    let Status { host, tenant, agent_version, boot, .. } = status;
    let ages = format!("up {} of the host's {}", span(status.agent_uptime_s), span(status.host_uptime_s));
    screen.field("host", Tone::Plain, &format!("{host}, tenant {tenant}"));
    screen.field("agent", Tone::Plain, &format!("{agent_version}, {ages}; boot {boot}"));
    link(&status.link, screen);
    spool(&status.spool, screen);
    gaps(&status.gaps, screen);
    let now_s = status.clock.wall_ms.div_euclid(1000);
    identity(&status.identity, now_s, screen);
    trust(&status.trust, now_s, screen);
    settings(&status.settings, screen);
    clock(&status.clock, screen);
    sensors(&status.sensors, screen);
}

fn identity(identity: &IdentityStatus, now_s: i64, screen: &mut Screen) {
    let IdentityStatus { spiffe_id, key, renewal, not_after_s, .. } = identity;
    screen.field("identity", Tone::Plain, &format!("{spiffe_id}, {}", validity(*not_after_s, now_s)));
    let next = match renewal.next_in_s {
        Some(0) => "is renewed now".into(),
        Some(next) => format!("renewed in {}", span(next)),
        None => "never renewed: agent.toml names no join port".into(),
    };
    let last = renewal.renewed_s_ago.map_or_else(String::new, |ago| format!(", last {} ago", span(ago)));
    screen.field("", Tone::Plain, &format!("key {key}, {next}{last}"));
    if let Some(failed) = &renewal.failed {
        let RenewalFailure { s_ago, code, what, .. } = failed;
        screen.field("", Tone::Bad, &format!("not renewed {} ago: {code}: {what}", span(*s_ago)));
    }
}

fn trust(trust: &TrustStatus, now_s: i64, screen: &mut Screen) {
    let TrustStatus { trust_domain, version, expires_s, refused } = trust;
    let tone = if *expires_s < now_s { Tone::Bad } else { Tone::Plain };
    screen.field("trust", tone, &format!("bundle {version} of {trust_domain}, {}", validity(*expires_s, now_s)));
    if let Some(why) = refused {
        screen.field("", Tone::Bad, &format!("another was refused: {why}"));
    }
}

/// A line for each thing there is to say; none on a host that no settings were ever pushed to.
fn settings(settings: &SettingsStatus, screen: &mut Screen) {
    let SettingsStatus { in_force, target, on_trial, trial_left_s, refused, unknown_sensors } = settings;
    let target = target.as_deref().unwrap_or("nobody");
    let before = if *in_force == 0 { "agent.toml alone".into() } else { format!("settings {in_force}") };
    let text = match (on_trial, in_force) {
        (Some(version), _) => {
            let left = span(trial_left_s.unwrap_or(0));
            Some(format!("{version} for {target}, on trial for {left} more; {before} before"))
        }
        (None, 0) => refused.as_ref().map(|_| "none in force: agent.toml counts alone".to_owned()),
        (None, version) => Some(format!("{version} for {target}")),
    };
    let Some(text) = text else { return };
    screen.field("settings", Tone::Plain, &text);
    if let Some(refused) = refused {
        let which = if refused.version == 0 { "others".into() } else { refused.version.to_string() };
        screen.field("", Tone::Bad, &format!("{which} refused: {}: {}", refused.fault, refused.what));
    }
    if !unknown_sensors.is_empty() {
        screen.field("", Tone::Plain, &format!("this agent has no {}", unknown_sensors.join(", ")));
    }
}

fn validity(end_s: i64, now_s: i64) -> String {
    let left_s = end_s.saturating_sub(now_s);
    match u64::try_from(left_s) {
        Ok(left_s) => format!("valid for {}", span(left_s)),
        Err(_) => format!("not valid since {}", span(left_s.unsigned_abs())),
    }
}

fn link(link: &LinkStatus, screen: &mut Screen) {
    let aggregator = link.aggregator.as_deref().unwrap_or("no aggregator yet");
    let since = span_ms(link.since_ms);
    match &link.state {
        LinkState::Connected => screen.field("link", Tone::Good, &format!("connected to {aggregator} for {since}")),
        LinkState::Connecting => {
            screen.field("link", Tone::Bad, &format!("connecting to {aggregator}, down for {since}"));
        }
        LinkState::Offline { reason, next_attempt_in_ms } => {
            screen.field("link", Tone::Bad, &format!("offline for {since}: {reason}"));
            next_attempt(link, aggregator, *next_attempt_in_ms, screen);
        }
        LinkState::Refused { code, remedy, next_attempt_in_ms } => {
            screen.field("link", Tone::Bad, &format!("refused for {since}: {code}"));
            screen.field("", Tone::Plain, remedy);
            next_attempt(link, aggregator, *next_attempt_in_ms, screen);
        }
    }
    if let Some(agreed) = &link.negotiated {
        screen.field("", Tone::Plain, &format!("{}, {}, {}", agreed.group, agreed.scheme, agreed.suite));
    }
    let acknowledged = match link.last_ack_ms_ago {
        Some(ago) => format!("last acknowledgement {} ago", span_ms(ago)),
        None => "nothing acknowledged since the agent started".into(),
    };
    screen.field("", Tone::Plain, &acknowledged);
}

fn next_attempt(link: &LinkStatus, aggregator: &str, in_ms: u64, screen: &mut Screen) {
    let tried = count(link.attempts, "attempt", "attempts");
    screen.field("", Tone::Plain, &format!("{tried}, the last to {aggregator}; the next in {}", span_ms(in_ms)));
}

/// The lines that `status` and `spool` share.
pub(super) fn spool(spool: &SpoolStatus, screen: &mut Screen) {
    let waiting = format!(
        "{} in {} and {} not sealed yet",
        count(spool.ticks_waiting, "tick waits", "ticks wait"),
        count(spool.batches_waiting, "batch", "batches"),
        number(spool.ticks_pending)
    );
    let bad = !spool.writable && spool.capacity_bytes > 0 || spool.tmpfs_full;
    let used = match spool.capacity_bytes {
        // Nobody is there who knows it.
        0 => format!("{} used", size(spool.used_bytes)),
        capacity => format!("{} of {} used", size(spool.used_bytes), size(capacity)),
    };
    screen.field("spool", if bad { Tone::Bad } else { Tone::Plain }, &format!("{waiting}; {used}"));
    let totals = &spool.totals;
    let mut parts = vec![
        format!("taken {}", number(totals.ticks_taken)),
        format!("acknowledged {}", number(totals.ticks_accounted)),
    ];
    let losses = [
        ("evicted", totals.ticks_evicted),
        ("refused", totals.ticks_refused),
        ("damaged", totals.ticks_damaged),
        ("rejected", totals.ticks_rejected),
    ];
    let lost = losses.iter().filter(|(_, ticks)| *ticks > 0).map(|(name, ticks)| format!("{name} {}", number(*ticks)));
    parts.extend(lost);
    screen.field("", Tone::Plain, &format!("ticks so far: {}", parts.join(", ")));
}

fn gaps(gaps: &GapSummary, screen: &mut Screen) {
    if gaps.ticks == 0 {
        return screen.field("gaps", Tone::Plain, "none that the aggregator does not know");
    }
    let reasons: Vec<String> =
        gaps.by_reason.iter().map(|(reason, ticks)| format!("{reason} {}", number(*ticks))).collect();
    let text = format!(
        "{} in {} to be told: {}",
        count(gaps.ticks, "second", "seconds"),
        count(gaps.gaps, "gap", "gaps"),
        reasons.join(", ")
    );
    screen.field("gaps", Tone::Plain, &text);
}

fn clock(clock: &ClockStatus, screen: &mut Screen) {
    let Some(ahead_ms) = clock.ahead_ms else {
        return screen.field("clock", Tone::Plain, "not compared with the aggregator's yet");
    };
    let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let sure = clock.uncertainty_ms.map_or_else(String::new, |ms| format!(", give or take {}", span_ms(ms)));
    let off = span_ms(ahead_ms.unsigned_abs());
    let stepped = clock.steps.last_s_ago.map_or_else(String::new, |ago| {
        format!("; stepped {}, the last {} ago", count(clock.steps.count, "time", "times"), span(ago))
    });
    screen.field("clock", Tone::Plain, &format!("{off} {side} the aggregator's{sure}{stepped}"));
}

fn sensors(sensors: &[SensorStatus], screen: &mut Screen) {
    let fine = sensors.iter().filter(|sensor| sensor.ok).count();
    let metrics: u64 = sensors.iter().map(|sensor| sensor.metrics).sum();
    let tone = if fine == sensors.len() { Tone::Good } else { Tone::Bad };
    let slowest = sensors.iter().filter_map(|sensor| Some((sensor.took_us?, &sensor.name))).max();
    let slowest =
        slowest.map_or_else(String::new, |(us, name)| format!("; the slowest, {name}, took {} µs", number(us)));
    let text = format!("{fine} of {} fine, {}{slowest}", sensors.len(), count(metrics, "metric", "metrics"));
    screen.field("sensors", tone, &text);
}
