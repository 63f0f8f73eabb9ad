//! Who may say what in a fleet, as signed bytes: the [`TrustBundle`]. Pure: signatures are checked by whoever is handed in,
//! the time comes in, nothing is read or written.

mod bundle;
mod envelope;
mod fingerprint;

pub use bundle::{BundleError, Issuer, MAX_BUNDLE_LEN, OrderKey, TrustBundle};
pub use envelope::{SignedBundle, accept};
pub use fingerprint::{Fingerprint, FingerprintError};

#[cfg(test)]
mod tests;
