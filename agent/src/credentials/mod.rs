//! Who this agent is and whom it trusts, now: one handle that the link, the keeper and the status share.
//!
//! Both change while the agent runs: the keeper renews the identity, the aggregator sends newer trust bundles. What is new
//! goes to disk first and is used then, so that a crash leaves the old or the new, and a restart knows what the running
//! agent knew.

mod keeper;
mod record;
mod schedule;

pub use keeper::Keeper;
pub use record::{Failure, RenewalFacts};

use dsmil_authority::BundleError;
use dsmil_crypto::identity::{Identity, IdentityError};
use dsmil_crypto::policy::{KeyExchange, Link};
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::trust::{Trust, TrustError};
use dsmil_runtime::clock::Clock;
use record::Record;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Where identity and trust are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFiles {
    /// Certificate and key, PEM, mode 0600.
    pub identity: PathBuf,
    /// The trust bundle.
    pub trust: PathBuf,
}

/// Why credentials could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The identity.
    #[error("this host's identity cannot be used: `dsmil-agent join TOKEN` makes one")]
    Identity(#[from] IdentityError),
    /// The trust bundle.
    #[error("this host's trust bundle cannot be used: `dsmil-agent join TOKEN --again` fetches one")]
    Trust(#[from] TrustError),
}

/// What to ask the join port for; the greater brings the lesser along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// A newer trust bundle.
    Bundle,
    /// A new identity.
    Identity,
}

/// Identity and trust at one moment.
#[derive(Debug)]
pub struct Held {
    link: Link,
}

impl Held {
    /// Who we are.
    pub fn identity(&self) -> &Identity {
        &self.link.identity
    }

    /// Whom we trust.
    pub fn trust(&self) -> &Trust {
        &self.link.trust
    }

    /// Both, as the fleet link takes them.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Unix seconds by our clock, but never before what certificates and bundle prove.
    pub fn now_s(&self) -> i64 {
        self.link.floored_time().unix_seconds()
    }

    /// What our own clock says is over, so that there is no use in connecting with it.
    pub fn stale(&self) -> Option<Want> {
        let now_s = self.now_s();
        let leaf = (now_s > self.identity().validity().not_after).then_some(Want::Identity);
        leaf.max(self.trust().is_expired(now_s).then_some(Want::Bundle))
    }
}

/// Who this agent is and whom it trusts. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Credentials(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: watch::Sender<Arc<Held>>,
    wish: watch::Sender<Option<Wish>>,
    files: Option<CredentialFiles>,
    clock: Clock,
    /// Held while something changes, so that two changes follow each other.
    record: Mutex<Record>,
}

/// Somebody wants something renewed, and why.
#[derive(Clone, Debug)]
struct Wish {
    want: Want,
    reason: String,
}

impl Credentials {
    /// Takes identity and trust that were read or made before. Without `files` they live in memory only: for simulated
    /// hosts and tests.
    pub fn new(
        identity: Identity,
        trust: Trust,
        key_exchange: KeyExchange,
        files: Option<CredentialFiles>,
        clock: Clock,
    ) -> Self {
        let wall = clock.clone();
        let time = TimeSource::new(move || wall.wall_ns().div_euclid(1_000_000_000));
        let held = Arc::new(Held { link: Link { identity, trust, key_exchange, time } });
        let (held, wish) = (watch::Sender::new(held), watch::Sender::new(None));
        Self(Arc::new(Shared { held, wish, files, clock, record: Mutex::default() }))
    }

    /// Reads both from their files. Nothing is said of their time: what has expired is renewed.
    pub fn load(files: CredentialFiles, key_exchange: KeyExchange, clock: Clock) -> Result<Self, CredentialsError> {
        let (identity, trust) = (Identity::load(&files.identity)?, Trust::load(&files.trust)?);
        Ok(Self::new(identity, trust, key_exchange, Some(files), clock))
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<Held> {
        self.0.held.borrow().clone()
    }

    /// The folder of the identity; none for who lives in memory only.
    pub fn folder(&self) -> Option<PathBuf> {
        let identity = &self.0.files.as_ref()?.identity;
        Some(identity.parent().map(PathBuf::from).unwrap_or_default())
    }

    /// Tells when something else is in force.
    pub fn changes(&self) -> watch::Receiver<Arc<Held>> {
        self.0.held.subscribe()
    }

    /// Takes a trust bundle, if it is newer and a root of ours has signed it. Whether it was new; an older one or the same
    /// is no error of anybody's.
    pub fn accept_bundle(&self, bytes: &[u8]) -> Result<bool, TrustError> {
        let mut record = self.record();
        let outcome = self.take_bundle(bytes);
        match &outcome {
            Ok(true) => {
                record.bundle_refused = None;
                tracing::info!(version = self.current().trust().version(), "a newer trust bundle is in force");
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(name = error.name(), %error, "a trust bundle was refused");
                record.bundle_refused = Some(error.to_string());
            }
        }
        outcome
    }

    fn take_bundle(&self, bytes: &[u8]) -> Result<bool, TrustError> {
        let held = self.current();
        if bytes == held.trust().bytes() {
            return Ok(false);
        }
        let trust = match held.trust().accept(bytes, held.now_s()) {
            Err(TrustError::Bundle(BundleError::Older { .. })) => return Ok(false),
            other => other?,
        };
        if let Some(files) = &self.0.files {
            trust.save(&files.trust)?;
        }
        self.put(Link { trust, ..held.link.clone() });
        Ok(true)
    }

    /// Takes a renewed identity. The one before stays in force until this one is on disk: an aggregator forgets the old key
    /// once it has seen the new one, and a restart must not come back with the old.
    fn take_identity(&self, identity: Identity) -> Result<(), IdentityError> {
        let _one_at_a_time = self.record();
        if let Some(files) = &self.0.files {
            identity.save(&files.identity)?;
        }
        self.put(Link { identity, ..self.current().link.clone() });
        Ok(())
    }

    fn put(&self, link: Link) {
        self.0.held.send_replace(Arc::new(Held { link }));
    }

    /// Asks the keeper to renew at once: the link was refused with something that a renewal may mend. The keeper limits how
    /// often that has an effect.
    pub fn renew_soon(&self, want: Want, reason: impl Into<String>) {
        self.0.wish.send_replace(Some(Wish { want, reason: reason.into() }));
    }

    /// What our own clock says is over and the keeper is going to renew. While there is something, connecting is of no use.
    pub fn awaits_renewal(&self) -> Option<Want> {
        let renewing = self.record().next.is_some();
        self.current().stale().filter(|_| renewing)
    }

    /// How renewing goes.
    pub fn renewal(&self) -> RenewalFacts {
        self.record().facts(self.0.clock.mono())
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
