//! Counts of the HTTPS side, as `/metrics` and `/health/pipeline` show them.

use crate::admission::Network;
use crate::admission::recent::Recent;
use crate::telemetry::Counter;
use dsmil_crypto::https::HttpsNegotiated;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::listen::{MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS};

/// Addresses of classical clients that are remembered, the newest: an operator lists the networks they may come from, so
/// they are few.
pub(super) const CLASSICAL_CLIENTS: usize = 100;

/// Why a connection was dropped before a request was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// There were [`MAX_CONNECTIONS`] already.
    Full,
    /// Its address had [`MAX_CONNECTIONS_PER_ADDRESS`] already.
    AddressFull,
    /// It spoke HTTP without TLS.
    PlainHttp,
    /// It did not finish the handshake in time.
    Silent,
    /// The handshake failed; `dsmil_refusals_total` says why.
    Handshake,
}

impl Dropped {
    /// All of them, for counters that start at 0.
    pub const ALL: [Self; 5] = [Self::Full, Self::AddressFull, Self::PlainHttp, Self::Silent, Self::Handshake];

    /// A stable name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AddressFull => "address_full",
            Self::PlainHttp => "plain_http",
            Self::Silent => "silent",
            Self::Handshake => "handshake",
        }
    }
}

/// Status classes that are counted: 2xx to 5xx.
pub(super) const STATUS_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The counts; clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct ApiStats(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    dropped: [Counter; Dropped::ALL.len()],
    answers: [Counter; STATUS_CLASSES.len()],
    unauthorised: Counter,
    classical_now: AtomicU64,
    sessions: Mutex<Sessions>,
    open: Mutex<Open>,
}

/// TLS sessions there were.
#[derive(Debug)]
struct Sessions {
    /// By group and whether it is classical: `dsmil_crypto::https` names a handful of groups.
    by_group: BTreeMap<(&'static str, bool), u64>,
    classical: Recent<(Network, &'static str), ClassicalClient>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { by_group: BTreeMap::new(), classical: Recent::new(CLASSICAL_CLIENTS) }
    }
}

/// Sessions with a classical key exchange from one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicalClient {
    /// From where.
    pub network: Network,
    /// The group.
    pub group: &'static str,
    /// How many since it stands in the table.
    pub count: u64,
    /// The first one's time, milliseconds since 1970.
    pub first_ms: i64,
    /// The last one's time, milliseconds since 1970.
    pub last_ms: i64,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl ApiStats {
    /// Counts a connection that came to nothing.
    pub(super) fn dropped(&self, why: Dropped) {
        self.0.dropped[why as usize].add(1);
    }

    /// How many came to nothing for this reason.
    pub fn dropped_count(&self, why: Dropped) -> u64 {
        self.0.dropped[why as usize].get()
    }

    /// Counts an answer.
    pub(super) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(2).min(STATUS_CLASSES.len() - 1);
        self.0.answers[class].add(1);
        if status == 401 {
            self.0.unauthorised.add(1);
        }
    }

    /// Answers, by class of status.
    pub(super) fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        STATUS_CLASSES.into_iter().zip(self.0.answers.iter().map(Counter::get))
    }

    /// Requests without a good token.
    pub fn unauthorised(&self) -> u64 {
        self.0.unauthorised.get()
    }

    /// Sessions there were, by the group of their key exchange and whether that is classical.
    pub fn sessions(&self) -> Vec<(HttpsNegotiated, u64)> {
        let counted = self.counted();
        let groups = counted.by_group.iter();
        groups.map(|((group, classical), count)| (HttpsNegotiated { group, classical: *classical }, *count)).collect()
    }

    /// Sessions there were whose key exchange was classical.
    pub fn classical_sessions(&self) -> u64 {
        self.sessions().iter().filter(|(session, _)| session.classical).map(|(_, count)| count).sum()
    }

    /// Who had classical sessions, the newest first.
    pub fn classical_clients(&self) -> Vec<ClassicalClient> {
        self.counted().classical.newest().map(|(_, client)| *client).collect()
    }

    /// Sessions there are now whose key exchange is classical.
    pub fn classical_now(&self) -> u64 {
        self.0.classical_now.load(Ordering::Relaxed)
    }

    /// Connections there are now.
    pub fn connections(&self) -> usize {
        self.open().all
    }

    /// Takes a place for a connection from `address`, or says why there is none.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Place, Dropped> {
        let mut open = self.open();
        if open.all >= MAX_CONNECTIONS {
            return Err(Dropped::Full);
        }
        let here = open.by_address.entry(address).or_default();
        if *here >= MAX_CONNECTIONS_PER_ADDRESS {
            return Err(Dropped::AddressFull);
        }
        *here += 1;
        open.all += 1;
        Ok(Place { stats: self.clone(), address, classical: false })
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among the open ones, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    stats: ApiStats,
    address: IpAddr,
    classical: bool,
}

impl Place {
    /// The handshake is done, at `now_ms` milliseconds since 1970.
    pub(super) fn has_session(&mut self, session: HttpsNegotiated, now_ms: i64) {
        let HttpsNegotiated { group, classical } = session;
        if classical && !self.classical {
            self.classical = true;
            self.stats.0.classical_now.fetch_add(1, Ordering::Relaxed);
        }
        let counted = &mut *self.stats.counted();
        *counted.by_group.entry((group, classical)).or_default() += 1;
        if classical {
            let network = Network::of(self.address);
            let new = || ClassicalClient { network, group, count: 0, first_ms: now_ms, last_ms: now_ms };
            let client = counted.classical.touch(&(network, group), new);
            client.count += 1;
            client.last_ms = now_ms;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.classical {
            self.stats.0.classical_now.fetch_sub(1, Ordering::Relaxed);
        }
        let mut open = self.stats.open();
        open.all -= 1;
        if let Some(here) = open.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place_and_places_come_back() {
        let stats = ApiStats::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held: Vec<Place> =
            (0..MAX_CONNECTIONS_PER_ADDRESS).map(|_| stats.enter(one).expect("a place")).collect();
        assert_eq!(stats.enter(one).expect_err("full"), Dropped::AddressFull);
        held.push(stats.enter(other).expect("a place"));
        held[0].has_session(HttpsNegotiated { group: "old", classical: true }, 0);
        assert_eq!((stats.connections(), stats.classical_now()), (MAX_CONNECTIONS_PER_ADDRESS + 1, 1));
        held.clear();
        assert_eq!((stats.connections(), stats.classical_now(), stats.classical_sessions()), (0, 0, 1));
        assert!(stats.open().by_address.is_empty(), "an address that is gone leaves nothing");
    }

    #[test]
    fn sessions_are_counted_by_group_and_classical_clients_by_address() {
        let stats = ApiStats::default();
        let (old, new) =
            (HttpsNegotiated { group: "old", classical: true }, HttpsNegotiated { group: "new", classical: false });
        for n in 0..=200 {
            let mut place = stats.enter(IpAddr::from([10, 0, 0, n])).expect("a place");
            place.has_session(if n == 7 { new } else { old }, i64::from(n));
        }
        let mut again = stats.enter(IpAddr::from([10, 0, 0, 150])).expect("a place");
        again.has_session(old, 500);
        assert_eq!(stats.sessions(), [(new, 1), (old, 201)]);
        let clients = stats.classical_clients();
        let network = Network::of(IpAddr::from([10, 0, 0, 150]));
        assert_eq!(clients[0], ClassicalClient { network, group: "old", count: 2, first_ms: 150, last_ms: 500 });
        assert_eq!((clients.len(), stats.classical_sessions()), (CLASSICAL_CLIENTS, 201));
    }

    #[test]
    fn all_addresses_together_are_bounded() {
        let stats = ApiStats::default();
        let address = |n: usize| IpAddr::from((n as u128).to_be_bytes());
        let held: Vec<Place> = (0..MAX_CONNECTIONS).map(|n| stats.enter(address(n)).expect("a place")).collect();
        assert_eq!(stats.enter(address(MAX_CONNECTIONS)).expect_err("full"), Dropped::Full);
        drop(held);
    }
}
