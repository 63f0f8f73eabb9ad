//! Peers that meet over loopback or in memory, sound ones and odd ones.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, Endpoint};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, sign};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::{Fleet, NOW, at};
use crate::identity::Credential;
use crate::policy::{FLEET_ALPN, KeyExchange, provider, quic_client};
use crate::refusal::{Refusal, refusal_reason};
use crate::transport::{EndpointKeys, endpoint};

pub(super) const NAME: &str = "aggregator.fleet.example";
pub(super) const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// A loopback handshake hangs only if something is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a meeting, as each end saw it.
pub(super) struct Met {
    pub(super) server: Result<Connection, ConnectionError>,
    pub(super) client: Result<Connection, ConnectionError>,
    /// Connections live as long as their endpoints.
    _endpoints: [Endpoint; 2],
}

pub(super) async fn meet(server: quinn::ServerConfig, client: quinn::ClientConfig) -> Met {
    let listener = endpoint(HERE, Some(server), &EndpointKeys::random()).expect("a listener");
    let dialer = endpoint(HERE, None, &EndpointKeys::random()).expect("a client");
    let address = listener.local_addr().expect("an address");
    let accept = async { listener.accept().await.expect("the endpoint is open").await };
    let connect = async { dialer.connect_with(client, address, NAME).expect("a valid configuration").await };
    let both = async { tokio::join!(accept, connect) };
    let (server, client) = tokio::time::timeout(PATIENCE, both).await.expect("a handshake ends");
    // A client is through before the server has judged its certificate.
    let client = match (&server, client) {
        (Err(_), Ok(connection)) => Err(connection.closed().await),
        (_, client) => client,
    };
    Met { server, client, _endpoints: [listener, dialer] }
}

/// Both ends are through.
pub(super) async fn connected(
    server: quinn::ServerConfig,
    client: quinn::ClientConfig,
) -> (Connection, Connection, Met) {
    let met = meet(server, client).await;
    let server = met.server.clone().expect("accepted");
    (server, met.client.clone().expect("connected"), met)
}

/// The server refuses, and both ends say the same about it.
pub(super) async fn refused_by_server(server: quinn::ServerConfig, client: quinn::ClientConfig) -> Refusal {
    let met = meet(server, client).await;
    let ours = met.server.expect_err("refused");
    let theirs = met.client.expect_err("refused");
    assert!(matches!(ours, ConnectionError::TransportError(_)), "the server refused: {ours:?}");
    assert!(matches!(theirs, ConnectionError::ConnectionClosed(_)), "the client is told: {theirs:?}");
    assert_eq!(refusal_reason(&theirs), refusal_reason(&ours), "{theirs} / {ours}");
    refusal_reason(&ours)
}

/// The fleet's aggregator refuses.
pub(super) async fn refused_client(fleet: &Fleet, client: quinn::ClientConfig) -> Refusal {
    refused_by_server(fleet.server(), client).await
}

/// The client refuses, and both ends say the same about it.
pub(super) async fn refused_server(server: quinn::ServerConfig, client: quinn::ClientConfig) -> Refusal {
    let met = meet(server, client).await;
    let ours = met.client.expect_err("refused");
    assert!(matches!(ours, ConnectionError::TransportError(_)), "the client refused: {ours:?}");
    let theirs = met.server.expect_err("refused");
    assert!(matches!(theirs, ConnectionError::ConnectionClosed(_)), "the server is told: {theirs:?}");
    assert_eq!(refusal_reason(&theirs), refusal_reason(&ours), "{theirs} / {ours}");
    refusal_reason(&ours)
}

/// A handshake without a network, with what comes right after it.
pub(super) fn handshake_in_memory(
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
) -> (rustls::quic::ServerConnection, rustls::quic::ClientConnection) {
    use rustls::quic::{ClientConnection, ServerConnection, Version};
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = ClientConnection::new(client, Version::V1, name, vec![]).expect("a client");
    let mut server = ServerConnection::new(server, Version::V1, vec![]).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        // What is written in one call is under one key, and must be read in one.
        let mut flight = vec![];
        while client.write_hs(&mut flight).is_some() || !flight.is_empty() {
            server.read_hs(&std::mem::take(&mut flight)).expect("the client's flight is right");
        }
        while server.write_hs(&mut flight).is_some() || !flight.is_empty() {
            client.read_hs(&std::mem::take(&mut flight)).expect("the server's flight is right");
        }
    }
    (server, client)
}

impl Fleet {
    /// A client that trusts our aggregator and is odd in the ways given.
    pub(super) fn odd_client(
        &self,
        provider: CryptoProvider,
        certificate: Option<CertifiedKey>,
        alpn: &[u8],
    ) -> quinn::ClientConfig {
        let roots = crate::policy::roots(self.trust.anchors()).expect("roots");
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::new(default_provider()));
        let builder = rustls::ClientConfig::builder_with_details(Arc::new(provider), Arc::new(at(NOW)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_webpki_verifier(verifier.build().expect("a verifier"));
        let mut tls = match certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(Always(Arc::new(certificate)))),
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![alpn.to_vec()];
        quic_client(tls)
    }

    /// A client that differs in its certificate only.
    pub(super) fn client_showing(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> quinn::ClientConfig {
        let key = Stubborn(sign::any_supported_type(key).expect("a key"));
        self.odd_client(fleet_crypto(), Some(CertifiedKey::new(chain, Arc::new(key))), FLEET_ALPN)
    }

    pub(super) fn own_certificate(&self) -> CertifiedKey {
        let Credential { chain, key } = self.agent.credential().clone();
        CertifiedKey::new(chain, sign::any_supported_type(&key).expect("a key"))
    }

    /// A client whose certificate was signed by our issuer, but should not have been.
    pub(super) fn client_with_forged(&self, change: impl FnOnce(&mut CertificateParams)) -> quinn::ClientConfig {
        let key = ml_dsa_87();
        self.client_showing(vec![self.issuer.issuer.forge(&key, change)], &pkcs8(&key))
    }
}

/// A server that shows whatever it is given.
pub(super) fn impostor(chain: Vec<CertificateDer<'static>>, key: &KeyPair, alpn: &[u8]) -> quinn::ServerConfig {
    impostor_with(chain, &pkcs8(key), alpn)
}

pub(super) fn impostor_with(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
    alpn: &[u8],
) -> quinn::ServerConfig {
    server_showing(CertifiedKey::new(chain, sign::any_supported_type(key).expect("a key")), alpn)
}

/// One that signs with its key whatever the client accepts.
pub(super) fn stubborn_server(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> quinn::ServerConfig {
    let key = Stubborn(sign::any_supported_type(&pkcs8(key)).expect("a key"));
    server_showing(CertifiedKey::new(chain, Arc::new(key)), FLEET_ALPN)
}

fn server_showing(certificate: CertifiedKey, alpn: &[u8]) -> quinn::ServerConfig {
    let mut tls = rustls::ServerConfig::builder_with_details(Arc::new(fleet_crypto()), Arc::new(at(NOW)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(Arc::new(certificate))));
    tls.alpn_protocols = vec![alpn.to_vec()];
    let initial = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite());
    let quic = quinn::crypto::rustls::QuicServerConfig::with_initial(Arc::new(tls), initial.expect("QUIC"));
    quinn::ServerConfig::with_crypto(Arc::new(quic.expect("the initial suite")))
}

pub(super) fn fleet_crypto() -> CryptoProvider {
    Arc::unwrap_or_clone(provider(KeyExchange::Pure))
}

pub(super) fn ml_dsa_87() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ML_DSA_87).expect("a key")
}

pub(super) fn pkcs8(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

pub(super) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("a URI"))
}

pub(super) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("a name"))
}

/// Shows its certificate whatever the other end asks for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Signs with what it has, whatever the other end accepts.
#[derive(Debug)]
struct Stubborn(Arc<dyn SigningKey>);

impl SigningKey for Stubborn {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        self.0.choose_scheme(&default_provider().signature_verification_algorithms.supported_schemes())
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        self.0.algorithm()
    }
}

/// Checks nothing: a client that means harm, or one that was configured by somebody in a hurry.
#[derive(Debug)]
pub(super) struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}
