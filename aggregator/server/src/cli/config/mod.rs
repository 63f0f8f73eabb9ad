//! `config`: settings of the fleet are pushed, watched and rolled back.

mod push;
mod show;

use super::ConfigArgs;
use super::centre::{Centre, with_centre};
use clap::{Args, Subcommand};
use dsmil_authority::{SensorSetting, Target, Values};
use dsmil_protocol::ids::HostName;
use std::path::PathBuf;
use std::process::ExitCode;

/// Versions that one who mistypes can leave out: hosts take none that is not newer, and there is an end to them.
const MOST_ABOVE: u64 = 1 << 40;

#[derive(Subcommand)]
pub(crate) enum SettingsVerb {
    /// Push settings to a group, a host or all hosts.
    ///
    /// Of all settings that were pushed, a host takes those of the narrowest target: its own before its group's before those for
    /// all; of one target the newest. A host has new settings on trial for a minute and returns to the last good ones by itself
    /// if they are not good for it.
    Push(PushArgs),
    /// Show what was pushed, and what has become of it on each host.
    Show(show::ShowArgs),
    /// Push again what a target had before its newest settings, as a new version.
    Rollback(RollbackArgs),
}

/// For whom.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// For the hosts of this group of the fleet file.
    #[arg(long)]
    group: Option<String>,
    /// For this host.
    #[arg(long)]
    host: Option<HostName>,
    /// For every host.
    #[arg(long)]
    all: bool,
}

/// What both verbs that push take.
#[derive(Args)]
pub(crate) struct OrderArgs {
    /// The order key that signs: one of those that `trust show` lists.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Why, for people: in `config show` and in the security log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// Take a version above this one too: after the state was restored from a backup, hosts know newer ones than it does.
    #[arg(long, value_name = "VERSION", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..MOST_ABOVE))]
    above: u64,
    /// Sign and check, and push nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct PushArgs {
    /// The settings, TOML: docs/fleet-settings.md has every key.
    file: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    order: OrderArgs,
}

#[derive(Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    order: OrderArgs,
}

pub(super) fn run(verb: SettingsVerb) -> anyhow::Result<ExitCode> {
    match verb {
        SettingsVerb::Push(args) => with_centre(&args.order.config, async |centre| push::push(&args, centre).await),
        SettingsVerb::Show(args) => show::run(&args),
        SettingsVerb::Rollback(args) => {
            with_centre(&args.order.config, async |centre| push::rollback(&args, centre).await)
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

impl TargetArgs {
    /// The target, if the fleet file knows it: a typing error would change nothing and nobody would notice.
    fn known(&self, centre: &Centre) -> anyhow::Result<Target> {
        let fleet = centre.fleet()?;
        if let Some(host) = &self.host {
            let is_known = fleet.host(host).is_some();
            anyhow::ensure!(is_known, "the fleet file does not know {host}; `host list` shows who there is");
            return Ok(Target::Host(host.to_string()));
        }
        let Some(group) = &self.group else { return Ok(Target::All) };
        let mut groups: Vec<&str> = fleet.hosts().filter_map(|(_, host)| host.group.as_deref()).collect();
        groups.sort_unstable();
        groups.dedup();
        let there = if groups.is_empty() { "no group at all".into() } else { groups.join(", ") };
        anyhow::ensure!(groups.contains(&group.as_str()), "the fleet file has no group {group:?}; it has {there}");
        Ok(Target::Group(group.clone()))
    }
}

/// Values as lines of `key value`, as in the file that they were written in.
fn lines(values: &Values) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |key: &str, value: Option<String>| lines.extend(value.map(|value| format!("{key} {value}")));
    line("sensors.interval_s", values.interval_s.map(|n| n.to_string()));
    for (name, setting) in &values.sensors {
        match setting {
            SensorSetting::Off => line(&format!("sensors.{name}"), Some("off".into())),
            SensorSetting::EveryS(n) => line(&format!("sensors.{name}.interval_s"), Some(n.to_string())),
        }
    }
    line("limits.spool_mib", values.spool_mib.map(|n| n.to_string()));
    line("limits.backlog_kib_per_second", values.backlog_kib_per_second.map(|n| n.to_string()));
    line("batch_ticks", values.batch_ticks.map(|n| n.to_string()));
    if lines.is_empty() {
        lines.push("as agent.toml has it".into());
    }
    lines
}
