//! SPIFFE IDs: who a certificate says its holder is.
//!
//! `spiffe://<trust domain>/agent/<host>`, `/aggregator/<name>` and `/operator/<name>`
//! (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>). We allow fewer characters than SPIFFE does:
//! a name ends up in DNS names, file paths, log lines and metric labels.

use std::fmt;
use std::str::FromStr;

/// The trust domain of a fleet: a lower-case DNS name, at most [`TrustDomain::MAX_LEN`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// 253 bytes of DNS name, less `aggregator.` in front.
    pub const MAX_LEN: usize = 242;

    /// Checks and takes a trust domain.
    pub fn new(text: impl Into<String>) -> Result<Self, SpiffeError> {
        let text = text.into();
        let label = |l: &str| is_name(l, MAX_NAME_LEN, false);
        if text.len() <= Self::MAX_LEN && text.split('.').all(label) {
            Ok(Self(text))
        } else {
            Err(SpiffeError::TrustDomain)
        }
    }

    /// The trust domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The DNS name in every aggregator's leaf, and the server name an agent connects with.
    pub fn aggregator_dns_name(&self) -> String {
        format!("aggregator.{}", self.0)
    }

    /// The SPIFFE ID of the trust domain itself, which its root carries.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        Self::new(text)
    }
}

/// What the holder of an identity is in the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The agent of a host; the name is the host's.
    Agent,
    /// An aggregator.
    Aggregator,
    /// A person who operates the fleet.
    Operator,
}

impl Role {
    /// The role as it stands in a SPIFFE ID.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Aggregator => "aggregator",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name in a leaf certificate: a role and a name within a trust domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    role: Role,
    name: String,
}

impl SpiffeId {
    /// Names `name` (1 to 63 of `a-z 0-9 - .`, as a host name of the fleet file) in its role.
    pub fn new(trust_domain: TrustDomain, role: Role, name: impl Into<String>) -> Result<Self, SpiffeError> {
        let name = name.into();
        if is_name(&name, MAX_NAME_LEN, true) { Ok(Self { trust_domain, role, name }) } else { Err(SpiffeError::Name) }
    }

    /// The fleet it belongs to.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// What it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The last part: a host's, an aggregator's or an operator's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.trust_domain, self.role, self.name)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeError::Scheme)?;
        let mut parts = rest.split('/');
        let trust_domain = TrustDomain::new(parts.next().unwrap_or_default())?;
        let role = match parts.next() {
            Some("agent") => Role::Agent,
            Some("aggregator") => Role::Aggregator,
            Some("operator") => Role::Operator,
            _ => return Err(SpiffeError::Role),
        };
        let name = parts.next().ok_or(SpiffeError::Name)?;
        if parts.next().is_some() {
            return Err(SpiffeError::Name);
        }
        Self::new(trust_domain, role, name)
    }
}

/// Why a text is no SPIFFE ID of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// Not `spiffe://`.
    #[error("a SPIFFE ID starts with spiffe://")]
    Scheme,
    /// Not a trust domain.
    #[error("a trust domain is a lower-case DNS name of at most {} bytes, as in fleet.example", TrustDomain::MAX_LEN)]
    TrustDomain,
    /// Not a role.
    #[error("the first part of a SPIFFE ID's path is agent, aggregator or operator")]
    Role,
    /// Not a name.
    #[error("the name in a SPIFFE ID is 1 to 63 of a-z, 0-9, '-' and '.', and starts and ends with a letter or digit")]
    Name,
}

const SCHEME: &str = "spiffe://";

/// The longest DNS label, and the longest host name of a fleet file.
const MAX_NAME_LEN: usize = 63;

fn is_name(text: &str, max: usize, dots: bool) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edge = |b: Option<&u8>| b.is_some_and(|b| alphanumeric(*b));
    bytes.len() <= max
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|&b| alphanumeric(b) || b == b'-' || (dots && b == b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in
            ["spiffe://fleet.example/agent/rack-3.node-7", "spiffe://a/aggregator/main", "spiffe://a.b/operator/kim"]
        {
            let id: SpiffeId = text.parse().expect(text);
            assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn refuses_everything_else_and_says_which_part() {
        use SpiffeError as E;
        let long = format!("spiffe://{}/agent/h", "a.".repeat(130) + "a");
        let cases = [
            ("", E::Scheme),
            ("https://a/agent/h", E::Scheme),
            ("SPIFFE://a/agent/h", E::Scheme),
            ("spiffe://", E::TrustDomain),
            ("spiffe:///agent/h", E::TrustDomain),
            ("spiffe://A/agent/h", E::TrustDomain),
            ("spiffe://a..b/agent/h", E::TrustDomain),
            ("spiffe://a:1/agent/h", E::TrustDomain),
            ("spiffe://u@a/agent/h", E::TrustDomain),
            (&long, E::TrustDomain),
            ("spiffe://a", E::Role),
            ("spiffe://a/", E::Role),
            ("spiffe://a/root/h", E::Role),
            ("spiffe://a/agent", E::Name),
            ("spiffe://a/agent/", E::Name),
            ("spiffe://a/agent/..", E::Name),
            ("spiffe://a/agent/h/x", E::Name),
            ("spiffe://a/agent/h?x", E::Name),
            ("spiffe://a/agent/h\n", E::Name),
        ];
        for (text, why) in cases {
            assert_eq!(text.parse::<SpiffeId>(), Err(why), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_prints_the_same(text in "spiffe://[a-z.-]{0,9}/(agent|operator)/[a-z0-9.A/-]{0,9}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
