//! Where an aggregator is. A static program must not call getaddrinfo, so names are asked of the DNS directly, after
//! /etc/hosts.

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use std::net::SocketAddr;

/// Why an aggregator's address is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// Not `host:port`.
    #[error("{0:?} is no address of an aggregator: write host:port in agent.toml")]
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
pub(super) async fn resolve(aggregator: &str) -> Result<SocketAddr, ResolveError> {
    if let Ok(address) = aggregator.parse() {
        return Ok(address);
    }
    let form = || ResolveError::Form(aggregator.to_string());
    let (name, port) = aggregator.rsplit_once(':').ok_or_else(form)?;
    let port: u16 = port.parse().map_err(|_| form())?;
    let failed = |source: NetError| ResolveError::Dns { name: name.to_string(), source: Box::new(source) };
    let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build()).map_err(failed)?;
    let found = resolver.lookup_ip(name).await.map_err(failed)?;
    let address = found.iter().next().ok_or_else(|| ResolveError::NoAddress(name.to_string()))?;
    Ok(SocketAddr::new(address, port))
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
