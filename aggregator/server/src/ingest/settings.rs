//! The fleet's settings in a session: offered to a host that has older ones, and what it says has become of them noted.

use super::peer::Peer;
use dsmil_protocol::health::{Health, SettingsFault};
use dsmil_store::state::{EventKind, SecurityEvent, SettingsReport};

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
        if self.session.send_settings(offer.bytes.to_vec(), self.ingest.now()) {
            tracing::info!(host = %self.host, version = offer.version, target = %offer.target, "settings were offered");
            self.settings_offered = offer.version;
        }
    }

    /// The host says how it does with its settings.
    pub(super) async fn health(&mut self, health: Health) {
        let is_first = self.health.replace(health.clone()).is_none();
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
        self.report(report).await;
        if is_first {
            self.offer_settings();
        }
    }

    /// A host whose agent knows no settings, where there are some for it.
    pub(super) async fn note_old_agent(&mut self) {
        let fleet = self.ingest.0.fleet.get();
        let group = fleet.host(&self.host).and_then(|host| host.group.as_deref());
        let is_meant = self.ingest.0.registry.offers().of_host(&self.host, group).is_some();
        if self.session.version() == 1 && is_meant {
            self.report(SettingsReport { protocol: 1, ..SettingsReport::default() }).await;
        }
    }

    /// Notes a report that says something new. One that says that there is nothing to say is noted of nobody.
    async fn report(&self, report: SettingsReport) {
        let (registry, now_ms) = (&self.ingest.0.registry, self.ingest.0.clock.wall_ms());
        let before = registry.settings_report(&self.host);
        let nothing = SettingsReport { protocol: report.protocol, ..SettingsReport::default() };
        if before.as_ref() == Some(&report) || (before.is_none() && report == nothing && report.protocol > 1) {
            return;
        }
        let is_new = before.is_none_or(|before| (before.refused, &before.reason) != (report.refused, &report.reason));
        if is_new && report.reason == SettingsFault::Untrusted.name() {
            self.audit(&report, now_ms).await;
        }
        if let Err(error) = registry.report_settings(&self.host, report, now_ms).await {
            tracing::warn!(host = %self.host, %error, "what became of the host's settings was not noted");
        }
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
