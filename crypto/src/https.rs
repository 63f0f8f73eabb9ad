//! HTTPS: TLS 1.3 with a post-quantum key exchange, for browsers, API clients and our own tools.
//!
//! The certificate is classical (ECDSA P-256), because browsers verify no other yet; "post-quantum" is the key exchange
//! here. A client without it is refused, unless the caller says that its address may come in classically.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ServerSessionMemoryCache};
use rustls::{ClientConfig, NamedGroup, ServerConfig};

use crate::identity::Credential;
use crate::policy::{PolicyError, roots};
use crate::time::TimeSource;

/// The two configurations of an HTTPS listener; [`HttpsServer::choose`] says which a client gets.
#[derive(Clone, Debug)]
pub struct HttpsServer {
    strict: Arc<ServerConfig>,
    with_classical: Arc<ServerConfig>,
}

impl HttpsServer {
    /// Makes both for one certificate and key.
    pub fn new(credential: &Credential, time: TimeSource) -> Result<Self, PolicyError> {
        let config = |groups: &[&'static dyn SupportedKxGroup]| -> Result<Arc<ServerConfig>, PolicyError> {
            let credential = credential.clone();
            let mut tls = ServerConfig::builder_with_details(provider(groups), Arc::new(time.clone()))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_no_client_auth()
                .with_single_cert(credential.chain, credential.key)?;
            tls.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
            // Ours come first: AES-256 for whoever has it.
            tls.ignore_client_order = true;
            tls.session_storage = ServerSessionMemoryCache::new(MAX_SESSIONS);
            Ok(Arc::new(tls))
        };
        Ok(Self {
            strict: config(&POST_QUANTUM_GROUPS)?,
            with_classical: config(&[&POST_QUANTUM_GROUPS[..], &CLASSICAL_GROUPS[..]].concat())?,
        })
    }

    /// The configuration for a client: post-quantum for whoever offers it, classical only where `classical_allowed` says so
    /// (loopback, or a network that the operator has listed). Nothing for anybody else: send them [`INSUFFICIENT_SECURITY`].
    ///
    /// Call it between the client's hello and the handshake, with [`rustls::server::Acceptor`] or its like in tokio-rustls.
    pub fn choose(&self, hello: &ClientHello<'_>, classical_allowed: bool) -> Option<Arc<ServerConfig>> {
        let offered = hello.named_groups().unwrap_or_default();
        // rustls follows the client's order of groups, and some clients put the classical ones first.
        let has_post_quantum = POST_QUANTUM_GROUPS.iter().any(|group| offered.contains(&group.name()));
        match (has_post_quantum, classical_allowed) {
            (true, _) => Some(self.strict.clone()),
            (false, true) => Some(self.with_classical.clone()),
            (false, false) => None,
        }
    }
}

/// What a client without a post-quantum key exchange is sent in place of a handshake: the fatal alert 71 of RFC 8446, section
/// 6.2, in a record of its own. rustls would say `handshake_failure`, of which nobody can make anything; most clients print
/// the alert's name. No more can be said: words in HTTP would need a session, and the client's token would come first.
pub const INSUFFICIENT_SECURITY: [u8; 7] = [21, 3, 3, 0, 2, 2, 71];

/// A client that accepts post-quantum key exchange only and trusts the given root (PEM, one or more certificates).
pub fn https_client(root_pem: &[u8], time: TimeSource) -> Result<ClientConfig, HttpsClientError> {
    let certificates = CertificateDer::pem_slice_iter(root_pem).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(rustls::pki_types::pem::Error::NoItemsFound.into());
    }
    let mut tls = ClientConfig::builder_with_details(provider(&POST_QUANTUM_GROUPS), Arc::new(time))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(PolicyError::from)?
        .with_root_certificates(roots(&certificates)?)
        .with_no_client_auth();
    tls.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(tls)
}

/// Why a client for HTTPS could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpsClientError {
    /// The root is not PEM.
    #[error("the HTTPS root is not a PEM certificate")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The root cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// What the key exchange of an HTTPS connection was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpsNegotiated {
    /// The group's name as in the TLS registry.
    pub group: &'static str,
    /// Whether a quantum computer could undo it: show such sessions.
    pub classical: bool,
}

/// What was negotiated, once the handshake is done.
pub fn negotiated(connection: &rustls::CommonState) -> Option<HttpsNegotiated> {
    let group = connection.negotiated_key_exchange_group()?.name();
    let (group, classical) = match group {
        NamedGroup::X25519MLKEM768 => ("X25519MLKEM768", false),
        NamedGroup::secp256r1MLKEM768 => ("SecP256r1MLKEM768", false),
        NamedGroup::MLKEM1024 => ("MLKEM1024", false),
        NamedGroup::X25519 => ("x25519", true),
        NamedGroup::secp256r1 => ("secp256r1", true),
        NamedGroup::secp384r1 => ("secp384r1", true),
        _ => ("unknown", true),
    };
    Some(HttpsNegotiated { group, classical })
}

/// Protocols we speak, the better first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What browsers have (the first), and stronger or NIST-curve forms for other clients.
static POST_QUANTUM_GROUPS: [&dyn SupportedKxGroup; 3] =
    [kx_group::X25519MLKEM768, kx_group::SECP256R1MLKEM768, kx_group::MLKEM1024];

static CLASSICAL_GROUPS: [&dyn SupportedKxGroup; 3] = [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// Sessions that can be resumed: portals and scripts come again and again. Kept here, never in a ticket.
const MAX_SESSIONS: usize = 1024;

fn provider(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
        ],
        kx_groups: groups.to_vec(),
        ..default_provider()
    })
}
