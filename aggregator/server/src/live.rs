//! What is known of every host right now: its link, its clock, its spool, its latest values. Memory only.

use dsmil_crypto::policy::{Negotiated, Peer};
use dsmil_protocol::clock::BootEpoch;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, HostName, Tick};
use dsmil_protocol::message::Heartbeat;
use dsmil_protocol::metric::MetricSet;
use dsmil_protocol::tlv::Classification;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A host that has not been heard of for this long is down: two heartbeats and a half.
pub const DOWN_AFTER_MS: i64 = 5_000;

/// How a host is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// It has not been here since this program started.
    #[default]
    Never,
    /// It has a session.
    Up,
    /// Its session ended.
    Closed {
        /// Why, for people.
        why: String,
    },
    /// It was turned away.
    Refused {
        /// With this code.
        code: ErrorCode,
    },
}

/// What is known of one host.
#[derive(Clone, Debug, Default)]
pub struct HostNow {
    /// Its link.
    pub link: Link,
    /// When the link became what it is, milliseconds since 1970.
    pub since_ms: i64,
    /// When anything came from it last, milliseconds since 1970.
    pub heard_ms: Option<i64>,
    /// Where from.
    pub remote: Option<SocketAddr>,
    /// What the handshake agreed on.
    pub negotiated: Option<Negotiated>,
    /// Who it is: the name, key and life of its leaf.
    pub peer: Option<Peer>,
    /// Its running boot.
    pub boot: Option<BootId>,
    /// The agent's version.
    pub agent_version: Option<String>,
    /// Its last heartbeat.
    pub heartbeat: Option<Heartbeat>,
    /// When it booted, on our clock.
    pub epoch: Option<BootEpoch>,
    /// How far its wall clock is ahead of ours, nanoseconds.
    pub wall_ahead_ns: Option<i64>,
    /// Its latest values.
    pub latest: Option<Arc<Latest>>,
}

impl HostNow {
    /// Whether it has a session and was heard of within [`DOWN_AFTER_MS`].
    pub fn is_up(&self, now_ms: i64) -> bool {
        self.link == Link::Up && self.heard_ms.is_some_and(|heard| now_ms.saturating_sub(heard) <= DOWN_AFTER_MS)
    }
}

/// The newest tick of a host.
#[derive(Debug)]
pub struct Latest {
    /// What the values are.
    pub set: Arc<MetricSet>,
    /// The boot.
    pub boot: BootId,
    /// What the values are classified as: readers below it do not see them.
    pub classification: Classification,
    /// The tick.
    pub tick: Tick,
    /// When it was, corrected, milliseconds since 1970.
    pub time_ms: i64,
    /// A value a metric; `None` is unavailable.
    pub values: Vec<Option<u64>>,
}

/// What is known of all hosts; clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct Live {
    hosts: Arc<Mutex<BTreeMap<HostName, HostNow>>>,
}

impl Live {
    /// Every host that was here or is in the fleet file, by name.
    pub fn names(&self) -> Vec<HostName> {
        self.lock().keys().cloned().collect()
    }

    /// What is known of one host.
    pub fn get(&self, host: &HostName) -> Option<HostNow> {
        self.lock().get(host).cloned()
    }

    /// What is known of all.
    pub fn all(&self) -> Vec<(HostName, HostNow)> {
        self.lock().iter().map(|(name, now)| (name.clone(), now.clone())).collect()
    }

    /// Changes what is known of a host.
    pub fn update(&self, host: &HostName, change: impl FnOnce(&mut HostNow)) {
        let mut hosts = self.lock();
        match hosts.get_mut(host) {
            Some(now) => change(now),
            None => change(hosts.entry(host.clone()).or_default()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<HostName, HostNow>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
