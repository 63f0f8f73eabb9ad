//! Calls aggregators with the credentials in force.

use super::ending::End;
use crate::credentials::{Credentials, Held};
use crate::dial;
use std::sync::Arc;

/// A socket, and what TLS needs as long as the credentials stay the same: it remembers sessions, so that most reconnects
/// are short.
#[derive(Debug)]
pub(super) struct Caller {
    socket: quinn::Endpoint,
    credentials: Credentials,
    ready: Option<(Arc<Held>, quinn::ClientConfig)>,
}

impl Caller {
    pub(super) fn new(credentials: Credentials) -> std::io::Result<Self> {
        Ok(Self { socket: dial::socket()?, credentials, ready: None })
    }

    /// A connection to `host:port`, its other end judged by what we trust now.
    pub(super) async fn call(&mut self, aggregator: &str) -> Result<quinn::Connection, End> {
        let (held, client) = self.client()?;
        let address = dial::resolve(aggregator).await.map_err(|error| End::Unreachable(error.to_string()))?;
        let name = held.trust().trust_domain().aggregator_dns_name();
        let connecting = self
            .socket
            .connect_with(client, dial::seen_from(&self.socket, address), &name)
            .map_err(|error| End::Unreachable(error.to_string()))?;
        let connection = connecting.await.map_err(|error| End::of(&error))?;
        // A resumed session has skipped this, and what we trust may have changed since the first one.
        match held.link().authenticate(&connection) {
            Ok(_) => Ok(connection),
            Err(refusal) => {
                connection.close(quinn::VarInt::from_u32(0), refusal.as_str().as_bytes());
                Err(End::Handshake { refusal, ours: true })
            }
        }
    }

    fn client(&mut self) -> Result<(Arc<Held>, quinn::ClientConfig), End> {
        let held = self.credentials.current();
        if let Some((of, client)) = &self.ready
            && Arc::ptr_eq(of, &held)
        {
            return Ok((held, client.clone()));
        }
        let client = held.link().client().map_err(|error| End::Unusable(error.to_string()))?;
        self.ready = Some((held.clone(), client.clone()));
        Ok((held, client))
    }
}

/// Whoever is still connected is told.
impl Drop for Caller {
    fn drop(&mut self) {
        self.socket.close(quinn::VarInt::from_u32(0), b"");
    }
}
