//! As many handshakes as one thread of an aggregator can make, for several that want one.

use super::ends::{AgentEnd, AggregatorEnd, Ends};
use super::serial::ANY_PORT;
use crate::bench::process::own_cpu_time;
use anyhow::Context;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use quinn::VarInt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Threads with agents, each one handshake after the other.
pub(super) const CLIENTS: usize = 4;
/// Before it counts: code and caches are warm, sessions are there to be resumed.
const WARM_UP: Duration = Duration::from_millis(500);

/// What the aggregator's thread did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    pub(super) handshakes: u64,
    /// Of its CPU.
    pub(super) cpu: Duration,
    pub(super) took: Duration,
}

/// When to count, by the monotonic clock.
#[derive(Clone, Copy)]
struct Window {
    from: Duration,
    until: Duration,
}

/// Lets agents come for `long`.
pub(super) async fn crowd(
    ends: &Ends,
    long: Duration,
    clock: &Clock,
    supervisor: &Supervisor,
) -> anyhow::Result<Served> {
    let from = clock.mono() + WARM_UP;
    let window = Window { from, until: from + long };
    // Told by the server: where it is. Told by everybody: what came of it.
    let (here, mut address) = mpsc::channel(1);
    let (served, mut outcome) = mpsc::channel(1);
    let (done, mut clients) = mpsc::channel::<anyhow::Result<()>>(CLIENTS);
    let busy = done.clone();
    let (end, our_clock, tasks) = (ends.aggregator.clone(), clock.clone(), supervisor.clone());
    thread("bench-crowd", supervisor, move || async move {
        let serving = serve(end, here, &our_clock, &tasks, window).await;
        let _ = served.send(serving).await;
        // Whoever is in the middle of a handshake is served to the end.
        busy.closed().await;
    });
    let Some(at) = address.recv().await else {
        return outcome.recv().await.context("the aggregator's thread is gone")?;
    };
    for _ in 0..CLIENTS {
        let (agent, clock, done) = (ends.agent.clone(), clock.clone(), done.clone());
        thread("bench-agent", supervisor, move || async move {
            let _ = done.send(knock(&agent, at, &clock, window.until).await).await;
        });
    }
    drop(done);
    for _ in 0..CLIENTS {
        clients.recv().await.context("an agent's thread is gone")??;
    }
    outcome.recv().await.context("the aggregator's thread is gone")?
}

/// Runs a future on a thread with a runtime of its own.
fn thread<F: Future<Output = ()>>(
    name: &'static str,
    supervisor: &Supervisor,
    work: impl FnOnce() -> F + Send + 'static,
) {
    supervisor.thread(name, OnFailure::Note, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work());
        std::io::Result::Ok(())
    });
}

async fn serve(
    end: AggregatorEnd,
    here: mpsc::Sender<SocketAddr>,
    clock: &Clock,
    supervisor: &Supervisor,
    window: Window,
) -> anyhow::Result<Served> {
    let listener = endpoint(ANY_PORT, Some(end.config.clone()), &EndpointKeys::random())?;
    here.send(listener.local_addr()?).await?;
    let (end, count) = (Arc::new(end), Arc::new(AtomicU64::new(0)));
    let accepting = {
        let (count, tasks) = (Arc::clone(&count), supervisor.clone());
        async move {
            while let Some(incoming) = listener.accept().await {
                let (end, count) = (Arc::clone(&end), Arc::clone(&count));
                tasks.spawn("bench-accept", OnFailure::Note, async move {
                    let connection = end.accept(incoming).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                    connection.closed().await;
                    anyhow::Ok(())
                });
            }
            Ok::<(), std::convert::Infallible>(())
        }
    };
    supervisor.spawn("bench-accept", OnFailure::Note, accepting);
    let now = || (clock.mono(), own_cpu_time(), count.load(Ordering::Relaxed));
    clock.sleep_until(window.from).await;
    let (began, cpu_before, before) = now();
    clock.sleep_until(window.until).await;
    let (ended, cpu_after, after) = now();
    Ok(Served {
        handshakes: after - before,
        cpu: cpu_after.saturating_sub(cpu_before),
        took: ended.saturating_sub(began),
    })
}

/// One agent, which comes again as soon as it was taken in.
async fn knock(agent: &AgentEnd, at: SocketAddr, clock: &Clock, until: Duration) -> anyhow::Result<()> {
    let (socket, config) = (endpoint(ANY_PORT, None, &EndpointKeys::random())?, agent.config()?);
    while clock.mono() < until {
        let connection = agent.connect(&socket, config.clone(), at).await?;
        connection.close(VarInt::from_u32(0), b"");
    }
    Ok(())
}
