//! Whether the warm journal commits: watched, because the store counts and does not say when.

use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use dsmil_store::Store;
use dsmil_store::warm::{WELL_AFTER, WarmStats};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was seen of the journal; clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub(super) struct JournalWatch(Arc<Mutex<Seen>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    commits: u64,
    failures: u64,
    /// On the monotonic clock, to within [`INTERVAL`].
    last_commit: Option<Duration>,
    /// The same, of the last commit that failed, until the journal is well again.
    failed: Option<Duration>,
}

impl JournalWatch {
    /// Watches until the program stops.
    pub(super) fn start(&self, store: Store, clock: Clock, supervisor: &Supervisor) {
        let (watch, stop) = (self.clone(), supervisor.stop());
        supervisor.spawn("journal-watch", OnFailure::Note, async move {
            while !stop.is_requested() {
                watch.look(&store.warm().stats(), clock.mono());
                tokio::select! {
                    () = clock.sleep(INTERVAL) => {}
                    () = stop.requested() => {}
                }
            }
            Ok::<(), std::convert::Infallible>(())
        });
    }

    pub(super) fn look(&self, stats: &WarmStats, now: Duration) {
        let mut seen = self.seen();
        let (committed, failed) = (stats.commits > seen.commits, stats.failures > seen.failures);
        if failed {
            seen.failed = Some(now);
        }
        if committed {
            seen.last_commit = Some(now);
            seen.failed.take_if(|last| now.saturating_sub(*last) >= WELL_AFTER);
        }
        (seen.commits, seen.failures) = (stats.commits, stats.failures);
    }

    /// Commits fail, or did in the last [`WELL_AFTER`], or none has succeeded since.
    pub(super) fn is_failing(&self) -> bool {
        self.seen().failed.is_some()
    }

    /// How long ago the last commit was, if there was one.
    pub(super) fn commit_age(&self, now: Duration) -> Option<Duration> {
        Some(now.saturating_sub(self.seen().last_commit?))
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_fails_from_its_first_failure_until_it_commits_and_has_not_failed_for_a_while() {
        let watch = JournalWatch::default();
        let look = |commits, failures, at| {
            watch.look(&WarmStats { commits, failures, ..WarmStats::default() }, Duration::from_secs(at));
            watch.is_failing()
        };
        assert!(!look(0, 0, 0));
        assert_eq!(watch.commit_age(Duration::from_secs(1)), None);
        assert!(!look(3, 0, 10));
        assert!(look(3, 1, 11));
        assert!(look(3, 1, 12), "nothing has changed");
        assert!(look(3, 2, 13));
        assert_eq!(watch.commit_age(Duration::from_secs(13)), Some(Duration::from_secs(3)));
        assert!(look(4, 3, 14), "a small one found room between two that did not");
        assert_eq!(watch.commit_age(Duration::from_secs(14)), Some(Duration::ZERO));
        assert!(look(9, 3, 53));
        assert!(look(9, 3, 60), "long ago, and nothing has shown since that it works");
        assert!(!look(10, 3, 61));
        assert!(look(10, 4, 62));
    }
}
