//! `dsmilctl host`: one question about this host, answered on one screen or as JSON.

mod ask;
mod bundle;
mod checks;
mod doctor;
mod facts;
mod finding;
mod gaps;
mod gather;
mod places;
mod screen;
mod spool;
mod status;
pub(crate) mod top;

use crate::outcome::Outcome;
use anyhow::{Context, bail};
use ask::AskError;
use clap::{Args, Subcommand};
use dsmil_agent::config::DEFAULT_PATH;
use dsmil_agent::local::{ClientError, Reply, Verb};
use dsmil_agent::spool::{Inspection, inspect};
use dsmil_agent::status::{GapsReport, SpoolReport, Status};
use dsmil_runtime::clock::Clock;
use finding::Finding;
use places::Places;
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
    /// The agent's configuration, which says where its socket and its spool are.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// The agent's socket. Left out: `socket` in its configuration, or /run/dsmil/agent.sock.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The spool's file, read when the agent does not run. Left out: `spool.path` in its configuration, or
    /// /mnt/dsmil-ram/agent/spool.sqlite.
    #[arg(long, global = true, value_name = "PATH")]
    spool: Option<PathBuf>,
    /// Print one JSON document instead of a screen.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum HostVerb {
    /// The whole host on one screen: link, spool, gaps, identity, trust, clock, sensors.
    ///
    /// Exit codes: 0 all is well; 1 something needs attention: the link is down, the spool cannot be written, is nearly full
    /// or its tmpfs is, a damaged file was set aside, a sensor is in trouble, the clock is off or was stepped, the certificate
    /// could not be renewed or ends within seven days and nothing renews it, the trust bundle ends within thirty days or one
    /// was refused; 2 wrong usage, or the agent does not answer.
    Status,
    /// What the host does at this moment, live: CPU, memory, disks, network, heat, power, accelerators, link, spool, sensors.
    ///
    /// A full screen, also over SSH and in tmux; `?` shows its keys. Colours are left out where NO_COLOR is set or the terminal
    /// has none. When the agent does not answer, the last picture stays, is called old, and goes on when it answers again.
    /// Without a terminal, `--once` prints one picture and `--json` its figures.
    ///
    /// Exit codes: 0 all is well, or the screen was left; 1 something needs attention (`--once`, `--json`); 2 wrong usage, no
    /// terminal, or the agent does not answer.
    Top(top::TopArgs),
    /// Look at everything on this host that the agent needs, and say what to do about what is not as it should be.
    ///
    /// Looks at the agent and its service, configuration, identity, trust, clock, link, the names and UDP ports of the centre,
    /// spool, gaps, sensors, memory, disks and kernel. Works when the agent does not run, and changes nothing. Some of it is
    /// for root's eyes only; what this user cannot see is said to be `unseen`.
    ///
    /// Exit codes: 0 all is well; 1 something needs attention; 2 wrong usage.
    Doctor,
    /// Write one archive for whoever is to help: what host and agent say, without secrets and without saying whose it is.
    ///
    /// In it: status, gaps, spool, newest metrics, the doctor's findings, the agent's log of the last hour, configuration,
    /// versions and units; at most 4 MiB each and 16 MiB together. Keys, certificates, tokens, credentials, names of host,
    /// tenant, fleet and people, addresses, serial numbers, device numbers and ids are replaced by placeholders (`host-1`,
    /// `ip-2`) that stay the same throughout; manifest.json counts them. No file of keys goes in. The archive is for
    /// its owner alone (0600). Run it as root to have all of it.
    ///
    /// Exit codes: 0 it is written; 2 wrong usage, or it cannot be written.
    Bundle(bundle::BundleArgs),
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
    /// Exit codes: 0 all is well; 1 something needs attention: the spool cannot be written, is nearly full, damaged or its
    /// tmpfs full, files were set aside, batches rejected, or the agent does not run; 2 wrong usage, or nothing can be read.
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
    /// This host, whatever could be seen of it.
    Host,
}

/// What is told.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Status(Box<Status>),
    Gaps(GapsReport),
    Spool(SpoolReport),
    Findings(Vec<Finding>),
    Top(Box<top::Model>),
    Bundle(bundle::Bundle),
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
    let places = Places::find(args.config.clone(), args.socket.clone(), args.spool.clone());
    let document = match &args.verb {
        HostVerb::Status => of_agent(&places, Verb::Status)?,
        HostVerb::Gaps => of_agent(&places, Verb::Gaps)?,
        HostVerb::Spool => of_agent(&places, Verb::Spool)?,
        HostVerb::Doctor => examine(&places)?,
        HostVerb::Bundle(bundle) => bundled(bundle, &places)?,
        HostVerb::Top(top) if top.once || args.json => snapshot(&places)?,
        HostVerb::Top(_) => return top::live(&places.socket).map(|()| Outcome::Fine),
    };
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

/// Looks at everything there is.
fn examine(places: &Places) -> anyhow::Result<Document> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = checks::all(&runtime.block_on(gather::facts(places, &Clock::real())));
    let attention = findings.iter().filter(|finding| finding.state.needs_attention()).map(Finding::line).collect();
    Ok(Document { version: JSON_VERSION, from: Origin::Host, attention, answer: Answer::Findings(findings) })
}

/// An archive for whoever is to help.
fn bundled(args: &bundle::BundleArgs, places: &Places) -> anyhow::Result<Document> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let made = runtime.block_on(bundle::make(args, places, &Clock::real()))?;
    Ok(Document { version: JSON_VERSION, from: Origin::Host, attention: Vec::new(), answer: Answer::Bundle(made) })
}

/// The host over the last second.
fn snapshot(places: &Places) -> anyhow::Result<Document> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let model = runtime.block_on(top::now(&places.socket, &Clock::real()))?;
    let (from, attention) = (Origin::Agent(places.socket.clone()), model.attention.clone());
    Ok(Document { version: JSON_VERSION, from, attention, answer: Answer::Top(Box::new(model)) })
}

fn of_agent(places: &Places, verb: Verb) -> anyhow::Result<Document> {
    let reply = match ask::ask(&places.socket, verb) {
        Ok(reply) => reply,
        Err(AskError::Client(error @ ClientError::NotRunning { .. })) => return left_behind(places, verb, error),
        Err(error) => return Err(error.into()),
    };
    let from = Origin::Agent(places.socket.clone());
    let (attention, answer) = match reply {
        Reply::Status(status) => (checks::of_status(&status), Answer::Status(status)),
        Reply::Gaps(report) => (checks::of_gaps(&report), Answer::Gaps(report)),
        Reply::Spool(report) => (checks::of_spool(&report), Answer::Spool(report)),
        Reply::Latest(_) | Reply::Error(_) => bail!("the agent answered another question"),
    };
    Ok(Document { version: JSON_VERSION, from, attention, answer })
}

/// The agent does not run: what did it leave?
fn left_behind(places: &Places, verb: Verb, error: ClientError) -> anyhow::Result<Document> {
    let not_running = "start it (`dsmil-agent run`), or name its socket with --socket";
    if verb == Verb::Status {
        let also = "`dsmilctl host doctor` says what is in the way; `dsmilctl host spool` and `gaps` read what it left";
        bail!("{error}: {not_running}; {also}");
    }
    let Inspection { spool, gaps, damage } = inspect(&places.spool)
        .with_context(|| format!("the agent does not run ({error}), and what it left cannot be read"))?;
    let mut attention = vec![format!("the agent does not run: {not_running}")];
    attention.extend(damage.map(|damage| {
        format!("{damage}; this is what can be read of it, and what the agent will bring over when it starts")
    }));
    let answer = if verb == Verb::Gaps {
        attention.extend(checks::of_gaps(&gaps));
        Answer::Gaps(gaps)
    } else {
        attention.extend(checks::of_left_spool(&spool));
        Answer::Spool(spool)
    };
    Ok(Document { version: JSON_VERSION, from: Origin::File(places.spool.clone()), attention, answer })
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
        Answer::Findings(findings) => {
            // They say it all, in order.
            doctor::draw(findings, &mut screen);
            return screen.finish();
        }
        Answer::Bundle(made) => bundle::draw(made, &mut screen),
        // What needs attention is in the picture.
        Answer::Top(model) => return top::plain(model),
    }
    if !document.attention.is_empty() {
        screen.blank();
        screen.alarm("needs attention");
        document.attention.iter().for_each(|line| screen.item(line));
    }
    screen.finish()
}
