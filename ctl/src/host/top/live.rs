//! The full screen: asks once a second, draws when something changed, and leaves the terminal as it was.
//!
//! The agent is asked on a thread of its own: one that hangs must not take the keys with it. The terminal is given back at the
//! end, after a panic (ratatui's hook does that) and at the signals that end a program.
//!
//! A terminal that is gone, with its window or its SSH session, is noticed here before crossterm reads it: it would read the end
//! of it for ever, at the cost of a core. Should that happen all the same, the thread that waits for signals ends the program.

use super::feed::{Follower, Told};
use super::model::Model;
use super::paint::{Scene, Theme, paint};
use super::view::{View, Wish};
use anyhow::{Context, bail};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode, size};
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::convert::Infallible;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How long a key or an answer waits at most until it is seen.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long after a whole second the agent is asked: it has sampled by then.
const AFTER_TICK: Duration = Duration::from_millis(120);
/// How long the screen has to end after a signal.
const GRACE: Duration = Duration::from_secs(1);
/// What a terminal that cannot be written or read any more is.
const GONE: &str = "the terminal is gone";
/// Seconds without a newer tick from which on the picture is called old: one may come late.
const OLD_AFTER_S: u64 = 3;

/// Says what a host does, again and again; it may wait for the next tick. In words why not.
pub(super) trait Source: FnMut() -> Result<Told, String> + Send + 'static {}

impl<S: FnMut() -> Result<Told, String> + Send + 'static> Source for S {}

/// Runs until somebody presses `q`, or a signal ends it.
pub(super) fn run(source: impl Source, theme: Theme) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        bail!("there is no terminal here: `dsmilctl host top --once` prints one picture, `--json` its figures");
    }
    let clock = Clock::real();
    let ends = await_signals(&clock).context("signals cannot be received")?;
    let (ask, answers) = start(source, &clock);
    let mut terminal = open().context("the terminal cannot be used: try `dsmilctl host top --once`")?;
    let (follower, view, newest_at) = (Follower::default(), View::default(), clock.mono());
    let screen = Screen { clock, theme, ask, answers, ends, follower, view, model: None, newest_at };
    let outcome = screen.run(&mut terminal);
    ratatui::restore();
    outcome
}

/// Takes the terminal. A serial console does not know its size and says 0: it is taken for the smallest that there are.
fn open() -> std::io::Result<DefaultTerminal> {
    let (width, height) = size()?;
    if width > 0 && height > 0 {
        return ratatui::try_init();
    }
    ratatui::try_init_with_options(TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, 80, 24)) })
}

/// Starts the thread that waits for the signals that end a program. What it returns is true after the first of them; if the
/// program is still there a second later, the thread ends it.
fn await_signals(clock: &Clock) -> std::io::Result<Arc<AtomicBool>> {
    let ends = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT, SIGQUIT])?;
    let told = Arc::clone(&ends);
    Supervisor::new(clock.clone()).thread("signals", OnFailure::Note, move || {
        if signals.forever().next().is_some() {
            told.store(true, Ordering::Relaxed);
            // Nobody ever sends: this is the second that the screen has.
            let (_keep, nothing) = sync_channel::<()>(1);
            let _ = nothing.recv_timeout(GRACE);
            ratatui::restore();
            std::process::exit(0);
        }
        Ok::<(), Infallible>(())
    });
    Ok(ends)
}

/// Starts the thread that asks, each time when told to.
fn start(mut source: impl Source, clock: &Clock) -> (SyncSender<()>, Receiver<Result<Told, String>>) {
    let ((ask, asked), (answer, answers)) = (sync_channel::<()>(1), sync_channel(1));
    Supervisor::new(clock.clone()).thread("feed", OnFailure::Note, move || {
        while asked.recv().is_ok() {
            if answer.send(source()).is_err() {
                break;
            }
        }
        Ok::<(), Infallible>(())
    });
    (ask, answers)
}

struct Screen {
    clock: Clock,
    theme: Theme,
    ask: SyncSender<()>,
    answers: Receiver<Result<Told, String>>,
    /// A signal wants the program to end.
    ends: Arc<AtomicBool>,
    follower: Follower,
    view: View,
    model: Option<Model>,
    /// When the newest tick came.
    newest_at: Duration,
}

impl Screen {
    fn run(mut self, terminal: &mut DefaultTerminal) -> anyhow::Result<()> {
        let mut due = self.clock.mono();
        let mut trouble = None;
        let mut has_changed = true;
        while !self.ends.load(Ordering::Relaxed) {
            if self.clock.mono() >= due {
                // The last question may not be answered yet: then this one is not needed.
                let _ = self.ask.try_send(());
                due = self.clock.mono() + self.until_next_tick();
                has_changed = true;
            }
            if let Ok(answer) = self.answers.try_recv() {
                trouble = self.take(answer);
                has_changed = true;
            }
            if std::mem::take(&mut has_changed) {
                self.draw(terminal, trouble.as_deref())?;
            }
            if is_gone()? {
                return Ok(());
            }
            // What it waited for, or another size, which is no input.
            if event::poll(Duration::ZERO).context(GONE)? {
                match self.answer(&event::read().context(GONE)?) {
                    Wish::Quit => return Ok(()),
                    Wish::Suspend => suspend(terminal)?,
                    Wish::Look => {}
                }
                has_changed = true;
            }
        }
        Ok(())
    }

    /// Time until the agent has sampled the next tick, a whole second since boot.
    fn until_next_tick(&self) -> Duration {
        let boot = self.clock.boot();
        Duration::from_secs(boot.as_secs() + 1).saturating_sub(boot) + AFTER_TICK
    }

    /// Takes an answer; what there is to say if it is none.
    fn take(&mut self, answer: Result<Told, String>) -> Option<String> {
        match answer {
            Ok(told) => {
                // While the picture stands still, the ticks go on: rates are of the last second when it moves again.
                let model = self.follower.take(told);
                if self.model.as_ref().is_none_or(|known| known.tick != model.tick) {
                    self.newest_at = self.clock.mono();
                }
                if !self.view.is_paused || self.model.is_none() {
                    self.model = Some(model);
                }
                None
            }
            Err(why) => Some(why),
        }
    }

    fn draw(&self, terminal: &mut DefaultTerminal, trouble: Option<&str>) -> anyhow::Result<()> {
        let age_s = self.model.as_ref().map_or(0, |_| self.clock.mono().saturating_sub(self.newest_at).as_secs());
        let stands = (age_s >= OLD_AFTER_S && !self.view.is_paused).then_some("no newer tick comes");
        let trouble = trouble.or(stands).map(|why| (why, age_s));
        let scene = Scene { model: self.model.as_ref(), trouble, has_keys: true };
        let drawn = terminal.draw(|frame| paint(&scene, &self.view, self.theme, frame.area(), frame.buffer_mut()));
        drawn.context(GONE)?;
        Ok(())
    }

    fn answer(&mut self, event: &Event) -> Wish {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.view.press(*key),
            // Another size is drawn by itself.
            _ => Wish::Look,
        }
    }
}

/// Waits for input, for [`LOOK_EVERY`] at most. Whether the terminal has hung up instead.
fn is_gone() -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    let mut input = [PollFd::new(&stdin, PollFlags::IN)];
    let patience = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK_EVERY.subsec_nanos()) };
    match poll(&mut input, Some(&patience)) {
        // A signal: of another size, or the end.
        Ok(_) | Err(Errno::INTR) => Ok(input[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)),
        Err(error) => Err(error).context(GONE),
    }
}

/// Gives the terminal back, stops as Ctrl-Z does, and takes it again when it is continued.
fn suspend(terminal: &mut DefaultTerminal) -> anyhow::Result<()> {
    ratatui::restore();
    kill_process(getpid(), Signal::TSTP).context("it cannot be put aside")?;
    enable_raw_mode().context(GONE)?;
    execute!(std::io::stdout(), EnterAlternateScreen).context(GONE)?;
    terminal.clear().context(GONE)
}
