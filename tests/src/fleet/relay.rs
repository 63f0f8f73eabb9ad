//! The host's link as a piece of cable: every datagram goes through here, or does not.
//!
//! Other than a port that is closed, a cut says nothing to anybody. It counts what it carries: a handshake that is resumed is
//! told from a full one by its bytes.

use anyhow::Context;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::net::UdpSocket;

/// A relay of one agent. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Relay {
    /// What the agent takes for the aggregator.
    pub address: SocketAddr,
    there: Arc<AtomicBool>,
    back: Arc<AtomicBool>,
    carried_back: Arc<AtomicU64>,
}

impl Relay {
    /// A relay to the aggregator's port, open both ways.
    pub async fn start(quic: u16, supervisor: &Supervisor) -> anyhow::Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for the relay")?;
        let rear = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for the relay")?;
        rear.connect((Ipv4Addr::LOCALHOST, quic)).await?;
        let open = || Arc::new(AtomicBool::new(true));
        let relay = Self { address: front.local_addr()?, there: open(), back: open(), carried_back: Arc::default() };
        let (stop, flow) = (supervisor.stop(), relay.clone());
        supervisor.spawn("relay", OnFailure::Note, async move {
            tokio::select! {
                ended = flow.run(&front, &rear) => ended,
                () = stop.requested() => Ok(()),
            }
        });
        Ok(relay)
    }

    /// From now on nothing reaches the agent; the centre hears it still.
    pub fn cut_back(&self) {
        self.back.store(false, Ordering::Relaxed);
    }

    /// From now on nothing goes through.
    pub fn cut(&self) {
        self.cut_back();
        self.there.store(false, Ordering::Relaxed);
    }

    /// Everything goes through again.
    pub fn mend(&self) {
        self.there.store(true, Ordering::Relaxed);
        self.back.store(true, Ordering::Relaxed);
    }

    /// Bytes that the agent was sent.
    pub fn carried_back(&self) -> u64 {
        self.carried_back.load(Ordering::Relaxed)
    }

    async fn run(&self, front: &UdpSocket, rear: &UdpSocket) -> std::io::Result<()> {
        let (mut from_agent, mut from_centre) = (vec![0; 65_536], vec![0; 65_536]);
        let mut agent = None;
        loop {
            // An error of either socket is the other end's port that is closed: on a cable it would be silence.
            tokio::select! {
                received = front.recv_from(&mut from_agent) => if let Ok((len, address)) = received {
                    agent = Some(address);
                    if self.there.load(Ordering::Relaxed) {
                        let _ = rear.send(&from_agent[..len]).await;
                    }
                },
                received = rear.recv(&mut from_centre) => if let (Ok(len), Some(agent)) = (received, agent)
                    && self.back.load(Ordering::Relaxed)
                {
                    self.carried_back.fetch_add(len as u64, Ordering::Relaxed);
                    let _ = front.send_to(&from_centre[..len], agent).await;
                },
            }
        }
    }
}
