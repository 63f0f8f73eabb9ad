//! How QUIC is tuned for the fleet link, and the keys an endpoint keeps over restarts.
//!
//! The values were measured with post-quantum handshakes of 15 KB each way at 0, 1 and 10 ms round trip.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::{hkdf, hmac};
use quinn::congestion::CubicConfig;
use quinn::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, TokenLog, TokenReuseError, TransportConfig,
    ValidationTokenConfig, VarInt,
};

use crate::files::{self, FileError};

/// A peer not heard of for this long is gone. Heartbeats every 2 s keep a connection alive, so QUIC sends no keep-alives.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshake bytes held out of order. A post-quantum flight is 15 KB, and quinn's 16 KiB would be too near.
const CRYPTO_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes sent before the first acknowledgement: the whole handshake flight fits, which saves a round trip.
const INITIAL_WINDOW_BYTES: u64 = 64 * 1024;

/// The first guess at the round trip: a lost first packet is sent again after 150 ms, not after quinn's 1 s.
const INITIAL_RTT: Duration = Duration::from_millis(50);

/// Streams both ways that a peer may have open: one for control, and bulk transfers on demand.
const MAX_BIDI_STREAMS: u32 = 8;

/// Streams one way that a peer may have open: live and backlog telemetry, and their successors after a reset.
const MAX_UNI_STREAMS: u32 = 8;

/// Bytes a peer may send ahead on one stream: 10 ms at 1.6 Gbit/s.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// Bytes a peer may send ahead on all its streams: bounds what one connection can make us hold.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// What the kernel may queue for an endpoint: 30 ms at 1 Gbit/s, or the hellos of 1,000 hosts.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Handshakes that wait for the accept loop. A fleet of 1,000 hosts returning at once fits four times over.
const MAX_INCOMING: usize = 4096;

/// Bytes held for one handshake that waits: a hello with an ML-KEM-1024 share is two datagrams.
const INCOMING_BUFFER_BYTES: u64 = 16 * 1024;

/// Bytes held for all handshakes that wait: a flood of spoofed hellos cannot take more memory.
const INCOMING_BUFFER_TOTAL_BYTES: u64 = 16 * 1024 * 1024;

/// Tokens that prove a returning agent's address, handed out per connection: one is used at the next connect.
const ADDRESS_TOKENS: u32 = 2;

/// How many used tokens are remembered, twice over: 100 KB at the most.
const USED_TOKENS: usize = 4096;

/// The tuning of both ends.
pub(crate) fn transport() -> Arc<TransportConfig> {
    let mut cubic = CubicConfig::default();
    cubic.initial_window(INITIAL_WINDOW_BYTES);
    let mut transport = TransportConfig::default();
    transport
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        .congestion_controller_factory(Arc::new(cubic))
        .initial_rtt(INITIAL_RTT)
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE_TIMEOUT).expect("10 s fit into QUIC's 62 bits of ms")))
        .keep_alive_interval(None)
        .max_concurrent_bidi_streams(MAX_BIDI_STREAMS.into())
        .max_concurrent_uni_streams(MAX_UNI_STREAMS.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

/// Opens a UDP port and an endpoint on it: with a `server` configuration it listens, without one it only connects.
///
/// # Errors
/// The address cannot be bound: not ours, or taken.
pub fn endpoint(
    address: SocketAddr,
    server: Option<quinn::ServerConfig>,
    keys: &EndpointKeys,
) -> io::Result<quinn::Endpoint> {
    let socket = UdpSocket::bind(address)?;
    // Before the endpoint takes it. The kernel silently gives less where net.core.rmem_max is lower.
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES)?;
    rustix::net::sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER_BYTES)?;
    quinn::Endpoint::new(keys.endpoint_config(), server, socket, Arc::new(quinn::TokioRuntime))
}

/// Adds to an aggregator's configuration what is not TLS.
pub(crate) fn tune_server(config: &mut quinn::ServerConfig, keys: &EndpointKeys, time: Arc<dyn quinn::TimeSource>) {
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(ADDRESS_TOKENS).log(Arc::new(UsedTokens::default()));
    config
        .transport_config(transport())
        .token_key(Arc::new(keys.token_key()))
        .validation_token_config(tokens)
        .time_source(time)
        // A host's address may change under it (DHCP, NAT): its connection survives that.
        .migration(true)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL_BYTES);
}

/// The secrets of a listening endpoint that must outlive a restart.
///
/// With the same reset key a restarted aggregator can tell its agents at once that their connections are gone; with the
/// same token key it can take the tokens it handed out before. Neither protects any data.
pub struct EndpointKeys {
    reset: [u8; KEY_BYTES],
    token: [u8; KEY_BYTES],
}

impl EndpointKeys {
    /// New keys that will be forgotten: for agents and tests.
    pub fn random() -> Self {
        Self { reset: crate::random(), token: crate::random() }
    }

    /// Reads the keys from a file, or makes them and writes it (mode 0600) if there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, EndpointKeysError> {
        match files::read_private(path) {
            Ok(bytes) => Self::from_bytes(&bytes).ok_or_else(|| EndpointKeysError::Malformed(path.to_owned())),
            Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let keys = Self::random();
                files::write_private(path, &[keys.reset, keys.token].concat())?;
                Ok(keys)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn endpoint_config(&self) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &self.reset)));
        config.cid_generator(|| Box::new(RandomIds));
        config
    }

    fn token_key(&self) -> hkdf::Prk {
        hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&self.token)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (reset, token) = bytes.split_at_checked(KEY_BYTES)?;
        Some(Self { reset: reset.try_into().ok()?, token: token.try_into().ok()? })
    }
}

impl fmt::Debug for EndpointKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointKeys(secret)")
    }
}

/// Random connection ids.
///
/// quinn's own are marked with a key that each start makes anew, and packets without the mark are dropped unanswered: a
/// restarted aggregator would not tell its agents anything. They also have 24 random bits only, too few for ids that
/// must not come again while the reset key lives.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&crate::random::<CONNECTION_ID_BYTES>())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// As long as quinn's.
const CONNECTION_ID_BYTES: usize = 8;

/// Why the endpoint's keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum EndpointKeysError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds something else.
    #[error("{} does not hold endpoint keys: delete it, and new ones are made (agents then reconnect a little slower once)", .0.display())]
    Malformed(std::path::PathBuf),
}

/// As quinn makes them: the block length of SHA-256.
const KEY_BYTES: usize = 64;

/// Remembers used address tokens, so that a recorded one cannot be replayed to make us send to a forged address.
///
/// Two generations: when the young one is full the old one is forgotten. A token older than that can be used again, which
/// QUIC allows (RFC 9000, section 8.1.4, asks for a limit) and which only its own address could gain from.
#[derive(Default)]
struct UsedTokens(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashSet<u128>,
    old: HashSet<u128>,
}

impl TokenLog for UsedTokens {
    fn check_and_insert(&self, nonce: u128, _: SystemTime, _: Duration) -> Result<(), TokenReuseError> {
        // A set is whole at every moment, so a panic elsewhere while the lock was held has broken nothing.
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.old.contains(&nonce) || !used.young.insert(nonce) {
            return Err(TokenReuseError);
        }
        if used.young.len() >= USED_TOKENS {
            used.old = std::mem::take(&mut used.young);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_once_and_memory_is_bounded() {
        let log = UsedTokens::default();
        let use_up = |nonce| log.check_and_insert(nonce, SystemTime::UNIX_EPOCH, Duration::ZERO).is_ok();
        for nonce in 0..10 * USED_TOKENS as u128 {
            assert!(use_up(nonce));
            assert!(!use_up(nonce), "{nonce} used twice");
        }
        let used = log.0.lock().expect("nobody panicked");
        assert!(used.young.len() + used.old.len() <= 2 * USED_TOKENS);
    }

    #[test]
    fn keys_survive_a_restart_and_a_damaged_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("endpoint.keys");
        let made = EndpointKeys::load_or_create(&path).expect("made");
        let again = EndpointKeys::load_or_create(&path).expect("read");
        assert_eq!((made.reset, made.token), (again.reset, again.token));
        assert_ne!(made.reset, made.token);

        std::fs::write(&path, b"short").expect("write");
        let error = EndpointKeys::load_or_create(&path).expect_err("damaged");
        assert!(error.to_string().contains("delete it"), "{error}");
    }
}
