//! Bearer tokens of the HTTPS API: 256 random bits, shown once, kept only as a hash.

use std::fmt;
use std::str::FromStr;

use crate::key::sha384;
use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dsmil_authority::Fingerprint;

/// A token as its owner holds it: `dsmil_` and 43 characters of base64url.
#[derive(Clone)]
pub struct ApiToken(String);

impl ApiToken {
    /// Makes a new one.
    pub fn generate() -> Self {
        Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(crate::random::<SECRET_BYTES>())))
    }

    /// The text to hand to its owner, once. It is a secret: not for logs.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// What to keep of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(secret)")
    }
}

/// SHA-384 of a token's text: enough to recognise it, useless to present. The token is random, so a plain hash is enough.
#[derive(Clone, Copy)]
pub struct TokenHash(Fingerprint);

impl TokenHash {
    /// Whether `presented` is the token, in time that does not depend on how much of it is right.
    pub fn matches(&self, presented: &str) -> bool {
        // Longer texts are no tokens; hashing them would be work for whoever sends them.
        presented.len() == TOKEN_LEN
            && constant_time::verify_slices_are_equal(&self.0.0, &Self::of(presented).0.0).is_ok()
    }

    fn of(text: &str) -> Self {
        Self(sha384(text.as_bytes()))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self})")
    }
}

impl FromStr for TokenHash {
    type Err = TokenHashError;

    /// Reads what `Display` writes: 96 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, TokenHashError> {
        text.parse().map(Self).map_err(|_| TokenHashError)
    }
}

/// The text is no token hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token hash is {} hexadecimal digits; make a new token if it was damaged", 2 * Fingerprint::LEN)]
pub struct TokenHashError;

/// So that secret scanners and people can tell what it is.
const PREFIX: &str = "dsmil_";
const SECRET_BYTES: usize = 32;
/// The prefix and 32 bytes in base64url without padding.
const TOKEN_LEN: usize = PREFIX.len() + 43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_by_its_hash_and_nothing_else_is() {
        let token = ApiToken::generate();
        assert_eq!(token.secret().len(), TOKEN_LEN);
        assert!(token.secret().starts_with("dsmil_"));
        let kept: TokenHash = token.hash().to_string().parse().expect("what was printed");
        assert!(kept.matches(token.secret()));
        assert!(!kept.matches(ApiToken::generate().secret()));
        for wrong in ["", "dsmil_", &token.secret()[1..], &format!("{} ", token.secret()), &"x".repeat(1 << 20)] {
            assert!(!kept.matches(wrong));
        }
    }

    #[test]
    fn a_weak_token_is_no_way_in_even_if_its_hash_was_kept() {
        for weak in ["", "secret"] {
            assert!(!TokenHash::of(weak).matches(weak), "{weak:?}");
        }
    }

    #[test]
    fn secrets_do_not_leak_into_debug_output() {
        let token = ApiToken::generate();
        assert!(!format!("{token:?}").contains(&token.secret()[6..]));
    }

    #[test]
    fn damaged_hashes_are_refused() {
        for bad in ["", "00", &"0".repeat(95), &"0".repeat(97), &"g".repeat(96), &"é".repeat(48)] {
            assert!(bad.parse::<TokenHash>().is_err(), "{bad:?}");
        }
    }
}
