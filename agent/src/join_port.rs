//! The other end of an aggregator's join port: one connection, one question at a time, everything in bounded time.
//!
//! Used by `dsmil-agent join` and by the keeper that renews. Each connection has a socket of its own, gone with it: it is
//! needed for a second a day.

use crate::dial::{self, ResolveError};
use dsmil_crypto::policy;
use dsmil_crypto::refusal::{Refusal, refusal_reason};
use dsmil_crypto::transport::IDLE_TIMEOUT;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::join::{EXPORTER_LABEL, EXPORTER_LEN, JoinAnswer, JoinRequest, MAX_ANSWER_LEN, PREFIX_LEN, length};
use dsmil_runtime::clock::Clock;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a connection may take to end in order, so that the aggregator need not wait for it to fall silent.
const CLOSE_WITHIN: Duration = Duration::from_millis(300);

/// A connection to a join port.
#[derive(Debug)]
pub struct JoinPort {
    socket: quinn::Endpoint,
    connection: quinn::Connection,
    clock: Clock,
}

/// Why a join port gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The address is not known.
    #[error(transparent)]
    Address(#[from] ResolveError),
    /// No socket, or no way from it.
    #[error("the network cannot be used: {0}")]
    Network(String),
    /// Nobody answered in time.
    #[error("nobody answers there within {} s", .0.as_secs())]
    Silent(Duration),
    /// The handshake was refused, by one side or the other.
    #[error("the handshake was refused: {refusal}{}", if *.ours { "" } else { " (by the other side)" })]
    Handshake {
        /// Why.
        refusal: Refusal,
        /// We refused, because of what the other side has shown.
        ours: bool,
    },
    /// The connection ended before the answer came.
    #[error("the connection ended before the answer came: {0}")]
    Lost(String),
    /// The answer is none.
    #[error("the answer cannot be read: {0}")]
    Answer(ErrorCode),
}

impl PortError {
    /// The short name for logs and status.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Address(_) => "no_address",
            Self::Network(_) => "no_network",
            Self::Silent(_) => "no_answer",
            Self::Handshake { refusal, .. } => refusal.as_str(),
            Self::Lost(_) => "lost",
            Self::Answer(code) => code.name(),
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Address(ResolveError::Form(_)) => {
                "Write it as host:port; the join port is 8101 unless it was changed."
            }
            Self::Address(_) => {
                "See that this host's /etc/resolv.conf names a DNS that knows it, or add it to /etc/hosts."
            }
            Self::Network(_) => "See that this host has a network.",
            Self::Silent(_) => {
                "See that the aggregator runs and that UDP to its join port (8101 unless it was changed) is let through."
            }
            Self::Handshake { refusal, ours } => handshake_remedy(*refusal, *ours),
            Self::Lost(_) => "Try again; the aggregator's log says whether it ended the connection.",
            Self::Answer(code) => code.remedy(),
        }
    }
}

fn handshake_remedy(refusal: Refusal, ours: bool) -> &'static str {
    match refusal {
        Refusal::UnknownRoot if ours => {
            "Whoever answers there is not of the fleet that this host trusts, and was told nothing. Compare the address \
             and the root's fingerprint with `dsmil-aggregator trust show`; if both are right, somebody stands in between."
        }
        Refusal::Expired | Refusal::NotYetValid | Refusal::TrustExpired => {
            "Compare both clocks (`date --utc`); if they are right, the aggregator's own certificate has to be mended: \
             `dsmil-aggregator check` there."
        }
        Refusal::ApplicationProtocol => {
            "Something else listens there: name the join port (8101), not the fleet link (8100)."
        }
        Refusal::Busy => "The aggregator takes no more for the moment: try again in a minute.",
        Refusal::WrongTrustDomain | Refusal::WrongRole | Refusal::WrongName => {
            "Another fleet's aggregator answers there: compare the address with `dsmil-aggregator trust show`."
        }
        Refusal::Revoked if ours => "The aggregator's own key is shut out: do not trust it, and ask who revoked it.",
        _ => "Bring agent and aggregator to the same version; `dsmil-aggregator check` there says more.",
    }
}

impl JoinPort {
    /// Connects to `host:port`. Nothing but TLS has been said when this returns, and the other side has proved itself.
    pub async fn connect(
        address: &str,
        client: quinn::ClientConfig,
        server_name: &str,
        clock: &Clock,
        within: Duration,
    ) -> Result<Self, PortError> {
        tokio::select! {
            port = Self::dial(address, client, server_name, clock) => port,
            () = clock.sleep(within) => Err(PortError::Silent(within)),
        }
    }

    async fn dial(
        address: &str,
        client: quinn::ClientConfig,
        server_name: &str,
        clock: &Clock,
    ) -> Result<Self, PortError> {
        let address = dial::resolve(address).await?;
        let socket = dial::socket().map_err(|error| PortError::Network(error.to_string()))?;
        let connecting = socket
            .connect_with(client, dial::seen_from(&socket, address), server_name)
            .map_err(|error| PortError::Network(error.to_string()))?;
        let connection = connecting.await.map_err(|error| refused(&error))?;
        Ok(Self { socket, connection, clock: clock.clone() })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// What only the two ends of this connection know: a renewal's proof is bound to it.
    pub fn exporter(&self) -> Result<[u8; EXPORTER_LEN], PortError> {
        policy::exporter(&self.connection, EXPORTER_LABEL).map_err(|error| PortError::Lost(error.to_string()))
    }

    /// Asks, waits for the answer and ends the connection.
    pub async fn ask(self, request: &JoinRequest, within: Duration) -> Result<JoinAnswer, PortError> {
        let answer = tokio::select! {
            answer = self.exchange(request) => answer,
            () = self.clock.sleep(within) => Err(PortError::Silent(within)),
        };
        self.close().await;
        answer
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.connection.close(quinn::VarInt::from_u32(0), b"");
        tokio::select! {
            () = self.socket.wait_idle() => {}
            () = self.clock.sleep(CLOSE_WITHIN) => {}
        }
    }

    async fn exchange(&self, request: &JoinRequest) -> Result<JoinAnswer, PortError> {
        let lost = |error: &dyn std::fmt::Display| PortError::Lost(error.to_string());
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(|error| refused(&error))?;
        send.write_all(&request.encode()).await.map_err(|error| lost(&error))?;
        send.finish().map_err(|error| lost(&error))?;
        let mut prefix = [0; PREFIX_LEN];
        receive.read_exact(&mut prefix).await.map_err(|error| lost(&error))?;
        let mut body = vec![0; length(prefix, MAX_ANSWER_LEN).map_err(PortError::Answer)?];
        receive.read_exact(&mut body).await.map_err(|error| lost(&error))?;
        JoinAnswer::decode(&body).map_err(PortError::Answer)
    }
}

fn refused(error: &quinn::ConnectionError) -> PortError {
    match refusal_reason(error) {
        Refusal::Lost => match error {
            quinn::ConnectionError::TimedOut => PortError::Silent(IDLE_TIMEOUT),
            error => PortError::Lost(error.to_string()),
        },
        refusal => PortError::Handshake { refusal, ours: matches!(error, quinn::ConnectionError::TransportError(_)) },
    }
}
