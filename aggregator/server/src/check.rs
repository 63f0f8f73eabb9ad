//! `dsmil-aggregator check`: everything that `run` will need, looked at beforehand.

use crate::config::Config;
use crate::credentials::Credentials;
use crate::fleet::Fleet;
use crate::run::{NO_BUNDLE, open_state};
use anyhow::Context;
use dsmil_crypto::PROVIDER_VERSION;
use dsmil_crypto::identity::Credential;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::Supervisor;
use serde::Serialize;
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
pub async fn run(path: &Path, clock: &Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            note(&mut findings, "configuration", Outcome::Error, chain(&error));
            return findings;
        }
    };
    note(&mut findings, "configuration", Outcome::Ok, path.display().to_string());
    note(&mut findings, "cryptography", Outcome::Ok, PROVIDER_VERSION.to_string());
    match Fleet::load(&config.fleet) {
        Ok(fleet) => {
            let detail = format!("{} hosts, {} devices", fleet.hosts().count(), fleet.devices().count());
            note(&mut findings, "fleet file", Outcome::Ok, detail);
        }
        Err(error) => note(&mut findings, "fleet file", Outcome::Error, chain(&error)),
    }
    identity(&config, clock, &mut findings).await;
    let https = Credential::load(&config.identity.https_certificate, &config.identity.https_key);
    attempt(&mut findings, "HTTPS certificate", https.map(|_| "loads".to_string()));
    let tokens = crate::run::tokens(&config.api.tokens);
    attempt(&mut findings, "API tokens", tokens.map(|tokens| format!("{} let in", tokens.len())));
    hot(&config, &mut findings);
    findings
}

/// Opens the state as `run` does, looks at the trust bundle, and makes a leaf with the newest issuer to see that it can.
async fn identity(config: &Config, clock: &Clock, findings: &mut Vec<Finding>) {
    let supervisor = Supervisor::new(clock.clone());
    if let Err(error) = trust(config, clock, &supervisor, findings).await {
        note(findings, "trust", Outcome::Error, format!("{error:#}"));
    }
    supervisor.drain(DRAIN_WITHIN).await;
}

async fn trust(
    config: &Config,
    clock: &Clock,
    supervisor: &Supervisor,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<()> {
    anyhow::ensure!(config.state.exists(), "there is no {}; `dsmil-aggregator init` makes it", config.state.display());
    let bundle = open_state(config, supervisor)?.bundle().await?.context(NO_BUNDLE)?;
    let credentials = Credentials::new(config, &bundle.bytes, clock)?;
    let held = credentials.held();
    let left = held.trust.bundle().expires_s - credentials.time().unix_seconds();
    let detail = format!(
        "{}, bundle {}, {} days left{}",
        held.trust.trust_domain(),
        held.trust.version(),
        left.div_euclid(86_400),
        if left < EXPIRES_SOON { "; bring the root and run `dsmil-aggregator trust sign`, then publish" } else { "" }
    );
    note(findings, "trust", outcome_of(left), detail);
    let left = held.issuer.validity().not_after - credentials.time().unix_seconds();
    let detail = format!("signs as {}, {} days left", held.identity.id(), left.div_euclid(86_400));
    note(findings, "issuer", outcome_of(left), detail);
    Ok(())
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

fn attempt<E: std::error::Error>(findings: &mut Vec<Finding>, subject: &'static str, outcome: Result<String, E>) {
    match outcome {
        Ok(detail) => note(findings, subject, Outcome::Ok, detail),
        Err(error) => note(findings, subject, Outcome::Error, chain(&error)),
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
