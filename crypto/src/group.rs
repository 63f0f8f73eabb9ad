//! Key-exchange groups of the fleet link: ML-KEM-1024 (FIPS 203) alone, or joined with P-384.
//!
//! `SecP384r1MLKEM1024` is not among rustls' groups. It is put together here from two that are, as
//! draft-ietf-tls-ecdhe-mlkem says (section 4): the shares one after the other, P-384's first; the secrets likewise.

use crate::backend::ML_KEM_1024;
use rustls::crypto::aws_lc_rs::kx_group::SECP384R1;
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};

/// P-384 and ML-KEM-1024 together (0x11ED).
pub(crate) static SECP384R1_ML_KEM_1024: &dyn SupportedKxGroup = &Hybrid;

/// The hybrid's number in the TLS registry.
pub(crate) const HYBRID_NAME: NamedGroup = NamedGroup::Unknown(0x11ED);
/// Bytes of an uncompressed point of P-384 (RFC 8446, section 4.2.8.2).
const POINT_LEN: usize = 97;

#[derive(Debug)]
struct Hybrid;

impl SupportedKxGroup for Hybrid {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let (classical, post_quantum) = (SECP384R1.start()?, ML_KEM_1024.start()?);
        let share = [classical.pub_key(), post_quantum.pub_key()].concat();
        Ok(Box::new(Started { classical, post_quantum, share }))
    }

    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (point, key) = split(client_share)?;
        let (classical, post_quantum) = (SECP384R1.start_and_complete(point)?, ML_KEM_1024.start_and_complete(key)?);
        Ok(CompletedKeyExchange {
            group: HYBRID_NAME,
            pub_key: [&classical.pub_key[..], &post_quantum.pub_key].concat(),
            secret: join(&classical.secret, &post_quantum.secret),
        })
    }

    fn name(&self) -> NamedGroup {
        HYBRID_NAME
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

struct Started {
    classical: Box<dyn ActiveKeyExchange>,
    post_quantum: Box<dyn ActiveKeyExchange>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let (point, ciphertext) = split(server_share)?;
        Ok(join(&self.classical.complete(point)?, &self.post_quantum.complete(ciphertext)?))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        HYBRID_NAME
    }
}

/// Each part checks its own length.
fn split(share: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    share.split_at_checked(POINT_LEN).ok_or(PeerMisbehaved::InvalidKeyShare.into())
}

fn join(classical: &SharedSecret, post_quantum: &SharedSecret) -> SharedSecret {
    [classical.secret_bytes(), post_quantum.secret_bytes()].concat().into()
}
