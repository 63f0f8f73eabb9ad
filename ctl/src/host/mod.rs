//! `dsmilctl host`: one question to the agent of this host, answered on one screen or as JSON.

mod attention;
mod gaps;
mod screen;
mod spool;
mod status;

use crate::outcome::Outcome;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use dsmil_agent::config::{DEFAULT_SOCKET, DEFAULT_SPOOL};
use dsmil_agent::local::{self, ClientError, Reply, Verb};
use dsmil_agent::spool::{Inspection, inspect};
use dsmil_agent::status::{GapsReport, SpoolReport, Status};
use screen::Screen;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// The version of what `--json` prints.
const JSON_VERSION: u8 = 1;

/// What to ask, and whom.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct HostArgs {
    #[command(subcommand)]
    verb: HostVerb,
    /// The agent's socket: `socket` in agent.toml.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// The spool's file, read when the agent does not run: `spool.path` in agent.toml.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SPOOL)]
    spool: PathBuf,
    /// Print one JSON document instead of a screen.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Subcommand)]
enum HostVerb {
    /// The whole host on one screen: link, spool, gaps, identity, trust, clock, sensors.
    ///
    /// Exit codes: 0 all is well; 1 something needs attention: the link is down, the spool cannot be written or its tmpfs
    /// is full, a damaged file was set aside, a sensor is in trouble, the certificate could not be renewed or ends within
    /// seven days and nothing renews it, the trust bundle ends within thirty days or one was refused; 2 wrong usage, or the
    /// agent does not answer.
    Status,
    /// Seconds of this host that will never come, and why, as far as their loss is not acknowledged yet.
    ///
    /// When the agent does not run, they are read from the spool it left; nothing is changed.
    ///
    /// Exit codes: 0 there are none; 1 there are some, or the agent does not run; 2 wrong usage, or nothing can be read.
    Gaps,
    /// What waits on this host, boot by boot, and what was set aside.
    ///
    /// When the agent does not run, it is read from the spool it left; nothing is changed.
    ///
    /// Exit codes: 0 all is well; 1 something needs attention: the spool cannot be written, is damaged or its tmpfs full,
    /// files were set aside, batches rejected, or the agent does not run; 2 wrong usage, or nothing can be read.
    Spool,
}

/// Where an answer is from.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Origin {
    /// The running agent, over this socket.
    Agent(PathBuf),
    /// The spool that an agent left, this file.
    File(PathBuf),
}

/// What is told.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Status(Box<Status>),
    Gaps(GapsReport),
    Spool(SpoolReport),
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    version: u8,
    from: Origin,
    /// What somebody has to look after, in words; nothing makes the exit code 0.
    attention: Vec<String>,
    #[serde(flatten)]
    answer: Answer,
}

/// Asks, prints, and says whether something needs attention.
pub(crate) fn run(args: &HostArgs) -> anyhow::Result<Outcome> {
    let document = ask(args)?;
    let out = if args.json {
        serde_json::to_string_pretty(&document)? + "\n"
    } else {
        let screen = Screen::new(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        draw(&document, screen)
    };
    match std::io::stdout().lock().write_all(out.as_bytes()) {
        // `dsmilctl … | head` is not a failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error).context("cannot print"),
        _ => {}
    }
    Ok(if document.attention.is_empty() { Outcome::Fine } else { Outcome::NeedsAttention })
}

fn ask(args: &HostArgs) -> anyhow::Result<Document> {
    let verb = match args.verb {
        HostVerb::Status => Verb::Status,
        HostVerb::Gaps => Verb::Gaps,
        HostVerb::Spool => Verb::Spool,
    };
    let reply = match local::ask(&args.socket, verb) {
        Ok(reply) => reply,
        Err(error @ ClientError::NotRunning { .. }) => return left_behind(args, error),
        Err(error) => return Err(error.into()),
    };
    let from = Origin::Agent(args.socket.clone());
    let (attention, answer) = match reply {
        Reply::Status(status) => (attention::of_status(&status), Answer::Status(status)),
        Reply::Gaps(report) => (attention::of_gaps(&report), Answer::Gaps(report)),
        Reply::Spool(report) => (attention::of_spool(&report), Answer::Spool(report)),
        Reply::Error(trouble) => bail!("the agent cannot answer: {}", trouble.message),
    };
    Ok(Document { version: JSON_VERSION, from, attention, answer })
}

/// The agent does not run: what did it leave?
fn left_behind(args: &HostArgs, error: ClientError) -> anyhow::Result<Document> {
    let not_running = "start it (`dsmil-agent run`), or name its socket with --socket";
    if matches!(args.verb, HostVerb::Status) {
        let also = "`dsmilctl host spool` and `gaps` read what it left";
        bail!("{error}: {not_running}; {also}");
    }
    let Inspection { spool, gaps, damage } = inspect(&args.spool)
        .with_context(|| format!("the agent does not run ({error}), and what it left cannot be read"))?;
    let mut attention = vec![format!("the agent does not run: {not_running}")];
    attention.extend(damage.map(|damage| {
        format!("{damage}; this is what can be read of it, and what the agent will bring over when it starts")
    }));
    let answer = match args.verb {
        HostVerb::Gaps => {
            attention.extend(attention::of_gaps(&gaps));
            Answer::Gaps(gaps)
        }
        _ => {
            attention.extend(attention::of_left_spool(&spool));
            Answer::Spool(spool)
        }
    };
    Ok(Document { version: JSON_VERSION, from: Origin::File(args.spool.clone()), attention, answer })
}

fn draw(document: &Document, mut screen: Screen) -> String {
    if let Origin::File(path) = &document.from {
        screen.line(&format!("The agent does not run. This is what it left in {}.", path.display()));
        screen.blank();
    }
    match &document.answer {
        Answer::Status(status) => status::draw(status, &mut screen),
        Answer::Gaps(report) => gaps::draw(report, &mut screen),
        Answer::Spool(report) => spool::draw(report, matches!(document.from, Origin::Agent(_)), &mut screen),
    }
    if !document.attention.is_empty() {
        screen.blank();
        screen.alarm("needs attention");
        document.attention.iter().for_each(|line| screen.item(line));
    }
    screen.finish()
}
