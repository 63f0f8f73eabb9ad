//! The one place that starts tasks and threads: each declares what its failure means, and all end together.

use crate::clock::Clock;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What the failure of a task means. A panic is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The program cannot do its work without it: everything stops, the exit code tells.
    Stop,
    /// One piece of work is lost (a connection, a request); the log says so and the rest goes on.
    Note,
}

/// Starts tasks and threads, tells them to stop, and waits for them. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Supervisor {
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: watch::Sender<bool>,
    running: watch::Sender<usize>,
    /// The first failure that stopped the program.
    failure: Mutex<Option<String>>,
}

/// Says when to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Returns when the program is to stop.
    pub async fn requested(&self) {
        // An error means that the supervisor is gone, and then stopping is right as well.
        let _ = self.0.clone().wait_for(|stop| *stop).await;
    }

    /// Whether the program is to stop.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task ended.
    Clean,
    /// A task failed whose failure stops the program.
    Failed(String),
    /// So many tasks were still running when the time was up.
    Stuck(usize),
}

impl Drained {
    /// Says how the program ended, and with which code it is to exit: a failure that stopped it is one, tasks that would
    /// not end are none, since a daemon keeps what matters on disk and not in a task.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Clean => ExitCode::SUCCESS,
            Self::Failed(reason) => {
                tracing::error!(reason, "stopped by a failure");
                ExitCode::FAILURE
            }
            Self::Stuck(tasks) => {
                tracing::warn!(tasks, "some tasks did not end in time and were left behind");
                ExitCode::SUCCESS
            }
        }
    }
}

impl Supervisor {
    /// A supervisor without tasks.
    pub fn new(clock: Clock) -> Self {
        let shared =
            Shared { stop: watch::Sender::new(false), running: watch::Sender::new(0), failure: Mutex::new(None) };
        Self { clock, shared: Arc::new(shared) }
    }

    /// Runs an async task. It must end by itself soon after [`Stop::requested`].
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn<F, E>(&self, name: &'static str, on_failure: OnFailure, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let running = Running::enter(self, name, on_failure);
        tokio::spawn(async move {
            match task.await {
                Ok(()) => running.ended(),
                Err(reason) => running.failed(&reason.to_string()),
            }
        });
    }

    /// Runs blocking work on a thread of its own, with `stack` bytes of stack. It must end by itself soon after a stop.
    ///
    /// Panics if the kernel refuses a thread, which at start-up means that the host is out of processes.
    pub fn thread_with_stack<E: Display>(
        &self,
        name: &'static str,
        stack: usize,
        on_failure: OnFailure,
        work: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) {
        self.try_thread_with_stack(name, stack, on_failure, work).expect("the kernel starts a thread");
    }

    /// The same for a thread that is of use and not needed: the error is the kernel's, and nothing has failed by it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn try_thread_with_stack<E: Display>(
        &self,
        name: &'static str,
        stack: usize,
        on_failure: OnFailure,
        work: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> std::io::Result<()> {
        let running = Running::enter(self, name, on_failure);
        // Handed over once there is a thread: lost with one that there is not, it would be a failure.
        let (hand, given) = sync_channel::<Running>(1);
        let body = move || {
            let Ok(running) = given.recv() else { return };
            match std::panic::catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => running.ended(),
                Ok(Err(reason)) => running.failed(&reason.to_string()),
                Err(_) => drop(running),
            }
        };
        match std::thread::Builder::new().name(name.to_string()).stack_size(stack).spawn(body) {
            Ok(_) => {
                // The thread waits for it: this cannot fail.
                let _ = hand.send(running);
                Ok(())
            }
            Err(error) => {
                running.ended();
                Err(error)
            }
        }
    }

    /// Runs blocking work on a thread of its own.
    pub fn thread<E: Display>(
        &self,
        name: &'static str,
        on_failure: OnFailure,
        work: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) {
        self.thread_with_stack(name, DEFAULT_STACK, on_failure, work);
    }

    /// A handle that tells a task when to stop.
    pub fn stop(&self) -> Stop {
        Stop(self.shared.stop.subscribe())
    }

    /// Asks every task to stop.
    pub fn request_stop(&self) {
        self.shared.stop.send_replace(true);
    }

    /// Waits until the program is asked to stop: by SIGINT, SIGTERM, a failed task or [`Supervisor::request_stop`].
    pub async fn until_stop(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stop = self.stop();
        tokio::select! {
            _ = int.recv() => tracing::info!("SIGINT: stopping"),
            _ = term.recv() => tracing::info!("SIGTERM: stopping"),
            () = stop.requested() => {}
        }
        Ok(())
    }

    /// Asks every task to stop and waits for them, `within` at most.
    pub async fn drain(&self, within: Duration) -> Drained {
        self.request_stop();
        let mut running = self.shared.running.subscribe();
        let all_ended = tokio::select! {
            ended = running.wait_for(|n| *n == 0) => ended.is_ok(),
            () = self.clock.sleep(within) => false,
        };
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (failure, all_ended) {
            (Some(reason), _) => Drained::Failed(reason),
            (None, true) => Drained::Clean,
            (None, false) => Drained::Stuck(*self.shared.running.borrow()),
        }
    }
}

/// Tokio's own default; SQLite and zstd are content with it.
const DEFAULT_STACK: usize = 2 << 20;

/// One running task. Dropped without a word, it panicked or was cancelled by the end of its runtime.
struct Running {
    shared: Arc<Shared>,
    name: &'static str,
    on_failure: OnFailure,
    reported: bool,
}

impl Running {
    fn enter(supervisor: &Supervisor, name: &'static str, on_failure: OnFailure) -> Self {
        supervisor.shared.running.send_modify(|n| *n += 1);
        Self { shared: Arc::clone(&supervisor.shared), name, on_failure, reported: false }
    }

    fn ended(mut self) {
        self.reported = true;
    }

    fn failed(mut self, reason: &str) {
        self.report(reason);
    }

    fn report(&mut self, reason: &str) {
        self.reported = true;
        let name = self.name;
        match self.on_failure {
            OnFailure::Note => tracing::warn!(task = name, reason, "a task failed; the rest goes on"),
            OnFailure::Stop => {
                tracing::error!(task = name, reason, "a task failed that the program cannot do without: stopping");
                let mut first = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| format!("{name}: {reason}"));
                drop(first);
                self.shared.stop.send_replace(true);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reported {
            self.report("it panicked or was cancelled");
        }
        self.shared.running.send_modify(|n| *n -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_the_kernel_refuses_is_an_error_and_no_failure() {
        let supervisor = Supervisor::new(Clock::real());
        // No machine has room for such a stack.
        let refused =
            supervisor.try_thread_with_stack("vast", usize::MAX / 4, OnFailure::Stop, || Ok::<(), String>(()));
        assert!(refused.is_err());
        assert_eq!(supervisor.drain(Duration::from_secs(10)).await, Drained::Clean);
    }

    #[tokio::test]
    async fn a_failure_that_matters_stops_the_rest() {
        let supervisor = Supervisor::new(Clock::real());
        let stop = supervisor.stop();
        supervisor.spawn("waiter", OnFailure::Stop, async move {
            stop.requested().await;
            Ok::<(), String>(())
        });
        supervisor.spawn("broken", OnFailure::Stop, async { Err::<(), _>("out of luck") });
        supervisor.stop().requested().await;
        let end = supervisor.drain(Duration::from_secs(10)).await;
        assert_eq!(end, Drained::Failed("broken: out of luck".into()));
    }

    #[tokio::test]
    async fn a_panic_in_a_task_or_thread_is_a_failure() {
        for in_thread in [false, true] {
            let supervisor = Supervisor::new(Clock::real());
            if in_thread {
                supervisor.thread("panics", OnFailure::Stop, || -> Result<(), String> { panic!("on purpose") });
            } else {
                supervisor.spawn("panics", OnFailure::Stop, async {
                    assert!(std::hint::black_box(false), "on purpose");
                    Ok::<(), String>(())
                });
            }
            supervisor.stop().requested().await;
            assert!(matches!(supervisor.drain(Duration::from_secs(10)).await, Drained::Failed(_)), "{in_thread}");
        }
    }

    #[tokio::test]
    async fn a_noted_failure_stops_nothing() {
        let supervisor = Supervisor::new(Clock::real());
        supervisor.spawn("connection", OnFailure::Note, async { Err::<(), _>("reset") });
        let mut running = supervisor.shared.running.subscribe();
        running.wait_for(|n| *n == 0).await.expect("the sender lives");
        assert!(!supervisor.stop().is_requested());
        assert_eq!(supervisor.drain(Duration::from_secs(10)).await, Drained::Clean);
    }

    #[tokio::test]
    async fn what_does_not_end_is_counted() {
        let (clock, hand) = Clock::manual();
        let supervisor = Supervisor::new(clock);
        supervisor.spawn("deaf", OnFailure::Note, std::future::pending::<Result<(), String>>());
        let drain = supervisor.drain(Duration::from_secs(5));
        let (end, ()) = tokio::join!(drain, async { hand.advance(Duration::from_secs(6)) });
        assert_eq!(end, Drained::Stuck(1));
    }
}
