//! The first packets of handshakes, made before an attack, so that the attack costs the machine little beside what it
//! costs the aggregator.

use crate::silent_socket::Recorder;
use anyhow::ensure;
use dsmil_crypto::policy::Link;
use dsmil_runtime::clock::Clock;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// A hello with an ML-KEM-1024 share takes two datagrams.
const DATAGRAMS: usize = 2;
/// Handshakes begun at once while they are recorded.
const STEP: usize = 100;
/// Where the connection id stands in a packet with a long header: after the first byte, the version and its own length
/// (RFC 9000, section 17.2).
const ID_AT: usize = 6;
/// Looks for a step's packets; a millisecond each.
const LOOKS: usize = 2_000;

/// So often a second something is sent.
const STEPS_PER_SECOND: u32 = 100;

/// What begins one handshake.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientHello(pub(crate) Vec<Vec<u8>>);

/// Makes them, each as an agent would, each another one.
pub(crate) async fn make(link: &Link, count: usize, clock: &Clock) -> anyhow::Result<Vec<ClientHello>> {
    let recorder = Arc::new(Recorder::default());
    let client = recorder.client()?;
    let (config, name) = (link.client()?, link.trust.trust_domain().aggregator_dns_name());
    let mut hellos = Vec::with_capacity(count);
    while hellos.len() < count {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let begun: Result<Vec<_>, _> = (0..STEP).map(|_| client.connect_with(config.clone(), nowhere, &name)).collect();
        let begun = begun?;
        let mut recorded: HashMap<Vec<u8>, ClientHello> = HashMap::new();
        for _ in 0..LOOKS {
            for datagram in recorder.take() {
                let id = datagram[ID_AT..ID_AT + usize::from(datagram[ID_AT - 1])].to_vec();
                let hello = recorded.entry(id).or_default();
                if hello.0.len() < DATAGRAMS {
                    hello.0.push(datagram);
                }
            }
            if recorded.values().filter(|hello| hello.0.len() == DATAGRAMS).count() == begun.len() {
                break;
            }
            clock.sleep(Duration::from_millis(1)).await;
        }
        hellos.extend(recorded.into_values().filter(|hello| hello.0.len() == DATAGRAMS));
        drop(begun);
        // What says goodbye for them goes nowhere as well.
        clock.sleep(Duration::from_millis(5)).await;
        recorder.take();
    }
    ensure!(hellos.len() >= count, "{} hellos were made", hellos.len());
    hellos.truncate(count);
    Ok(hellos)
}

/// Sends datagrams from many addresses in turn, so many a second, and reads no answer.
pub(crate) struct Spray {
    sockets: Vec<UdpSocket>,
    to: SocketAddr,
    clock: Clock,
}

impl Spray {
    pub(crate) fn from(addresses: impl Iterator<Item = IpAddr>, to: SocketAddr, clock: &Clock) -> anyhow::Result<Self> {
        let mut sockets = Vec::new();
        for address in addresses {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_nonblocking(true)?;
            sockets.push(socket);
        }
        Ok(Self { sockets, to, clock: clock.clone() })
    }

    /// Sends them all: each item is what one address sends at once.
    pub(crate) async fn send(&self, items: impl Iterator<Item = Vec<Vec<u8>>>, per_second: u32) {
        let start = self.clock.mono();
        // A timer has milliseconds only.
        let step = per_second / STEPS_PER_SECOND;
        for (number, (item, socket)) in (0_u32..).zip(items.zip(self.sockets.iter().cycle())) {
            if number % step == 0 {
                self.clock.sleep_until(start + Duration::from_secs(1) * (number / step) / STEPS_PER_SECOND).await;
            }
            for datagram in &item {
                // One that finds no room in the kernel is lost, as it might be anywhere.
                let _ = socket.send_to(datagram, self.to);
            }
        }
    }
}

/// So many addresses of this machine that nobody else uses.
pub(crate) fn loopback(count: u16) -> impl Iterator<Item = IpAddr> {
    (0..count).map(|n| {
        let [high, low] = n.to_be_bytes();
        IpAddr::from([127, 77, high, low])
    })
}
