//! The three clocks a daemon reads, behind one handle that tests can move.
//!
//! - `mono`: for deadlines and waiting. Stands still during suspend.
//! - `boot`: `CLOCK_BOOTTIME`, seconds since the host booted, suspend included: numbers the ticks.
//! - `wall`: `CLOCK_REALTIME`, for people and for other hosts; may be wrong and may step, so nothing is decided by it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// A source of time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Real { wall_shift_ns: Arc<AtomicI64> },
    Manual(Arc<Manual>),
}

/// Steps the wall time of a [`Clock::shifted`] clock.
#[derive(Clone, Debug)]
pub struct WallShift(Arc<AtomicI64>);

impl WallShift {
    /// The wall clock reads `ns` more than the real one from now on.
    pub fn set(&self, ns: i64) {
        self.0.store(ns, Ordering::Relaxed);
    }
}

/// Moves a [`Clock::manual`] clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Manual>);

#[derive(Debug)]
struct Manual {
    /// Time since the clock's origin; also the time since boot.
    elapsed: watch::Sender<Duration>,
    /// Wall time at origin.
    wall_base_ns: Mutex<i64>,
}

impl ManualClock {
    /// Lets time pass and wakes every sleeper whose time has come.
    pub fn advance(&self, by: Duration) {
        self.0.elapsed.send_modify(|now| *now += by);
    }

    /// Steps the wall clock to `ns` since 1970; the other clocks do not move.
    pub fn set_wall_ns(&self, ns: i64) {
        let elapsed = nanos(*self.0.elapsed.borrow());
        *self.0.wall_base_ns.lock().unwrap_or_else(PoisonError::into_inner) = ns.saturating_sub(elapsed);
    }
}

impl Clock {
    /// The kernel's clocks.
    pub fn real() -> Self {
        Self::shifted().0
    }

    /// The kernel's clocks, with a wall clock that can be stepped: what a host with a wrong clock sees.
    pub fn shifted() -> (Self, WallShift) {
        let shift = Arc::new(AtomicI64::new(0));
        (Self(Source::Real { wall_shift_ns: Arc::clone(&shift) }), WallShift(shift))
    }

    /// A clock that stands still until it is advanced. It starts at zero, its wall time in 1970.
    pub fn manual() -> (Self, ManualClock) {
        let manual = Arc::new(Manual { elapsed: watch::Sender::new(Duration::ZERO), wall_base_ns: Mutex::new(0) });
        (Self(Source::Manual(Arc::clone(&manual))), ManualClock(manual))
    }

    /// Monotonic time since the clock's origin (for the kernel's: an arbitrary one, usually boot).
    pub fn mono(&self) -> Duration {
        match &self.0 {
            Source::Real { .. } => kernel(rustix::time::ClockId::Monotonic),
            Source::Manual(manual) => *manual.elapsed.borrow(),
        }
    }

    /// Time since the host booted, suspend included.
    pub fn boot(&self) -> Duration {
        match &self.0 {
            Source::Real { .. } => kernel(rustix::time::ClockId::Boottime),
            Source::Manual(manual) => *manual.elapsed.borrow(),
        }
    }

    /// What the calling thread has worked so far, for differences; time in which it waited does not count. A clock that
    /// tests move knows of no work.
    pub fn thread_cpu(&self) -> Duration {
        match &self.0 {
            Source::Real { .. } => kernel(rustix::time::ClockId::ThreadCPUTime),
            Source::Manual(_) => Duration::ZERO,
        }
    }

    /// Wall time, nanoseconds since 1970.
    pub fn wall_ns(&self) -> i64 {
        match &self.0 {
            Source::Real { wall_shift_ns } => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
                let real = now.tv_sec.saturating_mul(NANOS_PER_SECOND).saturating_add(now.tv_nsec);
                real.saturating_add(wall_shift_ns.load(Ordering::Relaxed))
            }
            Source::Manual(manual) => {
                let base = *manual.wall_base_ns.lock().unwrap_or_else(PoisonError::into_inner);
                base.saturating_add(nanos(*manual.elapsed.borrow()))
            }
        }
    }

    /// Wall time, milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.wall_ns().div_euclid(NANOS_PER_MILLI)
    }

    /// Waits for `d`, counted from this call (not from the first poll).
    pub fn sleep(&self, d: Duration) -> impl Future<Output = ()> + Send + '_ {
        let deadline = self.mono().saturating_add(d);
        async move { self.sleep_until(deadline).await }
    }

    /// Waits until [`Clock::mono`] reads at least `deadline`.
    pub async fn sleep_until(&self, deadline: Duration) {
        match &self.0 {
            Source::Real { .. } => tokio::time::sleep(deadline.saturating_sub(self.mono())).await,
            Source::Manual(manual) => {
                let mut elapsed = manual.elapsed.subscribe();
                // The sender lives in `manual`, which we hold: waiting cannot fail.
                let _ = elapsed.wait_for(|now| *now >= deadline).await;
            }
        }
    }
}

fn kernel(id: rustix::time::ClockId) -> Duration {
    let now = rustix::time::clock_gettime(id);
    // None of these clocks is ever negative.
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn nanos(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_step_moves_nothing_else() {
        let (clock, shift) = Clock::shifted();
        let (wall, boot) = (clock.wall_ns(), clock.boot());
        shift.set(3600 * NANOS_PER_SECOND);
        assert!(clock.wall_ns() - wall >= 3600 * NANOS_PER_SECOND);
        assert!(clock.boot() - boot < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn sleepers_wake_when_time_is_moved_and_not_before() {
        let (clock, hand) = Clock::manual();
        hand.set_wall_ns(5 * NANOS_PER_MILLI);
        let mut nap = Box::pin(clock.sleep(Duration::from_secs(2)));
        hand.advance(Duration::from_secs(1));
        assert!(futures_poll(&mut nap).await.is_none());
        hand.advance(Duration::from_secs(1));
        nap.await;
        assert_eq!(clock.wall_ms(), 2005);
    }

    /// One poll of a future: its output if it was ready.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
                std::task::Poll::Ready(out) => Some(out),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
