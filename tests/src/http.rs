//! Requests to HTTP without TLS, of programs that others wrote, a connection each.

use crate::client::whole;
use anyhow::{Context, ensure};
use dsmil_runtime::clock::Clock;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;

/// From the first packet to the last byte of the answer: an hour of samples is taken in seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program's HTTP.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    /// The time.
    pub clock: Clock,
}

impl Http {
    /// Asks for a path.
    pub async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        self.within_limits(path, Request::get(path).body(String::new())?).await
    }

    /// Hands a body over.
    pub async fn post(&self, path: &str, body: String) -> anyhow::Result<Bytes> {
        self.within_limits(path, Request::post(path).body(body)?).await
    }

    async fn within_limits(&self, path: &str, mut request: Request<String>) -> anyhow::Result<Bytes> {
        request.headers_mut().insert(HOST, self.address.to_string().parse()?);
        tokio::select! {
            body = self.exchange(request) => body.with_context(|| format!("http://{}{path}", self.address)),
            () = self.clock.sleep(PATIENCE) => anyhow::bail!("no answer of {}{path} within {PATIENCE:?}", self.address),
        }
    }

    async fn exchange(&self, request: Request<String>) -> anyhow::Result<Bytes> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut answer = pin!(async move {
            let response = requests.send_request(request).await?;
            anyhow::Ok((response.status(), whole(response.into_body()).await?))
        });
        let (status, body) = tokio::select! {
            answer = &mut answer => answer?,
            ended = connection => {
                ended?;
                // It ended well: what it brought is there to be read.
                answer.await?
            }
        };
        ensure!(status.is_success(), "answered with {status}: {}", String::from_utf8_lossy(&body).trim());
        Ok(body)
    }
}

/// Text as part of a query, everything but letters and digits escaped.
pub fn escaped(text: &str) -> String {
    let escape = |b: u8| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(escape).collect()
}
