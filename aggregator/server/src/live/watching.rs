//! Which hosts somebody watches: these are asked for each tick as it is sampled.
//!
//! Whoever watches asks again and again, each time for the next tick. A host is watched for a while after each question, so
//! nothing has to be ended: a client that goes away is forgotten.

use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a host is watched after somebody asked: a client on a bad link takes some seconds to ask again.
const AFTER_A_QUESTION: Duration = Duration::from_secs(15);

/// The hosts; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Watching {
    /// No more than there are hosts: only those of the fleet are asked about.
    hosts: Arc<Mutex<BTreeMap<HostName, Watched>>>,
    /// Woken when a host is watched that was not.
    began: Arc<watch::Sender<()>>,
    clock: Clock,
}

#[derive(Debug)]
struct Watched {
    until: Duration,
    /// Woken at each new tick.
    ticks: watch::Sender<()>,
}

impl Watching {
    /// Nobody watches.
    pub fn new(clock: Clock) -> Self {
        Self { hosts: Arc::default(), began: Arc::new(watch::Sender::new(())), clock }
    }

    /// Somebody watches a host from now on. What is given back is woken at each new tick of it.
    pub fn watch(&self, host: &HostName) -> watch::Receiver<()> {
        let now = self.clock.mono();
        let until = now + AFTER_A_QUESTION;
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|name, watched| watched.until > now || name == host);
        let watched =
            hosts.entry(host.clone()).or_insert_with(|| Watched { until: now, ticks: watch::Sender::new(()) });
        let begins = watched.until <= now;
        watched.until = until;
        let ticks = watched.ticks.subscribe();
        drop(hosts);
        if begins {
            self.began.send_replace(());
        }
        ticks
    }

    /// Whether somebody watches a host.
    pub fn is_watched(&self, host: &HostName) -> bool {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(host).is_some_and(|watched| watched.until > self.clock.mono())
    }

    /// Woken when some host is watched that was not.
    pub fn begins(&self) -> watch::Receiver<()> {
        self.began.subscribe()
    }

    /// There is a newer tick of a host.
    pub(super) fn ticked(&self, host: &HostName) {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = hosts.get(host) {
            watched.ticks.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_watched_for_a_while_after_each_question() {
        let (clock, time) = Clock::manual();
        let watching = Watching::new(clock);
        let host = HostName::new("h1").expect("a name");
        let mut begins = watching.begins();
        assert!(!watching.is_watched(&host));
        let mut ticks = watching.watch(&host);
        assert!(begins.has_changed().expect("it lives"));
        begins.mark_unchanged();
        watching.ticked(&host);
        assert!(ticks.has_changed().expect("it lives"));
        ticks.mark_unchanged();
        time.advance(AFTER_A_QUESTION - Duration::from_secs(1));
        watching.watch(&host);
        assert!(!begins.has_changed().expect("it lives"), "it goes on");
        time.advance(AFTER_A_QUESTION);
        assert!(!watching.is_watched(&host));
        watching.watch(&host);
        assert!(begins.has_changed().expect("it lives"), "it begins anew");
        watching.ticked(&host);
        assert!(ticks.has_changed().expect("it lives"), "whoever waits meanwhile is woken too");
    }

    #[test]
    fn whoever_went_away_is_forgotten() {
        let (clock, time) = Clock::manual();
        let watching = Watching::new(clock);
        for number in 0..100 {
            watching.watch(&HostName::new(format!("h{number}")).expect("a name"));
            time.advance(Duration::from_secs(1));
        }
        let kept = watching.hosts.lock().expect("one thread").len();
        assert!(kept <= 16, "{kept}");
    }
}
