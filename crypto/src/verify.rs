//! Who may sit at the other end of the fleet link: rustls' chain checks, plus what they do not look at.
//!
//! A leaf must hold an ML-DSA-87 key, chain to the fleet's root by ML-DSA-87 signatures, be valid now, be meant for its
//! end of TLS, and name the right role in our trust domain. Only ML-DSA-87 is offered and accepted for the handshake.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};

use crate::refusal::Refusal;
use crate::spiffe::{Role, TrustDomain};
use crate::x509;

/// Used by aggregators on the leaves of agents.
pub(crate) struct AgentVerifier {
    pub(crate) inner: Arc<dyn ClientCertVerifier>,
    pub(crate) trust_domain: TrustDomain,
}

/// Used by agents on the leaves of aggregators.
pub(crate) struct AggregatorVerifier {
    pub(crate) inner: Arc<WebPkiServerVerifier>,
    pub(crate) trust_domain: TrustDomain,
}

impl ClientCertVerifier for AgentVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        check_key(leaf)?;
        let verified = self.inner.verify_client_cert(leaf, intermediates, now)?;
        check_name(leaf, &self.trust_domain, Role::Agent)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ServerCertVerifier for AggregatorVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        check_key(leaf)?;
        let verified = self.inner.verify_server_cert(leaf, intermediates, server_name, ocsp_response, now)?;
        check_name(leaf, &self.trust_domain, Role::Aggregator)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl fmt::Debug for AgentVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentVerifier").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl fmt::Debug for AggregatorVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatorVerifier").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

/// What we refuse a leaf for that rustls would take.
///
/// It travels as text: quinn hands on only the words of a TLS error. So the words start with the refusal's own name, and
/// `Debug`, which rustls prints, is the same as `Display`.
pub(crate) struct LeafRefused {
    refusal: Refusal,
    found: String,
}

impl fmt::Display for LeafRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.refusal.as_str(), self.found)
    }
}

impl fmt::Debug for LeafRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for LeafRefused {}

fn refuse(refusal: Refusal, found: String) -> rustls::Error {
    rustls::CertificateError::Other(OtherError(Arc::new(LeafRefused { refusal, found }))).into()
}

/// Looked at before the chain: it costs nothing, and it tells a classical peer why it is refused.
fn check_key(leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
    match x509::holds_ml_dsa_87_key(leaf) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refuse(Refusal::SignatureScheme, "the leaf's key is not ML-DSA-87".into())),
        Err(_) => Err(rustls::CertificateError::BadEncoding.into()),
    }
}

fn check_name(leaf: &CertificateDer<'_>, ours: &TrustDomain, role: Role) -> Result<(), rustls::Error> {
    let id = x509::spiffe_id(leaf).map_err(|error| refuse(Refusal::WrongName, error.to_string()))?;
    if id.trust_domain() != ours {
        return Err(refuse(Refusal::WrongTrustDomain, format!("{id} is not of {ours}")));
    }
    if id.role() != role {
        return Err(refuse(Refusal::WrongRole, format!("{id} is no {role}")));
    }
    Ok(())
}
