//! Settings of the fleet, signed by an order key of the trust bundle.

use dsmil_authority::{Fingerprint, FleetSettings, SettingsError, SignedSettings, Taker};

use crate::key::{KeyError, SigningKey, key_fingerprint, verify};
use crate::trust::Trust;

/// Signs settings, and makes bytes of it.
pub fn sign(settings: &FleetSettings, key: &SigningKey) -> Result<Vec<u8>, SignError> {
    let mut signed = SignedSettings::new(settings, key.fingerprint())?;
    signed.sign(key.sign(&signed.statement())?);
    Ok(signed.encode()?)
}

/// Takes settings that an order key of `trust` has signed, if they are for the host (any, where none is given) and newer than
/// version `seen`.
pub fn accept(bytes: &[u8], trust: &Trust, host: Option<&str>, seen: u64) -> Result<FleetSettings, SettingsError> {
    let taker = Taker { trust_domain: trust.trust_domain().as_str(), host, seen };
    let order_keys = trust.bundle().order_keys.iter().map(|key| (key_fingerprint(&key.public_key), &key.public_key));
    let keys: Vec<(Fingerprint, _)> = order_keys.filter(|(key, _)| !trust.is_revoked(key)).collect();
    SignedSettings::decode(bytes)?.accept(&taker, &keys, |key, statement, signature| verify(key, statement, signature))
}

/// Why settings could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// They are none.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The key could not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}
