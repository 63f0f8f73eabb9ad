//! A small HTTPS client for the centre's API: one request a connection, so that a restarted centre is simply asked again.

use dsmil_crypto::https::{HttpsClientError, https_client};
use dsmil_crypto::time::TimeSource;
use dsmil_runtime::clock::Clock;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// From the first packet to the last byte of the answer. The API itself gives up after 30 s.
const PATIENCE: Duration = Duration::from_secs(35);
/// Bytes of one answer: a range query over an hour of 1,000 hosts has some ten MiB.
const MAX_ANSWER_LEN: usize = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The root certificate cannot be used.
    #[error("the API's root certificate cannot be used")]
    Root(#[from] HttpsClientError),
    /// Nobody listens, or TLS failed.
    #[error("{address} cannot be reached")]
    Unreachable {
        /// The API's address.
        address: SocketAddr,
        /// What the system or TLS said.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
    /// Not a path.
    #[error("{path:?} is no path of a request")]
    Path {
        /// What was asked for.
        path: String,
        /// What is wrong.
        source: hyper::http::Error,
    },
    /// No answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// An answer without end.
    #[error("the answer has more than {MAX_ANSWER_LEN} bytes")]
    TooLong,
    /// The API said no.
    #[error("{path} was answered with {status}: {text}")]
    Status {
        /// What was asked for.
        path: String,
        /// The answer's status.
        status: StatusCode,
        /// The answer.
        text: String,
    },
    /// The answer is something else than the caller expected.
    #[error("the answer to {path} has another form")]
    Form {
        /// What was asked for.
        path: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Asks one API. Clones ask the same one.
#[derive(Clone)]
pub struct ApiClient {
    address: SocketAddr,
    token: String,
    tls: TlsConnector,
    clock: Clock,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl ApiClient {
    /// A client for the API at `address`, which shows a certificate of the root in `root_pem`.
    pub fn new(address: SocketAddr, root_pem: &[u8], token: &str, clock: Clock) -> Result<Self, ClientError> {
        let wall = clock.clone();
        let time = TimeSource::new(move || wall.wall_ns().div_euclid(1_000_000_000));
        let mut tls = https_client(root_pem, time)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { address, token: token.into(), tls: TlsConnector::from(Arc::new(tls)), clock })
    }

    /// The address of the API.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks for a path and reads the answer as JSON.
    pub async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.body(path).await?;
        serde_json::from_slice(&body).map_err(|source| ClientError::Form { path: path.into(), source })
    }

    /// Asks for a path and reads the answer as text.
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        Ok(String::from_utf8_lossy(&self.body(path).await?).into_owned())
    }

    /// Asks for a path; anything but success is an error.
    async fn body(&self, path: &str) -> Result<Bytes, ClientError> {
        let Answer { status, body } = self.get(path).await?;
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        Err(ClientError::Status { path: path.into(), status, text })
    }

    /// Asks for a path.
    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        tokio::select! {
            answer = self.exchange(path) => answer,
            () = self.clock.sleep(PATIENCE) => Err(ClientError::Silent),
        }
    }

    async fn exchange(&self, path: &str) -> Result<Answer, ClientError> {
        let unreachable = |source| ClientError::Unreachable { address: self.address, source };
        let stream = TcpStream::connect(self.address).await.map_err(unreachable)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let tls = self.tls.connect(name, stream).await.map_err(unreachable)?;
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        let request = Request::get(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(String::new())
            .map_err(|source| ClientError::Path { path: path.into(), source })?;
        let mut answer = pin!(async move {
            let response = requests.send_request(request).await?;
            let status = response.status();
            Ok(Answer { status, body: whole(response.into_body()).await? })
        });
        tokio::select! {
            answer = &mut answer => answer,
            ended = connection => {
                ended?;
                // It ended well: what it brought is there to be read.
                answer.await
            }
        }
    }
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the token.
        f.debug_struct("ApiClient").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A body to its end, which must not be too far.
pub(crate) async fn whole(mut body: Incoming) -> Result<Bytes, ClientError> {
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Some(data) = frame?.data_ref() {
            if bytes.len() + data.len() > MAX_ANSWER_LEN {
                return Err(ClientError::TooLong);
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes.into())
}
