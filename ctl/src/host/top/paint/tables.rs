//! Panels of many alike: disks, filesystems, interfaces, accelerators.

use super::super::model::{Accelerator, Disk, Filesystem, Model, Network};
use super::panel::Panel;
use super::theme::{Theme, Tone};
use super::units::{DASH, byte_rate, bytes, celsius, hertz, millis, percent, rate, watts};
use ratatui::text::{Line, Span};

/// Columns of a device's name.
const NAME: usize = 13;

/// Disks, a line each.
pub(super) fn disks(model: &Model, by_load: bool, theme: Theme) -> Panel {
    let mut all: Vec<&Disk> = model.disks.iter().collect();
    if by_load {
        all.sort_by(|a, b| by_most(a.busy, b.busy));
    }
    let heading = format!(
        "{:NAME$}{:>12}{:>12}{:>8}{:>8}{:>7}{:>9}",
        "", "read", "written", "reads", "writes", "busy", "request"
    );
    let mut lines = vec![Line::from(theme.span(Tone::Faint, heading))];
    lines.extend(all.iter().map(|disk| {
        let Disk { device, read_bytes, written_bytes, reads, writes, busy, wait_s } = disk;
        let text = format!(
            "{:NAME$}{:>12}{:>12}{:>8}{:>8}",
            clip(device, NAME - 1, theme),
            byte_rate(*read_bytes),
            byte_rate(*written_bytes),
            rate(*reads),
            rate(*writes)
        );
        let busy = theme.span(Theme::level(*busy, 0.7, 0.95), format!("{:>7}", percent(*busy)));
        Line::from(vec![Span::raw(text), busy, Span::raw(format!("{:>9}", millis(*wait_s)))])
    }));
    Panel::new("disks", 3, headed(lines))
}

/// Filesystems, a line each.
pub(super) fn filesystems(model: &Model, by_load: bool, theme: Theme) -> Panel {
    let mut all: Vec<&Filesystem> = model.filesystems.iter().collect();
    if by_load {
        all.sort_by(|a, b| by_most(a.used_ratio(), b.used_ratio()));
    }
    let line = |filesystem: &&Filesystem| {
        let Filesystem { mount_point, device, size, available, is_read_only } = filesystem;
        let used = filesystem.used_ratio();
        let tone = Theme::level(used, 0.85, 0.95);
        let mut spans = vec![Span::raw(format!("{:22}", clip(mount_point, 21, theme)))];
        spans.extend(theme.bar(10, used, tone));
        spans.push(theme.span(tone, format!(" {:>6}", percent(used))));
        let read_only = if *is_read_only { " (read only)" } else { "" };
        spans.push(Span::raw(format!("  {} of {} free{read_only}  {device}", bytes(*available), bytes(*size))));
        Line::from(spans)
    };
    Panel::new("files", 1, all.iter().map(line).collect())
}

/// Interfaces, a line each.
pub(super) fn networks(model: &Model, by_load: bool, theme: Theme) -> Panel {
    let mut all: Vec<&Network> = model.networks.iter().collect();
    let traffic = |network: &Network| network.received_bytes.zip(network.sent_bytes).map(|(r, s)| r + s);
    if by_load {
        all.sort_by(|a, b| by_most(traffic(a), traffic(b)));
    }
    let heading = format!(
        "{:NAME$}{:>12}{:>12}{:>8}{:>8}{:>7}{:>8}",
        "", "received", "sent", "packets", "packets", "errors", "dropped"
    );
    let mut lines = vec![Line::from(theme.span(Tone::Faint, heading))];
    lines.extend(all.iter().map(|network| {
        let is_down = network.is_up == Some(false);
        let text = format!(
            "{:NAME$}{:>12}{:>12}{:>8}{:>8}",
            clip(&network.device, NAME - 1, theme),
            byte_rate(network.received_bytes),
            byte_rate(network.sent_bytes),
            rate(network.received_packets),
            rate(network.sent_packets)
        );
        let lost = |value: Option<f64>, width: usize| {
            let tone = if value.is_some_and(|value| value > 0.0) { Tone::Warning } else { Tone::Faint };
            theme.span(tone, format!("{:>width$}", rate(value)))
        };
        let first = theme.span(if is_down { Tone::Faint } else { Tone::Plain }, text);
        let mut spans = vec![first, lost(network.errors, 7), lost(network.drops, 8)];
        match (network.is_up, network.speed_bytes) {
            (Some(false), _) => spans.push(theme.span(Tone::Faint, "  down")),
            (_, Some(speed)) => spans.push(Span::raw(format!("  of {}bit/s", rate(Some(speed * 8.0))))),
            _ => {}
        }
        Line::from(spans)
    }));
    Panel::new("network", 3, headed(lines))
}

/// Accelerators, a line each.
pub(super) fn accelerators(model: &Model, by_load: bool, theme: Theme) -> Panel {
    let mut all: Vec<&Accelerator> = model.accelerators.iter().collect();
    if by_load {
        all.sort_by(|a, b| by_most(a.utilisation, b.utilisation));
    }
    // What is not there any more comes before what it does.
    all.sort_by_key(|accelerator| !accelerator.is_lost());
    Panel::new("accel", 2, all.iter().map(|accelerator| in_a_line(accelerator, theme)).collect())
}

fn in_a_line(accelerator: &Accelerator, theme: Theme) -> Line<'static> {
    let Accelerator {
        id, kind, vendor, utilisation, memory_used, memory_total, celsius: degrees, watts: power, ..
    } = accelerator;
    // The first domain of PCI is nearly always the only one.
    let name = format!("{kind} {vendor} {}", id.strip_prefix("0000:").unwrap_or(id));
    let mut spans = vec![Span::raw(format!("{:22}", clip(&name, 21, theme)))];
    match accelerator.state.as_deref() {
        Some("lost") => spans.push(theme.span(Tone::Bad, "has fallen off the bus")),
        Some("suspended") => spans.push(theme.span(Tone::Faint, "sleeps, and is left asleep")),
        _ => {
            let tone = Theme::level(*utilisation, 0.8, 0.97);
            spans.extend(theme.bar(8, *utilisation, tone));
            spans.push(theme.span(tone, format!(" {:>5}", percent(*utilisation))));
            if memory_total.is_some() || memory_used.is_some() {
                spans.push(Span::raw(format!("  {}/{}", bytes(*memory_used), bytes(*memory_total))));
            }
            spans.push(theme.span(Theme::level(*degrees, 80.0, 90.0), format!("  {}", celsius(*degrees))));
            spans.push(Span::raw(format!("  {}", watts(*power))));
        }
    }
    Line::from(spans)
}

/// One accelerator, whole.
pub(super) fn accelerator(model: &Model, chosen: usize, width: usize, theme: Theme) -> Panel {
    let Some(place) = chosen.checked_rem(model.accelerators.len()) else {
        let none = "none that this agent knows: no GPU, NPU or TPU with a driver, or nobody who may ask it";
        return Panel::new("accel", 1, vec![Line::from(theme.span(Tone::Faint, none))]);
    };
    let all = &model.accelerators[place];
    let bar = width.saturating_sub(40).clamp(8, 60);
    let share = |name: &str, share: Option<f64>, text: String, tone: Tone| {
        let mut spans = vec![Span::raw(format!("{name:14}"))];
        spans.extend(theme.bar(bar, share, tone));
        spans.push(theme.span(tone, format!(" {text}")));
        Line::from(spans)
    };
    let memory = format!("{} of {}", bytes(all.memory_used), bytes(all.memory_total));
    let state = all.state.as_deref().unwrap_or(DASH).to_owned();
    let tone = if all.is_lost() { Tone::Bad } else { Tone::Plain };
    let of = format!("{} of {}", place + 1, model.accelerators.len());
    let mut lines = vec![
        Line::from(format!("{} {} {}  ({of})", all.kind, all.vendor, all.id)),
        Line::from(format!("{:14}{}", "model", or_dash(&all.model))),
        Line::from(format!("{:14}{}", "driver", or_dash(&all.driver))),
        Line::from(vec![Span::raw(format!("{:14}", "state")), theme.span(tone, state)]),
        share("utilisation", all.utilisation, percent(all.utilisation), Theme::level(all.utilisation, 0.8, 0.97)),
        share("memory", all.memory_ratio(), memory, Theme::level(all.memory_ratio(), 0.9, 0.98)),
        Line::from(format!("{:14}{}", "temperature", celsius(all.celsius))),
        Line::from(format!("{:14}{}", "power", watts(all.watts))),
        Line::from(format!("{:14}{}", "clock", hertz(all.clock_hertz))),
    ];
    if !all.estimated.is_empty() {
        let text = format!("{:14}{}", "estimated", all.estimated.join(", "));
        lines.push(Line::from(theme.span(Tone::Faint, text)));
    }
    Panel::new("this one", 2, lines)
}

/// Nothing under a heading is nothing.
fn headed(lines: Vec<Line<'static>>) -> Vec<Line<'static>> {
    if lines.len() < 2 { Vec::new() } else { lines }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { DASH } else { text }
}

/// The most first; what is not known last.
fn by_most(a: Option<f64>, b: Option<f64>) -> std::cmp::Ordering {
    b.unwrap_or(f64::MIN).total_cmp(&a.unwrap_or(f64::MIN))
}

/// A name in `width` columns: its end tells more than its beginning.
fn clip(name: &str, width: usize, theme: Theme) -> String {
    let len = name.chars().count();
    if len <= width {
        return name.to_owned();
    }
    let sign = theme.ellipsis();
    let kept = width.saturating_sub(sign.chars().count());
    format!("{sign}{}", name.chars().skip(len - kept).collect::<String>())
}
