//! `dsmilctl fleet watch HOST`: a host's ticks through the aggregator, one after the other.

use super::client::{Answer, Api};
use crate::host::top::{self, Told};
use crate::outcome::Outcome;
use anyhow::{Context, bail};
use clap::Args;
use dsmil_agent::status::{Family, Latest};
use dsmil_runtime::backoff::Backoff;
use dsmil_runtime::clock::Clock;
use hyper::StatusCode;
use serde::Deserialize;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// After a first failure, and after many: somebody sits before the screen.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Whom to watch.
#[derive(Args)]
pub(crate) struct WatchArgs {
    /// The host, by its name in the fleet file.
    host: String,
    /// Print each tick as a line of JSON, with every series.
    #[arg(long)]
    json: bool,
    /// End after so many ticks.
    #[arg(long, value_name = "N")]
    ticks: Option<u64>,
}

/// A tick as the API tells it.
#[derive(Clone, Debug, Deserialize)]
struct Tick {
    boot: String,
    tick: u64,
    time_ms: i64,
    families: Vec<Family>,
}

pub(super) fn run(args: WatchArgs, api: &str, root: &Path, token: &Path) -> anyhow::Result<Outcome> {
    let clock = Clock::real();
    let mut api = Api::new(api, root, token, clock.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let is_live =
        !args.json && args.ticks.is_none() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !is_live {
        return runtime.block_on(follow(&args, &mut api, &clock));
    }
    // A host that is not there, or a token that is none, is said before the screen is taken.
    let path = format!("/api/v1/hosts/{}/watch", args.host);
    let mut first = Some(runtime.block_on(api.get(&path)).and_then(not_now)?);
    if let Some(answer) = first.as_ref().filter(|answer| answer.status.is_client_error()) {
        read(answer)?;
    }
    let mut seen: Option<(String, u64)> = None;
    top::live_from(move || {
        let next = match first.take() {
            Some(answer) => Ok(answer),
            None => runtime.block_on(api.get(&after(&args.host, seen.as_ref()))).and_then(not_now),
        };
        let answer = next.map_err(|error| format!("{error:#}"))?;
        if answer.status == StatusCode::NO_CONTENT {
            return Err("the host sends nothing new".into());
        }
        let tick = read(&answer).map_err(|error| format!("{error:#}"))?;
        seen = Some((tick.boot.clone(), tick.tick));
        Ok(tick.told(&args.host))
    })?;
    Ok(Outcome::Fine)
}

/// The path of the tick after the one that was seen last.
fn after(host: &str, seen: Option<&(String, u64)>) -> String {
    match seen {
        Some((boot, tick)) => format!("/api/v1/hosts/{host}/watch?after={boot}:{tick}"),
        None => format!("/api/v1/hosts/{host}/watch"),
    }
}

/// Shows tick after tick. What the network does to us is said and tried again; a no is the end.
async fn follow(args: &WatchArgs, api: &mut Api, clock: &Clock) -> anyhow::Result<Outcome> {
    let mut seen: Option<(String, u64)> = None;
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut left = args.ticks.unwrap_or(u64::MAX);
    while left > 0 {
        let path = after(&args.host, seen.as_ref());
        let answer = match api.get(&path).await.and_then(not_now) {
            Ok(answer) => answer,
            Err(error) => {
                eprintln!("dsmilctl: {error:#}; asking again");
                clock.sleep(backoff.next_wait()).await;
                continue;
            }
        };
        backoff.succeeded();
        if answer.status == StatusCode::NO_CONTENT {
            eprintln!("dsmilctl: nothing new of {0} for some seconds; GET /api/v1/hosts/{0} says how it is", args.host);
            continue;
        }
        let tick = read(&answer)?;
        let line = match args.json {
            true => String::from_utf8_lossy(&answer.body).into_owned(),
            false => tick.line(clock.wall_ms()),
        };
        match writeln!(std::io::stdout().lock(), "{line}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Outcome::Fine),
            written => written.context("cannot print")?,
        }
        seen = Some((tick.boot, tick.tick));
        left -= 1;
    }
    Ok(Outcome::Fine)
}

/// An answer of an API that cannot answer at this moment is as good as none.
fn not_now(answer: Answer) -> anyhow::Result<Answer> {
    if answer.status.is_server_error() {
        bail!("{}", problem(&answer));
    }
    Ok(answer)
}

fn read(answer: &Answer) -> anyhow::Result<Tick> {
    match answer.status {
        StatusCode::OK => {
            serde_json::from_slice(&answer.body).context("the answer has another form: is this an aggregator's API?")
        }
        StatusCode::UNAUTHORIZED => bail!("{}: --token-file names another one", problem(answer)),
        _ => bail!("{}", problem(answer)),
    }
}

/// What the API says is wrong, and what to do about it.
fn problem(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Problem {
        title: String,
        #[serde(default)]
        detail: String,
        #[serde(default)]
        remedy: String,
    }
    match serde_json::from_slice(&answer.body) {
        Ok(Problem { title, detail, remedy }) => {
            let said: Vec<String> = [title, detail, remedy].into_iter().filter(|part| !part.is_empty()).collect();
            said.join(": ")
        }
        Err(_) => format!("the API answered with {}", answer.status),
    }
}

impl Tick {
    /// It as a screen wants it.
    fn told(self, host: &str) -> Told {
        let Self { boot, tick, time_ms, families } = self;
        Told::from_afar(host.to_owned(), Latest { boot, tick, wall_ms: time_ms, families, left_out: 0 })
    }

    /// A line for people: when it was, how late it is here, and the figures that everybody asks for first.
    fn line(&self, now_ms: i64) -> String {
        let of = |name: &str| self.families.iter().find(|family| family.name == name);
        let value = |name: &str| of(name)?.samples.first()?.value;
        let number =
            |value: Option<f64>, unit: &str| value.map_or_else(|| "-".into(), |value| format!("{value:.2}{unit}"));
        let gib = |series: &str| number(value(series).map(|bytes| bytes / f64::from(1 << 30)), "");
        #[allow(clippy::cast_precision_loss, reason = "a delay is small")]
        let delay_s = now_ms.saturating_sub(self.time_ms) as f64 / 1000.0;
        format!(
            "{}  tick {}  {delay_s:.1} s ago  load {}  memory available {} of {} GiB  {} series",
            clock_time(self.time_ms),
            self.tick,
            number(value("node_load1"), ""),
            gib("node_memory_MemAvailable_bytes"),
            gib("node_memory_MemTotal_bytes"),
            self.families.iter().map(|family| family.samples.len()).sum::<usize>(),
        )
    }
}

/// `hh:mm:ss` of a moment, UTC.
fn clock_time(ms: i64) -> String {
    let second = ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: StatusCode, body: &str) -> Answer {
        Answer { status, body: body.to_owned().into() }
    }

    #[test]
    fn a_tick_becomes_a_line_and_what_is_absent_is_a_dash() {
        let body = r#"{"host":"h1","boot":"b","tick":7,"time_ms":3661500,
            "families":[
                {"name":"node_load1","kind":"gauge","samples":[{"value":0.5,"read_at":7}]},
                {"name":"node_memory_MemTotal_bytes","kind":"gauge","samples":[{"labels":{},"value":2147483648,"read_at":7}]},
                {"name":"node_memory_MemAvailable_bytes","kind":"gauge","samples":[{"value":null,"read_at":7}]}
            ]}"#;
        let tick = read(&answer(StatusCode::OK, body)).expect("a tick");
        let line = tick.line(3_662_300);
        assert_eq!(line, "01:01:01  tick 7  0.8 s ago  load 0.50  memory available - of 2.00 GiB  3 series");
    }

    #[test]
    fn a_no_is_the_end_and_says_what_to_do_and_an_api_in_trouble_is_asked_again() {
        let problem = r#"{"type":"urn:dsmil:problem:not-found","title":"not found","detail":"no host h9","remedy":"GET /api/v1/hosts"}"#;
        let refused = not_now(answer(StatusCode::NOT_FOUND, problem)).and_then(|answer| read(&answer));
        assert_eq!(refused.expect_err("a no").to_string(), "not found: no host h9: GET /api/v1/hosts");
        assert!(not_now(answer(StatusCode::SERVICE_UNAVAILABLE, "")).is_err());
        let strange = read(&answer(StatusCode::OK, "<html>")).expect_err("no tick").to_string();
        assert!(strange.contains("another form"), "{strange}");
    }
}
