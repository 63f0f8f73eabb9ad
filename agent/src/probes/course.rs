//! When a probe is asked again after it failed: at growing intervals, so that one that crashes at once is not started over and over.

use std::time::Duration;

/// The first rest after a failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest: a probe that works again is noticed within a minute.
const LONGEST: Duration = Duration::from_secs(60);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask it.
    Ask,
    /// Leave it alone.
    Rest,
}

/// How a probe has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Course {
    failures: u32,
    rest_until: Duration,
}

impl Course {
    pub(super) fn next(&self, now: Duration) -> Next {
        if now < self.rest_until { Next::Rest } else { Next::Ask }
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Without chance in it: there is one asker a host.
    pub(super) fn failed(&mut self, now: Duration) {
        let rest = FIRST.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.rest_until = now + rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_to_a_minute_and_start_over() {
        let mut course = Course::default();
        let mut now = Duration::from_secs(100);
        assert_eq!(course.next(now), Next::Ask);
        let mut rests = Vec::new();
        for _ in 0..40 {
            course.failed(now);
            let begin = now;
            while course.next(now) == Next::Rest {
                now += Duration::from_secs(1);
            }
            rests.push((now - begin).as_secs());
        }
        assert_eq!(rests[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(rests[8..].iter().all(|rest| *rest == 60));
        course.succeeded();
        assert_eq!(course.next(now), Next::Ask);
        course.failed(now);
        assert_eq!(course.next(now + FIRST), Next::Ask);
    }
}
