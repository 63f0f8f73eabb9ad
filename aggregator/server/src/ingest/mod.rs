//! What agents send: from a QUIC connection to a batch that is stored and acknowledged.
//!
//! `accept` takes connections in, `peer` runs one session, `judge` says whether it may, `batches` has what it brings decoded
//! by the threads of `decoders`, `appender` stores it in the order it came, `sets` keeps the metric sets at hand.

mod accept;
mod appender;
mod batches;
mod decoders;
mod hello;
mod judge;
mod peer;
mod resting;
mod sets;
mod settings;
mod streams;
mod watched;

use crate::admission::Admission;
use crate::credentials::Credentials;
use crate::fleet::FleetHandle;
use crate::live::Live;
use crate::registry::Registry;
use crate::telemetry::Telemetry;
use dsmil_crypto::policy::{PolicyError, SessionCache};
use dsmil_crypto::transport::EndpointKeys;
use dsmil_protocol::ids::{HostName, TenantId};
use dsmil_protocol::message::Settings;
use dsmil_protocol::session::{Now, Speaker};
use dsmil_protocol::tlv::{Classification, Compartments};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use dsmil_store::Store;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// TLS sessions that can be resumed, at the least: each host has one, and an old one while it gets the next. They are some
/// 20 KiB each.
const MIN_RESUMABLE: usize = 256;

/// Everything ingest works with; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Ingest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tenant: TenantId,
    credentials: Credentials,
    registry: Registry,
    admission: Admission,
    keys: Arc<EndpointKeys>,
    resumable: SessionCache,
    settings: Settings,
    fleet: FleetHandle,
    store: Store,
    live: Live,
    telemetry: Telemetry,
    clock: Clock,
    supervisor: Supervisor,
    sets: sets::Sets,
    decoders: decoders::Decoders,
    sessions: Sessions,
}

/// What [`Ingest::new`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The tenant of this aggregator.
    pub tenant: TenantId,
    /// Who we are and whom we trust.
    pub credentials: Credentials,
    /// Which host may speak with which key.
    pub registry: Registry,
    /// How many may come.
    pub admission: Admission,
    /// What our endpoint keeps over restarts.
    pub keys: Arc<EndpointKeys>,
    /// What is asked of agents.
    pub settings: Settings,
    /// Who may say what.
    pub fleet: FleetHandle,
    /// Where batches go.
    pub store: Store,
    /// What is known of hosts now.
    pub live: Live,
    /// Our own counters.
    pub telemetry: Telemetry,
    /// The time.
    pub clock: Clock,
    /// Who runs the tasks.
    pub supervisor: Supervisor,
}

impl Ingest {
    /// Ingest, not listening yet.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            tenant,
            credentials,
            registry,
            admission,
            keys,
            settings,
            fleet,
            store,
            live,
            telemetry,
            clock,
            supervisor,
        } = parts;
        let sets = sets::Sets::new(tenant.clone(), store.clone());
        let hosts = fleet.get().hosts().count();
        let decoders = decoders::Decoders::start(&supervisor);
        Self(Arc::new(Inner {
            tenant,
            credentials,
            registry,
            admission,
            keys,
            resumable: SessionCache::new(hosts.saturating_mul(2).max(MIN_RESUMABLE)),
            settings,
            fleet,
            store,
            live,
            telemetry,
            clock,
            supervisor,
            sets,
            decoders,
            sessions: Sessions::default(),
        }))
    }

    /// The endpoint's configuration for who we are now.
    pub fn server(&self) -> Result<quinn::ServerConfig, PolicyError> {
        self.0.credentials.link().server(&self.0.keys, &self.0.resumable)
    }

    /// Takes connections from `endpoint` until the program stops.
    pub fn listen(&self, endpoint: quinn::Endpoint) {
        self.0.supervisor.spawn("ingest-accept", OnFailure::Stop, accept::run(self.clone(), endpoint));
    }

    fn now(&self) -> Now {
        let clock = &self.0.clock;
        let boot_ns = u64::try_from(clock.boot().as_nanos()).unwrap_or(u64::MAX);
        Now { mono: clock.mono(), boot_ns, wall_ns: clock.wall_ns() }
    }

    /// As whom the aggregator speaks: its control messages hold nothing secret.
    fn speaker(&self) -> Speaker {
        Speaker {
            tenant: self.0.tenant.clone(),
            compartments: Compartments::SOC,
            classification: Classification::UNCLASS,
        }
    }
}

/// The one session of each host: a newer one takes the place of the one before.
#[derive(Debug, Default)]
struct Sessions(Mutex<HashMap<HostName, (u64, watch::Sender<bool>)>>);

impl Sessions {
    /// Makes `number` the session of `host` and tells the one before that it was replaced.
    fn enter(&self, host: &HostName, number: u64) -> watch::Receiver<bool> {
        let (replaced, receiver) = watch::channel(false);
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, before)) = sessions.insert(host.clone(), (number, replaced)) {
            before.send_replace(true);
        }
        receiver
    }

    /// Ends session `number`; false if another one has taken its place.
    fn leave(&self, host: &HostName, number: u64) -> bool {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = sessions.get(host).is_some_and(|(current, _)| *current == number);
        if is_current {
            sessions.remove(host);
        }
        is_current
    }
}
