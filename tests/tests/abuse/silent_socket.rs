//! A UDP socket for QUIC clients that begin handshakes and do not go on with them: it lets through what its owner likes.

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

/// A Retry, in the first byte's upper half (RFC 9000, section 17.2.5).
const RETRY: u8 = 0xF0;

/// Hears that it has to prove its address, and nothing else: a peer that holds a half-open place on purpose.
pub(crate) struct SilentSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    is_mute: AtomicBool,
}

impl SilentSocket {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Arc<Self>> {
        let inner = TokioRuntime.wrap_udp_socket(UdpSocket::bind(address)?)?;
        Ok(Arc::new(Self { inner, is_mute: AtomicBool::new(false) }))
    }

    /// From now on it says nothing either, not even that it goes.
    pub(crate) fn mute(&self) {
        self.is_mute.store(true, Ordering::Relaxed);
    }

    /// A client that speaks through it.
    pub(crate) fn client(self: &Arc<Self>) -> io::Result<quinn::Endpoint> {
        let socket: Arc<dyn AsyncUdpSocket> = self.clone();
        quinn::Endpoint::new_with_abstract_socket(
            quinn::EndpointConfig::default(),
            None,
            socket,
            Arc::new(TokioRuntime),
        )
    }
}

impl fmt::Debug for SilentSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SilentSocket").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for SilentSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.is_mute.load(Ordering::Relaxed) { Ok(()) } else { self.inner.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let count = ready!(self.inner.poll_recv(cx, bufs, meta))?;
            let mut kept = 0;
            for n in 0..count {
                if bufs[n].first().is_some_and(|first| first & RETRY == RETRY) {
                    bufs.swap(kept, n);
                    meta.swap(kept, n);
                    kept += 1;
                }
            }
            if kept > 0 {
                return Poll::Ready(Ok(kept));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }
}

/// Goes nowhere: what is sent through it is written down.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Vec<u8>>>);

impl Recorder {
    /// A client that speaks into it.
    pub(crate) fn client(self: &Arc<Self>) -> io::Result<quinn::Endpoint> {
        let socket: Arc<dyn AsyncUdpSocket> = self.clone();
        quinn::Endpoint::new_with_abstract_socket(
            quinn::EndpointConfig::default(),
            None,
            socket,
            Arc::new(TokioRuntime),
        )
    }

    /// What was sent since the last time.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Recorder {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(transmit.contents.to_vec());
        Ok(())
    }

    fn poll_recv(&self, _: &mut Context<'_>, _: &mut [IoSliceMut<'_>], _: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 1).into())
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
