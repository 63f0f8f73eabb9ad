//! One connection to an aggregator's API, kept open from question to question.

use anyhow::{Context, bail};
use dsmil_agent::dial;
use dsmil_crypto::https::https_client;
use dsmil_crypto::time::TimeSource;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// From calling to the end of the TLS handshake.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// From a question to the end of its answer: the API gives up after 30 s itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);
/// Bytes of one answer: the tick of a host with 65,000 series has 8 MB.
const MAX_ANSWER_LEN: usize = 64 << 20;

/// Asks one API.
pub(super) struct Api {
    /// `host:port`.
    address: String,
    token: String,
    tls: TlsConnector,
    clock: Clock,
    supervisor: Supervisor,
    open: Option<SendRequest<String>>,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Api {
    /// The API at `address`, which shows a certificate of the root in the file `root`, asked with the token in a file.
    pub(super) fn new(address: &str, root: &Path, token: &Path, clock: Clock) -> anyhow::Result<Self> {
        let pem = std::fs::read(root).with_context(|| {
            format!("cannot read {}: name the aggregator's HTTPS root with --root; it lies beside its identity as https-root.pem", root.display())
        })?;
        let token = std::fs::read_to_string(token).with_context(|| {
            format!("cannot read {}: name a file with a token of the API with --token-file; `dsmil-aggregator init` printed one", token.display())
        })?;
        let wall = clock.clone();
        let time = TimeSource::new(move || wall.wall_ns().div_euclid(1_000_000_000));
        let mut tls = https_client(&pem, time).with_context(|| format!("{} cannot be used", root.display()))?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let supervisor = Supervisor::new(clock.clone());
        let tls = TlsConnector::from(Arc::new(tls));
        Ok(Self { address: address.into(), token: token.trim().into(), tls, clock, supervisor, open: None })
    }

    /// Asks for a path. After an error the next question makes a new connection.
    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        let mut requests = match self.open.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        let request = Request::get(path)
            .header(HOST, &self.address)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(String::new())
            .context("not a path")?;
        let answer = async {
            requests.ready().await?;
            let response = requests.send_request(request).await?;
            let status = response.status();
            anyhow::Ok(Answer { status, body: whole(response.into_body()).await? })
        };
        let answer = tokio::select! {
            answer = answer => answer.with_context(|| format!("the connection to {} broke", self.address))?,
            () = self.clock.sleep(ANSWER_WITHIN) => bail!("{} did not answer within {} s", self.address, ANSWER_WITHIN.as_secs()),
        };
        self.open = Some(requests);
        Ok(answer)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<String>> {
        let connecting = async {
            let address = dial::resolve(&self.address).await?;
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (host, _) = self.address.rsplit_once(':').unwrap_or((&self.address, ""));
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let tls = self.tls.connect(ServerName::try_from(host)?, stream).await?;
            anyhow::Ok(http1::handshake(TokioIo::new(tls)).await?)
        };
        let reached = tokio::select! {
            reached = connecting => reached,
            () = self.clock.sleep(CONNECT_WITHIN) => bail!("{} did not answer within {} s", self.address, CONNECT_WITHIN.as_secs()),
        };
        let (requests, connection) = reached.with_context(|| format!("{} cannot be reached", self.address))?;
        self.supervisor.spawn("connection", OnFailure::Note, async {
            // Its end is seen by whoever asks next.
            let _ = connection.await;
            Ok::<(), std::convert::Infallible>(())
        });
        Ok(requests)
    }
}

/// A body to its end, which must not be too far.
async fn whole(mut body: Incoming) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Some(data) = frame?.data_ref() {
            if bytes.len() + data.len() > MAX_ANSWER_LEN {
                bail!("the answer has more than {MAX_ANSWER_LEN} bytes");
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes.into())
}
