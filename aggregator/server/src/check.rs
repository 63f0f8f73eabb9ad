//! `dsmil-aggregator check`: everything that `run` will need, looked at beforehand.

use crate::config::{Config, ConfigError};
use crate::credentials::Credentials;
use crate::fleet::Fleet;
use crate::run::{NO_BUNDLE, https_credential, open_state, tokens};
use crate::trust::{DRAFT_FILE, DraftError, TrustDraft};
use anyhow::Context;
use dsmil_crypto::provider_version;
use dsmil_crypto::trust::Trust;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::config::Environment;
use dsmil_runtime::supervise::Supervisor;
use dsmil_store::state::State;
use serde::Serialize;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// What has less than this left is named, seconds: time enough to fetch an offline root.
const EXPIRES_SOON: i64 = 30 * 86_400;
/// How long the state's thread gets to end.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// How one look turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// `run` will start, but somebody should look.
    Warning,
    /// `run` will not start.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What.
    pub subject: &'static str,
    /// How it is.
    pub outcome: Outcome,
    /// In words, with the remedy where one is needed.
    pub detail: String,
}

/// Looks at everything a configuration names.
pub async fn run(path: &Path, environment: &Environment, clock: &Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut config = match read(path, &mut findings) {
        Ok(config) => config,
        Err(error) => {
            note(&mut findings, "configuration", Outcome::Error, chain(&error));
            return findings;
        }
    };
    // What is missing is named where it is used.
    let _ = config.find_credentials(environment);
    note(&mut findings, "cryptography", Outcome::Ok, provider_version());
    match Fleet::load(&config.fleet) {
        Ok(fleet) => {
            let detail = format!("{} hosts, {} devices", fleet.hosts().count(), fleet.devices().count());
            note(&mut findings, "fleet file", Outcome::Ok, detail);
        }
        Err(error) => note(&mut findings, "fleet file", Outcome::Error, chain(&error)),
    }
    advertise(&config, &mut findings);
    identity(&config, clock, &mut findings).await;
    attempt(&mut findings, "HTTPS certificate", https_credential(&config).map(|_| "loads".to_string()));
    let tokens = config.api.tokens.path().map_err(Into::into).and_then(|path| Ok(tokens(path)?));
    attempt(&mut findings, "API tokens", tokens.map(|tokens| format!("{} let in", tokens.len())));
    hot(&config, &mut findings);
    findings
}

/// Reads the configuration, and says of which files it is made.
fn read(path: &Path, findings: &mut Vec<Finding>) -> Result<Config, ConfigError> {
    let document = Config::document(path)?;
    let config = Config::of(&document, path)?;
    for (i, file) in document.files().enumerate() {
        let subject = if i == 0 { "configuration" } else { "drop-in" };
        note(findings, subject, Outcome::Ok, file.display().to_string());
    }
    Ok(config)
}

/// Opens the state as `run` does, looks at the trust bundle, and makes a leaf with the newest issuer to see that it can.
async fn identity(config: &Config, clock: &Clock, findings: &mut Vec<Finding>) {
    let supervisor = Supervisor::new(clock.clone());
    if let Err(error) = state(config, clock, &supervisor, findings).await {
        note(findings, "identity", Outcome::Error, format!("{error:#}"));
    }
    supervisor.drain(DRAIN_WITHIN).await;
}

async fn state(
    config: &Config,
    clock: &Clock,
    supervisor: &Supervisor,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<()> {
    anyhow::ensure!(config.state.exists(), "there is no {}; `dsmil-aggregator init` makes it", config.state.display());
    let state = open_state(config, supervisor)?;
    rows(&state, clock, findings).await?;
    let bundle = state.bundle().await?.context(NO_BUNDLE)?;
    let now_s = clock.wall_ns().div_euclid(1_000_000_000);
    bundle_of(&Trust::own(&bundle.bytes)?, now_s, findings);
    draft(config, &bundle.bytes, findings);
    let credentials = Credentials::new(config, &bundle.bytes, clock)?;
    let held = credentials.held();
    let left = held.issuer.validity().not_after - now_s;
    let remedy = if left < EXPIRES_SOON { "; have another added: `dsmil-aggregator trust add-issuer`" } else { "" };
    let detail = format!("signs as {}, {} days left{remedy}", held.identity.id(), left.div_euclid(86_400));
    note(findings, "issuer", outcome_of(left), detail);
    Ok(())
}

/// What the state holds, and what of it is damaged.
async fn rows(state: &State, clock: &Clock, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    let (hosts, tokens) = (state.hosts().await?, state.tokens().await?);
    let enrolled = hosts.rows.iter().filter(|row| row.key.is_some() && row.revoked.is_none()).count();
    let revoked = hosts.rows.iter().filter(|row| row.revoked.is_some()).count();
    let now_ms = clock.wall_ms();
    let open = tokens.rows.iter().filter(|row| row.used.is_none() && row.expires_ms > now_ms).count();
    let detail = format!("{enrolled} hosts enrolled, {revoked} revoked, {open} join tokens open");
    note(findings, "state", Outcome::Ok, detail);
    for damaged in hosts.damaged.iter().chain(&tokens.damaged) {
        note(findings, "state", Outcome::Warning, damaged.to_string());
    }
    Ok(())
}

fn bundle_of(trust: &Trust, now_s: i64, findings: &mut Vec<Finding>) {
    let left = trust.bundle().expires_s.saturating_sub(now_s);
    let remedy = "; bring the root and run `dsmil-aggregator trust sign`, then `trust publish`";
    let detail = format!(
        "{}, bundle {}, {} days left{}",
        trust.trust_domain(),
        trust.version(),
        left.div_euclid(86_400),
        if left < EXPIRES_SOON { remedy } else { "" }
    );
    note(findings, "trust", outcome_of(left), detail);
}

/// A draft that waits for its signature is somebody's unfinished work.
fn draft(config: &Config, held: &[u8], findings: &mut Vec<Finding>) {
    let path = config.state.with_file_name(DRAFT_FILE);
    let pending = TrustDraft::load(&path).and_then(|draft| {
        let Some(draft) = draft else { return Ok(None) };
        // What is in force was opened a moment ago.
        Trust::own(held).map_err(DraftError::Base).and_then(|held| draft.check_base(&held)).map(|()| Some(draft))
    });
    match pending {
        Ok(None) => {}
        Ok(Some(draft)) => {
            let changes = draft.changes().len();
            let detail = format!("{} waits for the root's signature; {changes} changes", path.display());
            note(findings, "trust draft", Outcome::Ok, detail);
        }
        Err(error) => note(findings, "trust draft", Outcome::Warning, chain(&error)),
    }
}

/// Hosts are told these addresses; whether they lead here from outside nobody in here can know.
fn advertise(config: &Config, findings: &mut Vec<Finding>) {
    let told = &config.advertise;
    let is_local = |address: &String| {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    let (outcome, verdict) = if told.agents.is_empty() || told.join.is_empty() {
        (Outcome::Warning, "; nobody can join: set `agents` and `join` in [advertise] to HOST:PORT")
    } else if told.agents.iter().chain(&told.join).all(is_local) {
        (Outcome::Warning, "; only this machine can join: set [advertise] to a name that others know")
    } else {
        (Outcome::Ok, "")
    };
    let list = |addresses: &[String]| if addresses.is_empty() { "nowhere".into() } else { addresses.join(", ") };
    let detail = format!("link at {}, join port at {}{verdict}", list(&told.agents), list(&told.join));
    note(findings, "advertised", outcome, detail);
}

fn outcome_of(left_s: i64) -> Outcome {
    match left_s {
        ..0 => Outcome::Error,
        0..EXPIRES_SOON => Outcome::Warning,
        _ => Outcome::Ok,
    }
}

/// A `statfs` type of tmpfs, from linux/magic.h.
const TMPFS_MAGIC: i64 = 0x0102_1994;

fn hot(config: &Config, findings: &mut Vec<Finding>) {
    let folder = config.hot.path.parent().unwrap_or(Path::new("/"));
    // It may not exist yet: what matters is what it will be made on.
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statfs(there) {
        Err(error) => note(findings, "hot cache", Outcome::Warning, format!("{}: {error}", there.display())),
        Ok(fs) if fs.f_type != TMPFS_MAGIC => {
            let detail = format!(
                "{} is not on a tmpfs: the cache will wear the disk; mount a tmpfs there or set hot.path",
                folder.display()
            );
            note(findings, "hot cache", Outcome::Warning, detail);
        }
        Ok(fs) => {
            let size = fs.f_blocks.saturating_mul(u64::try_from(fs.f_bsize).unwrap_or(0));
            let needed = config.hot.max_mib.saturating_mul(2 << 20).saturating_add(1 << 20);
            let (outcome, verdict) = if size < needed {
                (Outcome::Warning, "too small: make it larger or lower hot.max_mib")
            } else {
                (Outcome::Ok, "large enough")
            };
            note(findings, "hot cache", outcome, format!("{} MiB of tmpfs, {verdict}", size >> 20));
        }
    }
}

fn attempt(findings: &mut Vec<Finding>, subject: &'static str, outcome: anyhow::Result<String>) {
    match outcome {
        Ok(detail) => note(findings, subject, Outcome::Ok, detail),
        Err(error) => note(findings, subject, Outcome::Error, format!("{error:#}")),
    }
}

fn note(findings: &mut Vec<Finding>, subject: &'static str, outcome: Outcome, detail: String) {
    findings.push(Finding { subject, outcome, detail });
}

/// An error with all that is behind it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
