//! The picture: a function of what is known, how it is looked at and how large the screen is.

mod agent;
mod host;
mod panel;
mod tables;
mod theme;
mod units;

pub(super) use theme::Theme;

use super::super::screen::span;
use super::model::Model;
use super::view::{KEYS, Page, View};
use panel::{MARGIN, Panel, stack};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use theme::Tone;

/// Columns from which on there are two columns of panels.
const WIDE: u16 = 150;

/// What there is to see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    /// The newest picture; none before the first.
    pub(super) model: Option<&'a Model>,
    /// Why there is no newer one, and how many seconds it is old.
    pub(super) trouble: Option<(&'a str, u64)>,
    /// Keys are to be named: there is somebody who can press them.
    pub(super) has_keys: bool,
}

/// Draws it.
pub(super) fn paint(scene: &Scene<'_>, view: &View, theme: Theme, area: Rect, buf: &mut Buffer) {
    let mut left = area;
    let header = take_top(&mut left);
    head(scene.model, view, theme, header, buf);
    if scene.has_keys {
        let bottom = take_bottom(&mut left);
        let tabs = take_top(&mut left);
        names(view, theme, tabs, buf);
        foot(theme, bottom, buf);
    }
    if let Some((why, age_s)) = scene.trouble {
        let banner = take_top(&mut left);
        // Its age first: what is too long for the screen is cut.
        let old = if scene.model.is_some() { format!("{} OLD: ", span(age_s)) } else { String::new() };
        let style = theme.style(Tone::Bad).add_modifier(Modifier::REVERSED);
        fill(&format!(" {old}{why}"), style, banner, buf);
    }
    match scene.model {
        Some(model) => page(model, view, theme, left, buf),
        None if scene.trouble.is_none() => write("waiting for the first two ticks", theme, Tone::Faint, left, buf),
        None => {}
    }
    if scene.trouble.is_some() || view.is_paused {
        // Old, and seen to be.
        buf.set_style(left, theme.style(Tone::Faint));
    }
    if view.explains {
        explain(theme, area, buf);
    }
    if !theme.has_signs {
        spell(buf);
    }
}

/// For terminals that show ASCII alone: every other sign by the nearest that there is.
fn spell(buf: &mut Buffer) {
    for cell in buf.content.iter_mut().filter(|cell| !cell.symbol().is_ascii()) {
        let nearest = match cell.symbol() {
            "°" => "'",
            "µ" => "u",
            "→" => ">",
            "…" => ".",
            _ => "?",
        };
        cell.set_symbol(nearest);
    }
}

/// Takes the first line off an area; of none there is none.
fn take_top(area: &mut Rect) -> Rect {
    let height = area.height.min(1);
    let top = Rect { height, ..*area };
    *area = Rect { y: area.y + height, height: area.height - height, ..*area };
    top
}

/// Takes the last line off an area.
fn take_bottom(area: &mut Rect) -> Rect {
    let height = area.height.min(1);
    *area = Rect { height: area.height - height, ..*area };
    Rect { y: area.bottom(), height, ..*area }
}

fn head(model: Option<&Model>, view: &View, theme: Theme, area: Rect, buf: &mut Buffer) {
    let plain = theme.style(Tone::Plain).add_modifier(Modifier::REVERSED);
    let Some(model) = model else { return fill(" dsmilctl host top", plain, area, buf) };
    let up_s = model.agent.as_ref().map_or(model.tick, |status| status.host_uptime_s);
    let paused = if view.is_paused { "  PAUSED" } else { "" };
    let left = format!(" {}  up {}  {}{paused}", model.host, span(up_s), clock(model.wall_ms));
    fill(&left, plain, area, buf);
    let from_afar = || (Tone::Plain, "through the aggregator".into());
    let (tone, standing) = model.agent.as_ref().map_or_else(from_afar, |status| agent::standing(status));
    let standing = format!("{standing} ");
    let width = u16::try_from(standing.chars().count()).unwrap_or(u16::MAX);
    // Never over the host's name.
    let free = area.width.saturating_sub(u16::try_from(left.chars().count() + 1).unwrap_or(u16::MAX));
    if area.height > 0 && width <= free {
        let style = theme.style(tone).add_modifier(Modifier::REVERSED);
        buf.set_span(area.right() - width, area.y, &Span::styled(standing, style), width);
    }
}

/// A moment of the day, in UTC.
fn clock(wall_ms: i64) -> String {
    let s = wall_ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02} UTC", s / 3600, s / 60 % 60, s % 60)
}

fn names(view: &View, theme: Theme, area: Rect, buf: &mut Buffer) {
    let name = |(place, page): (usize, &Page)| {
        let style = theme.style(if *page == view.page { Tone::Title } else { Tone::Faint });
        let style = if *page == view.page { style.add_modifier(Modifier::REVERSED) } else { style };
        [Span::styled(format!(" {} {} ", place + 1, page.name()), style), Span::raw(" ")]
    };
    let spans: Vec<Span<'static>> = Page::ALL.iter().enumerate().flat_map(name).collect();
    if area.height > 0 {
        buf.set_line(area.x, area.y, &Line::from(spans), area.width);
    }
}

fn foot(theme: Theme, area: Rect, buf: &mut Buffer) {
    let key = |(key, what, _): &(&str, &str, &str)| {
        [theme.span(Tone::Title, format!(" {key}")), theme.span(Tone::Plain, format!(" {what} "))]
    };
    let shown = KEYS.iter().filter(|(_, what, _)| !what.is_empty());
    if area.height > 0 {
        buf.set_line(area.x, area.y, &Line::from(shown.flat_map(key).collect::<Vec<_>>()), area.width);
    }
}

fn fill(text: &str, style: ratatui::style::Style, area: Rect, buf: &mut Buffer) {
    if area.height > 0 {
        buf.set_style(area, style);
        buf.set_stringn(area.x, area.y, text, usize::from(area.width), style);
    }
}

fn write(text: &str, theme: Theme, tone: Tone, area: Rect, buf: &mut Buffer) {
    if area.height > 0 {
        buf.set_line(area.x, area.y, &Line::from(theme.span(tone, format!(" {text}"))), area.width);
    }
}

fn page(model: &Model, view: &View, theme: Theme, area: Rect, buf: &mut Buffer) {
    let inner = |area: Rect| usize::from(area.width.saturating_sub(MARGIN));
    let width = inner(area);
    let scrolled = |panel: Panel| scroll(panel, view.scroll);
    let panels = match view.page {
        Page::Overview if area.width >= WIDE => {
            let half = Rect { width: area.width / 2 - 1, ..area };
            let other = Rect { x: half.right() + 2, width: area.width - half.width - 2, ..area };
            stack(&machine(model, inner(half), view, theme), theme, half, buf);
            return stack(&around(model, inner(other), view, theme), theme, other, buf);
        }
        Page::Overview => {
            let mut all = machine(model, width, view, theme);
            all.extend(around(model, width, view, theme));
            // What is wrong comes first.
            all.sort_by_key(|panel| panel.title != "attention");
            all
        }
        Page::Cpu => vec![
            scrolled(host::cores(model, width, theme)),
            host::pressure(model, theme),
            host::temperatures(model, width, theme),
        ],
        Page::Disks => vec![
            scrolled(tables::disks(model, view.by_load, theme)),
            scrolled(tables::filesystems(model, view.by_load, theme)),
        ],
        Page::Network => vec![scrolled(tables::networks(model, view.by_load, theme))],
        Page::Accelerators => vec![
            scrolled(tables::accelerators(model, view.by_load, theme)),
            tables::accelerator(model, view.accelerator, width, theme),
        ],
        Page::Agent => vec![
            scrolled(agent::attention(model, width, true, theme)),
            agent::identity(model, theme),
            agent::link(model, theme),
            agent::spool(model, theme),
            agent::sensors(model, theme),
        ],
    };
    stack(&panels, theme, area, buf);
}

/// Lets the first lines go, the last one never.
fn scroll(mut panel: Panel, by: usize) -> Panel {
    panel.lines.drain(..by.min(panel.lines.len().saturating_sub(1)));
    panel
}

/// What the machine does with itself.
fn machine(model: &Model, width: usize, view: &View, theme: Theme) -> Vec<Panel> {
    vec![
        host::cpu(model, width, theme),
        host::memory(model, theme),
        host::pressure(model, theme),
        tables::accelerators(model, view.by_load, theme),
        host::temperatures(model, width, theme),
        host::power(model, width, theme),
    ]
}

/// What goes in and out, and who tells.
fn around(model: &Model, width: usize, view: &View, theme: Theme) -> Vec<Panel> {
    vec![
        agent::attention(model, width, false, theme),
        tables::disks(model, view.by_load, theme),
        tables::filesystems(model, view.by_load, theme),
        tables::networks(model, view.by_load, theme),
        agent::link(model, theme),
        agent::spool(model, theme),
        agent::sensors(model, theme),
    ]
}

/// What the keys do, over everything else.
fn explain(theme: Theme, area: Rect, buf: &mut Buffer) {
    let height = u16::try_from(KEYS.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let width = 48.min(area.width);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let style = theme.style(Tone::Plain).add_modifier(Modifier::REVERSED);
    let lines = KEYS.iter().map(|(key, _, what)| format!("  {key:10}{what}"));
    for (row, text) in std::iter::once(String::new()).chain(lines).chain([String::new()]).enumerate() {
        let Some(y) = u16::try_from(row).ok().filter(|row| *row < height) else { return };
        let line = Rect { y: place.y + y, height: 1, ..place };
        ratatui::widgets::Widget::render(ratatui::widgets::Clear, line, buf);
        fill(&text, style, line, buf);
    }
}
