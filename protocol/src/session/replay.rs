//! The window against replay: which sequence numbers of a session have been seen.

/// Numbers looked back on. Lanes overtake each other, by far less than this.
const WINDOW: u64 = 10_000;
const WORDS: usize = 157;
const _: () = assert!(WORDS as u64 == WINDOW.div_ceil(64));

/// Accepts each number once, and none that is [`WINDOW`] or more behind the highest.
#[derive(Debug)]
pub(super) struct ReplayWindow {
    highest: u64,
    /// Bit `n % WINDOW` for the numbers `highest - WINDOW < n <= highest`.
    seen: Box<[u64; WORDS]>,
}

impl ReplayWindow {
    pub(super) fn new() -> Self {
        Self { highest: 0, seen: Box::new([0; WORDS]) }
    }

    /// Whether `number` is new. Numbers start at 1.
    pub(super) fn is_fresh(&self, number: u64) -> bool {
        number > self.highest || (number != 0 && self.highest - number < WINDOW && !self.bit(number))
    }

    /// Marks a fresh number as seen. Called after every other check has passed, so that a refused frame moves nothing.
    pub(super) fn mark(&mut self, number: u64) {
        if number > self.highest {
            // Numbers skipped over have not been seen; slots of numbers that left the window are theirs now.
            let from = (self.highest + 1).max(number.saturating_sub(WINDOW - 1));
            for skipped in from..number {
                self.set(skipped, false);
            }
            self.highest = number;
        }
        self.set(number, true);
    }

    fn bit(&self, number: u64) -> bool {
        let slot = number % WINDOW;
        self.seen[(slot / 64) as usize] >> (slot % 64) & 1 == 1
    }

    fn set(&mut self, number: u64, seen: bool) {
        let slot = number % WINDOW;
        let word = &mut self.seen[(slot / 64) as usize];
        *word = *word & !(1 << (slot % 64)) | u64::from(seen) << (slot % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn edges() {
        let mut window = ReplayWindow::new();
        assert!(!window.is_fresh(0), "numbers start at 1");
        window.mark(1);
        window.mark(WINDOW);
        assert!(!window.is_fresh(1));
        assert!(window.is_fresh(2));
        window.mark(WINDOW + 1);
        assert!(!window.is_fresh(1), "out of the window");
        window.mark(u64::MAX);
        assert!(!window.is_fresh(u64::MAX));
        assert!(window.is_fresh(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec(prop_oneof![1u64..50, 9_900u64..10_200, 1u64..40_000], 1..200)) {
            let (mut window, mut model) = (ReplayWindow::new(), BTreeSet::new());
            for number in steps {
                let highest = model.last().copied().unwrap_or(0);
                let fresh = !model.contains(&number) && (number > highest || highest - number < WINDOW);
                prop_assert_eq!(window.is_fresh(number), fresh);
                if fresh {
                    window.mark(number);
                    model.insert(number);
                }
            }
        }
    }
}
