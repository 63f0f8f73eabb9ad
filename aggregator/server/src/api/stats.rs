//! Counts of the HTTPS side, as `/metrics` and `/health/pipeline` show them.

use crate::telemetry::Counter;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::listen::{MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS};

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
    /// The handshake failed; `dsmil_handshake_refusals_total` says why.
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
    classical_sessions: Counter,
    classical_now: AtomicU64,
    open: Mutex<Open>,
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

    /// Sessions there were whose key exchange was classical.
    pub fn classical_sessions(&self) -> u64 {
        self.0.classical_sessions.get()
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
    /// The session's key exchange is classical.
    pub(super) fn is_classical(&mut self) {
        self.classical = true;
        self.stats.0.classical_sessions.add(1);
        self.stats.0.classical_now.fetch_add(1, Ordering::Relaxed);
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
        held[0].is_classical();
        assert_eq!((stats.connections(), stats.classical_now()), (MAX_CONNECTIONS_PER_ADDRESS + 1, 1));
        held.clear();
        assert_eq!((stats.connections(), stats.classical_now(), stats.classical_sessions()), (0, 0, 1));
        assert!(stats.open().by_address.is_empty(), "an address that is gone leaves nothing");
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
