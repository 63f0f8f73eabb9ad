//! `dsmilctl host top`: what the host does at this moment, live on a full screen, as one plain picture, or as JSON.

mod feed;
mod live;
mod model;
mod paint;
mod readings;
#[cfg(test)]
mod tests;
mod view;

pub(super) use model::Model;

use super::ask::AskError;
use clap::Args;
use dsmil_runtime::clock::Clock;
pub(crate) use feed::Told;
use feed::{Follower, told};
use paint::{Scene, Theme, paint};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::path::Path;
use std::time::Duration;
use view::View;

/// Columns of a picture that goes into a file or a pipe.
const WIDTH: u16 = 100;
/// Lines of a picture that is printed: more than any host fills.
const HEIGHT: u16 = 400;
/// How often a second tick is asked for: one may be late.
const TRIES: usize = 5;

/// How to look at it.
#[derive(Args, Clone, Copy)]
pub(super) struct TopArgs {
    /// Print one picture without colours, and end. It takes two ticks: about a second.
    #[arg(long)]
    pub(super) once: bool,
}

/// Whoever sits at a terminal looks, until they have seen enough.
pub(super) fn live(socket: &Path) -> anyhow::Result<()> {
    let socket = socket.to_owned();
    live_from(move || told(&socket).map_err(|error| error.to_string()))
}

/// The same of whatever host `source` tells of.
pub(crate) fn live_from(source: impl FnMut() -> Result<Told, String> + Send + 'static) -> anyhow::Result<()> {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let no_color = !variable("NO_COLOR").is_empty();
    live::run(source, Theme::of(&variable("TERM"), &locale(), no_color))
}

/// The host over the last second.
pub(super) async fn now(socket: &Path, clock: &Clock) -> Result<Model, AskError> {
    let mut follower = Follower::default();
    let mut model = follower.take(told(socket)?);
    let first = model.tick;
    for _ in 0..TRIES {
        if model.tick > first {
            break;
        }
        // Shortly after the next whole second since boot, when the agent has sampled.
        let boot = clock.boot();
        let next = Duration::from_secs(boot.as_secs() + 1) + Duration::from_millis(250);
        clock.sleep(next.saturating_sub(boot)).await;
        model = follower.take(told(socket)?);
    }
    Ok(model)
}

/// One picture as text.
pub(super) fn plain(model: &Model) -> String {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let size = || ratatui::crossterm::terminal::size().ok().map(|(width, _)| width).filter(|width| *width > 0);
    let width = columns.or_else(size).unwrap_or(WIDTH).clamp(40, 400);
    let scene = Scene { model: Some(model), trouble: None, has_keys: false };
    let area = Rect::new(0, 0, width, HEIGHT);
    let mut buf = Buffer::empty(area);
    paint(&scene, &View::default(), Theme::plain(&locale()), area, &mut buf);
    text(&buf)
}

/// The character set that the user works with.
fn locale() -> String {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default()
}

/// What a buffer shows, without the empty lines at its end.
fn text(buf: &Buffer) -> String {
    let area = buf.area;
    let line = |y: u16| (area.left()..area.right()).map(|x| buf[(x, y)].symbol()).collect::<String>();
    let lines: Vec<String> = (area.top()..area.bottom()).map(|y| line(y).trim_end().to_owned()).collect();
    let used = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    lines[..used].iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
