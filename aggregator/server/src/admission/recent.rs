//! A map of bounded size that forgets what was not touched for longest. Every operation takes logarithmic time, so that
//! a flood cannot make its own record-keeping the attack.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// By when they were touched.
    order: BTreeMap<u64, K>,
    touches: u64,
    capacity: usize,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// An empty one for `capacity` entries, at least one.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), touches: 0, capacity: capacity.max(1) }
    }

    /// The entry of `key`, made with `new` if there is none; now it is the newest.
    pub(crate) fn touch(&mut self, key: &K, new: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(key)
            && self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.touches += 1;
        let (touched, value) = self.entries.entry(key.clone()).or_insert_with(|| (0, new()));
        self.order.remove(touched);
        *touched = self.touches;
        self.order.insert(self.touches, key.clone());
        value
    }

    /// All entries, the newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.values().rev().filter_map(|key| self.entries.get(key).map(|(_, value)| (key, value)))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_touched_for_longest_is_forgotten() {
        let mut recent = Recent::new(3);
        for key in [1, 2, 3] {
            *recent.touch(&key, || 0) += key;
        }
        *recent.touch(&1, || 0) += 1;
        recent.touch(&4, || 4);
        assert_eq!(recent.newest().map(|(k, v)| (*k, *v)).collect::<Vec<_>>(), [(4, 4), (1, 2), (3, 3)]);
        for key in 0..1000 {
            recent.touch(&key, || 0);
        }
        assert_eq!((recent.len(), recent.order.len()), (3, 3));
    }
}
