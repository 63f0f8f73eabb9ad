//! Trust bundles with real keys: which are taken, which are refused, and under what name.

use std::sync::LazyLock;

use dsmil_authority::{SignedBundle, TrustBundle};
use proptest::prelude::*;

use super::{BUNDLE_EXPIRES, Certified, DAY, Fleet, NOW, bundle, domain, fleet, fleet_of};
use crate::issue::FleetRoot;
use crate::trust::{Trust, TrustError, sign};

impl Fleet {
    /// What comes of the bundle in place of ours.
    fn offered(&self, bundle: &TrustBundle, roots: &[&FleetRoot], now: i64) -> Result<u64, &'static str> {
        verdict(self.trust.accept(&sign(bundle, roots).expect("signed"), now))
    }

    /// What comes of it as the first one.
    fn pinned(&self, bundle: &TrustBundle, roots: &[&FleetRoot], now: i64) -> Result<u64, &'static str> {
        let bytes = sign(bundle, roots).expect("signed");
        verdict(Trust::pinned(&bytes, &self.root.fingerprint(), self.root.trust_domain(), now))
    }

    fn next(&self) -> TrustBundle {
        bundle(2, &[&self.root], &[&self.issuer])
    }
}

fn verdict(taken: Result<Trust, TrustError>) -> Result<u64, &'static str> {
    taken.map(|trust| trust.version()).map_err(|error| error.name())
}

#[test]
fn a_newer_bundle_of_our_root_is_taken() {
    let fleet = fleet();
    assert_eq!(fleet.offered(&fleet.next(), &[&fleet.root], NOW), Ok(2));
    assert_eq!(fleet.pinned(&fleet.next(), &[&fleet.root], NOW), Ok(2));
    // A dead clock is no reason against it.
    assert_eq!(fleet.offered(&fleet.next(), &[&fleet.root], 0), Ok(2));
}

#[test]
fn an_older_bundle_and_one_of_the_same_version_are_refused() {
    let fleet = fleet();
    let held = fleet.next_bundle(|bundle| bundle.version = 5);
    for version in [1, 4, 5] {
        let mut old = fleet.next();
        old.version = version;
        let bytes = sign(&old, &[&fleet.root]).expect("signed");
        assert_eq!(verdict(held.accept(&bytes, NOW)), Err("bundle_older"), "{version}");
    }
}

#[test]
fn an_expired_bundle_is_refused() {
    let fleet = fleet();
    assert_eq!(fleet.offered(&fleet.next(), &[&fleet.root], BUNDLE_EXPIRES), Ok(2));
    assert_eq!(fleet.offered(&fleet.next(), &[&fleet.root], BUNDLE_EXPIRES + 1), Err("bundle_expired"));
    assert_eq!(fleet.pinned(&fleet.next(), &[&fleet.root], BUNDLE_EXPIRES), Ok(2));
    assert_eq!(fleet.pinned(&fleet.next(), &[&fleet.root], BUNDLE_EXPIRES + 1), Err("bundle_expired"));
}

#[test]
fn a_bundle_of_another_root_is_refused() {
    let (fleet, foreign) = (fleet(), fleet());
    // Signed by a stranger who names himself, who names our root, or both.
    for roots in [&[&foreign.root][..], &[&fleet.root], &[&fleet.root, &foreign.root]] {
        let next = bundle(2, roots, &[&fleet.issuer]);
        assert_eq!(fleet.offered(&next, &[&foreign.root], NOW), Err("bundle_other_root"));
        assert_eq!(fleet.pinned(&next, &[&foreign.root], NOW), Err("bundle_other_root"));
    }
    // Nobody's.
    let unsigned = sign(&fleet.next(), &[]).expect("bytes");
    assert_eq!(verdict(fleet.trust.accept(&unsigned, NOW)), Err("bundle_other_root"));
    assert_eq!(verdict(Trust::own(&unsigned)), Err("bundle_other_root"));
}

#[test]
fn a_signature_of_ours_under_other_words_is_refused() {
    let fleet = fleet();
    let signer = fleet.root.fingerprint();
    let mut other = SignedBundle::new(&bundle(3, &[&fleet.root], &[])).expect("a bundle");
    fleet.root.sign_bundle(&mut other).expect("signed");
    let mut forged = SignedBundle::new(&fleet.next()).expect("a bundle");
    // The other bundle's signature, and a stranger's under our name.
    let bytes = other.encode().expect("bytes");
    let signature = bytes[bytes.len() - crate::key::SIGNATURE_LEN..].to_vec();
    forged.sign(signer, signature);
    assert_eq!(verdict(fleet.trust.accept(&forged.encode().expect("bytes"), NOW)), Err("bundle_altered"));
    let stranger = crate::key::SigningKey::generate().expect("a key");
    forged.sign(signer, stranger.sign(&forged.statement()).expect("signed"));
    assert_eq!(verdict(fleet.trust.accept(&forged.encode().expect("bytes"), NOW)), Err("bundle_altered"));
}

#[test]
fn a_bundle_of_another_trust_domain_is_refused() {
    let fleet = fleet();
    // Our root signs for another fleet by mistake.
    let mut other = fleet.next();
    other.trust_domain = "other.example".to_owned();
    assert_eq!(fleet.offered(&other, &[&fleet.root], NOW), Err("bundle_trust_domain"));
    // Its own roots name another one: no bundle at all.
    let bytes = sign(&other, &[&fleet.root]).expect("signed");
    assert_eq!(verdict(Trust::own(&bytes)), Err("bundle_malformed"));
    // A whole one of another fleet.
    let foreign = fleet_of("other.example");
    let first = Trust::pinned(foreign.trust.bytes(), &foreign.root.fingerprint(), fleet.root.trust_domain(), NOW);
    assert_eq!(verdict(first), Err("bundle_trust_domain"));
    assert_eq!(verdict(fleet.trust.accept(foreign.trust.bytes(), NOW)), Err("bundle_other_root"));
}

#[test]
fn a_bundle_that_none_of_its_own_roots_has_signed_is_refused() {
    let fleet = fleet();
    let next_root = FleetRoot::create(fleet.root.trust_domain(), NOW).expect("a root");
    let after = bundle(2, &[&next_root], &[&fleet.issuer]);
    assert_eq!(fleet.offered(&after, &[&fleet.root], NOW), Err("bundle_other_root"));
    assert_eq!(fleet.offered(&after, &[&fleet.root, &next_root], NOW), Ok(2));
}

#[test]
fn the_first_bundle_must_be_signed_by_the_very_root_of_the_token() {
    let fleet = fleet();
    let second = FleetRoot::create(fleet.root.trust_domain(), NOW).expect("a root");
    let both = bundle(2, &[&fleet.root, &second], &[&fleet.issuer]);
    assert_eq!(fleet.pinned(&both, &[&fleet.root, &second], NOW), Ok(2));
    // Listed is not signed.
    assert_eq!(fleet.pinned(&both, &[&second], NOW), Err("bundle_other_root"));
    // Signed is not listed.
    let without = bundle(2, &[&second], &[&fleet.issuer]);
    assert_eq!(fleet.pinned(&without, &[&fleet.root, &second], NOW), Err("bundle_other_root"));
}

#[test]
fn a_root_whose_time_is_over_signs_no_more_bundles() {
    let fleet = fleet();
    let end = fleet.root.validity().not_after;
    let mut next = fleet.next();
    next.expires_s = end + 100 * DAY;
    assert_eq!(fleet.offered(&next, &[&fleet.root], end), Ok(2));
    assert_eq!(fleet.offered(&next, &[&fleet.root], end + 1), Err("bundle_root_expired"));
    assert_eq!(fleet.pinned(&next, &[&fleet.root], end), Ok(2));
    assert_eq!(fleet.pinned(&next, &[&fleet.root], end + 1), Err("bundle_root_expired"));

    // The root that followed it can.
    let second = FleetRoot::create(fleet.root.trust_domain(), NOW + DAY).expect("a root");
    let mut both = bundle(2, &[&fleet.root, &second], &[&fleet.issuer]);
    both.expires_s = end + 100 * DAY;
    let held = super::trust(&both, &[&fleet.root, &second]);
    both.version = 3;
    assert_eq!(verdict(held.accept(&sign(&both, &[&second]).expect("signed"), end + 1)), Ok(3));
    assert_eq!(
        verdict(held.accept(&sign(&both, &[&fleet.root]).expect("signed"), end + 1)),
        Err("bundle_root_expired")
    );
}

#[test]
fn certificates_of_different_keys_are_not_one_issuer_and_one_is_not_listed_twice() {
    let fleet = fleet();
    let second = Certified::by(&[&fleet.root], NOW);
    let mut mixed = fleet.next();
    mixed.issuers[0].certificates.push(second.listed.certificates[0].clone());
    assert_eq!(fleet.offered(&mixed, &[&fleet.root], NOW), Err("bundle_malformed"));
    let twice = bundle(2, &[&fleet.root], &[&fleet.issuer, &fleet.issuer]);
    assert_eq!(fleet.offered(&twice, &[&fleet.root], NOW), Err("bundle_malformed"));
    for odd in [b"no certificate".to_vec(), https_root()] {
        let mut next = fleet.next();
        next.issuers[0].certificates[0].clone_from(&odd);
        assert_eq!(fleet.offered(&next, &[&fleet.root], NOW), Err("bundle_malformed"));
        let mut next = fleet.next();
        next.roots.push(odd);
        assert_eq!(fleet.offered(&next, &[&fleet.root], NOW), Err("bundle_malformed"));
    }
    let foreign = fleet_of("other.example");
    let next = bundle(2, &[&fleet.root, &foreign.root], &[&fleet.issuer]);
    assert_eq!(fleet.offered(&next, &[&fleet.root], NOW), Err("bundle_malformed"));
}

/// A certificate with a classical key.
fn https_root() -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    let root = crate::issue::HttpsRoot::create(NOW).expect("a root");
    rustls::pki_types::CertificateDer::from_pem_slice(root.certificate_pem().as_bytes()).expect("PEM").to_vec()
}

static OFFERED: LazyLock<(Trust, Vec<u8>)> = LazyLock::new(|| {
    let fleet = fleet();
    let bytes = sign(&fleet.next(), &[&fleet.root]).expect("signed");
    (fleet.trust, bytes)
});

#[test]
fn a_bundle_that_is_cut_is_refused() {
    let (held, bytes) = &*OFFERED;
    assert_eq!(verdict(held.accept(bytes, NOW)), Ok(2));
    for end in (0..bytes.len()).step_by(7).chain(bytes.len() - 40..bytes.len()) {
        let refused = verdict(held.accept(&bytes[..end], NOW)).expect_err("cut");
        assert_eq!(refused, "bundle_malformed", "cut at {end}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert_eq!(verdict(held.accept(&longer, NOW)), Err("bundle_malformed"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_bundle_with_any_byte_altered_is_refused(at in any::<proptest::sample::Index>(), flip in 1..=255u8) {
        let (held, bytes) = &*OFFERED;
        let mut altered = bytes.clone();
        let at = at.index(altered.len());
        altered[at] ^= flip;
        let name = verdict(held.accept(&altered, NOW)).expect_err("altered");
        let names = ["bundle_altered", "bundle_malformed", "bundle_format", "bundle_other_root"];
        prop_assert!(names.contains(&name), "byte {at}: {name}");
    }
}

#[test]
fn a_bundle_survives_its_file_and_keeps_its_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trust.bundle");
    let fleet = fleet();
    fleet.trust.save(&path).expect("saved");
    let loaded = Trust::load(&path).expect("loaded");
    assert_eq!(loaded.bytes(), fleet.trust.bytes());
    assert_eq!(loaded.bundle(), fleet.trust.bundle());
    assert_eq!(loaded.trust_domain(), &domain("fleet.example"));
    let roots: Vec<_> = loaded.roots().map(|(fingerprint, _)| *fingerprint).collect();
    assert_eq!(roots, [fleet.root.fingerprint()]);

    let missing = Trust::load(&folder.path().join("none")).expect_err("missing");
    assert_eq!(missing.name(), "bundle_file");
    assert!(missing.to_string().contains("none"), "{missing}");
    std::fs::write(&path, vec![b'x'; 1 << 20]).expect("written");
    let huge = Trust::load(&path).expect_err("huge");
    assert!(matches!(huge, TrustError::File(crate::identity::FileError::TooLarge { .. })), "{huge}");
    std::fs::write(&path, "hello").expect("written");
    assert_eq!(Trust::load(&path).expect_err("another file").name(), "bundle_malformed");
}
