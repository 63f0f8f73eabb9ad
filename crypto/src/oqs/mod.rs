//! liboqs in place of aws-lc for ML-KEM-1024 and ML-DSA-87, built with the feature `oqs`.
//!
//! A second implementation, by other people, of what the fleet link stands on: where the two agree on every key, secret
//! and signature, a mistake in one of them cannot have passed unseen. The certificate and key files are the same, so a
//! host or an aggregator may be rebuilt with or without the feature and goes on.
//!
//! What liboqs does: it generates, encapsulates, decapsulates, signs and verifies. What it does not: AES, SHA-2, HKDF and
//! HTTPS stay with aws-lc, and so does reading a stored signing key ([`ml_dsa`] says why). liboqs calls itself a library
//! for research and advises against relying on it alone; the feature is off unless asked for.
//!
//! liboqs takes randomness from `getentropy` and ends the process where that fails: the kernel does not fail it once it
//! is up. Keys and secrets that are handed to us are wiped when they are dropped; what liboqs 0.13 leaves of them on its
//! own stack when it makes a signing key or signs with it is not.

mod ml_dsa;
mod ml_kem;
mod tls;

pub(crate) use ml_dsa::{ML_DSA_87, SigningKey};
pub(crate) use ml_kem::ML_KEM_1024;
pub(crate) use tls::tls_keys;

/// Name and version of the library that is linked in, as its own headers have it: `liboqs 0.13.0`.
pub(crate) fn version() -> String {
    let version = ::oqs::ffi::common::OQS_VERSION_TEXT.strip_suffix(&[0]);
    let version = version.and_then(|text| str::from_utf8(text).ok());
    format!("liboqs {}", version.expect("a C string with digits and dots"))
}

#[cfg(test)]
mod tests;
