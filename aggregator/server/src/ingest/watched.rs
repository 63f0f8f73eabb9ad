//! A host that somebody watches is asked for each tick as it is sampled, for as long as that lasts.

use super::peer::Peer;
use std::time::Duration;

/// For how long it is asked at once: if we are gone, it ends by itself.
const FOR: Duration = Duration::from_secs(20);
/// It is asked again when less than this is left; a heartbeat comes every two seconds and is when we look.
const LEFT: Duration = Duration::from_secs(10);

impl Peer {
    /// Asks the host for its ticks, or asks again in time, if somebody watches it.
    pub(super) fn keep_watched(&mut self) {
        let now = self.ingest.now();
        if self.watched_until > now.mono + LEFT || !self.ingest.0.live.watching().is_watched(&self.host) {
            return;
        }
        let for_ms = u32::try_from(FOR.as_millis()).unwrap_or(u32::MAX);
        if self.session.watch(for_ms, now) {
            self.watched_until = now.mono + FOR;
        }
    }
}
