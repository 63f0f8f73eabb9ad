//! One handshake after the other between two threads, one for each end, so that the kernel says what each of them spent.

use super::ends::{AgentEnd, AggregatorEnd, Ends};
use crate::bench::process::own_cpu_time;
use anyhow::{Context, ensure};
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use quinn::{Endpoint, VarInt};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::mpsc;

/// A port of this machine that is free.
pub(super) const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// One handshake.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// From the agent's first packet until it knows that it was taken in.
    pub(super) took: Duration,
    /// CPU time of the agent's end.
    pub(super) agent: Duration,
    /// CPU time of the aggregator's end.
    pub(super) aggregator: Duration,
    /// Bytes in UDP datagrams that the agent sent until then.
    pub(super) sent: u64,
    /// The same, received.
    pub(super) received: u64,
}

/// What the aggregator's thread says.
enum Word {
    Listening(Vec<SocketAddr>),
    Ready,
    Done(Duration),
}

/// The aggregator's ends, on a thread of their own, and an agent's socket on this one.
pub(super) struct Bench {
    agents: Vec<AgentEnd>,
    at: Vec<SocketAddr>,
    orders: mpsc::Sender<usize>,
    words: mpsc::Receiver<anyhow::Result<Word>>,
    socket: Endpoint,
    clock: Clock,
}

impl Bench {
    /// Listens with every one of `ends`.
    pub(super) async fn new(ends: Vec<Ends>, clock: &Clock, supervisor: &Supervisor) -> anyhow::Result<Self> {
        let (orders, ordered) = mpsc::channel(1);
        let (said, mut words) = mpsc::channel(1);
        let (aggregators, agents) = ends.into_iter().map(|ends| (ends.aggregator, ends.agent)).unzip();
        supervisor.thread("bench-server", OnFailure::Note, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                if let Err(error) = serve(aggregators, ordered, &said).await {
                    // Nobody listens only if nobody measures any more.
                    let _ = said.send(Err(error)).await;
                }
            });
            std::io::Result::Ok(())
        });
        let Word::Listening(at) = word(&mut words).await? else { anyhow::bail!("the other end is out of turn") };
        let socket = endpoint(ANY_PORT, None, &EndpointKeys::random())?;
        Ok(Self { agents, at, orders, words, socket, clock: clock.clone() })
    }

    /// One handshake of the kind at `index`.
    pub(super) async fn shake(&mut self, index: usize) -> anyhow::Result<Sample> {
        let agent = &self.agents[index];
        // Not measured: an agent makes it when its identity or its trust changes, not for a connection.
        let config = agent.config()?;
        self.orders.send(index).await.context("the other end is gone")?;
        ensure!(matches!(word(&mut self.words).await?, Word::Ready), "the other end is out of turn");
        let (began, cpu_before) = (self.clock.mono(), own_cpu_time());
        let connection = agent.connect(&self.socket, config, self.at[index]).await?;
        let took = self.clock.mono().saturating_sub(began);
        let stats = connection.stats();
        connection.close(VarInt::from_u32(0), b"");
        let agent = own_cpu_time().saturating_sub(cpu_before);
        let Word::Done(aggregator) = word(&mut self.words).await? else {
            anyhow::bail!("the other end is out of turn")
        };
        Ok(Sample { took, agent, aggregator, sent: stats.udp_tx.bytes, received: stats.udp_rx.bytes })
    }
}

async fn word(words: &mut mpsc::Receiver<anyhow::Result<Word>>) -> anyhow::Result<Word> {
    words.recv().await.context("the other end is gone")?
}

/// Takes one connection for each order.
async fn serve(
    ends: Vec<AggregatorEnd>,
    mut orders: mpsc::Receiver<usize>,
    say: &mpsc::Sender<anyhow::Result<Word>>,
) -> anyhow::Result<()> {
    let listen = |end: &AggregatorEnd| endpoint(ANY_PORT, Some(end.config.clone()), &EndpointKeys::random());
    let listeners = ends.iter().map(listen).collect::<Result<Vec<_>, _>>()?;
    let at = listeners.iter().map(Endpoint::local_addr).collect::<Result<_, _>>()?;
    say.send(Ok(Word::Listening(at))).await?;
    while let Some(index) = orders.recv().await {
        say.send(Ok(Word::Ready)).await?;
        let cpu_before = own_cpu_time();
        let incoming = listeners[index].accept().await.context("the listener was closed")?;
        let connection = ends[index].accept(incoming).await?;
        connection.closed().await;
        say.send(Ok(Word::Done(own_cpu_time().saturating_sub(cpu_before)))).await?;
    }
    Ok(())
}
