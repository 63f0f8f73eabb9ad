//! The link held against peers that nobody here wrote: s2n-quic with its CNSA 2.0 policy, OpenSSL 3.5, and what people
//! point at the HTTPS API. Two ends of our own could share a mistake; these do not share it.

mod fleet;
mod https;
mod openssl;
mod s2n;
mod talk;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Nobody has the time to wait longer for a handshake over loopback.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A free port of loopback.
pub(crate) const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// What keys are exported for when a host renews: both ends of every connection must derive the same.
pub(crate) const LABEL: &[u8] = b"EXPORTER-dsmil-renew";
