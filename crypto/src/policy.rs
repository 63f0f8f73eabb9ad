//! What the fleet link and the join port speak: one key exchange, one signature scheme, one cipher suite, TLS 1.3.
//!
//! rustls offers more by default, and its classical groups too; everything here is listed, and tests hold the lists.
//!
//! On the fleet link sessions are resumed (a key exchange of ML-KEM is part of that too), which skips the checks of
//! certificates: so whoever uses a connection calls [`Link::authenticate`] first. There is no 0-RTT.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, StoresServerSessions, VerifierBuilderError};
use rustls::{RootCertStore, SignatureScheme};

use crate::backend::{self, ML_DSA_87, ML_KEM_1024};
use crate::group::SECP384R1_ML_KEM_1024;
use crate::identity::{CertificateError, Identity, Validity};
use crate::key::key_fingerprint;
use crate::refusal::{Refusal, certificate_refusal};
use crate::spiffe::{Role, SpiffeId, TrustDomain};
use crate::time::TimeSource;
use crate::transport::{self, EndpointKeys};
use crate::trust::{JoinTrust, Trust};
use crate::verify::{AgentVerifier, AggregatorVerifier};
use crate::x509;
use dsmil_authority::Fingerprint;

/// The application protocol of the fleet link, version 1.
pub const FLEET_ALPN: &[u8] = b"dsmil-dbe/1";
/// The application protocol of the join port, version 1.
pub const JOIN_ALPN: &[u8] = b"dsmil-join/1";

/// Which key exchange the fleet link demands. There is never a choice within a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyExchange {
    /// ML-KEM-1024 alone.
    #[default]
    Pure,
    /// P-384 and ML-KEM-1024 together: for those whose rules want a classical part beside the new one.
    Hybrid,
}

impl KeyExchange {
    fn group(self) -> &'static dyn rustls::crypto::SupportedKxGroup {
        match self {
            Self::Pure => ML_KEM_1024,
            Self::Hybrid => SECP384R1_ML_KEM_1024,
        }
    }

    /// What every established session has: there is one of each to choose from.
    pub fn negotiated(self) -> Negotiated {
        let group = match self {
            Self::Pure => "MLKEM1024",
            Self::Hybrid => "SecP384r1MLKEM1024",
        };
        Negotiated { group, scheme: "ML-DSA-87", suite: "TLS_AES_256_GCM_SHA384" }
    }
}

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

/// What is needed at one end of the fleet link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Who we are.
    pub identity: Identity,
    /// Whom we trust.
    pub trust: Trust,
    /// The key exchange that is demanded.
    pub key_exchange: KeyExchange,
    /// The time.
    pub time: TimeSource,
}

/// Sessions of agents that can be resumed. Keep one over changes of identity and trust. Stateful: rustls' stateless tickets
/// would carry the agent's certificate each time. Clones are the same cache.
#[derive(Clone, Debug)]
pub struct SessionCache(Arc<dyn StoresServerSessions>);

impl SessionCache {
    /// Room for `sessions`, some 20 KiB each as measured: an agent's certificate is 7.4 KiB of it.
    pub fn new(sessions: usize) -> Self {
        Self(ServerSessionMemoryCache::new(sessions))
    }

    /// Resumes nothing.
    pub fn none() -> Self {
        Self(Arc::new(NoServerSessionStorage {}))
    }
}

impl Link {
    /// The time as certificates are checked by it: a leaf or a bundle that we hold proves that its first second has passed,
    /// however wrong our clock is.
    pub fn floored_time(&self) -> TimeSource {
        self.time.clone().floored(self.identity.validity().not_before.max(self.trust.bundle().issued_s))
    }

    /// The configuration of an aggregator's end: takes agents of its trust domain and nobody else.
    pub fn server(&self, keys: &EndpointKeys, sessions: &SessionCache) -> Result<quinn::ServerConfig, PolicyError> {
        let tls = self.server_tls(sessions)?;
        Ok(quic_server(tls, keys, self.floored_time()))
    }

    /// The TLS in [`Self::server`]. For tests that hold it against another implementation, which may speak it over TCP alone.
    pub fn server_tls(&self, sessions: &SessionCache) -> Result<rustls::ServerConfig, PolicyError> {
        check_own(&self.identity, &self.trust, Role::Aggregator)?;
        let provider = provider(self.key_exchange);
        let verifier = AgentVerifier::new(&self.trust, provider.clone())?;
        let credential = self.identity.credential().clone();
        let mut tls = rustls::ServerConfig::builder_with_details(provider, Arc::new(self.floored_time()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(credential.chain, credential.key)?;
        tls.alpn_protocols = vec![FLEET_ALPN.to_vec()];
        tls.session_storage = sessions.0.clone();
        // One for the next connection: an agent has one at a time.
        tls.send_tls13_tickets = if sessions.0.can_cache() { 1 } else { 0 };
        Ok(tls)
    }

    /// The configuration of an agent's end: connects to aggregators of its trust domain and to nobody else.
    ///
    /// Connect with [`TrustDomain::aggregator_dns_name`] as the server name. A connection that is established here may still
    /// be refused by the aggregator, which judges our certificate later: only its first message says that it has accepted
    /// us.
    pub fn client(&self) -> Result<quinn::ClientConfig, PolicyError> {
        Ok(quic_client(self.client_tls()?))
    }

    /// The TLS in [`Self::client`], for the same tests.
    pub fn client_tls(&self) -> Result<rustls::ClientConfig, PolicyError> {
        check_own(&self.identity, &self.trust, Role::Agent)?;
        let provider = provider(self.key_exchange);
        let verifier = AggregatorVerifier::of_link(&self.trust, provider.clone())?;
        let credential = self.identity.credential().clone();
        let mut tls = rustls::ClientConfig::builder_with_details(provider, Arc::new(self.floored_time()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(credential.chain, credential.key)?;
        tls.alpn_protocols = vec![FLEET_ALPN.to_vec()];
        tls.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS);
        Ok(tls)
    }

    /// Who is at the other end of an established connection, judged anew: a resumed session has skipped that, and trust
    /// may have changed since the handshake.
    pub fn authenticate(&self, connection: &quinn::Connection) -> Result<Peer, Refusal> {
        let chain = shown(connection)?;
        let (leaf, intermediates) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        self.judge(leaf, intermediates)
    }

    pub(crate) fn judge(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<Peer, Refusal> {
        let now = rustls::time_provider::TimeProvider::current_time(&self.floored_time());
        let now = now.unwrap_or(UnixTime::since_unix_epoch(std::time::Duration::ZERO));
        let provider = provider(self.key_exchange);
        let judged = match self.identity.id().role() {
            Role::Aggregator => AgentVerifier::new(&self.trust, provider)
                .map_err(|_| Refusal::TrustExpired)?
                .verify_client_cert(leaf, others, now)
                .map(drop),
            Role::Agent | Role::Operator => {
                let name = ServerName::try_from(self.trust.trust_domain().aggregator_dns_name());
                let name = name.map_err(|_| Refusal::WrongName)?;
                AggregatorVerifier::of_link(&self.trust, provider)
                    .map_err(|_| Refusal::TrustExpired)?
                    .verify_server_cert(leaf, others, &name, &[], now)
                    .map(drop)
            }
        };
        judged.map_err(|error| certificate_refusal(&error))?;
        Peer::of(leaf).map_err(|_| Refusal::BadCertificate)
    }
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The name in its leaf.
    pub id: SpiffeId,
    /// The fingerprint of its key, as the registry knows it.
    pub key: Fingerprint,
    /// When its leaf is valid.
    pub validity: Validity,
}

impl Peer {
    /// Who the other end said it is in its handshake, or in the one that is resumed. Whether that is still good says
    /// [`Link::authenticate`].
    pub fn of_connection(connection: &quinn::Connection) -> Result<Self, Refusal> {
        let chain = shown(connection)?;
        let leaf = chain.first().ok_or(Refusal::NoCertificate)?;
        Self::of(leaf).map_err(|_| Refusal::BadCertificate)
    }

    fn of(leaf: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let key = key_fingerprint(&x509::public_key(leaf)?);
        Ok(Self { id: x509::spiffe_id(leaf)?, key, validity: x509::validity(leaf)? })
    }
}

fn shown(connection: &quinn::Connection) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let identity = connection.peer_identity().ok_or(Refusal::NoCertificate)?;
    identity.downcast::<Vec<CertificateDer<'static>>>().map(|chain| *chain).map_err(|_| Refusal::NoCertificate)
}

/// The configuration of an aggregator's join port: proves itself by its leaf, its issuer and the roots, and asks for no
/// certificate, for those who come have none yet, or an old one.
pub fn join_server(
    identity: &Identity,
    trust: &Trust,
    time: TimeSource,
    keys: &EndpointKeys,
) -> Result<quinn::ServerConfig, PolicyError> {
    check_own(identity, trust, Role::Aggregator)?;
    let time = time.floored(identity.validity().not_before.max(trust.bundle().issued_s));
    let credential = identity.credential().clone();
    let mut chain = credential.chain;
    chain.extend(trust.path_of(identity).into_iter().map(CertificateDer::from));
    let mut tls = rustls::ServerConfig::builder_with_details(provider(KeyExchange::Pure), Arc::new(time.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, credential.key)?;
    tls.alpn_protocols = vec![JOIN_ALPN.to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    Ok(quic_server(tls, keys, time))
}

/// The configuration of a host that joins or renews. `floor_s` is a moment (Unix seconds) known to have passed: the token's
/// or the bundle's.
pub fn join_client(trust: JoinTrust, time: TimeSource, floor_s: i64) -> Result<quinn::ClientConfig, PolicyError> {
    let provider = provider(KeyExchange::Pure);
    let verifier = AggregatorVerifier::of_join(trust, provider.clone());
    let mut tls = rustls::ClientConfig::builder_with_details(provider, Arc::new(time.floored(floor_s)))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    tls.alpn_protocols = vec![JOIN_ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    Ok(quic_client(tls))
}

/// 48 bytes that only the two ends of this connection know (RFC 8446, section 7.5): what a proof is bound to, so that it is
/// worth nothing on another connection.
pub fn exporter(connection: &quinn::Connection, label: &[u8]) -> Result<[u8; 48], ExporterError> {
    let mut bytes = [0; 48];
    connection.export_keying_material(&mut bytes, label, b"").map_err(|_| ExporterError)?;
    Ok(bytes)
}

/// The connection has no keys to export from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection gives no exporter")]
pub struct ExporterError;

/// Whether our own identity can be used at this end, before anybody else has to find out.
fn check_own(identity: &Identity, trust: &Trust, expected: Role) -> Result<(), PolicyError> {
    let id = || Box::new(identity.id().clone());
    if identity.id().role() != expected {
        return Err(PolicyError::WrongRole { id: id(), expected });
    }
    if identity.id().trust_domain() != trust.trust_domain() {
        return Err(PolicyError::WrongTrustDomain { id: id(), trusted: trust.trust_domain().clone() });
    }
    if !x509::holds_ml_dsa_87_key(identity.credential().leaf())? {
        return Err(PolicyError::WrongKey { id: id() });
    }
    Ok(())
}

fn quic_server(tls: rustls::ServerConfig, keys: &EndpointKeys, time: TimeSource) -> quinn::ServerConfig {
    let quic = QuicServerConfig::with_initial(Arc::new(tls), initial_suite()).expect(INITIAL_SUITE_FITS);
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(quic));
    transport::tune_server(&mut config, keys, Arc::new(time));
    config
}

pub(crate) fn quic_client(tls: rustls::ClientConfig) -> quinn::ClientConfig {
    let quic = QuicClientConfig::with_initial(Arc::new(tls), initial_suite()).expect(INITIAL_SUITE_FITS);
    let mut config = quinn::ClientConfig::new(Arc::new(quic));
    config.transport_config(transport::transport());
    config
}

/// Why an identity cannot be used on the fleet link or for HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// TLS does not take the certificate or key, mostly because they do not belong together.
    #[error("the certificate and key cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    /// TLS does not take the issuers, or there are none.
    #[error("the issuers of the trust bundle cannot be used for TLS: it must list one at least")]
    Anchors(#[from] VerifierBuilderError),
    /// Our own leaf is for another end of the link.
    #[error("the certificate is that of {id}, where one of an {expected} is needed")]
    WrongRole {
        /// Whose it is.
        id: Box<SpiffeId>,
        /// What this end needs.
        expected: Role,
    },
    /// Our own leaf is of another fleet than the bundle.
    #[error("the certificate is that of {id}, but the trust bundle is that of {trusted}")]
    WrongTrustDomain {
        /// Whose it is.
        id: Box<SpiffeId>,
        /// The bundle's trust domain.
        trusted: TrustDomain,
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
pub(crate) fn provider(key_exchange: KeyExchange) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![key_exchange.group()],
        signature_verification_algorithms: FLEET_SIGNATURES,
        key_provider: backend::tls_keys(),
        ..default_provider()
    })
}

/// For certificate chains and handshakes alike.
static FLEET_SIGNATURES: WebPkiSupportedAlgorithms =
    WebPkiSupportedAlgorithms { all: &[ML_DSA_87], mapping: &[(SignatureScheme::ML_DSA_87, &[ML_DSA_87])] };

/// What protects QUIC's Initial packets: always AES-128-GCM, with keys that anyone on the path can derive (RFC 9001,
/// section 5.2). They carry the public first flight of the handshake; no session is protected with it.
fn initial_suite() -> rustls::quic::Suite {
    let suite = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite());
    suite.expect("a suite of TLS 1.3, and the provider has QUIC for all of those")
}

const INITIAL_SUITE_FITS: &str = "the initial suite is the one that QUIC asks for";

/// Sessions that an agent remembers: it talks to a handful of aggregators.
const CLIENT_SESSIONS: usize = 16;

pub(crate) fn roots<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> Result<Arc<RootCertStore>, PolicyError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate.clone())?;
    }
    Ok(Arc::new(store))
}
