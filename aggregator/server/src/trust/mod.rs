//! How the next trust bundle comes about: a draft beside the state, signed by the root in a place without a network, and
//! published. Nothing here trusts a draft; what counts is the signature at its end, and `Trust::accept` judges that.
//!
//! A rotation of an issuer: add the new one, sign, publish; a day later, when every leaf is of the new one, retire the old.
//! A rotation of the root: add the new one, sign with both, publish; when the fleet has it, retire the old one and sign with
//! both for the last time. Each bundle on the way carries both signatures and each issuer a certificate of either root, so a
//! host that slept through some of it follows the last of them.

mod difference;
mod draft;
mod error;
mod file;
mod plan;
mod sign;
#[cfg(test)]
mod tests;

pub use difference::difference;
pub use draft::{Change, TrustDraft};
pub use error::DraftError;
pub use file::{DRAFT_FILE, hand_over, read_bundle, write_whole};
pub use sign::publishable;
