//! Panels of the machine itself: cores, memory, pressure, temperatures, power.

use super::super::model::{Core, Cpu, Memory, Model, Modes, Pressure};
use super::panel::Panel;
use super::theme::{Part, Theme, Tone};
use super::units::{DASH, bytes, celsius, fine_percent, hertz, percent, rate, two_places, watts};
use ratatui::text::{Line, Span};

/// Columns of one core in a short list: number, bar, share.
const CORE: usize = 17;
/// Columns of a bar beside text.
const BAR: usize = 24;
/// Degrees from which a thermometer without a limit of its own is warm, and hot.
const WARM_CELSIUS: (f64, f64) = (75.0, 90.0);
/// The same as shares of its limit.
const WARM_SHARE: (f64, f64) = (0.85, 0.97);

/// All cores together, and each in a few columns.
pub(super) fn cpu(model: &Model, width: usize, theme: Theme) -> Panel {
    let mut lines = together(&model.cpu, theme);
    let a_row = (width / CORE).max(1);
    for cores in model.cpu.cores.chunks(a_row) {
        lines.push(Line::from(cores.iter().flat_map(|core| short(core, theme)).collect::<Vec<_>>()));
    }
    Panel::new("cpu", 3, lines)
}

fn together(cpu: &Cpu, theme: Theme) -> Vec<Line<'static>> {
    let busy = cpu.total.as_ref().map(Modes::busy);
    let mut first = modes_bar(cpu.total.as_ref(), BAR, theme);
    first.push(theme.span(Theme::level(busy, 0.7, 0.9), format!(" {:>6}", percent(busy))));
    let [one, five, fifteen] = cpu.load.map(two_places);
    first.push(Span::raw(format!("  load {one} {five} {fifteen}")));
    let share = |take: fn(&Modes) -> f64| percent(cpu.total.as_ref().map(take));
    let text = format!(
        "user {}  system {}  irq {}  wait {}  steal {}",
        share(|m| m.user),
        share(|m| m.system),
        share(|m| m.irq),
        share(|m| m.iowait),
        share(|m| m.steal)
    );
    vec![Line::from(first), Line::from(text)]
}

fn modes_bar(modes: Option<&Modes>, width: usize, theme: Theme) -> Vec<Span<'static>> {
    let Some(modes) = modes else { return theme.bar(width, None, Tone::Faint) };
    let parts = [
        (modes.user, Part::User),
        (modes.system, Part::System),
        (modes.irq, Part::Interrupts),
        (modes.steal, Part::Steal),
        (modes.iowait, Part::Waiting),
    ];
    theme.parts(width, &parts)
}

fn short(core: &Core, theme: Theme) -> Vec<Span<'static>> {
    let busy = core.modes.as_ref().map(Modes::busy);
    let mut spans = vec![theme.span(Tone::Faint, format!("{:>3} ", core.name))];
    spans.extend(modes_bar(core.modes.as_ref(), 6, theme));
    spans.push(theme.span(Theme::level(busy, 0.7, 0.9), format!("{:>6} ", percent(busy))));
    spans
}

/// Each core on a line of its own.
pub(super) fn cores(model: &Model, width: usize, theme: Theme) -> Panel {
    let cpu = &model.cpu;
    let mut lines = together(cpu, theme);
    let (running, blocked) = (number(cpu.running), number(cpu.blocked));
    let (switches, interrupts) = (rate(cpu.context_switches), rate(cpu.interrupts));
    lines.push(Line::from(format!(
        "{running} running, {blocked} waiting for disks; {switches} switches and {interrupts} interrupts a second"
    )));
    lines.push(Line::default());
    let bar = width.saturating_sub(52).clamp(8, 100);
    let heading = format!(
        "{:>4} {:bar$} {:>6} {:>6} {:>6} {:>6} {:>6} {:>8}",
        "core", "", "busy", "user", "system", "wait", "steal", "clock"
    );
    lines.push(Line::from(theme.span(Tone::Faint, heading)));
    for core in &cpu.cores {
        let share = |take: fn(&Modes) -> f64| percent(core.modes.as_ref().map(take));
        let mut spans = vec![Span::raw(format!("{:>4} ", core.name))];
        spans.extend(modes_bar(core.modes.as_ref(), bar, theme));
        let busy = core.modes.as_ref().map(Modes::busy);
        spans.push(theme.span(Theme::level(busy, 0.7, 0.9), format!(" {:>6}", percent(busy))));
        let [user, system, wait, steal] =
            [share(|m| m.user), share(|m| m.system), share(|m| m.iowait), share(|m| m.steal)];
        spans.push(Span::raw(format!(" {user:>6} {system:>6} {wait:>6} {steal:>6} {:>8}", hertz(core.clock_hertz))));
        lines.push(Line::from(spans));
    }
    Panel::new("cpu", 3, lines)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| DASH.into(), |value| format!("{value:.0}"))
}

/// What is taken, what is left, and whether it is swapped.
pub(super) fn memory(model: &Model, theme: Theme) -> Panel {
    let Memory { total, available, cached, dirty, swap_total, swap_used, swap_in, swap_out, oom_kills } = model.memory;
    let used = model.memory.used_ratio();
    let mut first = theme.bar(BAR, used, Theme::level(used, 0.8, 0.95));
    first.push(theme.span(Theme::level(used, 0.8, 0.95), format!(" {:>6}", percent(used))));
    first.push(Span::raw(format!("  {} of {} available", bytes(available), bytes(total))));
    let mut parts = vec![format!("files {}", bytes(cached)), format!("to be written {}", bytes(dirty))];
    let mut tone = Tone::Plain;
    if swap_total.is_some_and(|total| total > 0.0) {
        let share = percent(model.memory.swap_ratio());
        parts.push(format!("swap {} of {} ({share})", bytes(swap_used), bytes(swap_total)));
        if swap_in.zip(swap_out).is_some_and(|(i, o)| i + o > 0.0) {
            tone = Tone::Warning;
            parts.push(format!("swapping {} in, {} out /s", rate(swap_in), rate(swap_out)));
        }
    }
    let mut second = vec![theme.span(tone, parts.join("  "))];
    if let Some(kills) = oom_kills.filter(|kills| *kills > 0.0) {
        second.push(theme.span(Tone::Bad, format!("  ended for want of memory: {kills:.0}")));
    }
    Panel::new("memory", 1, vec![Line::from(first), Line::from(second)])
}

/// How long work waits.
pub(super) fn pressure(model: &Model, theme: Theme) -> Panel {
    let one = |pressure: &Pressure| {
        let text = match pressure.of {
            "cpu" => format!("cpu {}", fine_percent(pressure.some)),
            of => format!("{of} {}, all work {}", fine_percent(pressure.some), fine_percent(pressure.full)),
        };
        theme.span(Theme::level(pressure.some, 0.1, 0.4), format!("{text}    "))
    };
    let lines = if model.pressure.is_empty() {
        vec![Line::from(theme.span(Tone::Faint, "not accounted by this kernel (psi=1 turns it on)"))]
    } else {
        vec![Line::from(model.pressure.iter().map(one).collect::<Vec<_>>())]
    };
    Panel::new("waiting", 1, lines)
}

/// Every thermometer, the hottest first, as many in a row as fit.
pub(super) fn temperatures(model: &Model, width: usize, theme: Theme) -> Panel {
    let mut all: Vec<_> = model.temperatures.iter().collect();
    all.sort_by(|a, b| b.celsius.unwrap_or(f64::MIN).total_cmp(&a.celsius.unwrap_or(f64::MIN)));
    let one = |temperature: &&super::super::model::Temperature| {
        let tone = match (temperature.celsius, temperature.critical_celsius) {
            (Some(now), Some(limit)) => Theme::level(Some(now / limit), WARM_SHARE.0, WARM_SHARE.1),
            (now, _) => Theme::level(now, WARM_CELSIUS.0, WARM_CELSIUS.1),
        };
        (format!("{} {}", temperature.name, celsius(temperature.celsius)), tone)
    };
    Panel::new("heat", 1, flow(all.iter().map(one), width, theme))
}

/// What the machine takes, and from where.
pub(super) fn power(model: &Model, width: usize, theme: Theme) -> Panel {
    let domains = model.power.iter().map(|power| (format!("{} {}", power.domain, watts(power.watts)), Tone::Plain));
    let supplies = model.supplies.iter().map(|supply| match (supply.charge, supply.is_online) {
        (_, Some(true)) => (format!("{} on", supply.name), Tone::Good),
        (_, Some(false)) => (format!("{} off", supply.name), Tone::Warning),
        (charge, None) => {
            let empty = charge.map(|charge| 1.0 - charge);
            (format!("{} {}", supply.name, percent(charge)), Theme::level(empty, 0.7, 0.9))
        }
    });
    Panel::new("power", 1, flow(domains.chain(supplies), width, theme))
}

/// Short texts, as many in a row as fit.
fn flow(items: impl Iterator<Item = (String, Tone)>, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let (mut lines, mut row, mut taken) = (Vec::new(), Vec::new(), 0);
    for (text, tone) in items {
        let len = text.chars().count() + GAP;
        if taken + len > width + GAP && !row.is_empty() {
            lines.push(Line::from(std::mem::take(&mut row)));
            taken = 0;
        }
        taken += len;
        row.push(theme.span(tone, text));
        row.push(Span::raw(" ".repeat(GAP)));
    }
    if !row.is_empty() {
        lines.push(Line::from(row));
    }
    lines
}

/// Columns between two of them.
const GAP: usize = 3;
