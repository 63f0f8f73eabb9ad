//! Who this aggregator is and whom it trusts, now: the trust bundle in force, its issuer, and its own leaf, which it makes
//! itself and makes anew long before it ends. Whoever shows it to peers follows [`Credentials::watch`].

use crate::config::Config;
use anyhow::Context;
use dsmil_crypto::identity::{Facts, Identity};
use dsmil_crypto::issue::{FleetIssuer, IssuerKey, LEAF_LIFETIME};
use dsmil_crypto::policy::{KeyExchange, Link};
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::trust::Trust;
use dsmil_runtime::clock::Clock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// What is shown and believed at one moment.
#[derive(Debug)]
pub struct Held {
    /// The trust bundle in force.
    pub trust: Trust,
    /// Signs leaves.
    pub issuer: FleetIssuer,
    /// Our own leaf with its key.
    pub identity: Identity,
}

/// The aggregator's credentials. Clones are the same.
#[derive(Clone, Debug)]
pub struct Credentials {
    name: Arc<str>,
    issuers: Arc<Path>,
    key_exchange: KeyExchange,
    time: TimeSource,
    held: watch::Sender<Arc<Held>>,
}

impl Credentials {
    /// Makes the first leaf, by a trust bundle as it is stored.
    ///
    /// # Errors
    /// The bundle lists no issuer whose key is in the folder of issuers, or has been altered.
    pub fn new(config: &Config, bundle: &[u8], clock: &Clock) -> anyhow::Result<Self> {
        let time = time_source(clock);
        let issuers = &config.identity.issuers;
        let held = make(&config.name, issuers, Trust::own(bundle)?, &time)?;
        Ok(Self {
            name: config.name.as_str().into(),
            issuers: issuers.as_path().into(),
            key_exchange: config.link.policy.key_exchange(),
            time,
            held: watch::Sender::new(Arc::new(held)),
        })
    }

    /// What is shown and believed now.
    pub fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.borrow())
    }

    /// Changes whenever [`Credentials::held`] does.
    pub fn watch(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    /// What the link demands.
    pub fn key_exchange(&self) -> KeyExchange {
        self.key_exchange
    }

    /// The time that certificates are judged by.
    pub fn time(&self) -> &TimeSource {
        &self.time
    }

    /// Our end of the link as it is now.
    pub fn link(&self) -> Link {
        let held = self.held();
        Link {
            identity: held.identity.clone(),
            trust: held.trust.clone(),
            key_exchange: self.key_exchange,
            time: self.time.clone(),
        }
    }

    /// Takes a newer bundle, and a leaf of the newest issuer in it. The one that is held stays in force if it is refused.
    pub fn take(&self, bundle: &[u8]) -> anyhow::Result<()> {
        let trust = self.held().trust.accept(bundle, self.time.unix_seconds())?;
        self.replace(trust)
    }

    /// Makes a new leaf once half of the one we have is used up. Says whether it did.
    pub fn renew(&self) -> anyhow::Result<bool> {
        let held = self.held();
        let left = held.identity.validity().not_after.saturating_sub(self.time.unix_seconds());
        let is_due = left < i64::try_from(LEAF_LIFETIME.as_secs() / 2).unwrap_or(i64::MAX);
        if is_due {
            self.replace(held.trust.clone())?;
        }
        Ok(is_due)
    }

    fn replace(&self, trust: Trust) -> anyhow::Result<()> {
        let held = make(&self.name, &self.issuers, trust, &self.time)?;
        self.held.send_replace(Arc::new(held));
        Ok(())
    }
}

/// Unix seconds of a clock, for certificates.
pub fn time_source(clock: &Clock) -> TimeSource {
    let clock = clock.clone();
    TimeSource::new(move || clock.wall_ns().div_euclid(1_000_000_000))
}

fn make(name: &str, issuers: &Path, trust: Trust, time: &TimeSource) -> anyhow::Result<Held> {
    // The bundle proves that its first second has passed, whatever our clock says.
    let now = time.unix_seconds().max(trust.bundle().issued_s);
    let issuer = newest_issuer(issuers, &trust, now)?;
    let identity =
        issuer.issue_aggregator(name, now, LEAF_LIFETIME).context("our own certificate could not be made")?;
    Ok(Held { trust, issuer, identity })
}

/// The newest issuer of the bundle (they are listed in the order in which they came) that counts at `now_s` (Unix seconds)
/// and whose key we have.
pub fn newest_issuer(folder: &Path, trust: &Trust, now_s: i64) -> anyhow::Result<FleetIssuer> {
    let keys = issuer_keys(folder)?;
    let counts = |certificate: &Vec<u8>| {
        Facts::read(certificate)
            .is_ok_and(|facts| facts.validity.not_after >= now_s && !trust.bundle().revoked.contains(&facts.key))
    };
    for issuer in trust.bundle().issuers.iter().rev().filter(|issuer| issuer.certificates.iter().any(counts)) {
        for path in &keys {
            let key = IssuerKey::load(path).with_context(|| format!("{} cannot be used", path.display()))?;
            if issuer.certificates.first().is_some_and(|certificate| key.fits(certificate)) {
                return Ok(FleetIssuer::new(&issuer.certificates, trust.trust_domain().clone(), key)?);
            }
        }
    }
    anyhow::bail!(
        "trust bundle {} lists no issuer that counts and whose key is in {}: bring the key back, or have one added (`dsmil-aggregator trust add-issuer`)",
        trust.version(),
        folder.display()
    )
}

/// The key files in the folder of issuers, by name.
pub fn issuer_keys(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| {
        format!("the folder of issuers {} cannot be read; `dsmil-aggregator init` makes it", folder.display())
    })?;
    let mut keys: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("the folder of issuers {} cannot be read", folder.display()))?;
    keys.retain(|path| path.extension().is_some_and(|extension| extension == "key"));
    keys.sort();
    Ok(keys)
}
