//! The fleet's settings in a session: offered to a host that has older ones, and what it says has become of them noted.

use super::peer::Peer;
use dsmil_protocol::health::{Health, SettingsFault};
use dsmil_store::state::{EventKind, SecurityEvent, SettingsReport};
use std::time::Duration;

/// What a host says of its settings is written to a disk: a host that says something else all the time is noted so often at
/// most.
const NOTED_EVERY: Duration = Duration::from_secs(2);

impl Peer {
    /// Offers what counts for the host, if it is newer than what the host has or has refused; in every session once.
    pub(super) fn offer_settings(&mut self) {
        // What the host has it says itself, first of all.
        let Some(health) = &self.health else { return };
        let refused = health.refused.as_ref().map_or(0, |refused| refused.version);
        let known = health.in_force.max(health.on_trial).max(refused).max(self.settings_offered);
        let fleet = self.ingest.0.fleet.get();
        let group = fleet.host(&self.host).and_then(|host| host.group.as_deref());
        let offers = self.ingest.0.registry.offers();
        let Some(offer) = offers.of_host(&self.host, group).filter(|offer| offer.version > known) else { return };
        // A key that signs may be as new as what it has signed.
        self.offer_bundle();
        if self.session.send_settings(offer.bytes.to_vec(), self.ingest.now()) {
            tracing::info!(host = %self.host, version = offer.version, target = %offer.target, "settings were offered");
            self.settings_offered = offer.version;
        }
    }

    /// The host says how it does with its settings.
    pub(super) async fn health(&mut self, health: Health) {
        let is_first = self.health.replace(health).is_none();
        self.note_health().await;
        if is_first {
            self.offer_settings();
        }
    }

    /// Notes what the host has said last, unless something was noted a moment ago: the next heartbeat does it then.
    pub(super) async fn note_health(&mut self) {
        let now = self.ingest.0.clock.mono();
        let Some(health) = &self.health else { return };
        if self.noted_at.is_some_and(|at| now < at + NOTED_EVERY) {
            return;
        }
        let refused = health.refused.as_ref();
        let fault = refused.map(|refused| SettingsFault::from_number(refused.fault));
        let report = SettingsReport {
            protocol: self.session.version(),
            in_force: health.in_force,
            on_trial: health.on_trial,
            refused: refused.map_or(0, |refused| refused.version),
            reason: fault.map(|fault| fault.name().to_owned()).unwrap_or_default(),
            detail: refused.map(|refused| refused.detail.clone()).unwrap_or_default(),
            unknown: health.unknown_sensors.join(","),
        };
        if self.report(report).await {
            self.noted_at = Some(now);
        }
    }

    /// A host whose agent knows no settings, where there are some for it.
    pub(super) async fn note_old_agent(&mut self) {
        let fleet = self.ingest.0.fleet.get();
        let group = fleet.host(&self.host).and_then(|host| host.group.as_deref());
        let is_meant = self.ingest.0.registry.offers().of_host(&self.host, group).is_some();
        if self.session.version() == 1 && is_meant {
            let _ = self.report(SettingsReport { protocol: 1, ..SettingsReport::default() }).await;
        }
    }

    /// Notes a report that says something new; whether it did. One that says that there is nothing to say is noted of nobody.
    async fn report(&mut self, report: SettingsReport) -> bool {
        let (registry, now_ms) = (self.ingest.0.registry.clone(), self.ingest.0.clock.wall_ms());
        let before = registry.settings_report(&self.host);
        let nothing = SettingsReport { protocol: report.protocol, ..SettingsReport::default() };
        if before.as_ref() == Some(&report) || (before.is_none() && report == nothing && report.protocol > 1) {
            return false;
        }
        let is_new = before.is_none_or(|before| (before.refused, &before.reason) != (report.refused, &report.reason));
        // The log is kept for ever: once a session is enough.
        let is_untrusted = report.reason == SettingsFault::Untrusted.name();
        if is_new && is_untrusted && !std::mem::replace(&mut self.audited, true) {
            self.audit(&report, now_ms).await;
        }
        if let Err(error) = registry.report_settings(&self.host, report, now_ms).await {
            tracing::warn!(host = %self.host, %error, "what became of the host's settings was not noted");
        }
        true
    }

    /// A host was offered what no order key has signed for it, by whoever it was.
    async fn audit(&self, report: &SettingsReport, now_ms: i64) {
        let event = SecurityEvent {
            reason: Some(report.detail.clone()),
            detail: "the host refused settings that it was offered".into(),
            ..SecurityEvent::new(now_ms, EventKind::Refusal, self.host.as_str())
        };
        tracing::error!(host = %self.host, reason = report.detail, "the host refused settings: {}",
            SettingsFault::Untrusted.remedy());
        if let Err(error) = self.ingest.0.registry.state().log(vec![event]).await {
            tracing::error!(host = %self.host, %error, "a refusal of settings could not be logged");
        }
    }
}
