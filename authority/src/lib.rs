//! Who may say what in a fleet, as signed bytes: the [`TrustBundle`], and the [`FleetSettings`] that a holder of one of its
//! order keys has signed. Pure: signatures are checked by whoever is handed in,
//! the time comes in, nothing is read or written.

mod bundle;
mod envelope;
mod fingerprint;
mod settings;
mod signed_settings;

pub use bundle::{BundleError, Issuer, MAX_BUNDLE_LEN, OrderKey, TrustBundle};
pub use envelope::{SignedBundle, accept};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use settings::{
    FleetSettings, MAX_NOTE_LEN, MAX_SETTINGS_LEN, SENSORS, SensorSetting, SettingsError, Target, Values, choose,
};
pub use signed_settings::{SignedSettings, Taker};

#[cfg(test)]
mod tests;
