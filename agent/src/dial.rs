//! How a peer is reached: its address, and a socket to call it from.
//!
//! A static program must not call getaddrinfo, so names are asked of the DNS directly, after /etc/hosts.

use dsmil_crypto::transport::{EndpointKeys, endpoint};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why a peer's address is not known.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Not `host:port`.
    #[error("{0:?} is no address: write host:port")]
    Form(String),
    /// The DNS failed.
    #[error("{name} has no address that the DNS would tell: {source}")]
    Dns {
        /// The name.
        name: String,
        /// Why.
        source: Box<NetError>,
    },
    /// The name has no address.
    #[error("{0} has no address")]
    NoAddress(String),
}

/// The address of `host:port`. Literal addresses need no DNS.
pub async fn resolve(peer: &str) -> Result<SocketAddr, ResolveError> {
    if let Ok(address) = peer.parse() {
        return Ok(address);
    }
    let form = || ResolveError::Form(peer.to_string());
    let (name, port) = peer.rsplit_once(':').ok_or_else(form)?;
    let port: u16 = port.parse().map_err(|_| form())?;
    let failed = |source: NetError| ResolveError::Dns { name: name.to_string(), source: Box::new(source) };
    let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build()).map_err(failed)?;
    let found = resolver.lookup_ip(name).await.map_err(failed)?;
    let address = found.iter().next().ok_or_else(|| ResolveError::NoAddress(name.to_string()))?;
    Ok(SocketAddr::new(address, port))
}

/// A socket to connect from, for both families where the host has both.
pub(crate) fn socket() -> std::io::Result<quinn::Endpoint> {
    let any = |address: SocketAddr| endpoint(address, None, &EndpointKeys::random());
    any((Ipv6Addr::UNSPECIFIED, 0).into()).or_else(|_| any((Ipv4Addr::UNSPECIFIED, 0).into()))
}

/// The address as `socket` reaches it: one for both families reaches IPv4 through mapped addresses.
pub(crate) fn seen_from(socket: &quinn::Endpoint, address: SocketAddr) -> SocketAddr {
    match (socket.local_addr(), address) {
        (Ok(SocketAddr::V6(_)), SocketAddr::V4(v4)) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literals_need_no_dns_and_nonsense_is_named() {
        assert_eq!(resolve("127.0.0.1:8100").await.expect("a literal").port(), 8100);
        assert_eq!(resolve("[::1]:8100").await.expect("a literal").port(), 8100);
        for bad in ["host", "host:port", "host:99999"] {
            assert!(matches!(resolve(bad).await, Err(ResolveError::Form(_))), "{bad}");
        }
    }

    #[tokio::test]
    async fn localhost_is_in_the_hosts_file() {
        let address = resolve("localhost:8100").await.expect("localhost has an address");
        assert!(address.ip().is_loopback());
    }
}
