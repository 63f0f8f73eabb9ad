//! Wall time as certificates need it: whole seconds, injected, and never before a known floor.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;

/// Where certificate checks take the time from: Unix seconds from the caller's clock. Cheap to clone.
#[derive(Clone)]
pub struct TimeSource(Arc<dyn Fn() -> i64 + Send + Sync>);

impl TimeSource {
    /// A source that asks `now` for Unix seconds at each check.
    pub fn new(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The same source, but never earlier than `floor` (Unix seconds).
    ///
    /// A host may boot in 1970 (a dead battery) and must still reach its aggregator. A certificate in our own hands proves
    /// that its `not_before` has passed, so that is a sound floor. A late clock is not helped by this.
    #[must_use]
    pub fn floored(self, floor: i64) -> Self {
        Self::new(move || self.unix_seconds().max(floor))
    }

    /// Seconds since 1970; negative if the clock is before that.
    pub fn unix_seconds(&self) -> i64 {
        (self.0)()
    }

    /// As a duration since 1970; a clock before 1970 counts as 1970.
    fn since_epoch(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.unix_seconds()).unwrap_or(0))
    }
}

impl fmt::Debug for TimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeSource({} s)", self.unix_seconds())
    }
}

impl rustls::time_provider::TimeProvider for TimeSource {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.since_epoch()))
    }
}

impl quinn::TimeSource for TimeSource {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.since_epoch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_lifts_an_early_clock_and_leaves_a_late_one() {
        let at = |now: i64| TimeSource::new(move || now).floored(1_000).unix_seconds();
        assert_eq!(at(-5), 1_000);
        assert_eq!(at(999), 1_000);
        assert_eq!(at(2_000), 2_000);
    }

    #[test]
    fn a_clock_before_1970_counts_as_1970() {
        use rustls::time_provider::TimeProvider;
        let early = TimeSource::new(|| -1);
        assert_eq!(early.current_time().map(|t| t.as_secs()), Some(0));
    }
}
