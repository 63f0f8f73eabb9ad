//! The two ends of each kind of link, tuned alike.

use super::classical::{self, Classical};
use anyhow::{Context, anyhow};
use dsmil_crypto::policy::{Link, SessionCache};
use dsmil_crypto::transport::EndpointKeys;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, Incoming, ServerConfig};
use std::net::SocketAddr;
use std::sync::Arc;

/// Makes an agent's configuration, which remembers nothing yet.
type MakeClient = Arc<dyn Fn() -> anyhow::Result<ClientConfig> + Send + Sync>;

/// Both ends of one kind.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) aggregator: AggregatorEnd,
    pub(super) agent: AgentEnd,
}

/// What listens.
#[derive(Clone)]
pub(super) struct AggregatorEnd {
    pub(super) config: ServerConfig,
    judge: Option<Link>,
}

/// What connects.
#[derive(Clone)]
pub(super) struct AgentEnd {
    make: MakeClient,
    name: String,
    judge: Option<Link>,
}

impl Ends {
    /// The fleet link: its handshake alone.
    pub(super) fn fleet(aggregator: &Link, agent: &Link, sessions: &SessionCache) -> anyhow::Result<Self> {
        let config = aggregator.server(&EndpointKeys::random(), sessions)?;
        let ours = agent.clone();
        let make = move || Ok(ours.client()?);
        let name = agent.trust.trust_domain().aggregator_dns_name();
        Ok(Self {
            aggregator: AggregatorEnd { config, judge: None },
            agent: AgentEnd { make: Arc::new(make), name, judge: None },
        })
    }

    /// The classical link, tuned `like` the fleet's.
    pub(super) fn classical(of: &Classical, like: &ServerConfig, resumable: bool) -> anyhow::Result<Self> {
        let mut config = like.clone();
        config.crypto = Arc::new(QuicServerConfig::try_from(of.server(resumable)?)?);
        let (of, transport) = (of.clone(), like.transport.clone());
        let make = move || {
            let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(of.client()?)?));
            config.transport_config(transport.clone());
            Ok(config)
        };
        Ok(Self {
            aggregator: AggregatorEnd { config, judge: None },
            agent: AgentEnd { make: Arc::new(make), name: classical::NAME.into(), judge: None },
        })
    }

    /// The agent remembers what it was given: from the second handshake on sessions are resumed.
    pub(super) fn remembering(mut self) -> anyhow::Result<Self> {
        let kept = (self.agent.make)()?;
        self.agent.make = Arc::new(move || Ok(kept.clone()));
        Ok(self)
    }

    /// After each handshake both ends judge the other's certificate anew, as a program does at every connection: a resumed
    /// session has skipped that.
    pub(super) fn judging(mut self, aggregator: &Link, agent: &Link) -> Self {
        (self.aggregator.judge, self.agent.judge) = (Some(aggregator.clone()), Some(agent.clone()));
        self
    }
}

impl AggregatorEnd {
    /// Takes a connection in and tells the agent so.
    pub(super) async fn accept(&self, incoming: Incoming) -> anyhow::Result<Connection> {
        let connection = incoming.accept()?.await.context("the aggregator's end of a handshake failed")?;
        judge(self.judge.as_ref(), &connection)?;
        let mut stream = connection.open_uni().await?;
        stream.write_all(b"!").await?;
        stream.finish()?;
        Ok(connection)
    }
}

impl AgentEnd {
    /// A configuration for the next handshake.
    pub(super) fn config(&self) -> anyhow::Result<ClientConfig> {
        (self.make)()
    }

    /// Connects, and returns when the aggregator's end has said that it took us in.
    pub(super) async fn connect(
        &self,
        socket: &Endpoint,
        config: ClientConfig,
        to: SocketAddr,
    ) -> anyhow::Result<Connection> {
        let connection = socket.connect_with(config, to, &self.name)?.await;
        let connection = connection.context("the agent's end of a handshake failed")?;
        judge(self.judge.as_ref(), &connection)?;
        connection.accept_uni().await?.read_to_end(1).await?;
        Ok(connection)
    }
}

fn judge(link: Option<&Link>, peer: &Connection) -> anyhow::Result<()> {
    let Some(link) = link else { return Ok(()) };
    link.authenticate(peer).map(drop).map_err(|refusal| anyhow!("the peer was refused: {refusal:?}"))
}
