//! Bundles against everything that may come in their place. Signatures here are stand-ins: `crypto` tests real ones.

use crate::{BundleError, Fingerprint, Issuer, SignedBundle, TrustBundle, accept};
use proptest::prelude::*;

const ROOT: Fingerprint = Fingerprint([1; 48]);
const NEXT_ROOT: Fingerprint = Fingerprint([2; 48]);

fn bundle(version: u64) -> TrustBundle {
    TrustBundle {
        version,
        trust_domain: "fleet.example".into(),
        issued_s: 1_000,
        expires_s: 2_000,
        roots: vec![vec![1; 10]],
        issuers: vec![Issuer { name: "a1".into(), certificates: vec![vec![3; 10]] }],
        order_keys: Vec::new(),
        revoked: Vec::new(),
        retired: Vec::new(),
    }
}

/// A signature that is the statement's sum under a root's number.
fn stamp(root: u8, statement: &[u8]) -> Vec<u8> {
    let sum = statement.iter().fold(u64::from(root), |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    sum.to_be_bytes().to_vec()
}

fn signed(bundle: &TrustBundle, root: Fingerprint) -> SignedBundle {
    let mut signed = SignedBundle::new(bundle).expect("within limits");
    let signature = stamp(root.0[0], &signed.statement());
    signed.sign(root, signature);
    signed
}

fn judge(signed: &SignedBundle, now_s: i64) -> Result<u64, &'static str> {
    let roots = [(ROOT, 1_u8)];
    let verify = |root: &u8, statement: &[u8], signature: &[u8]| stamp(*root, statement) == signature;
    accept(&bundle(5), &roots, signed, now_s, verify).map(|bundle| bundle.version).map_err(|e| e.name())
}

#[test]
fn only_a_newer_bundle_of_our_root_and_fleet_within_its_time_is_taken() {
    assert_eq!(judge(&signed(&bundle(6), ROOT), 1_500), Ok(6));
    assert_eq!(judge(&signed(&bundle(6), ROOT), 2_000), Ok(6), "the last second counts");
    assert_eq!(judge(&signed(&bundle(6), ROOT), 2_001), Err("bundle_expired"));
    assert_eq!(judge(&signed(&bundle(5), ROOT), 1_500), Err("bundle_older"));
    assert_eq!(judge(&signed(&bundle(6), NEXT_ROOT), 1_500), Err("bundle_other_root"));
    let elsewhere = TrustBundle { trust_domain: "other.example".into(), ..bundle(6) };
    assert_eq!(judge(&signed(&elsewhere, ROOT), 1_500), Err("bundle_trust_domain"));
    assert_eq!(judge(&SignedBundle::new(&bundle(6)).expect("fits"), 1_500), Err("bundle_other_root"), "unsigned");
    let mut forged = signed(&bundle(6), NEXT_ROOT);
    forged.sign(ROOT, vec![0; 8]);
    assert_eq!(judge(&forged, 1_500), Err("bundle_altered"), "a signature in our root's name that is none");
    forged.sign(ROOT, stamp(1, &forged.statement()));
    assert_eq!(judge(&forged, 1_500), Ok(6), "a second root's signature does no harm");
}

#[test]
fn limits_hold_on_both_sides() {
    let huge = TrustBundle { revoked: vec![ROOT; 513], ..bundle(1) };
    assert_eq!(SignedBundle::new(&huge), Err(BundleError::Limits));
    for broken in [
        TrustBundle { version: 0, ..bundle(1) },
        TrustBundle { roots: Vec::new(), ..bundle(1) },
        TrustBundle { issued_s: 3_000, ..bundle(1) },
        TrustBundle { trust_domain: "a\nb".into(), ..bundle(1) },
        TrustBundle { issuers: vec![Issuer { name: "x".into(), certificates: Vec::new() }], ..bundle(1) },
    ] {
        assert_eq!(SignedBundle::new(&broken), Err(BundleError::Limits), "{broken:?}");
    }
}

#[test]
fn every_cut_and_every_longer_form_is_refused() {
    let bytes = signed(&bundle(6), ROOT).encode().expect("fits");
    assert_eq!(SignedBundle::decode(&bytes).expect("whole").open(), Ok(bundle(6)));
    for end in 0..bytes.len() {
        assert!(SignedBundle::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert_eq!(SignedBundle::decode(&[&bytes[..], &[0]].concat()), Err(BundleError::Malformed));
    let mut other = bytes.clone();
    other[4] = 2;
    assert_eq!(SignedBundle::decode(&other), Err(BundleError::Format(2)));
}

#[test]
fn fingerprints_read_what_they_print() {
    assert_eq!(ROOT.to_string().parse(), Ok(ROOT));
    for bad in ["", "00", &"0".repeat(95), &"g".repeat(96), &"é".repeat(48)] {
        assert!(bad.parse::<Fingerprint>().is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn whoever_changes_a_byte_is_found_out(at: prop::sample::Index, flip in 1_u8..) {
        let mut bytes = signed(&bundle(6), ROOT).encode().expect("fits");
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let taken = SignedBundle::decode(&bytes).ok().and_then(|changed| judge(&changed, 1_500).ok());
        prop_assert_eq!(taken, None);
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let odd = [&b"DSTB\x01"[..], &bytes].concat();
        if let Ok(signed) = SignedBundle::decode(&odd) {
            let _ = signed.open();
        }
    }
}
