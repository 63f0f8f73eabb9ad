//! Which names have metrics where names come and go: processes, control groups.
//!
//! A metric set that changes is sent and stored anew, all of it: some 100 kB for one name. So there is a fixed number of
//! places. A name takes a free one at once, and keeps it when it is gone, without values. Once all are taken, those that are
//! not wanted any more are given to others at most once an hour. A host on which something new runs each second so changes
//! its set as often as one on which nothing changes, but for a few times.

use crate::since_boot::Every;
use std::time::Duration;

/// How often names give way to others.
const GIVING_WAY: Duration = Duration::from_hours(1);

/// Names and what is known of each.
#[derive(Debug)]
pub struct Members<T> {
    places: Vec<(String, T)>,
    limit: usize,
    giving_way: Every,
}

impl<T: Default> Members<T> {
    /// None yet, and at most `limit`.
    pub fn new(limit: usize) -> Self {
        Self { places: Vec::new(), limit, giving_way: Every::default() }
    }

    /// Takes on those of `wanted` that there is a place for, the first ones first; `now` is the time since boot.
    pub fn admit(&mut self, now: Option<Duration>, wanted: &[&str]) {
        let mut first_of_each: Vec<&str> = Vec::with_capacity(self.limit);
        for name in wanted {
            if first_of_each.len() < self.limit && !first_of_each.contains(name) {
                first_of_each.push(name);
            }
        }
        let wanted = first_of_each;
        let new: Vec<&str> = wanted.iter().copied().filter(|name| !self.has(name)).collect();
        let mut new = new.into_iter();
        let free = self.limit - self.places.len();
        self.places.extend(new.by_ref().take(free).map(|name| (name.to_owned(), T::default())));
        let Some(first) = new.next() else { return };
        if !self.giving_way.is_due(now, GIVING_WAY) {
            return;
        }
        let unwanted = self.places.iter_mut().filter(|(name, _)| !wanted.contains(&name.as_str()));
        for (place, name) in unwanted.zip(std::iter::once(first).chain(new)) {
            *place = (name.to_owned(), T::default());
        }
    }

    /// All of them, each in its place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut T)> {
        self.places.iter_mut().map(|(name, value)| (name.as_str(), value))
    }

    fn has(&self, name: &str) -> bool {
        self.places.iter().any(|(known, _)| known == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(members: &mut Members<u8>) -> Vec<String> {
        members.iter_mut().map(|(name, _)| name.to_owned()).collect()
    }

    fn minutes(minutes: u64) -> Option<Duration> {
        Some(Duration::from_secs(minutes * 60))
    }

    #[test]
    fn free_places_are_taken_at_once_and_others_once_an_hour() {
        let mut members = Members::new(3);
        members.admit(minutes(0), &["a", "b"]);
        members.iter_mut().for_each(|(_, value)| *value = 7);
        members.admit(minutes(1), &["c"]);
        assert_eq!(names(&mut members), ["a", "b", "c"], "who is gone keeps its place");
        members.admit(minutes(2), &["b", "d"]);
        assert_eq!(names(&mut members), ["d", "b", "c"]);
        members.admit(minutes(3), &["e"]);
        members.admit(minutes(61), &["f"]);
        assert_eq!(names(&mut members), ["d", "b", "c"], "not within the hour");
        members.admit(minutes(62), &["e", "b", "f", "g"]);
        assert_eq!(names(&mut members), ["e", "b", "f"], "the first of those that are wanted");
        let values: Vec<u8> = members.iter_mut().map(|(_, value)| *value).collect();
        assert_eq!(values, [0, 7, 0], "a place that changes hands begins anew");
    }

    proptest! {
        #[test]
        fn nobody_is_there_twice_and_nobody_is_too_many(steps in proptest::collection::vec(proptest::collection::vec("[a-h]", 0..9), 0..40)) {
            let mut members: Members<u8> = Members::new(4);
            for (step, wanted) in (0u64..).zip(&steps) {
                let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
                members.admit(minutes(step * 20), &wanted);
                let mut names = names(&mut members);
                prop_assert!(names.len() <= 4);
                names.sort();
                names.dedup();
                prop_assert_eq!(names.len(), members.places.len());
            }
        }
    }
}
