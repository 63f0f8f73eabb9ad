//! What the fleet link speaks: one key exchange, one signature scheme, one cipher suite, TLS 1.3, both ends proven.
//!
//! rustls offers more by default, and its classical groups too; everything here is listed, and tests hold the lists.
//!
//! Sessions are never resumed and there is no 0-RTT: resumption skips the checks of certificates, and a full handshake
//! costs 1.4 ms of a core, once per connection.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, SignatureScheme};

use crate::identity::{CertificateError, Identity, Trust};
use crate::spiffe::{Role, SpiffeId};
use crate::time::TimeSource;
use crate::transport::{self, EndpointKeys};
use crate::verify::{AgentVerifier, AggregatorVerifier};
use crate::x509;

/// The application protocol of the fleet link, version 1.
pub const FLEET_ALPN: &[u8] = b"dsmil-dbe/1";

/// What a session was protected with, for telemetry and display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The key-exchange group.
    pub group: &'static str,
    /// The signature scheme of both certificates.
    pub scheme: &'static str,
    /// The cipher suite.
    pub suite: &'static str,
}

/// What every established session of the fleet link has: there is one of each to choose from.
pub const FLEET_NEGOTIATED: Negotiated =
    Negotiated { group: "MLKEM1024", scheme: "ML-DSA-87", suite: "TLS_AES_256_GCM_SHA384" };

/// The configuration of an aggregator's end: takes agents of its trust domain and nobody else.
pub fn fleet_server(
    identity: &Identity,
    trust: &Trust,
    time: TimeSource,
    keys: &EndpointKeys,
) -> Result<quinn::ServerConfig, PolicyError> {
    let time = floored(time, identity, trust);
    let tls = server_tls(identity, trust, &time)?;
    let quic = QuicServerConfig::with_initial(Arc::new(tls), initial_suite()).expect(INITIAL_SUITE_FITS);
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(quic));
    transport::tune_server(&mut config, keys, Arc::new(time));
    Ok(config)
}

pub(crate) fn server_tls(
    identity: &Identity,
    trust: &Trust,
    time: &TimeSource,
) -> Result<rustls::ServerConfig, PolicyError> {
    check_own(identity, trust, Role::Aggregator)?;
    let provider = fleet_provider();
    let roots = roots([trust.root()])?;
    let inner = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let verifier = AgentVerifier { inner, trust_domain: trust.trust_domain().clone() };
    let credential = identity.credential().clone();
    let mut tls = rustls::ServerConfig::builder_with_details(provider, Arc::new(time.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(credential.chain, credential.key)?;
    tls.alpn_protocols = vec![FLEET_ALPN.to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    Ok(tls)
}

/// The configuration of an agent's end: connects to aggregators of its trust domain and to nobody else.
///
/// Connect with [`crate::spiffe::TrustDomain::aggregator_dns_name`] as the server name. A connection that is established
/// here may still be refused by the aggregator, which judges our certificate later: only its first message says that it
/// has accepted us.
pub fn fleet_client(identity: &Identity, trust: &Trust, time: TimeSource) -> Result<quinn::ClientConfig, PolicyError> {
    let time = floored(time, identity, trust);
    let tls = client_tls(identity, trust, &time)?;
    Ok(quic_client(tls))
}

pub(crate) fn client_tls(
    identity: &Identity,
    trust: &Trust,
    time: &TimeSource,
) -> Result<rustls::ClientConfig, PolicyError> {
    check_own(identity, trust, Role::Agent)?;
    let provider = fleet_provider();
    let roots = roots([trust.root()])?;
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let verifier = AggregatorVerifier { inner, trust_domain: trust.trust_domain().clone() };
    let credential = identity.credential().clone();
    let mut tls = rustls::ClientConfig::builder_with_details(provider, Arc::new(time.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(credential.chain, credential.key)?;
    tls.alpn_protocols = vec![FLEET_ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    Ok(tls)
}

pub(crate) fn quic_client(tls: rustls::ClientConfig) -> quinn::ClientConfig {
    let quic = QuicClientConfig::with_initial(Arc::new(tls), initial_suite()).expect(INITIAL_SUITE_FITS);
    let mut config = quinn::ClientConfig::new(Arc::new(quic));
    config.transport_config(transport::transport());
    config
}

/// Who is at the other end of an established connection; the handshake has proven it.
pub fn peer_id(connection: &quinn::Connection) -> Result<SpiffeId, PeerError> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(PeerError::NoCertificate)?;
    let leaf = chain.first().ok_or(PeerError::NoCertificate)?;
    Ok(x509::spiffe_id(leaf)?)
}

/// Why the peer has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The connection is not one of the fleet link: there both ends show certificates.
    #[error("the peer has shown no certificate")]
    NoCertificate,
    /// The certificate names nobody.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Why an identity cannot be used on the fleet link or for HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// TLS does not take the certificate or key, mostly because they do not belong together.
    #[error("the certificate and key cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    /// TLS does not take the root.
    #[error("the root certificate cannot be used for TLS")]
    Root(#[from] VerifierBuilderError),
    /// Our own leaf is for another end of the link.
    #[error("the certificate is that of {id}, where one of an {expected} is needed")]
    WrongRole {
        /// Whose it is.
        id: Box<SpiffeId>,
        /// What this end needs.
        expected: Role,
    },
    /// Our own leaf is of another fleet than the root.
    #[error("the certificate is that of {id}, but the root is that of the trust domain {root}")]
    WrongTrustDomain {
        /// Whose it is.
        id: Box<SpiffeId>,
        /// The root's trust domain.
        root: crate::spiffe::TrustDomain,
    },
    /// Our own leaf has a key of another kind.
    #[error("the certificate of {id} has no ML-DSA-87 key: have a new one issued")]
    WrongKey {
        /// Whose it is.
        id: Box<SpiffeId>,
    },
    /// Our own leaf cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// rustls' aws-lc-rs provider, reduced to the one algorithm of each kind.
pub(crate) fn fleet_provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![kx_group::MLKEM1024],
        signature_verification_algorithms: FLEET_SIGNATURES,
        ..default_provider()
    })
}

/// For certificate chains and handshakes alike.
static FLEET_SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::aws_lc_rs::ML_DSA_87],
    mapping: &[(SignatureScheme::ML_DSA_87, &[webpki::aws_lc_rs::ML_DSA_87])],
};

/// What protects QUIC's Initial packets: always AES-128-GCM, with keys that anyone on the path can derive (RFC 9001,
/// section 5.2). They carry the public first flight of the handshake; no session is protected with it.
fn initial_suite() -> rustls::quic::Suite {
    let suite = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite());
    suite.expect("a suite of TLS 1.3, and the provider has QUIC for all of those")
}

const INITIAL_SUITE_FITS: &str = "the initial suite is the one that QUIC asks for";

/// A certificate we hold proves that its first second has passed, however wrong our clock is.
fn floored(time: TimeSource, identity: &Identity, trust: &Trust) -> TimeSource {
    time.floored(identity.validity().not_before.max(trust.validity().not_before))
}

pub(crate) fn roots<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> Result<Arc<RootCertStore>, PolicyError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate.clone())?;
    }
    Ok(Arc::new(store))
}

fn check_own(identity: &Identity, trust: &Trust, expected: Role) -> Result<(), PolicyError> {
    let id = || Box::new(identity.id().clone());
    if identity.id().role() != expected {
        return Err(PolicyError::WrongRole { id: id(), expected });
    }
    if identity.id().trust_domain() != trust.trust_domain() {
        return Err(PolicyError::WrongTrustDomain { id: id(), root: trust.trust_domain().clone() });
    }
    if !x509::holds_ml_dsa_87_key(identity.credential().leaf())? {
        return Err(PolicyError::WrongKey { id: id() });
    }
    Ok(())
}
