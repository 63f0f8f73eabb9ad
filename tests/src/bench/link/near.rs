//! The near end: makes exchanges and sends bulk, of every kind, and takes the time.

use super::far::{Addresses, BULK, EXCHANGE, plain};
use super::{ANSWER, Offer, PIECE, SMALL, frame_of};
use crate::bench::handshake::classical;
use anyhow::{Context, ensure};
use dsmil_crypto::transport::{EndpointKeys, endpoint};
use dsmil_protocol::reader::FrameReader;
use dsmil_runtime::clock::Clock;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// Bytes taken at once.
const CHUNK: usize = 64 << 10;

/// Connections of every kind to one far end: each has a stream for exchanges and one for bulk.
pub(super) struct Near {
    clock: Clock,
    dbe: [Framed; 2],
    tls: [TlsStream<TcpStream>; 2],
    tcp: [TcpStream; 2],
    udp: UdpSocket,
    /// Dropped last: it closes what it has opened.
    _socket: quinn::Endpoint,
}

impl Near {
    /// Connects from `here`.
    pub(super) async fn connect(here: IpAddr, far: Addresses, offer: &Offer, clock: &Clock) -> anyhow::Result<Self> {
        let any = SocketAddr::new(here, 0);
        let socket = endpoint(any, None, &EndpointKeys::random())?;
        // Two streams of one connection, as lanes are; one that is used for bulk alone would meanwhile have died of silence.
        let connection = socket.connect_with(offer.dbe_client.clone(), far.dbe, &offer.name)?.await.context("DBE")?;
        let dbe = [Framed::open(&connection).await?, Framed::open(&connection).await?];
        let connector = TlsConnector::from(Arc::clone(&offer.tls_client));
        let tls = async |purpose: u8| {
            let stream = plain(TcpStream::connect(far.tls).await?)?;
            let mut stream = connector.connect(ServerName::try_from(classical::NAME)?, stream).await?;
            stream.write_u8(purpose).await?;
            stream.flush().await?;
            anyhow::Ok(stream)
        };
        let tls = [tls(EXCHANGE).await.context("TLS")?, tls(BULK).await.context("TLS")?];
        let tcp = async |purpose: u8| {
            let mut stream = plain(TcpStream::connect(far.tcp).await?)?;
            stream.write_u8(purpose).await?;
            anyhow::Ok(stream)
        };
        let tcp = [tcp(EXCHANGE).await.context("TCP")?, tcp(BULK).await.context("TCP")?];
        let udp = UdpSocket::bind(any).await?;
        udp.connect(far.udp).await?;
        Ok(Self { clock: clock.clone(), dbe, tls, tcp, udp, _socket: socket })
    }

    /// One exchange of each kind, in turn.
    pub(super) async fn exchange(&mut self) -> anyhow::Result<[Duration; 4]> {
        let clock = self.clock.clone();
        let began = clock.mono();
        self.dbe[0].exchange().await?;
        let dbe = clock.mono();
        exchange(&mut self.tls[0]).await?;
        let tls = clock.mono();
        exchange(&mut self.tcp[0]).await?;
        let tcp = clock.mono();
        let mut buffer = [0; SMALL];
        self.udp.send(&buffer).await?;
        ensure!(self.udp.recv(&mut buffer).await? == SMALL, "an answer is too short");
        Ok([dbe - began, tls - dbe, tcp - tls, clock.mono() - tcp])
    }

    /// `bytes` of bulk of each kind that has it, in turn, until they are confirmed.
    pub(super) async fn bulk(&mut self, bytes: usize) -> anyhow::Result<[Duration; 3]> {
        let clock = self.clock.clone();
        let began = clock.mono();
        self.dbe[1].bulk(bytes).await?;
        let dbe = clock.mono();
        bulk(&mut self.tls[1], bytes).await?;
        let tls = clock.mono();
        bulk(&mut self.tcp[1], bytes).await?;
        Ok([dbe - began, tls - dbe, clock.mono() - tls])
    }
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> anyhow::Result<()> {
    let mut buffer = [0; SMALL];
    stream.write_all(&buffer).await?;
    stream.flush().await?;
    stream.read_exact(&mut buffer).await?;
    Ok(())
}

async fn bulk(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: usize) -> anyhow::Result<()> {
    stream.write_u64(bytes as u64).await?;
    let piece = vec![0; PIECE];
    for _ in 0..bytes / PIECE {
        stream.write_all(&piece).await?;
    }
    stream.flush().await?;
    stream.read_u8().await?;
    Ok(())
}

/// The fleet link, with frames on it.
struct Framed {
    send: quinn::SendStream,
    receive: quinn::RecvStream,
    reader: FrameReader,
    number: u64,
}

impl Framed {
    async fn open(connection: &quinn::Connection) -> anyhow::Result<Self> {
        let (send, receive) = connection.open_bi().await?;
        Ok(Self { send, receive, reader: FrameReader::new(), number: 0 })
    }

    async fn exchange(&mut self) -> anyhow::Result<()> {
        self.say(SMALL, ANSWER).await?;
        self.answer().await
    }

    async fn bulk(&mut self, bytes: usize) -> anyhow::Result<()> {
        let pieces = bytes / PIECE;
        for piece in 1..=pieces {
            self.say(PIECE, if piece == pieces { ANSWER } else { 0 }).await?;
        }
        self.answer().await
    }

    async fn say(&mut self, len: usize, correlation: u64) -> anyhow::Result<()> {
        self.number += 1;
        self.send.write_all(&frame_of(vec![0; len], correlation, self.number).encode()).await?;
        Ok(())
    }

    async fn answer(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(frame) = self.reader.next_frame().map_err(|fault| anyhow::anyhow!("{}", fault.code))? {
                ensure!(frame.payload.len() == SMALL, "an answer of another length");
                return Ok(());
            }
            let chunk = self.receive.read_chunk(CHUNK, true).await?.context("the far end hung up")?;
            self.reader.extend(&chunk.bytes);
        }
    }
}
