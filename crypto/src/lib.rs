//! The one place that names algorithms: TLS policy, identities, signatures.
//!
//! Fleet link (QUIC): ML-KEM-1024 (or, where a fleet wants it, P-384 with it), ML-DSA-87 on both sides, AES-256-GCM with
//! SHA-384, TLS 1.3; nothing else. HTTPS: hybrid ML-KEM key exchange with a classical certificate, because browsers
//! verify no other yet.
//!
//! Reading order: [`spiffe`], [`key`], [`csr`], [`issue`], [`identity`], [`trust`], [`policy`], [`refusal`], [`https`],
//! [`token`]; and [`release`], which has to do with no connection.

#[cfg(not(feature = "oqs"))]
mod aws_lc;
#[cfg(not(feature = "oqs"))]
use aws_lc as backend;
pub mod csr;
pub mod files;
mod group;
pub mod https;
pub mod identity;
pub mod issue;
pub mod join_token;
pub mod key;
#[cfg(feature = "oqs")]
mod oqs;
#[cfg(feature = "oqs")]
use oqs as backend;
pub mod policy;
pub mod refusal;
pub mod release;
pub mod settings;
pub mod spiffe;
pub mod time;
pub mod token;
pub mod transport;
pub mod trust;
mod verify;
mod x509;

/// The implementation that does the arithmetic, for `check` commands and bug reports: name and version, as in
/// `aws-lc-rs 1.19.0`.
pub fn provider_version() -> String {
    backend::version()
}

/// Random bytes from the provider's generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator cannot fail after boot");
    bytes
}

#[cfg(test)]
mod tests;
