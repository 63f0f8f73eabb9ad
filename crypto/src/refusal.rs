//! Why a connection was refused, as one closed list: for counters per reason, for the audit, for an operator's eyes.
//!
//! quinn passes on a TLS error as an alert number and rustls' words for it. The words are compared with what rustls itself
//! prints for each error, and tests refuse a peer in every one of these ways, so a release of rustls that changes its words
//! fails a test here rather than a counter in the field.

use quinn::ConnectionError;
use rustls::{CertificateError, Error, PeerIncompatible};

/// Why a connection came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// No key-exchange group in common: on the fleet link, a peer without ML-KEM-1024; on HTTPS, one with classical groups only.
    KeyExchange,
    /// No cipher suite in common: a peer without TLS_AES_256_GCM_SHA384.
    CipherSuite,
    /// A peer that signs with, or accepts, something else than ML-DSA-87 only.
    SignatureScheme,
    /// No application protocol in common: not a peer of ours, or of another version.
    ApplicationProtocol,
    /// Not TLS 1.3.
    TlsVersion,
    /// The peer has shown no certificate, be it that it has none of the kind we ask for.
    NoCertificate,
    /// The peer's certificate was not issued by the fleet's root.
    UnknownRoot,
    /// The peer's certificate was issued by an issuer that the fleet has retired.
    RetiredIssuer,
    /// The key of the peer's certificate, or of its issuer, is revoked in the trust bundle.
    Revoked,
    /// The trust bundle that the peer would be judged by has expired: nobody is trusted until there is a newer one.
    TrustExpired,
    /// The peer's certificate has expired, or that of its issuer or root.
    Expired,
    /// The peer's certificate is not valid yet: one of the two clocks is wrong.
    NotYetValid,
    /// The certificate is for the other end of TLS: an agent's shown by a server, or the other way round.
    WrongPurpose,
    /// The certificate does not name exactly one identity of ours, or not the DNS name that was asked for.
    WrongName,
    /// The certificate names another trust domain.
    WrongTrustDomain,
    /// The certificate names a role that has no place at that end.
    WrongRole,
    /// The certificate is malformed or its signature, or that of the handshake, is wrong.
    BadCertificate,
    /// The peer says only that its terms and ours have nothing in common: from one of another make it is the word for
    /// groups, suites and signatures alike.
    HandshakeFailure,
    /// The peer takes no new connections for now: try again later.
    Busy,
    /// Nobody refused: the peer fell silent, went away or restarted, or one side closed the connection.
    Lost,
    /// Another fault of TLS or QUIC.
    Other,
}

impl Refusal {
    /// All of them, for counters that start at 0.
    pub const ALL: [Self; 21] = [
        Self::KeyExchange,
        Self::CipherSuite,
        Self::SignatureScheme,
        Self::ApplicationProtocol,
        Self::TlsVersion,
        Self::NoCertificate,
        Self::UnknownRoot,
        Self::RetiredIssuer,
        Self::Revoked,
        Self::TrustExpired,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongPurpose,
        Self::WrongName,
        Self::WrongTrustDomain,
        Self::WrongRole,
        Self::BadCertificate,
        Self::HandshakeFailure,
        Self::Busy,
        Self::Lost,
        Self::Other,
    ];

    /// The name in metrics, audit and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyExchange => "key_exchange",
            Self::CipherSuite => "cipher_suite",
            Self::SignatureScheme => "signature_scheme",
            Self::ApplicationProtocol => "application_protocol",
            Self::TlsVersion => "tls_version",
            Self::NoCertificate => "no_certificate",
            Self::UnknownRoot => "unknown_root",
            Self::RetiredIssuer => "retired_issuer",
            Self::Revoked => "revoked",
            Self::TrustExpired => "trust_expired",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongPurpose => "wrong_purpose",
            Self::WrongName => "wrong_name",
            Self::WrongTrustDomain => "wrong_trust_domain",
            Self::WrongRole => "wrong_role",
            Self::BadCertificate => "bad_certificate",
            Self::HandshakeFailure => "handshake_failure",
            Self::Busy => "busy",
            Self::Lost => "lost",
            Self::Other => "other",
        }
    }
}

/// Why rustls or our verifier has refused a certificate, without a connection around it.
pub(crate) fn certificate_refusal(error: &Error) -> Refusal {
    of_words(0, &error.to_string())
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a QUIC connection of the fleet link came to nothing, whichever end refused.
///
/// [`ConnectionError::TransportError`] means that we refused, [`ConnectionError::ConnectionClosed`] that the peer did; in
/// the second case the words are the peer's and prove nothing.
pub fn refusal_reason(error: &ConnectionError) -> Refusal {
    match error {
        ConnectionError::TransportError(error) => of_words(error.code.into(), &error.reason),
        ConnectionError::ConnectionClosed(close) => {
            of_words(close.error_code.into(), &String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed => Refusal::Lost,
        ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => Refusal::Other,
    }
}

/// Why a TLS handshake over TCP (HTTPS) failed.
pub fn tls_refusal_reason(error: &Error) -> Refusal {
    match error {
        Error::AlertReceived(alert) => of_alert(u8::from(*alert)),
        other => of_words(0, &other.to_string()),
    }
}

fn of_words(code: u64, words: &str) -> Refusal {
    let is = |error: Error| words == error.to_string();
    if is(PeerIncompatible::NoKxGroupsInCommon.into()) {
        return Refusal::KeyExchange;
    }
    if is(PeerIncompatible::NoCipherSuitesInCommon.into()) {
        return Refusal::CipherSuite;
    }
    if is(PeerIncompatible::NoSignatureSchemesInCommon.into()) {
        return Refusal::SignatureScheme;
    }
    if NOT_TLS_13.into_iter().any(|why| is(why.into())) {
        return Refusal::TlsVersion;
    }
    if is(Error::NoCertificatesPresented) {
        return Refusal::NoCertificate;
    }
    if is(Error::NoApplicationProtocol) {
        return Refusal::ApplicationProtocol;
    }
    if let Some(about) = words.strip_prefix(CERTIFICATE_WORDS) {
        return of_certificate_words(about);
    }
    match code.checked_sub(CRYPTO_ERROR).map(u8::try_from) {
        Some(Ok(alert)) => of_alert(alert),
        _ if code == CONNECTION_REFUSED => Refusal::Busy,
        _ => Refusal::Other,
    }
}

/// What rustls says about a peer's certificate.
fn of_certificate_words(words: &str) -> Refusal {
    if let Some(ours) = words.strip_prefix(OUR_WORDS) {
        let name = ours.split(':').next().unwrap_or_default();
        // Without a name of ours it is a rarer fault of the chain, which rustls wraps in the same way.
        let named = Refusal::ALL.into_iter().find(|refusal| refusal.as_str() == name);
        return named.unwrap_or(Refusal::BadCertificate);
    }
    let is = |error: CertificateError| words == error.to_string();
    if is(CertificateError::UnknownIssuer) {
        return Refusal::UnknownRoot;
    }
    if is(CertificateError::BadSignature) || is(CertificateError::BadEncoding) {
        return Refusal::BadCertificate;
    }
    // The rest carries details, so only its beginning is fixed.
    let beginnings = [
        ("certificate expired", Refusal::Expired),
        ("certificate not valid yet", Refusal::NotYetValid),
        ("certificate not valid for name", Refusal::WrongName),
        ("certificate does not allow extended key usage", Refusal::WrongPurpose),
        ("UnsupportedSignatureAlgorithm", Refusal::SignatureScheme),
    ];
    let known = beginnings.into_iter().find(|(beginning, _)| words.starts_with(beginning));
    known.map_or(Refusal::BadCertificate, |(_, refusal)| refusal)
}

/// What the number alone says, for peers with other words (RFC 8446, section 6).
fn of_alert(alert: u8) -> Refusal {
    match alert {
        40 => Refusal::HandshakeFailure,
        42 | 43 | 51 => Refusal::BadCertificate,
        45 => Refusal::Expired,
        48 => Refusal::UnknownRoot,
        70 => Refusal::TlsVersion,
        116 => Refusal::NoCertificate,
        120 => Refusal::ApplicationProtocol,
        _ => Refusal::Other,
    }
}

/// A QUIC error code is this plus the TLS alert (RFC 9001, section 4.8).
const CRYPTO_ERROR: u64 = 0x100;

/// An endpoint that does not want to take part, as one does that has too many handshakes waiting (RFC 9000, section 20.1).
const CONNECTION_REFUSED: u64 = 2;

/// The ways in which rustls says that a peer has no TLS 1.3.
const NOT_TLS_13: [PeerIncompatible; 4] = [
    PeerIncompatible::SupportedVersionsExtensionRequired,
    PeerIncompatible::Tls12NotOffered,
    PeerIncompatible::Tls12NotOfferedOrEnabled,
    PeerIncompatible::Tls13RequiredForQuic,
];

const CERTIFICATE_WORDS: &str = "invalid peer certificate: ";

/// How rustls prints an error that a verifier of ours has raised; the refusal's name follows.
const OUR_WORDS: &str = "Other(OtherError(";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_that_can_be_a_metric_label() {
        let names: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.as_str()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn an_old_client_is_told_from_a_broken_one() {
        for why in NOT_TLS_13 {
            assert_eq!(tls_refusal_reason(&why.into()), Refusal::TlsVersion);
        }
        assert_eq!(tls_refusal_reason(&Error::DecryptError), Refusal::Other);
    }

    #[test]
    fn a_peer_with_other_words_is_understood_by_its_alert() {
        let cases = [
            (0x100 + 116, Refusal::NoCertificate),
            (0x100 + 48, Refusal::UnknownRoot),
            (0x100 + 45, Refusal::Expired),
            (0x100 + 40, Refusal::HandshakeFailure),
            (2, Refusal::Busy),
            (0, Refusal::Other),
            (u64::MAX, Refusal::Other),
        ];
        for (code, why) in cases {
            assert_eq!(of_words(code, "no thanks"), why, "{code}");
        }
    }

    proptest! {
        #[test]
        fn no_words_are_too_odd(code: u64, words in "(invalid peer certificate: )?(Other\\(OtherError\\()?.{0,40}") {
            of_words(code, &words);
        }
    }
}
