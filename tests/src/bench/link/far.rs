//! The far end: answers exchanges and takes bulk, of every kind, on one thread.

use super::{ANSWER, Offer, SMALL, frame_of};
use anyhow::Context;
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_protocol::reader::FrameReader;
use dsmil_runtime::supervise::{OnFailure, Supervisor};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

/// Bytes taken at once.
const CHUNK: usize = 64 << 10;

/// Where every kind is listened for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) dbe: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) tcp: SocketAddr,
    pub(super) udp: SocketAddr,
}

/// Listens at `here`, and serves until the supervisor stops.
pub(super) async fn listen(here: IpAddr, offer: &Offer, supervisor: &Supervisor) -> anyhow::Result<Addresses> {
    let any = SocketAddr::new(here, 0);
    let dbe = endpoint(any, Some(offer.dbe.clone()), &EndpointKeys::random())?;
    let (tls, tcp) = (TcpListener::bind(any).await?, TcpListener::bind(any).await?);
    let udp = UdpSocket::bind(any).await?;
    let at =
        Addresses { dbe: dbe.local_addr()?, tls: tls.local_addr()?, tcp: tcp.local_addr()?, udp: udp.local_addr()? };
    let (acceptor, tasks) = (TlsAcceptor::from(Arc::clone(&offer.tls)), supervisor.clone());
    supervisor.spawn("bench-far-dbe", OnFailure::Note, take_dbe(dbe, tasks.clone()));
    supervisor.spawn("bench-far-tls", OnFailure::Note, take_tls(tls, acceptor, tasks.clone()));
    supervisor.spawn("bench-far-tcp", OnFailure::Note, take_tcp(tcp, tasks));
    supervisor.spawn("bench-far-udp", OnFailure::Note, echo(udp));
    Ok(at)
}

async fn take_dbe(endpoint: quinn::Endpoint, tasks: Supervisor) -> anyhow::Result<()> {
    while let Some(incoming) = endpoint.accept().await {
        let connection = incoming.accept()?.await?;
        let streams = tasks.clone();
        tasks.spawn("bench-far-dbe", OnFailure::Note, async move {
            while let Ok((send, receive)) = connection.accept_bi().await {
                streams.spawn("bench-far-dbe", OnFailure::Note, serve_frames(send, receive));
            }
            anyhow::Ok(())
        });
    }
    Ok(())
}

async fn take_tls(listener: TcpListener, acceptor: TlsAcceptor, tasks: Supervisor) -> anyhow::Result<()> {
    loop {
        let stream = acceptor.accept(plain(listener.accept().await?.0)?).await?;
        tasks.spawn("bench-far-tls", OnFailure::Note, serve(stream));
    }
}

async fn take_tcp(listener: TcpListener, tasks: Supervisor) -> anyhow::Result<()> {
    loop {
        let stream = plain(listener.accept().await?.0)?;
        tasks.spawn("bench-far-tcp", OnFailure::Note, serve(stream));
    }
}

async fn echo(socket: UdpSocket) -> anyhow::Result<()> {
    let mut buffer = [0; SMALL];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..len], from).await?;
    }
}

/// Without Nagle's algorithm, which would hold small writes back.
pub(super) fn plain(stream: TcpStream) -> anyhow::Result<TcpStream> {
    stream.set_nodelay(true).context("TCP_NODELAY cannot be set")?;
    Ok(stream)
}

/// Each piece of `SMALL` bytes comes back; behind a length so much bulk is taken, and confirmed. What it is to be is said first.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<()> {
    let is_bulk = stream.read_u8().await? == BULK;
    let mut buffer = vec![0; CHUNK];
    loop {
        if is_bulk {
            let mut left = usize::try_from(stream.read_u64().await?)?;
            while left > 0 {
                let want = left.min(CHUNK);
                let len = stream.read(&mut buffer[..want]).await?;
                anyhow::ensure!(len > 0, "cut off in the middle");
                left -= len;
            }
            stream.write_u8(1).await?;
        } else {
            stream.read_exact(&mut buffer[..SMALL]).await?;
            stream.write_all(&buffer[..SMALL]).await?;
        }
        stream.flush().await?;
    }
}

/// The first byte of a stream that brings bulk, and of one for exchanges.
pub(super) const BULK: u8 = 1;
pub(super) const EXCHANGE: u8 = 0;

/// Each frame is checked; one that asks for an answer gets it.
async fn serve_frames(mut send: quinn::SendStream, mut receive: quinn::RecvStream) -> anyhow::Result<()> {
    let mut reader = FrameReader::new();
    let mut number = 0;
    while let Some(chunk) = receive.read_chunk(CHUNK, true).await? {
        reader.extend(&chunk.bytes);
        while let Some(frame) = reader.next_frame().map_err(|fault| anyhow::anyhow!("{}", fault.code))? {
            if frame.correlation == ANSWER {
                number += 1;
                send.write_all(&frame_of(vec![0; SMALL], 0, number).encode()).await?;
            }
        }
    }
    Ok(())
}
