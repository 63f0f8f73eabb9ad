//! Connections: who gets one, their TLS, and how long they may dawdle.
//!
//! Each connection is a task of its own from its first byte, so a slow handshake holds up nobody. Everything that a
//! stranger can make us wait for or hold has a limit; most strangers never get to a request.

use super::linger::Lingering;
use super::{ApiContext, App, Dropped, routes};
use crate::api::stats::Place;
use crate::refusals::{Port, Refused, Side};
use axum::Router;
use dsmil_crypto::https::{HttpsServer, INSUFFICIENT_SECURITY, negotiated};
use dsmil_crypto::refusal::Refusal;
use dsmil_runtime::clock::Clock;
use dsmil_runtime::supervise::{OnFailure, Stop, Supervisor};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, rustls};

/// Connections in all: a TLS session and its buffers are some 50 KB, so 50 MB.
pub const MAX_CONNECTIONS: usize = 1024;
/// Connections of one address, so that one client cannot shut out the others. A browser opens six; a Prometheus without
/// HTTP/2 one for each host that it scrapes at the same moment.
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 256;
/// From the first byte to the end of the handshake; ten times what a bad radio link takes.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// HTTP/1: from the end of one request to the end of the next one's headers. Idle connections are closed by it too.
const HEADER_DEADLINE: Duration = Duration::from_secs(75);
/// HTTP/1: bytes of a request's line and headers. A PromQL query in a URL is a few hundred; long ones are POSTed.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// The same for HTTP/2.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;
/// HTTP/2: requests of one connection at a time; dashboards ask for some dozen panels at once.
const MAX_STREAMS: u32 = 64;
/// HTTP/2: an idle peer is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// And has this long to answer.
const PING_DEADLINE: Duration = Duration::from_secs(10);
/// A peer that takes no byte for this long is gone or means harm: an answer of many megabytes waits in memory for it.
const WRITE_DEADLINE_MS: u32 = 30_000;
/// When the program stops, requests in work have this long.
const STOP_GRACE: Duration = Duration::from_secs(3);
/// After `accept` failed (out of files, for one), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines of the log about clients without a post-quantum key exchange: strangers must not fill a disk, and who
/// looks for the reason finds one a minute old.
const CLASSICAL_LINE_EVERY: Duration = Duration::from_secs(60);
/// The first byte of a TLS record that carries a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// Answers on `listener` until the program stops. A failure of a connection is noted and ends that connection alone.
pub fn serve(listener: TcpListener, https: watch::Receiver<HttpsServer>, context: ApiContext, supervisor: &Supervisor) {
    let server = Server::new(https, context, supervisor);
    supervisor.spawn("https", OnFailure::Stop, async move {
        server.accept(listener).await;
        Ok::<(), std::convert::Infallible>(())
    });
}

pub(super) struct Server {
    router: Router,
    /// The certificate of now.
    https: watch::Receiver<HttpsServer>,
    context: ApiContext,
    supervisor: Supervisor,
    stop: Stop,
    classical_line: Seldom,
}

/// Whether the log may speak of something once more: [`CLASSICAL_LINE_EVERY`] so long after it did.
#[derive(Debug, Default)]
struct Seldom(Mutex<Option<Duration>>);

impl Seldom {
    /// At `now` on the monotonic clock; whoever is told so speaks.
    fn is_due(&self, now: Duration) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_sub(last) >= CLASSICAL_LINE_EVERY);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the TLS handshake failed")]
    Handshake(#[source] std::io::Error),
    #[error("the handshake was not finished in time")]
    Silent,
    #[error("the client spoke HTTP without TLS")]
    PlainHttp,
    #[error("the client has no post-quantum key exchange")]
    Classical,
}

impl Server {
    pub(super) fn new(https: watch::Receiver<HttpsServer>, context: ApiContext, supervisor: &Supervisor) -> Arc<Self> {
        let app = App::new(context.clone());
        app.journal.start(context.store.clone(), context.clock.clone(), supervisor);
        let (supervisor, stop) = (supervisor.clone(), supervisor.stop());
        let classical_line = Seldom::default();
        Arc::new(Self { router: routes::router(app), https, context, supervisor, stop, classical_line })
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.requested() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted on HTTPS; look at the limit of open files");
                    self.context.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Gives the connection a task of its own, if there is a place for it.
    pub(super) fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let stats = &self.context.stats;
        let place = match stats.enter(peer.ip().to_canonical()) {
            Ok(place) => place,
            Err(why) => {
                stats.dropped(why);
                return self.refused(Refused::by_us(Port::Https, Refusal::Busy), peer.ip());
            }
        };
        let server = Arc::clone(self);
        self.supervisor.spawn("https-connection", OnFailure::Note, async move {
            if let Err(error) = server.connection(stream, peer, place).await {
                server.failed(&error, peer.ip());
            }
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Counts a connection that came to nothing. What strangers do wrong is counted: a line each would let them fill a disk.
    fn failed(&self, error: &ConnectionError, from: IpAddr) {
        let stats = &self.context.stats;
        match error {
            ConnectionError::PlainHttp => stats.dropped(Dropped::PlainHttp),
            ConnectionError::Silent => {
                stats.dropped(Dropped::Silent);
                self.refused(Refused::of_tls(Port::Https, None), from);
            }
            ConnectionError::Classical => {
                stats.dropped(Dropped::Handshake);
                self.refused(Refused::by_us(Port::Https, Refusal::KeyExchange), from);
            }
            ConnectionError::Handshake(error) => {
                stats.dropped(Dropped::Handshake);
                self.refused(refused(error), from);
            }
        }
    }

    fn refused(&self, refused: Refused, from: IpAddr) {
        let from = from.to_canonical();
        self.context.telemetry.refused.note(refused, from, self.context.clock.wall_ms());
        tracing::debug!(%from, side = refused.side.as_str(), reason = refused.reason.as_str(), "an HTTPS client was refused");
        let is_classical = refused.side == Side::Us && refused.reason == Refusal::KeyExchange.into();
        if is_classical && self.classical_line.is_due(self.context.clock.mono()) {
            tracing::warn!(
                %from,
                "an HTTPS client without a post-quantum key exchange was refused: give it a newer TLS library, or list its \
                 network in api.allow_classical_from; there may be more, GET /api/v1/security/link lists them"
            );
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, mut place: Place) -> Result<(), ConnectionError> {
        // Neither is worth a connection: without them it is slower, or held longer by a dead peer.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, WRITE_DEADLINE_MS);
        let tls = tokio::select! {
            tls = self.handshake(stream, peer.ip().to_canonical()) => tls?,
            () = self.context.clock.sleep(HANDSHAKE_DEADLINE) => return Err(ConnectionError::Silent),
            () = self.stop.requested() => return Ok(()),
        };
        if let Some(session) = negotiated(tls.get_ref().1) {
            place.has_session(session, self.context.clock.wall_ms());
        }
        self.requests(tls).await;
        Ok(())
    }

    async fn handshake(&self, stream: TcpStream, peer: IpAddr) -> Result<TlsStream<TcpStream>, ConnectionError> {
        let mut first = [0];
        let seen = stream.peek(&mut first).await.map_err(ConnectionError::Handshake)?;
        if seen == 1 && first[0] != TLS_HANDSHAKE && first[0].is_ascii_uppercase() {
            return Err(answer_plain_http(stream).await);
        }
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream);
        let mut start = hello.await.map_err(ConnectionError::Handshake)?;
        let chosen = self.https.borrow().choose(&start.client_hello(), self.may_be_classical(peer));
        let Some(config) = chosen else {
            // Whoever is gone before the answer needs none.
            let _ = start.io.write_all(&INSUFFICIENT_SECURITY).await;
            let _ = start.io.shutdown().await;
            return Err(ConnectionError::Classical);
        };
        start.into_stream(config).await.map_err(ConnectionError::Handshake)
    }

    fn may_be_classical(&self, peer: IpAddr) -> bool {
        peer.is_loopback() || self.context.classical_from.borrow().iter().any(|network| network.contains(&peer))
    }

    async fn requests(&self, tls: TlsStream<TcpStream>) {
        let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let builder = builder(&self.supervisor, is_http2);
        let service = TowerToHyperService::new(self.router.clone());
        let stream = TokioIo::new(Lingering::new(tls, self.context.clock.clone()));
        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
        tokio::select! {
            // A broken connection is its peer's affair.
            _ = connection.as_mut() => return,
            () = self.stop.requested() => connection.as_mut().graceful_shutdown(),
        }
        let clock: &Clock = &self.context.clock;
        tokio::select! {
            _ = connection => {}
            () = clock.sleep(STOP_GRACE) => {}
        }
    }
}

/// A client that forgot the `s` is told so; a TLS alert would be noise to it.
async fn answer_plain_http(mut stream: TcpStream) -> ConnectionError {
    let text = "This port speaks HTTPS. Ask again with https:// in place of http://.\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    // Whoever is gone before the answer needs none.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    ConnectionError::PlainHttp
}

fn refused(error: &std::io::Error) -> Refused {
    Refused::of_tls(Port::Https, error.get_ref().and_then(|inner| inner.downcast_ref()))
}

/// The protocol is the one that TLS agreed on: guessing it from the first bytes would be one more thing to wait for.
fn builder(supervisor: &Supervisor, is_http2: bool) -> auto::Builder<SupervisedExecutor> {
    let mut builder = auto::Builder::new(SupervisedExecutor(supervisor.clone()));
    if is_http2 {
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_DEADLINE);
        return builder.http2_only();
    }
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE).max_buf_size(MAX_HEADER_BYTES);
    builder.http1_only()
}

/// Starts hyper's own tasks (an HTTP/2 request each) under supervision like all others.
#[derive(Clone, Debug)]
struct SupervisedExecutor(Supervisor);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for SupervisedExecutor {
    fn execute(&self, task: F) {
        self.0.spawn("https-request", OnFailure::Note, async move {
            task.await;
            Ok::<(), std::convert::Infallible>(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_speaks_at_once_and_then_once_a_minute() {
        let seldom = Seldom::default();
        let due: Vec<u64> = (5..200).filter(|now| seldom.is_due(Duration::from_secs(*now))).collect();
        assert_eq!(due, [5, 65, 125, 185]);
    }
}
