//! What is known of every host right now: its link, its clock, its spool, its latest values. Memory only.
//!
//! Whether a host is down is judged here and nowhere else. A silent host is down, unless the silence is our own: what we did
//! not listen through does not count ([`attention`]), and after we were away, or have just started, hosts have the time to
//! come back in before they are missed.

mod attention;
#[cfg(test)]
mod tests;
mod watching;

pub use watching::Watching;

use attention::{Attention, LOOK_EVERY};
use dsmil_crypto::policy::{Negotiated, Peer};
use dsmil_protocol::clock::BootEpoch;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::{BootId, HostName, Tick};
use dsmil_protocol::message::{Heartbeat, Settings};
use dsmil_protocol::metric::MetricSet;
use dsmil_protocol::tlv::Classification;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::periodic;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What a heartbeat may be late by: a lost datagram is sent again, an agent may be starved for a moment. With two heartbeats
/// of 2 s it makes 4.5 s, so that a host that died is known to be down within 5 s, whenever it is asked for.
const LATE: Duration = Duration::from_millis(500);
/// What a living host takes to come back, beside the window that it was given to come back in: an attempt that fails has
/// ended after 10 s, the next one begins within 15 s, and a handshake on a busy machine takes a while.
const WAY_BACK: Duration = Duration::from_secs(30);
/// After we were away: what was sent to us meanwhile is read within this, and proves nothing.
const CAUGHT_UP: Duration = Duration::from_secs(5);

/// Why a session ended that nobody ended, for people.
pub(crate) const LOST: &str = "the connection was lost";

/// How a host is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// It has not been here since this program started.
    #[default]
    Never,
    /// It has a session.
    Up,
    /// Its connection was lost without a word.
    Lost,
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

/// Whether a host is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It has a session and was heard of in the last seconds.
    Up,
    /// It has not, although it could have.
    #[default]
    Down,
    /// We were away ourselves, or have just started, and it has not had the time to come back: nobody knows.
    Awaited,
}

/// How long a host may be silent, and how long it may take to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A host that was not heard of for this long is down.
    pub silence: Duration,
    /// A host that has not come back within this, after we were away, is down.
    pub comeback: Duration,
}

impl Patience {
    /// For hosts that keep to these settings.
    pub fn with(settings: &Settings) -> Self {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        Self { silence: 2 * ms(settings.heartbeat_ms) + LATE, comeback: ms(settings.reconnect_window_ms) + WAY_BACK }
    }
}

/// What is known of one host.
#[derive(Clone, Debug, Default)]
pub struct HostNow {
    /// Whether it is there, at the moment when this was asked for.
    pub standing: Standing,
    /// Its link.
    pub link: Link,
    /// When the link became what it is, milliseconds since 1970.
    pub since_ms: i64,
    /// When a heartbeat came from it last, milliseconds since 1970; for people.
    pub heard_ms: Option<i64>,
    /// The same, in time listened.
    heard: Option<Duration>,
    /// It was there when we went away, or nobody knows, and has not come back.
    awaited: bool,
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
    /// Where sensors rest between ticks: what they read last of metrics without a value here, by column.
    pub resting: Vec<Resting>,
}

/// A value of an earlier tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resting {
    /// The metric, by its place in the set.
    pub column: usize,
    /// The value.
    pub bits: u64,
    /// The tick.
    pub tick: Tick,
}

impl Latest {
    /// The newest value of a metric: that of the tick, or of an earlier one if its sensor rests.
    pub fn newest(&self, column: usize) -> Option<u64> {
        self.newest_with_tick(column).0
    }

    /// The same with the tick that it is of.
    pub fn newest_with_tick(&self, column: usize) -> (Option<u64>, Tick) {
        let rested = || self.resting.binary_search_by_key(&column, |one| one.column).ok().map(|at| &self.resting[at]);
        match (self.values.get(column).copied().flatten(), rested()) {
            (None, Some(rested)) => (Some(rested.bits), rested.tick),
            (value, _) => (value, self.tick),
        }
    }
}

/// What is known of all hosts; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Live {
    known: Arc<Mutex<Known>>,
    clock: Clock,
    patience: Patience,
    watching: Watching,
}

#[derive(Debug)]
struct Known {
    hosts: BTreeMap<HostName, HostNow>,
    attention: Attention,
    /// When we were back from where we were last, in time listened; 0 is the start.
    back_at: Duration,
}

impl Live {
    /// Nothing is known yet; every one of `hosts` is awaited.
    pub fn new(hosts: impl IntoIterator<Item = HostName>, patience: Patience, clock: Clock) -> Self {
        let awaited = |host| (host, HostNow { awaited: true, ..HostNow::default() });
        let hosts = hosts.into_iter().map(awaited).collect();
        let known = Known { hosts, attention: Attention::new(clock.boot()), back_at: Duration::ZERO };
        let watching = Watching::new(clock.clone());
        Self { known: Arc::new(Mutex::new(known)), clock, patience, watching }
    }

    /// Which hosts somebody watches.
    pub fn watching(&self) -> &Watching {
        &self.watching
    }

    /// There is a newer tick of a host, unless this one is older than what is known; only of the boot that runs.
    pub fn show(&self, host: &HostName, (boot, tick): (BootId, Tick), latest: impl FnOnce(Option<&Latest>) -> Latest) {
        let mut is_newer = false;
        self.update(host, |now| {
            let known = now.latest.as_deref();
            is_newer = now.boot == Some(boot) && known.is_none_or(|known| known.boot != boot || known.tick < tick);
            if is_newer {
                now.latest = Some(Arc::new(latest(known)));
            }
        });
        if is_newer {
            self.watching.ticked(host);
        }
    }

    /// Keeps looking whether we listen, until the program stops. Without that, we do not listen for long.
    pub fn keep_looking(&self, supervisor: &Supervisor) {
        let (live, stop) = (self.clone(), supervisor.stop());
        supervisor.spawn("live", OnFailure::Stop, async move {
            periodic::run(&live.clock, &stop, LOOK_EVERY, &Notify::new(), || async { live.look() }).await;
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Every host that was here or is in the fleet file, by name.
    pub fn names(&self) -> Vec<HostName> {
        self.lock().hosts.keys().cloned().collect()
    }

    /// What is known of one host.
    pub fn get(&self, host: &HostName) -> Option<HostNow> {
        let now = self.clock.boot();
        let known = self.listening(now);
        Some(known.show(known.hosts.get(host)?, now, self.patience))
    }

    /// What is known of all.
    pub fn all(&self) -> Vec<(HostName, HostNow)> {
        let now = self.clock.boot();
        let known = self.listening(now);
        known.hosts.iter().map(|(name, host)| (name.clone(), known.show(host, now, self.patience))).collect()
    }

    /// Changes what is known of a host.
    pub fn update(&self, host: &HostName, change: impl FnOnce(&mut HostNow)) {
        self.listening(self.clock.boot()).change(host, change);
    }

    /// A host has a new session.
    pub fn welcomed(&self, host: &HostName, change: impl FnOnce(&mut HostNow)) {
        self.heard(host, |now| {
            (now.link, now.awaited) = (Link::Up, false);
            change(now);
            now.since_ms = self.clock.wall_ms();
        });
    }

    /// A heartbeat came from a host.
    pub fn heard(&self, host: &HostName, change: impl FnOnce(&mut HostNow)) {
        let (now, wall_ms) = (self.clock.boot(), self.clock.wall_ms());
        let mut known = self.listening(now);
        let listened = known.attention.listened(now);
        let is_caught_up = listened > known.back_at + CAUGHT_UP;
        known.change(host, |host| {
            (host.heard, host.heard_ms) = (Some(listened), Some(wall_ms));
            host.awaited &= !is_caught_up;
            change(host);
        });
    }

    fn look(&self) {
        let now = self.clock.boot();
        self.listening(now).attention.look(now);
    }

    /// What is known, as somebody who was away until now has to see it: whoever comes first after that, to look, to ask or to
    /// tell, does not find it as it was before.
    fn listening(&self, now: Duration) -> std::sync::MutexGuard<'_, Known> {
        let mut known = self.lock();
        if known.attention.was_away(now) {
            known.come_back(now, self.patience);
        }
        known
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn change(&mut self, host: &HostName, change: impl FnOnce(&mut HostNow)) {
        match self.hosts.get_mut(host) {
            Some(now) => change(now),
            None => change(self.hosts.entry(host.clone()).or_default()),
        }
    }

    /// We were away until now: whoever was not down when we left is awaited.
    fn come_back(&mut self, now: Duration, patience: Patience) {
        let (left_at, back_at) = (self.attention.listened, self.back_at);
        for host in self.hosts.values_mut() {
            host.awaited = host.standing(left_at, back_at, patience) != Standing::Down;
        }
        self.attention.look(now);
        self.back_at = self.attention.listened;
    }

    fn show(&self, host: &HostNow, now: Duration, patience: Patience) -> HostNow {
        let standing = host.standing(self.attention.listened(now), self.back_at, patience);
        HostNow { standing, ..host.clone() }
    }
}

impl HostNow {
    /// Whether it is there, in time listened, for somebody who was away until `back_at`.
    fn standing(&self, listened: Duration, back_at: Duration, patience: Patience) -> Standing {
        let is_heard = |heard: Duration| heard >= back_at && listened.saturating_sub(heard) <= patience.silence;
        match self.link {
            Link::Up if self.heard.is_some_and(is_heard) => Standing::Up,
            Link::Up | Link::Lost | Link::Never if self.awaited && listened < back_at + patience.comeback => {
                Standing::Awaited
            }
            _ => Standing::Down,
        }
    }
}
