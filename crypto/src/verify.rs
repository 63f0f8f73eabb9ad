//! Who may sit at the other end: rustls' chain checks, plus what they do not look at.
//!
//! On the fleet link a leaf must hold an ML-DSA-87 key that is not revoked, be signed by an issuer of the trust bundle, be
//! valid now, be meant for its end of TLS, and name the right role in our trust domain, while the bundle itself and the
//! issuer's own certificate count: rustls takes an anchor for a name and a key, without an end. On
//! the join port, where the one who comes has no bundle yet or an old one, an aggregator's leaf must lead to a root.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible, SignatureScheme,
};

use crate::key::key_fingerprint;
use crate::policy::{PolicyError, roots};
use crate::refusal::Refusal;
use crate::spiffe::{Role, SpiffeId, TrustDomain};
use crate::trust::{IssuerStanding, JoinTrust, Trust};
use crate::x509;

/// The half that rustls' two verifier traits have in common, word for word but not as a trait: signatures of TLS 1.3, by the
/// algorithms that the type's own `signatures` names, and none of TLS 1.2.
macro_rules! signatures_of_tls_13 {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(PeerIncompatible::Tls13RequiredForQuic.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(message, leaf, signed, self.signatures())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.signatures().supported_schemes()
        }
    };
}

/// Used by aggregators on the leaves of agents.
#[derive(Debug)]
pub(crate) struct AgentVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    trust: Trust,
    signatures: WebPkiSupportedAlgorithms,
}

impl AgentVerifier {
    pub(crate) fn new(trust: &Trust, provider: Arc<CryptoProvider>) -> Result<Self, PolicyError> {
        let signatures = provider.signature_verification_algorithms;
        let anchors = roots(trust.anchors())?;
        let chains = WebPkiClientVerifier::builder_with_provider(anchors, provider).build()?;
        Ok(Self { chains, trust: trust.clone(), signatures })
    }

    fn signatures(&self) -> &WebPkiSupportedAlgorithms {
        &self.signatures
    }
}

impl ClientCertVerifier for AgentVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        check_leaf(leaf, &self.trust, now)?;
        let verified = self.chains.verify_client_cert(leaf, NO_INTERMEDIATES, now)?;
        check_name(leaf, self.trust.trust_domain(), Role::Agent)?;
        Ok(verified)
    }

    signatures_of_tls_13!();
}

/// Used by agents on the leaves of aggregators, on the fleet link and on the join port.
#[derive(Debug)]
pub(crate) struct AggregatorVerifier {
    trust: ServerTrust,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum ServerTrust {
    /// The fleet link: leaves of the bundle's issuers.
    Link { trust: Trust, chains: Arc<WebPkiServerVerifier> },
    /// The join port: what leads to a root.
    Join(JoinTrust),
}

impl AggregatorVerifier {
    pub(crate) fn of_link(trust: &Trust, provider: Arc<CryptoProvider>) -> Result<Self, PolicyError> {
        let anchors = roots(trust.anchors())?;
        let chains = WebPkiServerVerifier::builder_with_provider(anchors, provider.clone()).build()?;
        Ok(Self { trust: ServerTrust::Link { trust: trust.clone(), chains }, provider })
    }

    pub(crate) fn of_join(trust: JoinTrust, provider: Arc<CryptoProvider>) -> Self {
        Self { trust: ServerTrust::Join(trust), provider }
    }

    fn signatures(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }

    /// A leaf that leads to a root: that of the token, or one of those that we know already.
    fn verify_join(
        &self,
        trust: &JoinTrust,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut anchors = trust.roots_in(shown);
        if anchors.is_empty() {
            return Err(refuse(Refusal::UnknownRoot, "the root that the token names is not among those shown".into()));
        }
        anchors.retain(|root| x509::validity(root).is_ok_and(|validity| validity.not_after >= seconds(now)));
        if anchors.is_empty() {
            return Err(refuse(Refusal::Expired, "the time of the root is over".into()));
        }
        let anchors = roots(&anchors).map_err(|_| CertificateError::BadEncoding)?;
        let chains = WebPkiServerVerifier::builder_with_provider(anchors, self.provider.clone()).build();
        let chains = chains.map_err(|_| CertificateError::BadEncoding)?;
        let JoinTrust::Held(held) = trust else { return chains.verify_server_cert(leaf, shown, name, &[], now) };
        // The certificate of an issuer outlives its place in the bundle: a root's signature under it is not enough here.
        check_revoked(leaf, held)?;
        match held.judge_issuer(leaf, seconds(now)) {
            Ok(IssuerStanding::Retired) => return Err(retired()),
            Ok(IssuerStanding::Revoked) => return Err(issuer_revoked()),
            // One that is newer than our bundle, or certified anew: the chain that is shown decides.
            Ok(IssuerStanding::Good | IssuerStanding::Unknown | IssuerStanding::Expired) => {}
            Err(_) => return Err(CertificateError::BadEncoding.into()),
        }
        let sound = |certificate: &&CertificateDer<'_>| {
            x509::public_key(certificate).is_ok_and(|key| !held.is_revoked(&key_fingerprint(&key)))
        };
        let sound: Vec<_> = shown.iter().filter(sound).cloned().collect();
        chains.verify_server_cert(leaf, &sound, name, &[], now)
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
        let (verified, domain) = match &self.trust {
            ServerTrust::Link { trust, chains } => {
                check_leaf(leaf, trust, now)?;
                let verified = chains.verify_server_cert(leaf, NO_INTERMEDIATES, server_name, ocsp_response, now)?;
                (verified, trust.trust_domain())
            }
            ServerTrust::Join(trust) => {
                check_kind(leaf)?;
                (self.verify_join(trust, leaf, intermediates, server_name, now)?, trust.trust_domain())
            }
        };
        check_name(leaf, domain, Role::Aggregator)?;
        Ok(verified)
    }

    signatures_of_tls_13!();
}

/// On the fleet link an issuer signs leaves and nothing else: what a peer shows beside its leaf is not looked at, so nobody
/// can put a signer of its own in between, nor make us check signature upon signature.
const NO_INTERMEDIATES: &[CertificateDer<'static>] = &[];

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
    CertificateError::Other(OtherError(Arc::new(LeafRefused { refusal, found }))).into()
}

/// Looked at before the chain: it costs nothing, and it tells a classical peer why it is refused.
fn check_kind(leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
    match x509::holds_ml_dsa_87_key(leaf) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refuse(Refusal::SignatureScheme, "the leaf's key is not ML-DSA-87".into())),
        Err(_) => Err(CertificateError::BadEncoding.into()),
    }
}

/// All that is against a leaf on the fleet link and that no chain tells.
fn check_leaf(leaf: &CertificateDer<'_>, trust: &Trust, now: UnixTime) -> Result<(), rustls::Error> {
    check_kind(leaf)?;
    if trust.is_expired(seconds(now)) {
        return Err(refuse(Refusal::TrustExpired, format!("trust bundle {} has expired", trust.version())));
    }
    check_revoked(leaf, trust)?;
    match trust.judge_issuer(leaf, seconds(now)) {
        // Of an unknown one the chain says so, after what else is wrong with the leaf.
        Ok(IssuerStanding::Good | IssuerStanding::Unknown) => Ok(()),
        Ok(IssuerStanding::Retired) => Err(retired()),
        Ok(IssuerStanding::Revoked) => Err(issuer_revoked()),
        Ok(IssuerStanding::Expired) => Err(refuse(Refusal::Expired, "the time of its issuer is over".into())),
        Err(_) => Err(CertificateError::BadEncoding.into()),
    }
}

fn retired() -> rustls::Error {
    refuse(Refusal::RetiredIssuer, "its issuer has been retired: renew".into())
}

fn issuer_revoked() -> rustls::Error {
    refuse(Refusal::Revoked, "the trust bundle shuts its issuer's key out".into())
}

fn seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

fn check_revoked(leaf: &CertificateDer<'_>, trust: &Trust) -> Result<(), rustls::Error> {
    let key = x509::public_key(leaf).map_err(|_| CertificateError::BadEncoding)?;
    if trust.is_revoked(&key_fingerprint(&key)) {
        return Err(refuse(Refusal::Revoked, "the trust bundle shuts this key out".into()));
    }
    Ok(())
}

fn check_name(leaf: &CertificateDer<'_>, ours: &TrustDomain, role: Role) -> Result<SpiffeId, rustls::Error> {
    let id = x509::spiffe_id(leaf).map_err(|error| refuse(Refusal::WrongName, error.to_string()))?;
    if id.trust_domain() != ours {
        return Err(refuse(Refusal::WrongTrustDomain, format!("{id} is not of {ours}")));
    }
    if id.role() != role {
        return Err(refuse(Refusal::WrongRole, format!("{id} is no {role}")));
    }
    Ok(id)
}
