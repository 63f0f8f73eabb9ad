//! What is looked at, and what keys do to it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A page of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// A little of everything.
    Overview,
    Cpu,
    Disks,
    Network,
    Accelerators,
    /// What the agent says of itself.
    Agent,
}

impl Page {
    pub(super) const ALL: [Self; 6] =
        [Self::Overview, Self::Cpu, Self::Disks, Self::Network, Self::Accelerators, Self::Agent];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Overview => "host",
            Self::Cpu => "cpu",
            Self::Disks => "disks",
            Self::Network => "network",
            Self::Accelerators => "accelerators",
            Self::Agent => "agent",
        }
    }
}

/// How it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) page: Page,
    /// The picture stands still.
    pub(super) is_paused: bool,
    /// Those that do most come first, instead of the kernel's order.
    pub(super) by_load: bool,
    /// Lines of a page that are above the screen.
    pub(super) scroll: usize,
    /// Which accelerator is shown whole.
    pub(super) accelerator: usize,
    /// The keys are explained.
    pub(super) explains: bool,
}

impl Default for View {
    fn default() -> Self {
        let page = Page::Overview;
        Self { page, is_paused: false, by_load: true, scroll: 0, accelerator: 0, explains: false }
    }
}

/// What a key asks of whoever runs the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing more than a new picture.
    Look,
    /// The end.
    Quit,
    /// To be put aside, as Ctrl-Z does.
    Suspend,
}

/// A key, what it does in a word for the last line, and for whoever asks.
pub(super) const KEYS: [(&str, &str, &str); 9] = [
    ("q", "quit", "quit"),
    ("?", "keys", "these keys"),
    ("tab", "page", "the next page"),
    ("1-6", "", "this page"),
    ("p", "pause", "pause, and go on"),
    ("s", "sort", "by load, or in the kernel's order"),
    ("n", "accelerator", "the next accelerator"),
    ("up/down", "scroll", "scroll"),
    ("home", "", "back to the top"),
];

impl View {
    /// Does what a key says.
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Wish::Quit,
                KeyCode::Char('z') => Wish::Suspend,
                _ => Wish::Look,
            };
        }
        let explained = std::mem::take(&mut self.explains);
        match key.code {
            // Out of the explanation first.
            KeyCode::Esc | KeyCode::Char('q') if explained => {}
            KeyCode::Esc | KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('?' | 'h') => self.explains = !explained,
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(Page::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='6') => self.open(digit as usize - '1' as usize),
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => self.by_load = !self.by_load,
            KeyCode::Char('n') => self.accelerator = self.accelerator.wrapping_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(LEAP),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(LEAP),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        Wish::Look
    }

    fn turn(&mut self, by: usize) {
        let now = Page::ALL.iter().position(|page| *page == self.page).unwrap_or(0);
        self.open(now + by);
    }

    fn open(&mut self, number: usize) {
        self.page = Page::ALL[number % Page::ALL.len()];
        self.scroll = 0;
    }
}

/// Lines that a page up or down goes.
const LEAP: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn press(view: &mut View, code: KeyCode) -> Wish {
        view.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn keys_do_what_is_said_of_them() {
        let mut view = View::default();
        assert_eq!(press(&mut view, KeyCode::Tab), Wish::Look);
        assert_eq!(view.page, Page::Cpu);
        press(&mut view, KeyCode::BackTab);
        press(&mut view, KeyCode::BackTab);
        assert_eq!(view.page, Page::Agent);
        press(&mut view, KeyCode::Char('5'));
        press(&mut view, KeyCode::Down);
        assert_eq!((view.page, view.scroll), (Page::Accelerators, 1));
        press(&mut view, KeyCode::Tab);
        assert_eq!(view.scroll, 0, "another page begins at its top");
        press(&mut view, KeyCode::Char('p'));
        press(&mut view, KeyCode::Char('s'));
        press(&mut view, KeyCode::Char('n'));
        assert!(view.is_paused && !view.by_load && view.accelerator == 1);
        press(&mut view, KeyCode::Char('?'));
        assert!(view.explains);
        assert_eq!((press(&mut view, KeyCode::Esc), view.explains), (Wish::Look, false));
        assert_eq!(press(&mut view, KeyCode::Esc), Wish::Quit);
        let control = |letter| View::default().press(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
        assert_eq!((control('c'), control('z'), control('x')), (Wish::Quit, Wish::Suspend, Wish::Look));
    }
}
