//! Key exchange with ML-KEM-1024 (FIPS 203): the group MLKEM1024 of TLS 1.3 (draft-ietf-tls-mlkem).
//!
//! The client's share is an encapsulation key, the server's is a ciphertext; both have 1568 bytes. liboqs refuses a share
//! of the client that is not a key (FIPS 203, section 7.2). A ciphertext that was altered is no error: it gives another
//! secret, and the handshake fails on that (implicit rejection, section 6.3).

use std::sync::LazyLock;

use ::oqs::kem::{Algorithm, Kem};
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use zeroize::Zeroizing;

/// The group MLKEM1024 (0x0202), computed by liboqs.
pub(crate) static ML_KEM_1024: &dyn SupportedKxGroup = &MlKem1024;

/// liboqs' table of functions for the algorithm; it has no state.
static KEM: LazyLock<Kem> = LazyLock::new(|| {
    ::oqs::init();
    Kem::new(Algorithm::MlKem1024).expect("liboqs is built with ML-KEM")
});

const NO_KEY: &str = "liboqs made no ML-KEM-1024 key";
const INVALID_KEY_SHARE: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

#[derive(Debug)]
struct MlKem1024;

impl SupportedKxGroup for MlKem1024 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let (share, secret_key) = KEM.keypair().map_err(|_| Error::General(NO_KEY.into()))?;
        Ok(Box::new(Started { share: share.into_vec(), secret_key: Zeroizing::new(secret_key.into_vec()) }))
    }

    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let key = KEM.public_key_from_bytes(client_share).ok_or(INVALID_KEY_SHARE)?;
        let (ciphertext, secret) = KEM.encapsulate(key).map_err(|_| INVALID_KEY_SHARE)?;
        Ok(CompletedKeyExchange {
            group: NamedGroup::MLKEM1024,
            pub_key: ciphertext.into_vec(),
            secret: SharedSecret::from(secret.into_vec()),
        })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::MLKEM1024
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// A client's end that waits for the server's share.
struct Started {
    share: Vec<u8>,
    secret_key: Zeroizing<Vec<u8>>,
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let ciphertext = KEM.ciphertext_from_bytes(server_share).ok_or(INVALID_KEY_SHARE)?;
        let key = KEM.secret_key_from_bytes(&self.secret_key).expect("as long as liboqs made it");
        let secret = KEM.decapsulate(key, ciphertext).map_err(|_| INVALID_KEY_SHARE)?;
        Ok(SharedSecret::from(secret.into_vec()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::MLKEM1024
    }
}
