//! Whether a peer may speak, at its HELLO and whenever what we know has changed since; and how it is turned away.

use super::peer::Peer;
use crate::live::Link;
use dsmil_crypto::refusal::Refusal;
use dsmil_protocol::error::ErrorCode;

impl Peer {
    /// Whether the peer may speak: by the fleet file, by its leaf as it is judged now (a resumed handshake has not looked at
    /// it), and by the registry.
    pub(super) async fn judge_hello(&mut self) -> Result<(), ErrorCode> {
        if !self.enrolled {
            return Err(ErrorCode::NotEnrolled);
        }
        // First: who is shut out must not be told to renew because its leaf has also grown old. What is in memory may be a
        // second old, so the table has the last word: a host that was reinstated and has just joined again is let in.
        if self.ingest.0.registry.judge(&self.host, &self.shown.key) == Err(ErrorCode::Revoked) {
            self.ask_registry().await?;
        }
        self.ingest.0.credentials.link().authenticate(&self.connection).map_err(of_leaf)?;
        self.ask_registry().await?;
        // Only now is it the host itself: a copy of its disk must not use up what the host may open.
        self.place.authenticated(&self.host).map_err(|_| ErrorCode::Busy)
    }

    async fn ask_registry(&self) -> Result<(), ErrorCode> {
        let now_ms = self.ingest.0.clock.wall_ms();
        self.ingest.0.registry.ask(&self.host, &self.shown.key, now_ms).await
    }

    /// The registry has changed. Here too the table is asked before anybody is turned away: what was read may be from before
    /// this host joined.
    pub(super) async fn judge_key(&mut self) {
        if self.ingest.0.registry.judge(&self.host, &self.shown.key).is_err()
            && let Err(code) = self.ask_registry().await
        {
            self.turn_away(code);
        }
    }

    /// The trust bundle has changed, or our own leaf.
    pub(super) fn judge_leaf(&mut self) {
        match self.ingest.0.credentials.link().authenticate(&self.connection) {
            // A session does not end with the leaf that it began with; its next one needs a newer.
            Ok(_) | Err(Refusal::Expired) => self.offer_bundle(),
            Err(refusal) => {
                // The newer bundle first: it tells the agent where to go from here.
                self.offer_bundle();
                self.turn_away(of_leaf(refusal));
            }
        }
    }

    pub(super) fn offer_bundle(&mut self) {
        let trust = &self.ingest.0.credentials.held().trust;
        if trust.version() > self.bundle_version && self.session.send_bundle(trust.bytes().to_vec(), self.ingest.now())
        {
            // Not again until the agent says what it has.
            self.bundle_version = trust.version();
        }
    }

    pub(super) fn turn_away(&mut self, code: ErrorCode) {
        let now = self.ingest.now();
        self.gate.refused(self.connection.remote_address().ip(), code);
        self.ingest.0.telemetry.fault(code);
        if code == ErrorCode::Busy {
            // It comes too often: a line each time would let it fill a disk.
            tracing::debug!(host = %self.host, %code, "turned away");
        } else {
            tracing::warn!(host = %self.host, %code, "turned away: {}", code.remedy());
        }
        self.why = Some(format!("refused: {code}"));
        self.session.refuse(code, code.remedy(), now);
        self.ingest.0.live.update(&self.host, |host| {
            (host.link, host.since_ms) = (Link::Refused { code }, now.wall_ns / 1_000_000);
        });
    }
}

/// What a host is told when its leaf is not good any more.
fn of_leaf(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::Expired | Refusal::NotYetValid => ErrorCode::LeafExpired,
        Refusal::UnknownRoot | Refusal::RetiredIssuer => ErrorCode::IssuerRetired,
        Refusal::Revoked => ErrorCode::Revoked,
        Refusal::TrustExpired => ErrorCode::TrustUnavailable,
        _ => ErrorCode::IdentityMismatch,
    }
}
