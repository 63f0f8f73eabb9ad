//! Who was refused, for which reason and from where.
//!
//! An attacker must not fill a disk or our memory, so refusals are counted and never kept one by one: a count for each
//! kind for ever, a table of bounded size of who it was, and sums of each minute for the security log.
//!
//! An address of a handshake that failed in its first packets may be forged: look at how many there are before you block
//! one.

use crate::admission::Network;
use crate::admission::recent::Recent;
use dsmil_crypto::refusal::{Refusal, refusal_reason, tls_refusal_reason};
use dsmil_protocol::error::ErrorCode;
use quinn::ConnectionError;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio_rustls::rustls;

/// Pairs of an address and a kind of refusal that are remembered, the newest: 200 KB.
pub const SOURCES: usize = 1_000;
/// Different addresses that are counted in one sum. More than this are "many", and cost no more memory.
pub const MOST_ADDRESSES: usize = 1_000;
const MS_PER_MINUTE: i64 = 60_000;

/// A port of the aggregator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// UDP, for agents' telemetry.
    Fleet,
    /// UDP, for joining and renewing.
    Join,
    /// TCP, the HTTPS API.
    Https,
}

impl Port {
    /// The name in metrics, security log and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Join => "join",
            Self::Https => "https",
        }
    }
}

/// Who refused whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// We refused the peer.
    Us,
    /// The peer refused us, or went away. What it says is its word and proves nothing.
    Peer,
}

impl Side {
    /// The name in metrics, security log and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Peer => "peer",
        }
    }
}

/// Why: in the handshake, or after it. A reason that both know is the handshake's, so that each name is one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The handshake came to nothing.
    Handshake(Refusal),
    /// The peer was understood and refused.
    Session(ErrorCode),
}

impl Reason {
    /// The name in metrics, security log and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handshake(refusal) => refusal.as_str(),
            Self::Session(code) => code.name(),
        }
    }

    /// Every reason there is, for counters that start at 0.
    pub fn all() -> impl Iterator<Item = Self> {
        let sessions = ErrorCode::ALL.iter().map(|code| Self::from(*code));
        let of_sessions = sessions.filter(|reason| matches!(reason, Self::Session(_)));
        Refusal::ALL.into_iter().map(Self::Handshake).chain(of_sessions)
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        Self::Handshake(refusal)
    }
}

impl From<ErrorCode> for Reason {
    fn from(code: ErrorCode) -> Self {
        let same = Refusal::ALL.into_iter().find(|refusal| refusal.as_str() == code.name());
        same.map_or(Self::Session(code), Self::Handshake)
    }
}

/// A kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refused {
    /// Where.
    pub port: Port,
    /// By whom.
    pub side: Side,
    /// Why.
    pub reason: Reason,
}

impl Refused {
    /// We refused a peer.
    pub fn by_us(port: Port, reason: impl Into<Reason>) -> Self {
        Self { port, side: Side::Us, reason: reason.into() }
    }

    /// A QUIC connection came to nothing.
    pub fn of_quic(port: Port, error: &ConnectionError) -> Self {
        let side = match error {
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::CidsExhausted
            | ConnectionError::LocallyClosed => Side::Us,
            ConnectionError::ConnectionClosed(_)
            | ConnectionError::ApplicationClosed(_)
            | ConnectionError::Reset
            | ConnectionError::TimedOut => Side::Peer,
        };
        Self { port, side, reason: refusal_reason(error).into() }
    }

    /// A TLS handshake over TCP came to nothing. Without an error of TLS the peer fell silent or went away.
    pub fn of_tls(port: Port, error: Option<&rustls::Error>) -> Self {
        let (side, refusal) = match error {
            None => (Side::Peer, Refusal::Lost),
            Some(error @ rustls::Error::AlertReceived(_)) => (Side::Peer, tls_refusal_reason(error)),
            Some(error) => (Side::Us, tls_refusal_reason(error)),
        };
        Self { port, side, reason: refusal.into() }
    }
}

/// How often one kind of refusal came from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// From where.
    pub network: Network,
    /// What.
    pub refused: Refused,
    /// How often since it stands in the table.
    pub count: u64,
    /// The first time, milliseconds since 1970.
    pub first_ms: i64,
    /// The last time, milliseconds since 1970.
    pub last_ms: i64,
}

/// The refusals of one kind in one minute: a row of the security log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteSum {
    /// What.
    pub refused: Refused,
    /// How many.
    pub count: u64,
    /// From how many addresses; at [`MOST_ADDRESSES`] it was that many or more.
    pub addresses: u32,
    /// One of them, the first.
    pub example: IpAddr,
    /// The first one's time, milliseconds since 1970.
    pub from_ms: i64,
    /// The last one's time, milliseconds since 1970.
    pub to_ms: i64,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Refusals(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    totals: BTreeMap<Refused, u64>,
    sources: Recent<(Network, Refused), Source>,
    sums: BTreeMap<Refused, Sum>,
}

/// A sum that grows until it is taken.
#[derive(Debug)]
struct Sum {
    count: u64,
    networks: HashSet<Network>,
    example: IpAddr,
    from_ms: i64,
    to_ms: i64,
}

impl Default for Refusals {
    fn default() -> Self {
        let (totals, sources, sums) = (BTreeMap::new(), Recent::new(SOURCES), BTreeMap::new());
        Self(Mutex::new(Counted { totals, sources, sums }))
    }
}

impl Refusals {
    /// Counts one, of a peer at `from`, at `now_ms` milliseconds since 1970.
    pub fn note(&self, refused: Refused, from: IpAddr, now_ms: i64) {
        let (from, network) = (from.to_canonical(), Network::of(from));
        let counted = &mut *self.counted();
        *counted.totals.entry(refused).or_default() += 1;

        let new = || Source { network, refused, count: 0, first_ms: now_ms, last_ms: now_ms };
        let source = counted.sources.touch(&(network, refused), new);
        source.count += 1;
        source.last_ms = now_ms;

        let new = || Sum { count: 0, networks: HashSet::new(), example: from, from_ms: now_ms, to_ms: now_ms };
        let sum = counted.sums.entry(refused).or_insert_with(new);
        sum.count += 1;
        sum.to_ms = now_ms;
        if sum.networks.len() < MOST_ADDRESSES {
            sum.networks.insert(network);
        }
    }

    /// How many of each kind since the start.
    pub fn totals(&self) -> BTreeMap<Refused, u64> {
        self.counted().totals.clone()
    }

    /// Who was refused, the newest first, at most [`SOURCES`].
    pub fn sources(&self) -> Vec<Source> {
        self.counted().sources.newest().map(|(_, source)| *source).collect()
    }

    /// Takes the sums of minutes that are over at `now_ms`. A sum that nobody took in time goes on growing, so being late
    /// makes sums of more than a minute and loses nothing. A wall clock that steps ends a minute early.
    pub fn take_minute(&self, now_ms: i64) -> Vec<MinuteSum> {
        let minute = |ms: i64| ms.div_euclid(MS_PER_MINUTE);
        self.take(|sum| minute(sum.from_ms) != minute(now_ms))
    }

    /// Takes all sums: for the end of the program.
    pub fn take_rest(&self) -> Vec<MinuteSum> {
        self.take(|_| true)
    }

    fn take(&self, mut is_over: impl FnMut(&Sum) -> bool) -> Vec<MinuteSum> {
        let over: Vec<(Refused, Sum)> = self.counted().sums.extract_if(.., |_, sum| is_over(sum)).collect();
        let sums = over.into_iter().map(|(refused, sum)| MinuteSum {
            refused,
            count: sum.count,
            addresses: u32::try_from(sum.networks.len()).unwrap_or(u32::MAX),
            example: sum.example,
            from_ms: sum.from_ms,
            to_ms: sum.to_ms,
        });
        sums.collect()
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // Counts only: a panic elsewhere while the lock was held has at most lost one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const NOON: i64 = 720 * MS_PER_MINUTE;

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    fn foreign() -> Refused {
        Refused::by_us(Port::Fleet, Refusal::UnknownRoot)
    }

    #[test]
    fn one_name_is_one_reason() {
        let names: BTreeSet<_> = Reason::all().map(Reason::as_str).collect();
        assert_eq!(names.len(), Reason::all().count());
        assert_eq!(Reason::from(ErrorCode::Busy), Reason::from(Refusal::Busy));
        assert_eq!(Reason::from(ErrorCode::Revoked).as_str(), ErrorCode::Revoked.name());
        assert!(ErrorCode::ALL.iter().all(|code| names.contains(code.name())), "none is lost");
    }

    #[test]
    fn who_refused_whom_is_told_apart() {
        let close = |error| Refused::of_quic(Port::Fleet, &error).side;
        assert_eq!(close(ConnectionError::TimedOut), Side::Peer);
        assert_eq!(close(ConnectionError::VersionMismatch), Side::Us);
        let unknown_root = rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
        let theirs = Refused { port: Port::Https, side: Side::Peer, reason: Refusal::UnknownRoot.into() };
        assert_eq!(Refused::of_tls(Port::Https, Some(&unknown_root)), theirs);
        let ours = Refused::of_tls(Port::Https, Some(&rustls::Error::NoApplicationProtocol));
        assert_eq!(ours, Refused::by_us(Port::Https, Refusal::ApplicationProtocol));
    }

    #[test]
    fn the_newest_sources_are_kept_and_the_totals_forget_nothing() {
        let refusals = Refusals::default();
        for n in 0..5_000 {
            refusals.note(foreign(), address(n), NOON + i64::from(n));
        }
        refusals.note(foreign(), address(4_500), NOON + 9_000);
        let sources = refusals.sources();
        assert_eq!(sources.len(), SOURCES);
        let newest = sources[0];
        assert_eq!((newest.network, newest.count), (Network::of(address(4_500)), 2));
        assert_eq!((newest.first_ms, newest.last_ms), (NOON + 4_500, NOON + 9_000));
        assert!(!sources.iter().any(|source| source.network == Network::of(address(0))));
        assert_eq!(refusals.totals(), BTreeMap::from([(foreign(), 5_001)]));
    }

    #[test]
    fn a_flood_is_one_row_a_minute_for_each_reason() {
        let refusals = Refusals::default();
        let busy = Refused::by_us(Port::Join, ErrorCode::Busy);
        for n in 0..100_000 {
            refusals.note(foreign(), address(n), NOON + i64::from(n) / 2);
        }
        refusals.note(busy, address(7), NOON + 1);
        assert_eq!(refusals.take_minute(NOON + MS_PER_MINUTE - 1), [], "the minute is not over");
        let sums = refusals.take_minute(NOON + MS_PER_MINUTE);
        let most = u32::try_from(MOST_ADDRESSES).expect("a small number");
        let flood = MinuteSum {
            refused: foreign(),
            count: 100_000,
            addresses: most,
            example: address(0),
            from_ms: NOON,
            to_ms: NOON + 49_999,
        };
        let one = MinuteSum {
            refused: busy,
            count: 1,
            addresses: 1,
            example: address(7),
            from_ms: NOON + 1,
            to_ms: NOON + 1,
        };
        assert_eq!(sums, [flood, one]);
        assert_eq!(refusals.take_minute(NOON + 2 * MS_PER_MINUTE), []);
    }

    #[test]
    fn what_nobody_took_in_time_is_in_the_next_sum_and_the_rest_is_taken_at_the_end() {
        let refusals = Refusals::default();
        refusals.note(foreign(), address(1), NOON);
        refusals.note(foreign(), address(2), NOON + 3 * MS_PER_MINUTE);
        let sums = refusals.take_minute(NOON + 3 * MS_PER_MINUTE);
        assert_eq!((sums.len(), sums[0].count, sums[0].to_ms), (1, 2, NOON + 3 * MS_PER_MINUTE));
        refusals.note(foreign(), address(1), NOON);
        assert_eq!(refusals.take_rest().len(), 1);
        refusals.note(foreign(), address(1), NOON);
        assert_eq!(refusals.take_minute(NOON - 3 * MS_PER_MINUTE).len(), 1, "the wall clock was set back");
    }
}
