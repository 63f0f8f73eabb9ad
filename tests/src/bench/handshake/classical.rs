//! The link as it would be without post-quantum algorithms, for the benchmark alone: X25519, ECDSA P-256 at both ends, all
//! else as rustls has it by default.
//!
//! Chains are as long as on the fleet link, one leaf under an anchor that is known, so that both kinds verify two signatures
//! at each end.

use anyhow::Context;
use dsmil_crypto::issue::HttpsRoot;
use dsmil_crypto::policy::FLEET_ALPN;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerifier};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};

/// The name in both leaves: who is who does not matter here.
pub(in crate::bench) const NAME: &str = "aggregator.classical.example";
/// How long the leaves are good.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Sessions that either end remembers.
const SESSIONS: usize = 256;

/// Both ends of the classical link.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Classical {
    provider: Arc<CryptoProvider>,
    judge: Arc<WebPkiServerVerifier>,
    aggregator: Leaf,
    agent: Leaf,
}

#[derive(Debug)]
struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Leaf {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Classical {
    /// Makes keys and certificates; `folder` is one to write in.
    pub(in crate::bench) fn new(now_s: i64, folder: &Path) -> anyhow::Result<Self> {
        let root = HttpsRoot::create(now_s)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.certificate_pem().as_bytes())?)?;
        let provider = Arc::new(CryptoProvider { kx_groups: vec![kx_group::X25519], ..default_provider() });
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let leaf = || {
            let (certificate, key) = (folder.join("classical.pem"), folder.join("classical.key"));
            root.issue(&[NAME], now_s, LIFETIME)?.save(&certificate, &key)?;
            let chain = CertificateDer::pem_file_iter(&certificate)?.collect::<Result<_, _>>()?;
            anyhow::Ok(Leaf { chain, key: PrivateKeyDer::from_pem_file(&key)? })
        };
        let made = || anyhow::Ok(Self { provider, judge, aggregator: leaf()?, agent: leaf()? });
        made().context("the classical certificates could not be made")
    }

    /// The aggregator's end; as on the fleet link it hands out one ticket, or none at all.
    pub(in crate::bench) fn server(&self, resumable: bool) -> anyhow::Result<ServerConfig> {
        let Leaf { chain, key } = self.aggregator.clone();
        let mut tls = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(Judge(self.judge.clone())))
            .with_single_cert(chain, key)?;
        tls.alpn_protocols = vec![FLEET_ALPN.to_vec()];
        tls.send_tls13_tickets = usize::from(resumable);
        tls.session_storage =
            if resumable { ServerSessionMemoryCache::new(SESSIONS) } else { Arc::new(NoServerSessionStorage {}) };
        Ok(tls)
    }

    /// The agent's end, which remembers nothing yet.
    pub(in crate::bench) fn client(&self) -> anyhow::Result<ClientConfig> {
        let Leaf { chain, key } = self.agent.clone();
        let mut tls = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(self.judge.clone())
            .with_client_auth_cert(chain, key)?;
        tls.alpn_protocols = vec![FLEET_ALPN.to_vec()];
        tls.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(tls)
    }
}

/// Judges an agent's leaf as that of a server: the work is the same, and of classical certificates there are none but
/// those of HTTPS.
#[derive(Debug)]
struct Judge(Arc<WebPkiServerVerifier>);

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let name = ServerName::try_from(NAME).expect("it is a DNS name");
        self.0.verify_server_cert(leaf, intermediates, &name, &[], now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
