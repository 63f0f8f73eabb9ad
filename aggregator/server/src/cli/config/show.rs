//! `config show`.

use super::super::ConfigArgs;
use super::super::centre::{Centre, with_centre};
use super::super::output::{print, print_json, print_table};
use super::super::token::warn_damaged;
use super::super::when;
use super::lines;
use clap::Args;
use dsmil_aggregator::settings::Offers;
use dsmil_authority::{Fingerprint, SignedSettings};
use dsmil_crypto::key::key_fingerprint;
use dsmil_crypto::settings::accept;
use dsmil_crypto::trust::Trust;
use dsmil_protocol::ids::HostName;
use dsmil_store::state::{SettingsReport, SettingsReportRow, SettingsRow};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was pushed, and what has become of it.
#[derive(Serialize)]
struct Shown {
    /// The newest of each target.
    targets: Vec<ShownTarget>,
    hosts: Vec<ShownHost>,
}

#[derive(Serialize)]
struct ShownTarget {
    target: String,
    version: u64,
    pushed_ms: i64,
    by: String,
    note: String,
    key: Fingerprint,
    /// What the trust bundle calls the key; absent if it does not list it.
    key_name: Option<String>,
    /// Why they are offered to nobody, if so.
    refused: Option<&'static str>,
    values: Vec<String>,
}

#[derive(Serialize)]
struct ShownHost {
    host: HostName,
    state: Standing,
    /// The version that counts for it; 0 if none does.
    wanted: u64,
    in_force: u64,
    on_trial: u64,
    refused: u64,
    reason: String,
    detail: String,
    unknown_sensors: Vec<String>,
    reported_ms: Option<i64>,
}

/// How a host stands with the settings that count for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    NothingPushed,
    Waiting,
    AgentTooOld,
    OnTrial,
    Applied,
    Refused,
    /// It has seen newer ones than were pushed here.
    Ahead,
}

impl Standing {
    fn of(wanted: u64, report: &SettingsReport) -> Self {
        match wanted {
            _ if wanted < report.in_force && wanted > 0 => Self::Ahead,
            0 => Self::NothingPushed,
            _ if wanted == report.in_force => Self::Applied,
            _ if report.protocol == 1 => Self::AgentTooOld,
            _ if wanted == report.on_trial => Self::OnTrial,
            _ if wanted == report.refused => Self::Refused,
            _ if wanted < report.refused => Self::Ahead,
            _ => Self::Waiting,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NothingPushed => "nothing pushed",
            Self::Waiting => "not taken yet",
            Self::AgentTooOld => "its agent is too old",
            Self::OnTrial => "on trial",
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::Ahead => "has seen newer ones: push again with --above",
        }
    }
}

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<()> {
    let shown = with_centre(&args.config, async |centre| shown(centre).await)?;
    if args.json { print_json(&shown) } else { say(&shown) }
}

async fn shown(centre: &Centre) -> anyhow::Result<Shown> {
    let (trust, fleet) = (centre.trust().await?, centre.fleet()?);
    let (settings, reports) = (centre.state.settings().await?, centre.state.settings_reports().await?);
    warn_damaged(&settings.damaged);
    warn_damaged(&reports.damaged);
    let mut newest: BTreeMap<&str, &SettingsRow> = BTreeMap::new();
    for row in &settings.rows {
        newest.insert(&row.target, row);
    }
    let targets = newest.into_values().map(|row| target(row, &trust)).collect::<anyhow::Result<_>>()?;
    let offers = Offers::of(&settings.rows, &trust);
    let mut reports: BTreeMap<HostName, SettingsReportRow> =
        reports.rows.into_iter().map(|row| (row.host.clone(), row)).collect();
    let of = |(name, host): (&HostName, &dsmil_aggregator::fleet::Host)| {
        let wanted = offers.of_host(name, host.group.as_deref()).map_or(0, |offer| offer.version);
        ShownHost::new(name, wanted, reports.remove(name))
    };
    Ok(Shown { targets, hosts: fleet.hosts().map(of).collect() })
}

fn target(row: &SettingsRow, trust: &Trust) -> anyhow::Result<ShownTarget> {
    let signed = SignedSettings::decode(&row.bytes)?;
    let (settings, key) = (signed.open()?, signed.key());
    let keys = &trust.bundle().order_keys;
    Ok(ShownTarget {
        target: row.target.clone(),
        version: row.version,
        pushed_ms: row.pushed_ms,
        by: row.by.clone(),
        note: settings.note,
        key,
        key_name: keys.iter().find(|k| key_fingerprint(&k.public_key) == key).map(|k| k.name.clone()),
        refused: accept(&row.bytes, trust, None, 0).err().map(|error| error.name()),
        values: lines(&settings.values),
    })
}

impl ShownHost {
    fn new(host: &HostName, wanted: u64, row: Option<SettingsReportRow>) -> Self {
        let reported_ms = row.as_ref().map(|row| row.reported_ms);
        let report = row.map(|row| row.report).unwrap_or_default();
        let unknown = report.unknown.split(',').filter(|name| !name.is_empty());
        Self {
            host: host.clone(),
            state: Standing::of(wanted, &report),
            wanted,
            in_force: report.in_force,
            on_trial: report.on_trial,
            refused: report.refused,
            unknown_sensors: unknown.map(Into::into).collect(),
            reason: report.reason,
            detail: report.detail,
            reported_ms,
        }
    }

    fn cells(&self) -> Vec<String> {
        let number = |version: u64| if version == 0 { "-".into() } else { version.to_string() };
        let mut state = self.state.words().to_owned();
        if self.state == Standing::Refused {
            state += &format!(", {}: {}", self.reason, self.detail);
        }
        if !self.unknown_sensors.is_empty() {
            state += &format!("; it has no {}", self.unknown_sensors.join(", "));
        }
        vec![self.host.to_string(), number(self.wanted), number(self.in_force), state]
    }
}

fn say(shown: &Shown) -> anyhow::Result<()> {
    if shown.targets.is_empty() {
        eprintln!("No settings were pushed: every host is as its agent.toml has it.");
        return Ok(());
    }
    for target in &shown.targets {
        let key = target.key_name.clone().unwrap_or_else(|| target.key.short());
        let mut text = format!(
            "settings {} for {}, pushed {} by {}, key {key}\n",
            target.version,
            target.target,
            when::utc_ms(target.pushed_ms),
            target.by
        );
        if !target.note.is_empty() {
            text += &format!("  {}\n", target.note);
        }
        target.values.iter().for_each(|value| text += &format!("  {value}\n"));
        if let Some(reason) = target.refused {
            text += &format!("  offered to nobody: {reason}\n");
        }
        print(&text)?;
    }
    let rows: Vec<_> = shown.hosts.iter().map(ShownHost::cells).collect();
    Ok(print_table(&["HOST", "WANTED", "HAS", "STATE"], &rows, "the fleet file names no hosts")?)
}
