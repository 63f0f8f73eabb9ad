//! Why a host could not join, and what to do about it.

use crate::config::ConfigError;
use crate::join_port::PortError;
use dsmil_crypto::csr::CsrError;
use dsmil_crypto::identity::IdentityError;
use dsmil_crypto::join_token::JoinTokenError;
use dsmil_crypto::key::KeyError;
use dsmil_crypto::policy::PolicyError;
use dsmil_crypto::trust::TrustError;
use dsmil_protocol::error::ErrorCode;
use dsmil_protocol::ids::HostName;
use std::path::PathBuf;

/// A join port that gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {source}")]
pub struct PortFailure {
    /// As the token has it.
    pub address: String,
    /// Why.
    pub source: PortError,
}

/// Why a host could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No token.
    #[error(transparent)]
    Token(#[from] JoinTokenError),
    /// A token that names no host or fleet of ours.
    #[error("the join token names no host or no fleet that could be one")]
    TokenNames,
    /// The host has an identity.
    #[error("this host has joined already: {} is there", .0.display())]
    Joined(PathBuf),
    /// agent.toml is of another host.
    #[error("the token is for host {token}, and {} is of host {configured}", path.display())]
    OtherHost {
        /// The configuration.
        path: PathBuf,
        /// Its host.
        configured: HostName,
        /// The token's.
        token: HostName,
    },
    /// There is an agent.toml that cannot be read.
    #[error("the agent.toml that is there cannot be used: {0}")]
    Config(ConfigError),
    /// A file or its folder cannot be used.
    #[error("{} cannot be written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No join port of the token could be asked.
    #[error("no join port of the token can be asked: {}", list(.0))]
    NoPort(Vec<PortFailure>),
    /// The aggregator said no.
    #[error("the aggregator refuses: {}{}", code.name(), if detail.is_empty() { String::new() } else { format!(" ({detail})") })]
    Refused {
        /// Why.
        code: ErrorCode,
        /// What exactly.
        detail: String,
    },
    /// The aggregator's answer makes no sense.
    #[error("the aggregator's answer {0}")]
    Answer(&'static str),
    /// A certificate for somebody else.
    #[error("the certificate that came is that of {found}, where {host} asked")]
    OtherName {
        /// Whose it is.
        found: String,
        /// Who asked.
        host: HostName,
    },
    /// The trust bundle that came is not to be trusted.
    #[error("the trust bundle that came is refused: {0}")]
    Trust(#[from] TrustError),
    /// The certificate or key cannot be used or written.
    #[error("the identity cannot be used: {}", chain(.0))]
    Identity(#[from] IdentityError),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No request could be made.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl JoinError {
    pub(super) fn no_port(address: &str, source: PortError) -> Self {
        Self::NoPort(vec![PortFailure { address: address.to_owned(), source }])
    }

    /// The short name, for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(_) | Self::TokenNames => "token_malformed",
            Self::Joined(_) => "joined_already",
            Self::OtherHost { .. } => "other_host",
            Self::Config(_) => "configuration",
            Self::File { .. } => "file",
            Self::NoPort(failures) => failures.last().map_or("no_address", |failure| failure.source.name()),
            Self::Refused { code, .. } => code.name(),
            Self::Answer(_) => "answer",
            Self::OtherName { .. } => ErrorCode::IdentityMismatch.name(),
            Self::Trust(error) => error.name(),
            Self::Identity(_) => "identity_file",
            Self::Key(_) | Self::Csr(_) | Self::Policy(_) => "cryptography",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Token(_) | Self::TokenNames => {
                "Copy the whole line that `dsmil-aggregator token create` printed.".into()
            }
            Self::Joined(_) => "To join it a second time, with a new token: `dsmil-agent join TOKEN --again`.".into(),
            Self::OtherHost { path, .. } => {
                format!("Create a token for this host, or move {} away if it is of the past.", path.display())
            }
            Self::Config(_) => "Mend it or move it away, then run the same command again.".into(),
            Self::File { path, .. } => {
                format!(
                    "Run it as root or as the agent's user, or name another folder with --dir, not {}.",
                    path.display()
                )
            }
            Self::NoPort(failures) => failures.last().map_or_else(String::new, |f| f.source.remedy().into()),
            Self::Refused { code, .. } => code.remedy().into(),
            Self::Answer(_) => "Bring agent and aggregator to the same version.".into(),
            Self::OtherName { .. } => "The aggregator has a fault: see its log. Nothing was written here.".into(),
            Self::Trust(_) => "See `dsmil-aggregator trust show` on the aggregator. Nothing was written here.".into(),
            Self::Identity(_) => "Run the same command again, as root or as the agent's user.".into(),
            Self::Key(_) | Self::Csr(_) | Self::Policy(_) => "Report it; the program's own cryptography failed.".into(),
        }
    }
}

fn list(failures: &[PortFailure]) -> String {
    let each: Vec<String> = failures.iter().map(ToString::to_string).collect();
    each.join("; ")
}

/// An error and what is behind it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
