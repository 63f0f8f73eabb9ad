//! Why an attempt or a session ended, what may mend it, and how soon to try again.

use crate::credentials::Want;
use dsmil_crypto::refusal::{Refusal, refusal_reason};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::message::GoodbyeReason;
use dsmil_protocol::session::agent::Closed;
use dsmil_runtime::backoff::{Backoff, uniform};
use std::time::Duration;

/// The bound of the first wait after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The bound of later waits: an aggregator that is back is found within this.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// A host that was shut out on purpose asks again after this, to be there when it is let in again …
const SHUT_OUT_WAIT: Duration = Duration::from_secs(60);
/// … and up to so much later.
const SHUT_OUT_SPREAD: Duration = Duration::from_secs(240);

/// Why an attempt or a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// There is no way to the aggregator now.
    Unreachable(String),
    /// What we hold cannot be used on the link at all.
    Unusable(String),
    /// The handshake was refused: by us, because of what the other side has shown, or by it.
    Handshake { refusal: Refusal, ours: bool },
    /// The session ended.
    Closed(Closed),
}

impl End {
    pub(super) fn of(error: &quinn::ConnectionError) -> Self {
        match refusal_reason(error) {
            Refusal::Lost | Refusal::Busy => Self::Unreachable(error.to_string()),
            refusal => Self::Handshake { refusal, ours: matches!(error, quinn::ConnectionError::TransportError(_)) },
        }
    }

    /// What the join port may give us that mends it: an identity where ours was refused, a trust bundle where we refused the
    /// aggregator's and a newer one may say otherwise.
    pub(super) fn cure(&self) -> Option<Want> {
        match self {
            Self::Handshake { refusal, ours: false } => {
                let ours_is_old = matches!(
                    refusal,
                    Refusal::UnknownRoot | Refusal::RetiredIssuer | Refusal::Expired | Refusal::NotYetValid
                );
                ours_is_old.then_some(Want::Identity)
            }
            Self::Handshake { refusal, ours: true } => {
                let bundle_may_be_old = matches!(
                    refusal,
                    Refusal::UnknownRoot | Refusal::RetiredIssuer | Refusal::Expired | Refusal::TrustExpired
                );
                bundle_may_be_old.then_some(Want::Bundle)
            }
            Self::Closed(Closed::Refused(code)) => code.asks_for_renewal().then_some(Want::Identity),
            // It trusts nobody whom it could be connected with.
            Self::Unusable(_) => Some(Want::Bundle),
            Self::Unreachable(_) | Self::Closed(_) => None,
        }
    }

    /// Whether we were shut out on purpose.
    pub(super) fn is_shut_out(&self) -> bool {
        matches!(
            self,
            Self::Closed(Closed::Goodbye(GoodbyeReason::Refused) | Closed::Refused(ErrorCode::Revoked))
                | Self::Handshake { refusal: Refusal::Revoked, ours: false }
        )
    }

    /// In one word, for the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Unusable(_) => "identity_unusable",
            Self::Handshake { refusal, .. } => refusal.as_str(),
            Self::Closed(Closed::Refused(code) | Closed::Fault(code)) => code.name(),
            Self::Closed(Closed::Goodbye(_)) => "goodbye",
            Self::Closed(Closed::Silent) => "silent",
        }
    }
}

/// What to do about a handshake that was refused. Renewals happen by themselves and are shown beside it.
pub(super) fn handshake_remedy(refusal: Refusal, ours: bool) -> &'static str {
    match refusal {
        Refusal::UnknownRoot | Refusal::RetiredIssuer | Refusal::Expired if !ours => ErrorCode::LeafExpired.remedy(),
        Refusal::Revoked if !ours => ErrorCode::Revoked.remedy(),
        Refusal::Revoked => "The aggregator's own key is shut out: find out who speaks in its name.",
        Refusal::TrustExpired => ErrorCode::TrustUnavailable.remedy(),
        Refusal::KeyExchange => {
            "Set `link` in agent.toml to what the aggregator has: `pure` or `hybrid`, the same on both ends."
        }
        _ => "Compare certificates and clocks: `dsmil-agent check` here, `dsmil-aggregator check` there.",
    }
}

/// How soon to try again.
#[derive(Debug)]
pub(super) struct Pace(Backoff);

impl Pace {
    pub(super) fn new() -> Self {
        Self(Backoff::new(FIRST_WAIT, LONGEST_WAIT))
    }

    /// The wait after an attempt; `window` is the reconnect window, if the aggregator took us in.
    pub(super) fn wait(&mut self, end: &End, window: Option<Duration>) -> Duration {
        match window {
            _ if end.is_shut_out() => SHUT_OUT_WAIT + uniform(SHUT_OUT_SPREAD),
            // It went well until now: the fleet comes back spread over the window, not all at one moment.
            Some(window) => {
                self.0.succeeded();
                uniform(window)
            }
            None => self.0.next_wait(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_asked_for_where_it_can_mend_something_and_nowhere_else() {
        let handshake = |refusal, ours| End::Handshake { refusal, ours }.cure();
        for refusal in Refusal::ALL {
            let by_them = matches!(
                refusal,
                Refusal::UnknownRoot | Refusal::RetiredIssuer | Refusal::Expired | Refusal::NotYetValid
            );
            assert_eq!(handshake(refusal, false), by_them.then_some(Want::Identity), "{refusal} by them");
        }
        assert_eq!(handshake(Refusal::TrustExpired, true), Some(Want::Bundle));
        assert_eq!(handshake(Refusal::UnknownRoot, true), Some(Want::Bundle));
        assert_eq!(handshake(Refusal::KeyExchange, true), None);
        assert_eq!(handshake(Refusal::Revoked, true), None);
        let refused = |code| End::Closed(Closed::Refused(code)).cure();
        assert_eq!(refused(ErrorCode::KeyNotEnrolled), Some(Want::Identity));
        assert_eq!(refused(ErrorCode::Revoked), None);
    }

    #[test]
    fn who_was_shut_out_comes_back_after_minutes_and_others_after_seconds() {
        let mut pace = Pace::new();
        let revoked = [
            End::Closed(Closed::Goodbye(GoodbyeReason::Refused)),
            End::Closed(Closed::Refused(ErrorCode::Revoked)),
            End::Handshake { refusal: Refusal::Revoked, ours: false },
        ];
        for end in revoked {
            for window in [None, Some(Duration::from_secs(1))] {
                assert!(pace.wait(&end, window) >= SHUT_OUT_WAIT, "{end:?}");
            }
        }
        for _ in 0..100 {
            assert!(pace.wait(&End::Closed(Closed::Silent), None) <= LONGEST_WAIT);
        }
    }
}
