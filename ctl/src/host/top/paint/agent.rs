//! Panels of the agent, for whoever hears it: link, spool, gaps, sensors, identity, and what needs attention.

use super::super::super::screen::{count, number, size, span, span_ms};
use super::super::model::Model;
use super::panel::Panel;
use super::theme::{Theme, Tone};
use dsmil_agent::status::{LinkState, SensorStatus, Status};
use ratatui::text::Line;

/// What needs attention: a line each, wrapped on request.
pub(super) fn attention(model: &Model, width: usize, wraps: bool, theme: Theme) -> Panel {
    let line = |text: &String| -> Vec<Line<'static>> {
        let pieces = if wraps { wrapped(text, width) } else { vec![text.clone()] };
        pieces.into_iter().map(|piece| Line::from(theme.span(Tone::Bad, piece))).collect()
    };
    Panel::new("attention", 2, model.attention.iter().flat_map(line).collect())
}

/// Cut between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How the link stands, in a few words.
pub(super) fn standing(status: &Status) -> (Tone, String) {
    let since = span_ms(status.link.since_ms);
    match &status.link.state {
        LinkState::Connected => (Tone::Good, format!("connected for {since}")),
        LinkState::Connecting => (Tone::Warning, format!("connecting, down for {since}")),
        LinkState::Offline { .. } => (Tone::Bad, format!("offline for {since}")),
        LinkState::Refused { code, .. } => (Tone::Bad, format!("refused for {since}: {code}")),
    }
}

pub(super) fn link(model: &Model, theme: Theme) -> Panel {
    let Some(agent) = &model.agent else { return Panel::new("link", 1, Vec::new()) };
    let link = &agent.link;
    let (tone, standing) = standing(agent);
    let aggregator = link.aggregator.as_deref().unwrap_or("no aggregator yet");
    let ack =
        link.last_ack_ms_ago.map_or_else(String::new, |ago| format!(", last acknowledgement {} ago", span_ms(ago)));
    let mut lines =
        vec![Line::from(vec![theme.span(tone, standing), theme.span(Tone::Plain, format!(", {aggregator}{ack}"))])];
    if let LinkState::Offline { reason, next_attempt_in_ms } = &link.state {
        lines.push(Line::from(format!("{reason}; next attempt in {}", span_ms(*next_attempt_in_ms))));
    }
    Panel::new("link", 1, lines)
}

pub(super) fn spool(model: &Model, theme: Theme) -> Panel {
    let Some(agent) = &model.agent else { return Panel::new("spool", 1, Vec::new()) };
    let spool = &agent.spool;
    #[allow(clippy::cast_precision_loss, reason = "bytes of a spool, shown in tenths of a MiB")]
    let full = (spool.capacity_bytes > 0).then(|| spool.used_bytes as f64 / spool.capacity_bytes as f64);
    let bad = !spool.writable || spool.tmpfs_full;
    let tone = if bad { Tone::Bad } else { Theme::level(full, 0.8, 0.95) };
    let mut spans = theme.bar(10, full, tone);
    let waiting = count(spool.ticks_waiting, "tick waits", "ticks wait");
    let used = format!("{} of {}", size(spool.used_bytes), size(spool.capacity_bytes));
    spans.push(theme.span(if bad { Tone::Bad } else { Tone::Plain }, format!(" {used}, {waiting}")));
    let gaps = &agent.gaps;
    let lost: Vec<String> = gaps.by_reason.iter().map(|(why, ticks)| format!("{why} {}", number(*ticks))).collect();
    let told = if gaps.ticks == 0 {
        theme.span(Tone::Good, "no gaps")
    } else {
        theme.span(Tone::Warning, format!("{} lost: {}", count(gaps.ticks, "second", "seconds"), lost.join(", ")))
    };
    Panel::new("spool", 1, vec![Line::from(spans), Line::from(told)])
}

/// Sensors: those in trouble, and how many are fine.
pub(super) fn sensors(model: &Model, theme: Theme) -> Panel {
    let Some(agent) = &model.agent else { return Panel::new("sensors", 1, Vec::new()) };
    let sensors = &agent.sensors;
    let fine = sensors.iter().filter(|sensor| sensor.ok).count();
    let metrics: u64 = sensors.iter().map(|sensor| sensor.metrics).sum();
    let slowest = sensors.iter().filter_map(|sensor| Some((sensor.took_us?, &sensor.name))).max();
    let slowest = slowest.map_or_else(String::new, |(us, name)| format!("; slowest {name}, {} µs", number(us)));
    let tone = if fine == sensors.len() { Tone::Good } else { Tone::Bad };
    let text = format!("{fine} of {} fine, {}{slowest}", sensors.len(), count(metrics, "metric", "metrics"));
    let mut lines = vec![Line::from(theme.span(tone, text))];
    lines.extend(
        sensors.iter().filter(|sensor| !sensor.ok).map(|sensor| Line::from(theme.span(Tone::Bad, in_trouble(sensor)))),
    );
    Panel::new("sensors", 1, lines)
}

fn in_trouble(sensor: &SensorStatus) -> String {
    format!("{}: {}", sensor.name, sensor.trouble.as_deref().unwrap_or("it reports nothing"))
}

/// Who the host is, whom it trusts, and what its clock says.
pub(super) fn identity(model: &Model, _theme: Theme) -> Panel {
    let Some(agent) = &model.agent else {
        return Panel::new(
            "agent",
            2,
            vec![Line::from("Seen through the aggregator: on the host, `dsmilctl host top` knows more.")],
        );
    };
    let Status { host, tenant, agent_version, agent_uptime_s, host_uptime_s, identity, trust, clock, .. } = &**agent;
    let now_s = clock.wall_ms.div_euclid(1000);
    let left = |end_s: i64| match u64::try_from(end_s.saturating_sub(now_s)) {
        Ok(left) => format!("valid for {}", span(left)),
        Err(_) => "ended".into(),
    };
    let clock = clock.ahead_ms.map_or_else(
        || "not compared yet".into(),
        |ms| format!("{} {} the aggregator's", span_ms(ms.unsigned_abs()), if ms < 0 { "behind" } else { "ahead of" }),
    );
    let lines = vec![
        format!("host {host}, tenant {tenant}"),
        format!("agent {agent_version}, up {} of the host's {}", span(*agent_uptime_s), span(*host_uptime_s)),
        format!("certificate {}, key {}", left(identity.not_after_s), identity.key),
        format!("trust bundle {} {}", trust.version, left(trust.expires_s)),
        format!("clock {clock}"),
    ];
    Panel::new("agent", 2, lines.into_iter().map(Line::from).collect())
}
