//! `config push` and `config rollback`.

use super::super::centre::Centre;
use super::super::output::{print, print_json};
use super::{OrderArgs, PushArgs, RollbackArgs, lines};
use anyhow::Context;
use dsmil_aggregator::settings::{Offers, read};
use dsmil_authority::{FleetSettings, SettingsError, SignedSettings, Target, Values};
use dsmil_crypto::key::SigningKey;
use dsmil_crypto::settings::{accept, sign};
use dsmil_crypto::trust::Trust;
use dsmil_store::state::{EventKind, SecurityEvent, SettingsRow};
use serde::Serialize;

/// What was pushed.
#[derive(Serialize)]
struct Pushed {
    version: u64,
    target: String,
    /// Hosts of the fleet file for which they count.
    hosts: Vec<String>,
    values: Vec<String>,
    dry_run: bool,
}

pub(super) async fn push(args: &PushArgs, centre: &Centre) -> anyhow::Result<()> {
    let target = args.target.known(centre)?;
    order(&args.order, target, read(&args.file)?, &args.order.note, centre).await
}

pub(super) async fn rollback(args: &RollbackArgs, centre: &Centre) -> anyhow::Result<()> {
    let target = args.target.known(centre)?;
    let name = target.to_string();
    let listed = centre.state.settings().await?;
    let mut of_target: Vec<_> = listed.rows.into_iter().filter(|row| row.target == name).collect();
    let newest = of_target.pop().with_context(|| format!("nothing was pushed for {name}: there is nothing to undo"))?;
    let (values, before) = match of_target.pop() {
        Some(row) => (SignedSettings::decode(&row.bytes)?.open()?.values, format!("settings {}", row.version)),
        None => (Values::default(), "before the first settings".into()),
    };
    let note = match args.order.note.as_str() {
        "" => format!("rolled back from {} to {before}", newest.version),
        note => note.to_owned(),
    };
    order(&args.order, target, values, &note, centre).await
}

/// Signs settings, sees whether hosts would take them, and pushes them.
async fn order(args: &OrderArgs, target: Target, values: Values, note: &str, centre: &Centre) -> anyhow::Result<()> {
    let (trust, newest) = (centre.trust().await?, centre.state.newest_settings().await?);
    let key = SigningKey::load(&args.key)
        .with_context(|| format!("{} cannot be used; `init` made the first order key", args.key.display()))?;
    let settings = FleetSettings {
        version: newest.max(args.above).saturating_add(1),
        trust_domain: trust.trust_domain().to_string(),
        target,
        issued_s: centre.now_s(),
        note: note.to_owned(),
        values,
    };
    let bytes = sign(&settings, &key)?;
    if let Err(error) = accept(&bytes, &trust, None, newest) {
        note_refusal(&settings, &key, &error, centre).await?;
        return Err(error).with_context(|| format!("key {} may not sign settings", key.fingerprint().short()));
    }
    let (version, lines) = (settings.version, lines(&settings.values));
    let row = SettingsRow {
        version,
        target: settings.target.to_string(),
        bytes,
        by: centre.by.clone(),
        pushed_ms: centre.now_ms(),
    };
    let pushed = Pushed {
        version,
        target: row.target.clone(),
        hosts: hosts(&row, &trust, centre).await?,
        values: lines,
        dry_run: args.dry_run,
    };
    if !args.dry_run {
        let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
        let taken = centre.state.push_settings(row, &format!("{}{note}", pushed.values.join(", "))).await?;
        anyhow::ensure!(taken, "somebody has pushed settings {version} or newer ones a moment ago: look and try again");
    }
    if args.json { print_json(&pushed) } else { say(&pushed) }
}

/// Settings that hosts would refuse are none of our fleet's: somebody has tried.
async fn note_refusal(
    settings: &FleetSettings,
    key: &SigningKey,
    error: &SettingsError,
    centre: &Centre,
) -> anyhow::Result<()> {
    let event = SecurityEvent {
        reason: Some(error.name().into()),
        detail: format!("by {}: {}, signed with key {}", centre.by, settings.target, key.fingerprint().short()),
        ..SecurityEvent::new(centre.now_ms(), EventKind::Refusal, &format!("settings {}", settings.version))
    };
    Ok(centre.state.log(vec![event]).await?)
}

/// For whom the settings count once they are pushed.
async fn hosts(row: &SettingsRow, trust: &Trust, centre: &Centre) -> anyhow::Result<Vec<String>> {
    let mut rows = centre.state.settings().await?.rows;
    rows.push(row.clone());
    let (offers, fleet) = (Offers::of(&rows, trust), centre.fleet()?);
    let meant = fleet.hosts().filter(|(name, host)| {
        offers.of_host(name, host.group.as_deref()).is_some_and(|offer| offer.version == row.version)
    });
    Ok(meant.map(|(name, _)| name.to_string()).collect())
}

fn say(pushed: &Pushed) -> anyhow::Result<()> {
    let Pushed { version, target, hosts, values, dry_run } = pushed;
    let did = if *dry_run { "would be pushed" } else { "pushed" };
    let mut text = format!("settings {version} for {target} {did}; they count for {} hosts\n", hosts.len());
    values.iter().for_each(|value| text += &format!("  {value}\n"));
    print(&text)?;
    if !dry_run {
        eprintln!("Connected hosts take them within seconds and have them on trial for a minute: `config show`.");
    }
    Ok(())
}
