//! What sessions of version 2 say beyond those of version 1: the fleet's settings, and what has become of them.

use super::Now;
use super::agent::{AgentSession, Event, State as AgentState};
use super::aggregator::{AggregatorSession, State as AggregatorState};
use crate::error::ErrorCode;
use crate::health::Health;
use crate::message::{Config, MAX_SETTINGS_LEN, SETTINGS_SINCE};

impl AgentSession {
    /// Whether settings and what becomes of them can be spoken of.
    pub fn speaks_of_settings(&self) -> bool {
        self.is_open() && self.version >= SETTINGS_SINCE
    }

    /// Says what has become of the fleet's settings. False if nothing was said: the session is not open, or of version 1.
    pub fn send_health(&mut self, health: &Health, now: Now) -> bool {
        let goes = self.speaks_of_settings();
        if goes {
            self.say(health, now);
        }
        goes
    }

    /// Caps the backlog at so many bytes a second, where the aggregator lets it have more; nothing lifts that.
    pub fn cap_backlog(&mut self, bytes_per_second: Option<u32>) {
        self.backlog_cap = bytes_per_second;
    }

    /// Bytes a second that the backlog may have.
    pub(super) fn backlog_rate(&self) -> f64 {
        let AgentState::Open { settings, .. } = &self.state else { return 1.0 };
        let welcome = settings.backlog_bytes_per_second;
        f64::from(self.backlog_cap.map_or(welcome, |cap| cap.clamp(1, welcome)))
    }

    pub(super) fn configured(&mut self, config: Config, now: Now) -> Result<(), ErrorCode> {
        self.events.push_back(match config {
            Config::TrustBundle(bundle) => Event::TrustBundle(bundle),
            Config::Settings(settings) if self.version >= SETTINGS_SINCE => Event::Settings(settings),
            Config::Settings(_) => return Err(ErrorCode::PayloadMalformed),
            Config::Watch { for_ms } => return self.watched(for_ms, now),
        });
        Ok(())
    }
}

impl AggregatorSession {
    /// The version that was chosen; 0 before HELLO.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Sends signed settings. False if nothing was sent: the session is not open or of version 1, or no agent would take
    /// settings of more than [`MAX_SETTINGS_LEN`] bytes.
    pub fn send_settings(&mut self, settings: Vec<u8>, now: Now) -> bool {
        let goes = matches!(self.state, AggregatorState::Open)
            && self.version >= SETTINGS_SINCE
            && settings.len() <= MAX_SETTINGS_LEN;
        if goes {
            self.say(&Config::Settings(settings), now);
        }
        goes
    }
}
