//! `host`: the fleet file and the registry beside each other; hosts are shut out and let in again.

use super::ConfigArgs;
use super::centre::{Centre, with_centre};
use super::output::{print, print_json, print_table, short};
use super::token::warn_damaged;
use super::when;
use clap::{Args, Subcommand};
use dsmil_aggregator::fleet::{Fleet, Host};
use dsmil_protocol::ids::HostName;
use dsmil_protocol::tlv::Compartments;
use dsmil_store::state::HostRow;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum HostVerb {
    /// List every host of the fleet file and of the registry.
    List(ListArgs),
    /// Show all that is known of a host.
    Show(ShowArgs),
    /// Shut a host out: its sessions end within 5 seconds, joining and renewing are refused.
    Revoke(RevokeArgs),
    /// Let a host that was shut out join again. Its old keys stay no good.
    Reinstate(ReinstateArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct ShowArgs {
    /// The host.
    host: HostName,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct RevokeArgs {
    /// The host.
    host: HostName,
    /// Why: kept in the registry and in the security log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct ReinstateArgs {
    /// The host.
    host: HostName,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(verb: HostVerb) -> anyhow::Result<ExitCode> {
    match verb {
        HostVerb::List(args) => with_centre(&args.config, async |centre| list(&args, centre).await),
        HostVerb::Show(args) => with_centre(&args.config, async |centre| show(&args, centre).await),
        HostVerb::Revoke(args) => with_centre(&args.config, async |centre| revoke(&args, centre).await),
        HostVerb::Reinstate(args) => with_centre(&args.config, async |centre| reinstate(&args, centre).await),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Where a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    Enrolled,
    NeverJoined,
    MustJoin,
    Revoked,
    NotInFleetFile,
    Damaged,
}

impl Standing {
    fn words(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::NeverJoined => "never joined",
            Self::MustJoin => "must join again",
            Self::Revoked => "revoked",
            Self::NotInFleetFile => "not in the fleet file",
            Self::Damaged => "damaged",
        }
    }
}

/// A host, from the fleet file and the registry.
#[derive(Serialize)]
struct Known {
    name: HostName,
    state: Standing,
    group: Option<String>,
    classification: Option<String>,
    compartments: Vec<&'static str>,
    devices: Vec<u16>,
    key: Option<String>,
    next_key: Option<String>,
    joined_ms: Option<i64>,
    key_since_ms: Option<i64>,
    renewed_ms: Option<i64>,
    leaf_not_after_s: Option<i64>,
    revoked: Option<KnownRevocation>,
}

#[derive(Serialize)]
struct KnownRevocation {
    at_ms: i64,
    reason: String,
    by: String,
}

#[derive(Serialize)]
struct Listed {
    hosts: Vec<Known>,
}

impl Known {
    fn new(name: HostName, entry: Option<&Host>, row: Option<&HostRow>, is_damaged: bool) -> Self {
        let state = match (entry, row) {
            _ if is_damaged => Standing::Damaged,
            (_, Some(row)) if row.revoked.is_some() => Standing::Revoked,
            (None, _) => Standing::NotInFleetFile,
            (_, Some(row)) if row.key.is_some() => Standing::Enrolled,
            (_, Some(_)) => Standing::MustJoin,
            (_, None) => Standing::NeverJoined,
        };
        let grant = entry.map(|entry| &entry.grant);
        Self {
            name,
            state,
            group: entry.and_then(|entry| entry.group.clone()),
            classification: grant.map(|grant| grant.clearance.to_string()),
            compartments: grant.map(|grant| names(grant.compartments)).unwrap_or_default(),
            devices: grant.map(|grant| grant.devices.iter().map(|device| device.0).collect()).unwrap_or_default(),
            key: row.and_then(|row| row.key).map(|key| key.to_string()),
            next_key: row.and_then(|row| row.next).map(|key| key.to_string()),
            joined_ms: row.and_then(|row| row.joined_ms),
            key_since_ms: row.and_then(|row| row.key_since_ms),
            renewed_ms: row.and_then(|row| row.renewed_ms),
            leaf_not_after_s: row.and_then(|row| row.leaf_not_after_s),
            revoked: row.and_then(|row| row.revoked.as_ref()).map(|revoked| KnownRevocation {
                at_ms: revoked.at_ms,
                reason: revoked.reason.clone(),
                by: revoked.by.clone(),
            }),
        }
    }

    fn cells(&self, now_s: i64) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        vec![
            self.name.to_string(),
            self.state.words().into(),
            or_dash(self.leaf_not_after_s.map(|at| when::left(at, now_s))),
            or_dash(self.renewed_ms.or(self.joined_ms).map(when::utc_ms)),
            or_dash(self.key.as_ref().map(|key| key.chars().take(16).collect())),
        ]
    }

    fn words(&self, now_s: i64) -> String {
        let devices: Vec<String> = self.devices.iter().map(u16::to_string).collect();
        let devices = if devices.is_empty() { "none".into() } else { devices.join(", ") };
        let at_ms = |at: Option<i64>| at.map(when::utc_ms);
        let leaf = |at| format!("{} ({})", when::utc(at), when::left(at, now_s));
        let revoked = |revoked: &KnownRevocation| {
            format!("{} by {}: {}", when::utc_ms(revoked.at_ms), revoked.by, revoked.reason)
        };
        let lines = [
            ("host", Some(self.name.to_string())),
            ("state", Some(self.state.words().into())),
            ("revoked", self.revoked.as_ref().map(revoked)),
            ("group", self.group.clone()),
            ("classification", self.classification.clone()),
            ("compartments", (!self.compartments.is_empty()).then(|| self.compartments.join(", "))),
            ("devices", self.classification.is_some().then_some(devices)),
            ("joined", at_ms(self.joined_ms)),
            ("renewed", at_ms(self.renewed_ms)),
            ("leaf ends", self.leaf_not_after_s.map(leaf)),
            ("key", self.key.clone()),
            ("key since", at_ms(self.key_since_ms)),
            ("next key", self.next_key.clone()),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{name:<15} {value}");
            }
        }
        text
    }
}

/// As the fleet file names them.
fn names(compartments: Compartments) -> Vec<&'static str> {
    let known = [
        ("SOC", Compartments::SOC),
        ("DEV", Compartments::DEV),
        ("LAB", Compartments::LAB),
        ("CRYPTO", Compartments::CRYPTO),
    ];
    known.into_iter().filter(|(_, bit)| compartments.0 & bit.0 != 0).map(|(name, _)| name).collect()
}

/// Everybody who is in the fleet file or in the registry, by name.
async fn everybody(centre: &Centre) -> anyhow::Result<Vec<Known>> {
    let (fleet, registry) = (centre.fleet()?, centre.state.hosts().await?);
    warn_damaged(&registry.damaged);
    let rows: BTreeMap<_, _> = registry.rows.into_iter().map(|row| (row.name.clone(), row)).collect();
    let damaged: BTreeSet<_> = registry.damaged.into_iter().filter_map(|row| HostName::new(row.name).ok()).collect();
    let names: BTreeSet<_> = fleet.hosts().map(|(name, _)| name).chain(rows.keys()).chain(&damaged).cloned().collect();
    let known = |name: HostName| {
        let (entry, row, is_damaged) = (fleet.host(&name), rows.get(&name), damaged.contains(&name));
        Known::new(name, entry, row, is_damaged)
    };
    Ok(names.into_iter().map(known).collect())
}

async fn list(args: &ListArgs, centre: &Centre) -> anyhow::Result<()> {
    let hosts = everybody(centre).await?;
    if args.json {
        return print_json(&Listed { hosts });
    }
    let rows: Vec<_> = hosts.iter().map(|host| host.cells(centre.now_s())).collect();
    let nothing = format!("{} names no hosts; add a [[host]] with its name", centre.config.fleet.display());
    Ok(print_table(&["HOST", "STATE", "LEAF LEFT", "RENEWED", "KEY"], &rows, &nothing)?)
}

async fn show(args: &ShowArgs, centre: &Centre) -> anyhow::Result<()> {
    let known = everybody(centre).await?.into_iter().find(|known| known.name == args.host);
    let known = known.ok_or_else(|| nobody(&args.host))?;
    if args.json {
        return print_json(&known);
    }
    print(&known.words(centre.now_s()))?;
    let tokens = centre.state.tokens().await?.rows;
    let is_open = |expires_ms: i64| expires_ms > centre.now_ms();
    for token in tokens.iter().filter(|t| t.host == args.host && t.used.is_none() && is_open(t.expires_ms)) {
        print(&format!("{:<15} {}, until {}", "open token", short(&token.hash), when::utc_ms(token.expires_ms)))?;
    }
    Ok(())
}

async fn revoke(args: &RevokeArgs, centre: &Centre) -> anyhow::Result<()> {
    anyhow::ensure!(!args.reason.trim().is_empty(), "say why: --reason is what the next operator will read");
    let host = &args.host;
    expect_known(host, &centre.fleet()?, centre).await?;
    if centre.state.revoke(host, &args.reason, &centre.by, centre.now_ms()).await? {
        print(&format!("{host} is revoked: its sessions end within 5 s, joining and renewing are refused"))?;
        eprintln!("`host reinstate {host}` lets it join again.");
    } else {
        print(&format!("{host} was revoked before; `host show {host}` says when and why"))?;
    }
    Ok(())
}

async fn reinstate(args: &ReinstateArgs, centre: &Centre) -> anyhow::Result<()> {
    let host = &args.host;
    if centre.state.reinstate(host, &centre.by, centre.now_ms()).await? {
        print(&format!("{host} may join again; its old keys stay no good"))?;
        eprintln!("`token create --host {host}` makes a token for it.");
        return Ok(());
    }
    expect_known(host, &centre.fleet()?, centre).await?;
    Ok(print(&format!("{host} is not revoked: there was nothing to lift"))?)
}

/// A name that nobody has heard of is a typing error, and the host that was meant would go on.
async fn expect_known(host: &HostName, fleet: &Fleet, centre: &Centre) -> anyhow::Result<()> {
    // A damaged row can be neither read nor left as it is.
    let is_known = fleet.host(host).is_some() || !matches!(centre.state.host(host).await, Ok(None));
    if is_known { Ok(()) } else { Err(nobody(host)) }
}

fn nobody(host: &HostName) -> anyhow::Error {
    anyhow::anyhow!("neither the fleet file nor the registry knows {host}; `host list` shows who there is")
}
