//! The centre's HTTPS side: what is known of the fleet, for people, scripts, Prometheus and Grafana.
//!
//! Reading order: [`ApiContext`] (what it answers from), `listen` (connections and TLS), `routes` (what there is),
//! `access` (who may), `problem` (how it says no), then one file a subject.

mod access;
mod docs;
mod health;
mod hosts;
mod journal;
mod ledgers;
mod linger;
mod listen;
mod metrics;
pub(crate) mod openapi;
pub(crate) mod parameters;
mod pipeline;
pub(crate) mod problem;
mod routes;
mod scrape;
mod security;
mod stats;
#[cfg(test)]
mod tests;
mod watched;

pub use listen::{MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, serve};
pub use problem::ProblemKind;
pub use stats::{ApiStats, ClassicalClient, Dropped};

use crate::admission::{Admission, Occupancy};
use crate::credentials::Credentials;
use crate::fleet::FleetHandle;
use crate::live::{Latest, Live};
use crate::prometheus::LOOK_BACK_MS;
use crate::refusals::Port;
use crate::registry::Registry;
use crate::telemetry::Telemetry;
use dsmil_crypto::token::TokenHash;
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_protocol::tlv::Classification;
use dsmil_runtime::clock::Clock;
use dsmil_store::Store;
use ipnet::IpNet;
use journal::JournalWatch;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Semaphore, watch};

/// What the API answers from. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct ApiContext {
    /// The tenant of this aggregator.
    pub tenant: TenantId,
    /// What was kept.
    pub store: Store,
    /// What is known of every host right now.
    pub live: Live,
    /// Which hosts there are.
    pub fleet: FleetHandle,
    /// The aggregator's own counters.
    pub telemetry: Telemetry,
    /// Which host is enrolled with which key, and the security log.
    pub registry: Registry,
    /// Who this aggregator is and whom it trusts.
    pub credentials: Credentials,
    /// How many may come to the fleet link.
    pub admission: Admission,
    /// How many may come to the join port.
    pub join_admission: Admission,
    /// Who may ask.
    pub tokens: Tokens,
    /// The time.
    pub clock: Clock,
    /// What the holder of a token may see: data of this classification and below.
    pub clearance: Classification,
    /// When this program started, milliseconds since 1970.
    pub started_ms: i64,
    /// Networks, besides loopback, from which a client without a post-quantum key exchange is let in.
    pub classical_from: watch::Receiver<Vec<IpNet>>,
    /// Counts of the API itself; [`ApiStats::default`] at the start.
    pub stats: ApiStats,
}

impl ApiContext {
    /// Every host there is or was: in the fleet file, seen since the start, or in the ledger.
    pub(crate) fn hosts(&self) -> BTreeSet<HostName> {
        let mut hosts: BTreeSet<HostName> = self.fleet.get().hosts().map(|(name, _)| name.clone()).collect();
        hosts.extend(self.live.names());
        let ledgers = self.store.warm().ledgers();
        hosts.extend(ledgers.iter().filter(|(key, _)| key.tenant == self.tenant).map(|(key, _)| key.host.clone()));
        hosts
    }

    /// How admission stands, by port.
    pub(crate) fn occupancies(&self) -> [(Port, Occupancy); 2] {
        [(Port::Fleet, self.admission.occupancy()), (Port::Join, self.join_admission.occupancy())]
    }

    /// A host's newest tick, if a reader may see it.
    pub(crate) fn latest(&self, host: &HostName) -> Option<Arc<Latest>> {
        let latest = self.live.get(host)?.latest?;
        self.clearance.dominates(latest.classification).then_some(latest)
    }

    /// The newest tick, if it is not older than a query would look back.
    pub(crate) fn fresh_latest(&self, host: &HostName) -> Option<Arc<Latest>> {
        let oldest = self.clock.wall_ms().saturating_sub(LOOK_BACK_MS);
        self.latest(host).filter(|latest| latest.time_ms > oldest)
    }
}

/// What every handler sees.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) context: ApiContext,
    /// Queries at work, and their answers on the way.
    pub(crate) queries: Arc<Semaphore>,
    journal: JournalWatch,
}

/// Queries at a time: each may hold an answer of some 60 MB until its client has taken it.
const MAX_QUERIES: usize = 8;

impl App {
    fn new(context: ApiContext) -> Arc<Self> {
        let (queries, journal) = (Arc::new(Semaphore::new(MAX_QUERIES)), JournalWatch::default());
        Arc::new(Self { context, queries, journal })
    }
}

/// The hashes of the tokens that are good; clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<RwLock<Arc<[TokenHash]>>>);

impl Tokens {
    /// Starts with `hashes`.
    pub fn new(hashes: Vec<TokenHash>) -> Self {
        Self(Arc::new(RwLock::new(hashes.into())))
    }

    /// Replaces them: a token that is not among them is no good from now on.
    pub fn set(&self, hashes: Vec<TokenHash>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = hashes.into();
    }

    /// Whether `presented` is one of the tokens. Every hash is compared, each in constant time.
    pub fn matches(&self, presented: &str) -> bool {
        let hashes = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        hashes.iter().fold(false, |found, hash| found | hash.matches(presented))
    }
}
