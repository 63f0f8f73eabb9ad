//! Removes batches past their retention from the journal: each hour, and at once when the retention changes.

use dsmil_runtime::clock::Clock;
use dsmil_runtime::periodic;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use dsmil_store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How often batches past their retention are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
const MS_PER_DAY: i64 = 86_400_000;

/// How many days the journal keeps. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Retention(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    days: AtomicU32,
    changed: Notify,
}

impl Retention {
    /// Removes what is older than `days`, until the program stops.
    pub fn start(days: u32, store: &Store, clock: &Clock, supervisor: &Supervisor) -> Self {
        let retention = Self(Arc::new(Shared { days: days.into(), changed: Notify::new() }));
        let (shared, store, clock, stop) = (retention.0.clone(), store.clone(), clock.clone(), supervisor.stop());
        supervisor.spawn("prune", OnFailure::Note, async move {
            periodic::run(&clock, &stop, PRUNE_EVERY, &shared.changed, || async {
                let keep_ms = i64::from(shared.days.load(Ordering::Relaxed)) * MS_PER_DAY;
                match store.warm().prune(clock.wall_ms().saturating_sub(keep_ms)).await {
                    Ok(pruned) => tracing::debug!(?pruned, "pruned"),
                    Err(error) => tracing::warn!(%error, "pruning failed; it is tried again in an hour"),
                }
            })
            .await;
            Ok::<(), std::convert::Infallible>(())
        });
        retention
    }

    /// Keeps so many days from now on: whoever makes it shorter wants the room.
    pub fn set(&self, days: u32) {
        if self.0.days.swap(days, Ordering::Relaxed) != days {
            self.0.changed.notify_one();
        }
    }
}
