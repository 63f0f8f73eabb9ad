//! `dsmil-agent join TOKEN`: how a host gets its first identity, its trust and its configuration.
//!
//! The token names the fleet's root, so the first connection is judged by it and nothing is believed on first use. The key
//! is made here and stays here. It waits in a file of its own until the end: cut short anywhere, the same command asks again
//! with the same key, and the aggregator answers as if nothing had happened.

mod error;
mod place;
mod step;

pub use error::{JoinError, PortFailure};
pub use step::{Joined, Step};

use crate::config::TrustFacts;
use crate::join_port::JoinPort;
use dsmil_crypto::csr;
use dsmil_crypto::identity::Identity;
use dsmil_crypto::join_token::JoinToken;
use dsmil_crypto::key::SigningKey;
use dsmil_crypto::policy::join_client;
use dsmil_crypto::spiffe::{Role, TrustDomain};
use dsmil_crypto::time::TimeSource;
use dsmil_crypto::trust::{JoinTrust, Trust};
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::HostName;
use dsmil_protocol::join::{Granted, JoinAnswer, JoinRequest};
use dsmil_runtime::clock::Clock;
use place::Place;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// The folder of agent.toml.
    pub dir: PathBuf,
    /// The folder of key, certificate and trust, which the agent has to be able to write; may be the same.
    pub state: PathBuf,
    /// Whether a host that has an identity is to get another.
    pub again: bool,
    /// How long each join port may take to connect, and to answer.
    pub within: Duration,
}

/// Joins with a token, and calls `say` for each step as it happens.
///
/// # Errors
/// Nothing of an identity that was there before has changed then, unless a file could not be written; running it again with
/// the same token within ten minutes is safe.
pub async fn join(
    token: &str,
    options: &JoinOptions,
    clock: &Clock,
    say: &mut dyn FnMut(Step),
) -> Result<Joined, JoinError> {
    let started = clock.mono();
    let token: JoinToken = token.parse()?;
    let ticket = Ticket::read(&token, clock)?;
    let place = Place::find(options, &ticket.host)?;
    say(Step::Token { host: ticket.host.clone(), domain: ticket.domain.to_string(), root: token.root.short() });
    let key = place.key()?;
    let (port, address) = connect(&ticket, options, clock, say).await?;
    say(Step::Pinned { address, root: token.root.short() });
    let csr = csr::request(&key)?;
    say(Step::Asked { key: key.fingerprint().short() });
    let request = JoinRequest::Join { host: ticket.host.clone(), secret: *token.secret(), csr };
    let answer = port.ask(&request, options.within).await;
    let granted = match answer.map_err(|error| JoinError::no_port(&address.to_string(), error))? {
        JoinAnswer::Granted(granted) => *granted,
        JoinAnswer::Refused { code, detail } => {
            return Err(JoinError::Refused { code: ErrorCode::from_number(code), detail });
        }
        JoinAnswer::Bundle(_) | JoinAnswer::UpToDate => return Err(JoinError::Answer("is to another question")),
    };
    let (identity, trust) = ticket.judge(&granted, &key)?;
    let text = place.configuration(&granted.settings)?;
    let kept = place.write(&identity, &trust, text.as_deref(), say)?;
    let differences = kept.iter().flat_map(|config| crate::settings::differences(config, &granted.settings));
    let differences: Vec<String> = differences.map(|difference| difference.to_string()).collect();
    differences.iter().for_each(|difference| say(Step::Differs(difference.clone())));
    place.finish()?;
    Ok(Joined {
        host: ticket.host.to_string(),
        spiffe_id: identity.id().to_string(),
        key: key.fingerprint().to_string(),
        root: token.root.to_string(),
        aggregator: address.to_string(),
        not_after_s: identity.validity().not_after,
        trust: TrustFacts::of(&trust),
        files: place.files(),
        differences,
        took_ms: u64::try_from(clock.mono().saturating_sub(started).as_millis()).unwrap_or(u64::MAX),
    })
}

/// What a token says, in our own types, and when it is.
struct Ticket<'a> {
    token: &'a JoinToken,
    host: HostName,
    domain: TrustDomain,
    time: TimeSource,
}

impl<'a> Ticket<'a> {
    fn read(token: &'a JoinToken, clock: &Clock) -> Result<Self, JoinError> {
        let host = HostName::new(token.host.as_str()).map_err(|_| JoinError::TokenNames)?;
        let domain = TrustDomain::new(token.trust_domain.as_str()).map_err(|_| JoinError::TokenNames)?;
        let wall = clock.clone();
        let time = TimeSource::new(move || wall.wall_ns().div_euclid(1_000_000_000));
        Ok(Self { token, host, domain, time })
    }

    /// What was granted is ours only if it is for our key and our host, under the root of the token.
    fn judge(&self, granted: &Granted, key: &SigningKey) -> Result<(Identity, Trust), JoinError> {
        // However wrong the clock is: the token was made in the past.
        let now_s = self.time.unix_seconds().max(self.token.created_s);
        let trust = Trust::pinned(&granted.bundle, &self.token.root, &self.domain, now_s)?;
        let identity = Identity::of_key(granted.leaf.clone(), key)?;
        let id = identity.id();
        let ours = id.role() == Role::Agent && id.name() == self.host.as_str() && *id.trust_domain() == self.domain;
        if !ours || granted.settings.host != self.host {
            return Err(JoinError::OtherName { found: id.to_string(), host: self.host.clone() });
        }
        Ok((identity, trust))
    }
}

/// Connects to the first join port of the token that can be connected with.
async fn connect(
    ticket: &Ticket<'_>,
    options: &JoinOptions,
    clock: &Clock,
    say: &mut dyn FnMut(Step),
) -> Result<(JoinPort, SocketAddr), JoinError> {
    let trust = JoinTrust::Pinned { root: ticket.token.root, trust_domain: ticket.domain.clone() };
    let client = join_client(trust, ticket.time.clone(), ticket.token.created_s)?;
    let name = ticket.domain.aggregator_dns_name();
    let mut failures = Vec::new();
    for address in &ticket.token.addresses {
        say(Step::Connecting(address.clone()));
        match JoinPort::connect(address, client.clone(), &name, clock, options.within).await {
            Ok(port) => {
                let at = port.address();
                return Ok((port, at));
            }
            Err(source) => failures.push(PortFailure { address: address.clone(), source }),
        }
    }
    Err(JoinError::NoPort(failures))
}

#[cfg(test)]
mod tests;
