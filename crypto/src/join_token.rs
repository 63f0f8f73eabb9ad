//! Join tokens: all that a new host must be told, in one line that is pasted once.
//!
//! `dsmil-join-1.` and base64url of: a body (postcard) and the first four bytes of its SHA-384, so that a line that was cut
//! or mistyped is named as such before anybody is asked.

use crate::key::sha384;
use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dsmil_authority::Fingerprint;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a token tells.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Join ports, `host:port`, tried in this order.
    pub addresses: Vec<String>,
    /// The fleet.
    pub trust_domain: String,
    /// The root to pin: SHA-384 of its certificate.
    pub root: Fingerprint,
    /// The host that may join with it.
    pub host: String,
    /// When it was made, Unix seconds: the present is not earlier, however wrong the host's clock is.
    pub created_s: i64,
    secret: [u8; SECRET_LEN],
}

impl JoinToken {
    /// Makes a token with a new secret.
    pub fn generate(
        addresses: Vec<String>,
        trust_domain: String,
        root: Fingerprint,
        host: String,
        created_s: i64,
    ) -> Self {
        Self { addresses, trust_domain, root, host, created_s, secret: crate::random() }
    }

    /// What the host presents.
    pub fn secret(&self) -> &[u8; SECRET_LEN] {
        &self.secret
    }

    /// What the aggregator keeps.
    pub fn hash(&self) -> [u8; Fingerprint::LEN] {
        secret_hash(&self.secret)
    }

    /// The line to hand over, once. It is a secret: not for logs.
    pub fn text(&self) -> String {
        let body = postcard::to_allocvec(self).expect("writing to memory cannot fail");
        let bytes = [&body[..], &sha384(&body).0[..CHECK_LEN]].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// What is kept of a secret that a host presents: SHA-384. The secret is random, so a plain hash is enough.
pub fn secret_hash(secret: &[u8; SECRET_LEN]) -> [u8; Fingerprint::LEN] {
    sha384(secret).0
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("host", &self.host)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(JoinTokenError::NotOne)?;
        if encoded.len() > MAX_TEXT_LEN {
            return Err(JoinTokenError::NotOne);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| JoinTokenError::Damaged)?;
        let (body, check) =
            bytes.split_at_checked(bytes.len().saturating_sub(CHECK_LEN)).ok_or(JoinTokenError::Damaged)?;
        if constant_time::verify_slices_are_equal(check, &sha384(body).0[..CHECK_LEN]).is_err() {
            return Err(JoinTokenError::Damaged);
        }
        let (token, rest): (Self, _) = postcard::take_from_bytes(body).map_err(|_| JoinTokenError::Damaged)?;
        let sound = rest.is_empty() && (1..=MAX_ADDRESSES).contains(&token.addresses.len());
        if sound { Ok(token) } else { Err(JoinTokenError::Damaged) }
    }
}

/// Why a text is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    /// Something else.
    #[error("this is no join token: it starts with `{PREFIX}`; `dsmil-aggregator token create` prints one")]
    NotOne,
    /// Cut or mistyped.
    #[error("the join token is damaged: copy the whole line again")]
    Damaged,
}

/// Bytes of a token's secret.
pub const SECRET_LEN: usize = 32;
const PREFIX: &str = "dsmil-join-1.";
const CHECK_LEN: usize = 4;
/// Aggregators that a token may name, as many as agent.toml.
const MAX_ADDRESSES: usize = 16;
/// Characters after the prefix: sixteen names of 262 bytes and the rest are 6 KB.
const MAX_TEXT_LEN: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        let addresses = vec!["aggregator.example:8101".into()];
        JoinToken::generate(addresses, "fleet.example".into(), Fingerprint([7; 48]), "h47".into(), 1_750_000_000)
    }

    #[test]
    fn a_token_reads_what_it_prints_and_hides_its_secret_from_logs() {
        let token = token();
        assert_eq!(token.text().parse(), Ok(token.clone()));
        assert_eq!(format!(" {}\n", token.text()).parse(), Ok(token.clone()), "as it is pasted");
        assert_ne!(token.hash(), self::token().hash());
        assert!(!format!("{token:?}").contains("secret:"));
    }

    #[test]
    fn every_cut_and_every_typing_error_is_named() {
        let text = token().text();
        for end in 0..text.len() {
            assert!(text[..end].parse::<JoinToken>().is_err(), "cut at {end}");
        }
        for at in PREFIX.len()..text.len() {
            let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
            let typed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(typed.parse::<JoinToken>(), Err(JoinTokenError::Damaged), "typed wrong at {at}");
        }
        assert_eq!("dsmil_something".parse::<JoinToken>(), Err(JoinTokenError::NotOne));
    }
}
