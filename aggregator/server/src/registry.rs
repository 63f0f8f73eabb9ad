//! The registry as it is now, in memory: which host may speak with which key, and which settings it is offered.
//!
//! The table is on disk (`dsmil_store::state`) and other programs change it: `dsmil-aggregator host revoke` beside a running
//! aggregator does. So its revision is asked each second, and whoever holds a session watches and judges it anew.

use crate::credentials::Credentials;
use crate::settings::Offers;
use dsmil_authority::Fingerprint;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::periodic;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use dsmil_store::state::{HostRow, Revision, SettingsReport, State, StateError};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// A revocation must close sessions within five seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The registry. Clones are the same.
#[derive(Clone, Debug)]
pub struct Registry {
    state: State,
    hosts: watch::Sender<Arc<HashMap<HostName, HostRow>>>,
    offers: watch::Sender<Arc<Offers>>,
    /// The newest settings and the trust bundle that `offers` are of: verifying them is not cheap.
    offers_of: Arc<Mutex<Option<(u64, u64)>>>,
    /// What hosts have said of their settings.
    reports: Arc<Mutex<HashMap<HostName, SettingsReport>>>,
}

impl Registry {
    /// Reads the table and follows it, and the trust bundles beside it, until the program stops.
    pub async fn start(
        state: State,
        credentials: Credentials,
        clock: &Clock,
        supervisor: &Supervisor,
    ) -> Result<Self, StateError> {
        let revision = state.revision().await?;
        let reports = state.settings_reports().await?.rows.into_iter().map(|row| (row.host, row.report)).collect();
        let registry = Self {
            state,
            hosts: watch::Sender::new(Arc::default()),
            offers: watch::Sender::default(),
            offers_of: Arc::default(),
            reports: Arc::new(Mutex::new(reports)),
        };
        registry.read().await?;
        registry.read_settings(&credentials).await?;
        let (follower, clock, stop) = (registry.clone(), clock.clone(), supervisor.stop());
        supervisor.spawn("registry", OnFailure::Stop, async move {
            let seen = tokio::sync::Mutex::new(revision);
            let look = || async {
                if let Err(error) = follower.look(&mut *seen.lock().await, &credentials).await {
                    tracing::warn!(%error, "the registry could not be read; what was read before stays in force");
                }
            };
            periodic::run(&clock, &stop, LOOK_EVERY, &Notify::new(), look).await;
            Ok::<(), Infallible>(())
        });
        Ok(registry)
    }

    async fn look(&self, seen: &mut Revision, credentials: &Credentials) -> Result<(), StateError> {
        match credentials.renew() {
            Ok(true) => tracing::info!("our own certificate was made anew"),
            Ok(false) => {}
            Err(error) => tracing::error!(error = format!("{error:#}"), "our own certificate could not be made anew"),
        }
        let now = self.state.revision().await?;
        if now == *seen {
            return Ok(());
        }
        self.read().await?;
        if let Some(bundle) = self.state.bundle().await?
            && bundle.version > credentials.held().trust.version()
        {
            match credentials.take(&bundle.bytes) {
                Ok(()) => tracing::info!(version = bundle.version, "a new trust bundle is in force"),
                Err(error) => tracing::error!(error = format!("{error:#}"), "a trust bundle was refused"),
            }
        }
        // After the bundle: it says whose settings count.
        self.read_settings(credentials).await?;
        *seen = now;
        Ok(())
    }

    async fn read(&self) -> Result<(), StateError> {
        let listed = self.state.hosts().await?;
        for damaged in &listed.damaged {
            tracing::error!(%damaged, "a host of the registry is shut out until it is enrolled again");
        }
        let hosts = listed.rows.into_iter().map(|row| (row.name.clone(), row)).collect();
        self.hosts.send_replace(Arc::new(hosts));
        Ok(())
    }

    async fn read_settings(&self, credentials: &Credentials) -> Result<(), StateError> {
        let trust = credentials.held().trust.clone();
        let of = (self.state.newest_settings().await?, trust.version());
        if *self.offers_of.lock().unwrap_or_else(PoisonError::into_inner) == Some(of) {
            return Ok(());
        }
        let listed = self.state.settings().await?;
        for damaged in &listed.damaged {
            tracing::error!(%damaged, "settings of the fleet are offered to nobody");
        }
        let offers = Offers::of(&listed.rows, &trust);
        self.offers.send_if_modified(|held| {
            let is_other = **held != offers;
            if is_other {
                *held = Arc::new(offers);
            }
            is_other
        });
        *self.offers_of.lock().unwrap_or_else(PoisonError::into_inner) = Some(of);
        Ok(())
    }

    /// The settings that hosts are offered.
    pub fn offers(&self) -> Arc<Offers> {
        Arc::clone(&self.offers.borrow())
    }

    /// Changes when settings were pushed.
    pub fn watch_offers(&self) -> watch::Receiver<Arc<Offers>> {
        self.offers.subscribe()
    }

    /// What a host has said of its settings last.
    pub fn settings_report(&self, host: &HostName) -> Option<SettingsReport> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    /// Notes what a host says of its settings.
    pub async fn report_settings(
        &self,
        host: &HostName,
        report: SettingsReport,
        now_ms: i64,
    ) -> Result<(), StateError> {
        self.state.report_settings(host, report.clone(), now_ms).await?;
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).insert(host.clone(), report);
        Ok(())
    }

    /// The durable table behind it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Changes when a host was enrolled, renewed or revoked.
    pub fn watch(&self) -> watch::Receiver<Arc<HashMap<HostName, HostRow>>> {
        self.hosts.subscribe()
    }

    /// What is known of a host.
    pub fn host(&self, host: &HostName) -> Option<HostRow> {
        self.hosts.borrow().get(host).cloned()
    }

    /// Whether a host may speak with a key, as far as was read; see [`Registry::ask`].
    pub fn judge(&self, host: &HostName, key: &Fingerprint) -> Result<(), ErrorCode> {
        verdict(self.hosts.borrow().get(host), key)
    }

    /// Whether a host may speak with a key, asked of the table itself: one that joined a moment ago is let in at once. Its
    /// first HELLO with the key of a renewal makes that its only one.
    pub async fn ask(&self, host: &HostName, key: &Fingerprint, now_ms: i64) -> Result<(), ErrorCode> {
        let row = self.state.host(host).await;
        if let Err(error) = &row {
            tracing::error!(%host, %error, "the registry could not be asked");
        }
        // What nobody can vouch for is not let in.
        let row = row.map_err(|_| ErrorCode::Busy)?;
        verdict(row.as_ref(), key)?;
        if row.is_some_and(|row| row.next == Some(*key))
            && let Err(error) = self.state.key_seen(host, *key, now_ms).await
        {
            tracing::warn!(%host, %error, "the new key was not noted; the next HELLO tries again");
        }
        Ok(())
    }
}

fn verdict(row: Option<&HostRow>, key: &Fingerprint) -> Result<(), ErrorCode> {
    match row {
        None => Err(ErrorCode::NotEnrolled),
        Some(row) if row.revoked.is_some() => Err(ErrorCode::Revoked),
        Some(row) if row.knows(*key) => Ok(()),
        Some(_) => Err(ErrorCode::KeyNotEnrolled),
    }
}
