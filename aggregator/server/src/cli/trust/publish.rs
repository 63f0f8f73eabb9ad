//! `trust publish` and `trust export`.

use super::super::ConfigArgs;
use super::super::centre::Centre;
use super::super::output::{print, print_json};
use super::super::when;
use super::ExportArgs;
use super::show::{ours, using};
use anyhow::Context;
use clap::Args;
use dsmil_aggregator::trust::{TrustDraft, difference, publishable, read_bundle, write_whole};
use dsmil_crypto::trust::Trust;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct PublishArgs {
    /// The bundle that `trust sign` wrote.
    file: PathBuf,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What came into force.
#[derive(Serialize)]
struct Published {
    version: u64,
    expires_s: i64,
    changes: Vec<String>,
    /// The issuer that signs leaves from now on.
    issuer: Option<String>,
}

pub(super) async fn run(args: &PublishArgs, centre: &Centre) -> anyhow::Result<()> {
    let held = centre.trust().await?;
    let bytes = read_bundle(&args.file)?;
    let trust = publishable(&held, &bytes, centre.now_s())
        .with_context(|| format!("{} is refused, bundle {} stays in force", args.file.display(), held.version()))?;
    let changes = difference(held.bundle(), trust.bundle());
    let detail = if changes.is_empty() { "lasts longer".to_string() } else { changes.join("; ") };
    let issuer = using(&trust, &ours(&centre.config, &trust), centre.now_s());
    let version = trust.version();
    let is_taken = centre.state.publish_bundle(version, bytes, detail, &centre.by, centre.now_ms()).await?;
    anyhow::ensure!(is_taken, "somebody has published bundle {version} or a newer one a moment ago: draft it anew");
    remove_draft(centre, &held);
    if issuer.is_none() {
        eprintln!("dsmil-aggregator: WARNING: bundle {version} lists no issuer whose key is in {}:", issuers(centre));
        eprintln!(
            "this aggregator keeps what it had until it stops, and cannot start again. Bring the key back, or add an"
        );
        eprintln!("issuer (`trust add-issuer`), sign and publish.");
    }
    let published = Published { version, expires_s: trust.bundle().expires_s, changes, issuer };
    if args.json { print_json(&published) } else { say(&published) }
}

fn say(published: &Published) -> anyhow::Result<()> {
    let mut text = format!("trust bundle {} is in force until {}\n", published.version, when::utc(published.expires_s));
    published.changes.iter().for_each(|change| text += &format!("  {change}\n"));
    print(&text)?;
    if let Some(issuer) = &published.issuer {
        eprintln!("\nThis aggregator signs as issuer {issuer}.");
    }
    eprintln!("A running aggregator takes it within a second, agents with their next heartbeat.");
    Ok(())
}

/// A draft of the bundle that was in force has come true, or comes too late.
fn remove_draft(centre: &Centre, held: &Trust) {
    let path = centre.draft();
    let is_spent = |draft: TrustDraft| draft.check_base(held).is_ok();
    if !TrustDraft::load(&path).ok().flatten().is_some_and(is_spent) {
        return;
    }
    match std::fs::remove_file(&path) {
        Ok(()) => eprintln!("The draft {} is done with and was removed.", path.display()),
        Err(error) => eprintln!("dsmil-aggregator: {} was not removed: {error}", path.display()),
    }
}

fn issuers(centre: &Centre) -> String {
    centre.config.identity.issuers.display().to_string()
}

pub(super) async fn export(args: &ExportArgs, centre: &Centre) -> anyhow::Result<()> {
    let trust = centre.trust().await?;
    write_whole(&args.file, trust.bytes())?;
    Ok(print(&format!("trust bundle {} written to {}", trust.version(), args.file.display()))?)
}
