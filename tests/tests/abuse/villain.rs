//! A peer with a sound identity that does not mean well: a connection, and what it writes on it by hand.

use crate::rig::speaker;
use anyhow::{Context, ensure};
use dsmil_crypto::policy::Link;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_protocol::ids::{BootId, HostName};
use dsmil_protocol::message::{Hello, HostTimes, PROTOCOL_VERSION};
use dsmil_protocol::reader::FrameReader;
use dsmil_protocol::session::Now;
use dsmil_protocol::session::agent::{AgentSession, Vitals};
use dsmil_runtime::clock::Clock;
use std::net::{IpAddr, SocketAddr};

/// The boot that it claims.
const BOOT: BootId = BootId([0xBA; 16]);

/// Bytes taken at once.
const CHUNK: usize = 1 << 20;

/// It.
#[derive(Debug)]
pub(crate) struct Villain {
    pub(crate) connection: quinn::Connection,
    pub(crate) control: quinn::SendStream,
    answers: Option<quinn::RecvStream>,
    pub(crate) session: AgentSession,
    clock: Clock,
    _endpoint: quinn::Endpoint,
}

/// An endpoint at an address of its own.
pub(crate) fn endpoint_at(address: IpAddr) -> std::io::Result<quinn::Endpoint> {
    endpoint((address, 0).into(), None, &EndpointKeys::random())
}

impl Villain {
    /// Connects and says HELLO. With a `transport` of its own it does with QUIC what an agent would not do.
    pub(crate) async fn connect(
        link: &Link,
        host: &HostName,
        (from, to): (IpAddr, SocketAddr),
        transport: Option<quinn::TransportConfig>,
        clock: &Clock,
    ) -> anyhow::Result<Self> {
        let (endpoint, mut config) = (endpoint_at(from)?, link.client()?);
        if let Some(transport) = transport {
            config.transport_config(transport.into());
        }
        let name = link.trust.trust_domain().aggregator_dns_name();
        let connection = endpoint.connect_with(config, to, &name)?.await?;
        let (control, answers) = connection.open_bi().await?;
        let now = now(clock);
        let hello = Hello {
            versions: vec![PROTOCOL_VERSION],
            host: host.clone(),
            boot: BOOT,
            devices: Vec::new(),
            agent_version: "abuse".into(),
            // It never sampled anything, so nobody waits for ticks of it.
            accounts: Vec::new(),
            bundle_version: link.trust.version(),
            times: HostTimes { boot_ns: now.boot_ns, wall_ns: now.wall_ns },
        };
        let session = AgentSession::start(speaker()?, &hello, now);
        let mut villain =
            Self { connection, control, answers: Some(answers), session, clock: clock.clone(), _endpoint: endpoint };
        villain.write().await?;
        Ok(villain)
    }

    /// Writes what its session has to say.
    pub(crate) async fn write(&mut self) -> anyhow::Result<()> {
        while let Some(out) = self.session.poll_output() {
            self.control.write_all(&out.bytes).await?;
        }
        Ok(())
    }

    /// Waits for WELCOME.
    pub(crate) async fn welcomed(&mut self) -> anyhow::Result<()> {
        let mut reader = FrameReader::new();
        while !self.session.is_open() {
            ensure!(!self.session.is_closed(), "it was turned away");
            let answers = self.answers.as_mut().context("somebody else listens")?;
            let chunk = answers.read_chunk(CHUNK, true).await?.context("the aggregator closed the stream")?;
            reader.extend(&chunk.bytes);
            while let Some(frame) = reader.next_frame().map_err(|fault| anyhow::anyhow!("{}", fault.code))? {
                self.session.receive(&frame, now(&self.clock));
            }
        }
        Ok(())
    }

    /// What it is told from now on, for somebody else to listen to.
    pub(crate) fn take_answers(&mut self) -> anyhow::Result<quinn::RecvStream> {
        self.answers.take().context("somebody else listens")
    }

    /// Takes what it is told and thinks nothing of it; returns when there is no more to come.
    pub(crate) async fn deaf(answers: &mut quinn::RecvStream) {
        while let Ok(Some(_)) = answers.read_chunk(CHUNK, true).await {}
    }

    /// One heartbeat more.
    pub(crate) async fn heartbeat(&mut self) -> anyhow::Result<()> {
        self.session.heartbeat(Vitals::default(), now(&self.clock));
        self.write().await
    }

    /// A metric set, whatever the aggregator knows.
    pub(crate) async fn metric_set(&mut self, encoded: Vec<u8>) -> anyhow::Result<()> {
        self.session.send_metric_set(encoded, now(&self.clock));
        self.write().await
    }
}

pub(crate) fn now(clock: &Clock) -> Now {
    let boot_ns = u64::try_from(clock.boot().as_nanos()).unwrap_or(u64::MAX);
    Now { mono: clock.mono(), boot_ns, wall_ns: clock.wall_ns() }
}
