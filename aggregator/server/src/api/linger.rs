//! A connection that is closed without cutting off its last answer.
//!
//! When a request is refused before all of it was read (its headers are too long, or its form), bytes of it are still on the
//! way. A socket that is closed with such bytes in its buffer is reset by the kernel, and the reset overtakes the answer that
//! says what was wrong. So the sending side is closed first, and what still comes is read and thrown away for a while (RFC
//! 9112, section 9.6).

use dsmil_runtime::clock::Clock;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long we listen to a peer that has been told that it is over: some round trips of a bad link.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are thrown away at most. Who sends more does not mean to read an answer.
const MAX_BYTES: usize = 1 << 20;
/// Bytes thrown away at a time; on the stack.
const PIECE: usize = 4096;

/// A stream whose shutdown lets the peer read to the end.
pub(super) struct Lingering<S> {
    stream: S,
    clock: Clock,
    /// Set once our side is closed: when we stop to listen.
    until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    left: usize,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S, clock: Clock) -> Self {
        Self { stream, clock, until: None, left: MAX_BYTES }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.until.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let clock = this.clock.clone();
        let until = this.until.get_or_insert_with(|| Box::pin(async move { clock.sleep(LINGER).await }));
        loop {
            if until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut piece = [0; PIECE];
            let mut buffer = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer));
            let bytes = buffer.filled().len();
            this.left = this.left.saturating_sub(bytes);
            // A peer that is gone has read what it wanted to.
            if read.is_err() || bytes == 0 || this.left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let here = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        (here, listener.accept().await.expect("a peer").0)
    }

    #[tokio::test]
    async fn the_answer_arrives_though_the_request_was_not_read() {
        let (mut client, server) = pair().await;
        client.write_all(&[b'x'; 50_000]).await.expect("sent");
        let mut server = Lingering::new(server, Clock::real());
        server.write_all(b"no").await.expect("answered");
        let closing = async {
            server.shutdown().await.expect("closed");
            drop(server);
        };
        let reading = async {
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("no reset");
            drop(client);
            answer
        };
        let ((), answer) = tokio::join!(closing, reading);
        assert_eq!(answer, "no");
    }

    #[tokio::test]
    async fn nobody_is_listened_to_for_ever() {
        let (clock, hand) = Clock::manual();
        let (client, server) = pair().await;
        let mut server = Lingering::new(server, clock);
        let mut closing = std::pin::pin!(server.shutdown());
        let early = poll_once(closing.as_mut()).await;
        assert!(early.is_pending(), "the client has not closed its side");
        hand.advance(LINGER);
        closing.await.expect("closed");
        drop(client);
    }

    async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }
}
