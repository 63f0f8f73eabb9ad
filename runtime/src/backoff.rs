//! How long to wait before trying again: full jitter, so that a thousand hosts do not come back at one moment.

use rand::RngExt;
use std::time::Duration;

/// Waits that double up to a cap, each drawn evenly between zero and the current bound
/// ("full jitter", AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Bounds from `first`, doubling with each failure, to `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failures: 0 }
    }

    /// The wait after one more failure.
    pub fn next_wait(&mut self) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(rand::rng().random::<f64>())
    }

    /// It worked: the next failure starts from `first` again.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    fn bound(&self) -> Duration {
        self.first.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.cap)
    }
}

/// A moment drawn evenly from `0..window`: where in its reconnect window a host comes back.
pub fn uniform(window: Duration) -> Duration {
    window.mul_f64(rand::rng().random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_to_the_cap_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for bound_ms in [100u64, 200, 400, 800, 1000, 1000] {
            assert_eq!(backoff.bound(), Duration::from_millis(bound_ms));
            assert!(backoff.next_wait() <= Duration::from_millis(bound_ms));
        }
        for _ in 0..100 {
            assert!(backoff.next_wait() <= Duration::from_secs(1), "forty doublings do not overflow");
        }
        backoff.succeeded();
        assert_eq!(backoff.bound(), Duration::from_millis(100));
    }
}
