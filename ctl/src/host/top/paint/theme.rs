//! Colours and signs: as much of both as the terminal has.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Theme {
    /// Colours; the terminal's own eight, so that they fit whatever its owner chose.
    pub(in super::super) has_colours: bool,
    /// Signs beyond ASCII.
    pub(in super::super) has_signs: bool,
}

/// Kinds of terminals that have no colours (terminfo: no `colors`).
const COLOURLESS: [&str; 6] = ["dumb", "vt100", "vt102", "vt220", "vt320", "unknown"];

/// How something is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// There, and not what is looked for.
    Faint,
    /// A name.
    Title,
    Good,
    Warning,
    Bad,
}

impl Theme {
    /// For a terminal of kind `term` (TERM), with the character set of `locale` (LC_ALL, LC_CTYPE or LANG); whoever set
    /// NO_COLOR wants none.
    pub(in super::super) fn of(term: &str, locale: &str, no_color: bool) -> Self {
        let is_utf8 = ["UTF-8", "utf-8", "UTF8", "utf8"].iter().any(|name| locale.contains(name));
        let has_colours = !no_color && !COLOURLESS.contains(&term) && !term.ends_with("-mono") && !term.is_empty();
        Self { has_colours, has_signs: is_utf8 }
    }

    /// For text that goes into a file or a pipe.
    pub(in super::super) fn plain(locale: &str) -> Self {
        Self { has_colours: false, ..Self::of("dumb", locale, true) }
    }

    pub(super) fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        let colour = |colour| if self.has_colours { style.fg(colour) } else { style };
        match tone {
            Tone::Plain => style,
            Tone::Faint => style.add_modifier(Modifier::DIM),
            Tone::Title => colour(Color::Cyan).add_modifier(Modifier::BOLD),
            Tone::Good => colour(Color::Green),
            Tone::Warning => colour(Color::Yellow),
            // What must not be missed is seen without colours too.
            Tone::Bad => colour(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// Text in a tone.
    pub(super) fn span(self, tone: Tone, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(tone))
    }

    /// The tone of a share of which less is better.
    pub(super) fn level(share: Option<f64>, warning: f64, bad: f64) -> Tone {
        match share {
            None => Tone::Faint,
            Some(share) if share >= bad => Tone::Bad,
            Some(share) if share >= warning => Tone::Warning,
            Some(_) => Tone::Good,
        }
    }

    /// A bar of a share: `width` columns wide.
    pub(super) fn bar(self, width: usize, share: Option<f64>, tone: Tone) -> Vec<Span<'static>> {
        let (full, empty) = if self.has_signs { ("█", "·") } else { ("#", ".") };
        let filled = columns(share.unwrap_or(0.0), width);
        let rest = if share.is_some() { empty } else { " " };
        vec![self.span(tone, full.repeat(filled)), self.span(Tone::Faint, rest.repeat(width - filled))]
    }

    /// A bar of several shares of one whole, one after another, each with a sign and a tone of its own.
    pub(super) fn parts(self, width: usize, parts: &[(f64, Part)]) -> Vec<Span<'static>> {
        let (mut sum, mut at) = (0.0, 0);
        let mut spans = Vec::new();
        for (share, part) in parts {
            sum += share;
            let end = columns(sum, width).max(at);
            let (tone, sign, plain) = part.looks();
            spans.push(self.span(tone, if self.has_signs { sign } else { plain }.repeat(end - at)));
            at = end;
        }
        spans.push(self.span(Tone::Faint, if self.has_signs { "·" } else { "." }.repeat(width - at)));
        spans
    }

    /// Goes before what was left out.
    pub(super) fn ellipsis(self) -> &'static str {
        if self.has_signs { "…" } else { "..." }
    }
}

/// What a core does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    User,
    System,
    Interrupts,
    Steal,
    Waiting,
}

impl Part {
    /// Tone, sign, and sign of terminals that have few: different in both, for whoever sees no colours.
    fn looks(self) -> (Tone, &'static str, &'static str) {
        match self {
            Self::User => (Tone::Good, "█", "#"),
            Self::System => (Tone::Title, "▓", "="),
            Self::Interrupts => (Tone::Warning, "▒", "+"),
            Self::Steal => (Tone::Bad, "x", "x"),
            Self::Waiting => (Tone::Warning, "░", "-"),
        }
    }
}

/// Columns of a share; something that is there is seen.
fn columns(share: f64, width: usize) -> usize {
    #[allow(clippy::cast_precision_loss, reason = "a screen's width")]
    let exact = share.clamp(0.0, 1.0) * width as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a screen's width")]
    let rounded = exact.round() as usize;
    if share > 0.005 { rounded.max(1).min(width) } else { rounded.min(width) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_have_them_and_people_who_want_them() {
        let colours = |term, no_color| Theme::of(term, "C.UTF-8", no_color).has_colours;
        assert!(colours("xterm-256color", false) && colours("screen", false) && colours("linux", false));
        assert!(!colours("xterm", true) && !colours("dumb", false) && !colours("vt220", false) && !colours("", false));
        let signs = |locale| Theme::of("xterm", locale, false).has_signs;
        assert!(signs("en_GB.UTF-8") && signs("C.utf8") && !signs("C") && !signs("de_DE.ISO-8859-1"));
    }

    #[test]
    fn a_bar_is_as_wide_as_it_is_told_to_be_and_something_is_seen() {
        let theme = Theme::plain("");
        let text = |spans: Vec<Span<'_>>| spans.iter().map(|span| span.content.as_ref()).collect::<String>();
        let bar = |share| text(theme.bar(10, share, Tone::Good));
        assert_eq!([bar(Some(0.5)), bar(Some(0.01)), bar(Some(7.0))], ["#####.....", "#.........", "##########"]);
        assert_eq!([bar(None), bar(Some(0.0)), bar(Some(f64::NAN))], ["          ", "..........", ".........."]);
        let parts = [(0.5, Part::User), (0.2, Part::System), (f64::INFINITY, Part::Waiting)];
        assert_eq!(text(theme.parts(10, &parts)), "#####==---");
        assert_eq!(text(theme.parts(0, &parts)), "");
    }
}
