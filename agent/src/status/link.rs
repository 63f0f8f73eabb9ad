//! How the link stands, written down by the uplink and read by whoever is asked.

use super::{LinkState, LinkStatus, Negotiated};
use dsmil_protocol::clock::BootEpoch;
use dsmil_runtime::clock::Clock;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where the uplink writes down how the link stands, for others to read. Clones are the same board.
#[derive(Clone, Debug)]
pub struct LinkBoard {
    clock: Clock,
    link: Arc<Mutex<Link>>,
}

/// A link with moments where [`LinkStatus`] has distances to now.
#[derive(Debug)]
struct Link {
    state: State,
    since: Duration,
    aggregator: Option<String>,
    negotiated: Option<Negotiated>,
    attempts: u64,
    last_error: Option<String>,
    last_ack: Option<Duration>,
    epoch: Option<BootEpoch>,
}

#[derive(Debug)]
enum State {
    Offline { reason: String, next_attempt: Duration },
    Connecting,
    Connected,
    Refused { code: String, remedy: String, next_attempt: Duration },
}

impl LinkBoard {
    /// A board that says that nothing was tried yet.
    pub fn new(clock: Clock) -> Self {
        let since = clock.mono();
        let state = State::Offline { reason: "not tried yet".into(), next_attempt: since };
        let link = Link {
            state,
            since,
            aggregator: None,
            negotiated: None,
            attempts: 0,
            last_error: None,
            last_ack: None,
            epoch: None,
        };
        Self { clock, link: Arc::new(Mutex::new(link)) }
    }

    /// An attempt starts.
    pub fn connecting(&self, aggregator: &str) {
        self.change(State::Connecting, |link| {
            link.aggregator = Some(aggregator.to_owned());
            link.attempts += 1;
        });
    }

    /// The aggregator took us in.
    pub fn connected(&self, negotiated: Negotiated) {
        self.change(State::Connected, |link| {
            link.negotiated = Some(negotiated);
            link.attempts = 0;
            link.last_error = None;
        });
    }

    /// An attempt failed or the connection ended; the next attempt is in `next_attempt_in`.
    pub fn offline(&self, reason: impl Into<String>, next_attempt_in: Duration) {
        let (reason, next_attempt) = (reason.into(), self.clock.mono() + next_attempt_in);
        self.change(State::Offline { reason: reason.clone(), next_attempt }, |link| {
            link.negotiated = None;
            link.last_error = Some(reason);
        });
    }

    /// We were refused, or refused the peer: somebody has to act.
    pub fn refused(&self, code: impl Into<String>, remedy: impl Into<String>, next_attempt_in: Duration) {
        let (code, next_attempt) = (code.into(), self.clock.mono() + next_attempt_in);
        self.change(State::Refused { code: code.clone(), remedy: remedy.into(), next_attempt }, |link| {
            link.negotiated = None;
            link.last_error = Some(code);
        });
    }

    /// An acknowledgement came.
    pub fn acknowledged(&self) {
        let now = self.clock.mono();
        self.with(|link| link.last_ack = Some(now));
    }

    /// When the last acknowledgement came, on the monotonic clock.
    pub fn acknowledged_at(&self) -> Option<Duration> {
        self.with(|link| link.last_ack)
    }

    /// When the host booted on the aggregator's clock, by the newest exchange of times.
    pub fn compared(&self, epoch: BootEpoch) {
        self.with(|link| link.epoch = Some(epoch));
    }

    /// What was noted of the clocks; nothing until both have talked.
    pub fn epoch(&self) -> Option<BootEpoch> {
        self.with(|link| link.epoch)
    }

    /// Whether the aggregator took us in and the connection stands.
    pub fn is_connected(&self) -> bool {
        self.with(|link| matches!(link.state, State::Connected))
    }

    /// How the link stands now.
    pub fn status(&self) -> LinkStatus {
        let now = self.clock.mono();
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let until = |moment: &Duration| millis(moment.saturating_sub(now));
        self.with(|link| LinkStatus {
            state: match &link.state {
                State::Offline { reason, next_attempt } => {
                    LinkState::Offline { reason: reason.clone(), next_attempt_in_ms: until(next_attempt) }
                }
                State::Connecting => LinkState::Connecting,
                State::Connected => LinkState::Connected,
                State::Refused { code, remedy, next_attempt } => LinkState::Refused {
                    code: code.clone(),
                    remedy: remedy.clone(),
                    next_attempt_in_ms: until(next_attempt),
                },
            },
            since_ms: millis(now.saturating_sub(link.since)),
            aggregator: link.aggregator.clone(),
            negotiated: link.negotiated.clone(),
            attempts: link.attempts,
            last_error: link.last_error.clone(),
            last_ack_ms_ago: link.last_ack.map(|at| millis(now.saturating_sub(at))),
        })
    }

    fn change(&self, state: State, more: impl FnOnce(&mut Link)) {
        let now = self.clock.mono();
        self.with(|link| {
            // Attempts that fail do not interrupt an outage: it lasts since the link was last up.
            let is_up = |state: &State| matches!(state, State::Connected);
            if is_up(&link.state) != is_up(&state) {
                link.since = now;
            }
            link.state = state;
            more(link);
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Link) -> T) -> T {
        act(&mut self.link.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_to_now_and_an_outage_lasts_over_its_attempts() {
        let (clock, hand) = Clock::manual();
        let board = LinkBoard::new(clock);
        for _ in 0..3 {
            board.connecting("a:1");
            hand.advance(Duration::from_secs(1));
            board.offline("nobody there", Duration::from_secs(4));
            hand.advance(Duration::from_secs(3));
        }
        let status = board.status();
        let state = LinkState::Offline { reason: "nobody there".into(), next_attempt_in_ms: 1_000 };
        assert_eq!((status.state, status.since_ms, status.attempts), (state, 12_000, 3));
        board.connected(Negotiated::default());
        board.acknowledged();
        hand.advance(Duration::from_millis(250));
        let status = board.status();
        assert!(board.is_connected());
        assert_eq!((status.since_ms, status.last_ack_ms_ago, status.last_error), (250, Some(250), None));
        board.refused("not_enrolled", "enrol it", Duration::ZERO);
        let status = board.status();
        assert_eq!((status.since_ms, status.negotiated, status.last_ack_ms_ago), (0, None, Some(250)));
    }
}
