//! Panels: a title in the margin, lines beside it; stacked, and cut where there is no room.

use super::theme::{Theme, Tone};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Columns of the margin that titles stand in.
pub(super) const MARGIN: u16 = 10;

/// Something that is told in some lines.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) lines: Vec<Line<'static>>,
    /// Lines that it gets before others get more than theirs.
    pub(super) least: usize,
}

impl Panel {
    pub(super) fn new(title: &'static str, least: usize, lines: Vec<Line<'static>>) -> Self {
        Self { title, lines, least }
    }
}

/// Draws panels from the top of `area` on, those with nothing to tell left out. Where all of them together are too long each
/// gets its least, in order, and then more, in order.
pub(super) fn stack(panels: &[Panel], theme: Theme, area: Rect, buf: &mut Buffer) {
    let panels: Vec<&Panel> = panels.iter().filter(|panel| !panel.lines.is_empty()).collect();
    let mut room = usize::from(area.height);
    let mut rows: Vec<usize> = Vec::with_capacity(panels.len());
    for panel in &panels {
        let least = panel.least.min(panel.lines.len()).min(room);
        room -= least;
        rows.push(least);
    }
    for (panel, rows) in panels.iter().zip(&mut rows) {
        let more = (panel.lines.len() - *rows).min(room);
        room -= more;
        *rows += more;
    }
    let mut y = area.y;
    for (panel, rows) in panels.iter().zip(rows) {
        let height = u16::try_from(rows).unwrap_or(u16::MAX);
        one(panel, theme, Rect { y, height, ..area }, buf);
        y = y.saturating_add(height);
    }
}

fn one(panel: &Panel, theme: Theme, area: Rect, buf: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let margin = MARGIN.min(area.width);
    buf.set_line(area.x, area.y, &Line::from(theme.span(Tone::Title, panel.title)), margin.saturating_sub(1));
    let shown = usize::from(area.height);
    // The last line says that there is more, unless it is the only one.
    let is_cut = panel.lines.len() > shown && shown > 1;
    let told = if is_cut { shown - 1 } else { shown };
    let mut y = area.y;
    for line in panel.lines.iter().take(told) {
        buf.set_line(area.x + margin, y, line, area.width - margin);
        y += 1;
    }
    if is_cut {
        let more = format!("{} {} more", theme.ellipsis(), panel.lines.len() - told);
        buf.set_line(area.x + margin, y, &Line::from(theme.span(Tone::Faint, more)), area.width - margin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(panels: &[Panel], width: u16, height: u16) -> Vec<String> {
        let area = Rect::new(0, 0, width, height);
        let mut buf = Buffer::empty(area);
        stack(panels, Theme::plain(""), area, &mut buf);
        (0..height)
            .map(|y| (0..width).map(|x| buf[(x, y)].symbol().to_owned()).collect::<String>().trim_end().to_owned())
            .collect()
    }

    fn panel(title: &'static str, least: usize, lines: &[&str]) -> Panel {
        Panel::new(title, least, lines.iter().map(|line| Line::from((*line).to_owned())).collect())
    }

    #[test]
    fn each_gets_its_least_before_any_gets_more_and_what_is_cut_is_said() {
        let panels = [panel("a", 1, &["1", "2", "3"]), panel("none", 1, &[]), panel("b", 2, &["4", "5", "6", "7"])];
        assert_eq!(drawn(&panels, 20, 7).len(), 7);
        assert_eq!(drawn(&panels, 20, 7)[3], "b         4");
        assert_eq!(
            drawn(&panels, 20, 5),
            ["a         1", "          2", "          3", "b         4", "          ... 3 more"]
        );
        assert_eq!(drawn(&panels, 20, 3), ["a         1", "b         4", "          ... 3 more"]);
        assert_eq!(drawn(&panels, 12, 1), ["a         1"]);
        assert_eq!(drawn(&panels, 3, 1), ["a"]);
    }
}
