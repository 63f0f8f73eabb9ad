//! What is remembered of addresses: a table of bounded size.
//!
//! Only addresses that were proven stand in it (a spoofed flood changes nothing here), and only once they were admitted.
//! When it is full the stranger idle for longest is forgotten first, then the known one idle for longest; one with a
//! handshake under way never, so that its count stays right. A forgotten address is a new one: it has its burst again,
//! and is known again after its next session. That is safe, for the limits over all addresses forget nothing.

use super::bucket::Bucket;
use super::network::Network;
use std::collections::{BTreeMap, HashMap};

/// What is remembered of one address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Address {
    /// Handshakes it started that came to nothing, or are still under way.
    pub(super) started: Bucket,
    /// The few handshakes for which it counts as one that asks for little.
    pub(super) modest: Bucket,
    /// Admitted, and not authenticated yet.
    pub(super) half_open: u32,
    /// Somebody there has authenticated.
    pub(super) known: bool,
    /// Where it stands among the idle, if it is.
    idle: Option<Idle>,
}

/// The order of forgetting: strangers first, and those idle for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Idle {
    known: bool,
    since: u64,
}

/// The table.
#[derive(Debug)]
pub(super) struct Addresses {
    entries: HashMap<Network, Address>,
    idle: BTreeMap<Idle, Network>,
    changes: u64,
    capacity: usize,
}

impl Addresses {
    /// An empty one for `capacity` addresses.
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), idle: BTreeMap::new(), changes: 0, capacity }
    }

    /// What is known of an address; of a new one, that it has done nothing yet.
    pub(super) fn get(&self, network: Network) -> Address {
        self.entries.get(&network).copied().unwrap_or_default()
    }

    /// Writes what `change` makes of an address. False, and nothing is written, if it is a new one and every other has
    /// a handshake under way.
    pub(super) fn update(&mut self, network: Network, change: impl FnOnce(&mut Address)) -> bool {
        let is_new = !self.entries.contains_key(&network);
        if is_new && self.entries.len() >= self.capacity {
            let Some((_, oldest)) = self.idle.pop_first() else { return false };
            self.entries.remove(&oldest);
        }
        let address = self.entries.entry(network).or_default();
        change(address);
        if let Some(idle) = address.idle.take() {
            self.idle.remove(&idle);
        }
        if address.half_open == 0 {
            self.changes += 1;
            let idle = Idle { known: address.known, since: self.changes };
            address.idle = Some(idle);
            self.idle.insert(idle, network);
        }
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn network(n: u8) -> Network {
        Network::of(IpAddr::from([10, 0, 0, n]))
    }

    #[test]
    fn strangers_are_forgotten_before_the_known_and_the_busy_never() {
        let mut table = Addresses::new(3);
        assert!(table.update(network(1), |a| a.half_open = 1));
        assert!(table.update(network(2), |a| a.known = true));
        assert!(table.update(network(3), |_| {}));
        assert!(table.update(network(4), |a| a.known = true), "in the place of 3");
        assert!(table.update(network(5), |_| {}), "in the place of 2, the known one idle for longest");
        assert_eq!(table.get(network(1)).half_open, 1);
        assert!(!table.get(network(2)).known);
        assert!(table.get(network(4)).known);
        assert_eq!((table.len(), table.idle.len()), (3, 2));
    }

    #[test]
    fn a_table_full_of_handshakes_takes_no_new_address() {
        let mut table = Addresses::new(2);
        assert!(table.update(network(1), |a| a.half_open = 1));
        assert!(table.update(network(2), |a| a.half_open = 1));
        assert!(!table.update(network(3), |a| a.half_open = 1));
        assert!(table.update(network(2), |a| a.half_open = 0), "one that stands in it can always be changed");
        assert!(table.update(network(3), |a| a.half_open = 1));
        assert_eq!((table.len(), table.idle.len()), (2, 0));
    }
}
