//! `security log`.

use super::ConfigArgs;
use super::centre::{Centre, with_centre};
use super::output::{print, print_json};
use super::when::{self, Since};
use clap::{Args, Subcommand};
use dsmil_protocol::ids::HostName;
use dsmil_store::state::{EventKind, LogQuery, MAX_LOG_ROWS, Revision, SecurityEvent};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// How often `--follow` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub(crate) enum SecurityVerb {
    /// Print the security log, a line an event, the newest last.
    Log(LogArgs),
}

#[derive(Args)]
pub(crate) struct LogArgs {
    /// Only what happened since: so long ago (30m, 1h, 7d), a date, or a date with its time (2026-11-21T21:07:25Z).
    #[arg(long, value_name = "WHEN", value_parser = Since::parse)]
    since: Option<Since>,
    /// Only one kind: token-created, token-removed, join, renewal, revocation, reinstatement, trust-change or refusal.
    #[arg(long)]
    kind: Option<EventKind>,
    /// Only what is about a host.
    #[arg(long)]
    host: Option<HostName>,
    /// At most so many, the newest of them.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=MAX_LOG_ROWS as i64))]
    limit: u16,
    /// Go on with what happens from now on, until SIGINT.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON, a line an event.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(verb: SecurityVerb) -> anyhow::Result<ExitCode> {
    let SecurityVerb::Log(args) = verb;
    with_centre(&args.config, async |centre| log(&args, centre).await)?;
    Ok(ExitCode::SUCCESS)
}

/// An event as JSON.
#[derive(Serialize)]
struct Event<'a> {
    id: i64,
    at_ms: i64,
    kind: &'a str,
    subject: &'a str,
    from: Option<&'a str>,
    reason: Option<&'a str>,
    count: u64,
    detail: &'a str,
}

async fn log(args: &LogArgs, centre: &Centre) -> anyhow::Result<()> {
    let query = LogQuery {
        since_ms: args.since.map(|since| since.at_ms(centre.now_ms())),
        kind: args.kind,
        subject: args.host.as_ref().map(HostName::to_string),
        limit: args.limit.into(),
    };
    // Asked for before the rows: what comes between the two is seen the next time.
    let revision = centre.state.revision().await?;
    let events = centre.state.security_log(query.clone()).await?;
    let last = events.last().map_or(0, |(id, _)| *id);
    events.iter().try_for_each(|(id, event)| say(*id, event, args.json))?;
    if !args.follow && events.is_empty() && !args.json {
        eprintln!("nothing of that kind has happened");
    }
    if args.follow { follow(args, centre, query, revision, last).await } else { Ok(()) }
}

/// Prints what comes after the event `last`, until the program is ended.
async fn follow(
    args: &LogArgs,
    centre: &Centre,
    query: LogQuery,
    mut seen: Revision,
    mut last: i64,
) -> anyhow::Result<()> {
    let query = LogQuery { limit: MAX_LOG_ROWS, ..query };
    loop {
        centre.clock.sleep(LOOK_EVERY).await;
        let now = centre.state.revision().await?;
        if now == seen {
            continue;
        }
        seen = now;
        let events = centre.state.security_log(query.clone()).await?;
        for (id, event) in events.iter().filter(|(id, _)| *id > last) {
            say(*id, event, args.json)?;
        }
        last = events.last().map_or(last, |(id, _)| last.max(*id));
    }
}

fn say(id: i64, event: &SecurityEvent, json: bool) -> anyhow::Result<()> {
    if json {
        let SecurityEvent { at_ms, kind, subject, from, reason, count, detail } = event;
        let (kind, from, reason) = (kind.as_str(), from.as_deref(), reason.as_deref());
        return print_json(&Event { id, at_ms: *at_ms, kind, subject, from, reason, count: *count, detail });
    }
    let mut line = format!("{}  {:<13}  {}", when::utc_ms(event.at_ms), event.kind, event.subject);
    if event.count > 1 {
        line += &format!("  {} times", event.count);
    }
    if let Some(from) = &event.from {
        line += &format!("  from {from}");
    }
    if let Some(reason) = &event.reason {
        line += &format!("  {reason}");
    }
    if !event.detail.is_empty() {
        line += &format!("  ({})", event.detail);
    }
    Ok(print(&line)?)
}
