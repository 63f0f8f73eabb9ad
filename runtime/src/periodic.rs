//! Periodic work: no input, idempotent, run at an interval or when woken.

use crate::clock::Clock;
use crate::supervise::Stop;
use std::time::Duration;
use tokio::sync::Notify;

/// Runs `work` every `interval`, at once when `wake` is notified, and until `stop`.
///
/// The work takes no argument and reads what it needs, so a lost wake-up costs one interval and never an update.
pub async fn run<W: Future<Output = ()>>(
    clock: &Clock,
    stop: &Stop,
    interval: Duration,
    wake: &Notify,
    mut work: impl FnMut() -> W,
) {
    loop {
        work().await;
        tokio::select! {
            () = clock.sleep(interval) => {}
            () = wake.notified() => {}
            () = stop.requested() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::Supervisor;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn runs_at_once_then_by_interval_wake_and_not_after_stop() {
        let (clock, hand) = Clock::manual();
        let supervisor = Supervisor::new(clock.clone());
        let (stop, wake, runs, ran) = (supervisor.stop(), Notify::new(), AtomicU32::new(0), Notify::new());
        let worker = run(&clock, &stop, Duration::from_secs(10), &wake, || async {
            runs.fetch_add(1, Ordering::Relaxed);
            ran.notify_one();
        });
        let script = async {
            ran.notified().await;
            hand.advance(Duration::from_secs(10));
            ran.notified().await;
            wake.notify_one();
            ran.notified().await;
            supervisor.request_stop();
        };
        tokio::join!(worker, script);
        assert_eq!(runs.load(Ordering::Relaxed), 3);
    }
}
