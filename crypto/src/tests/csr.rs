//! Requests: which are taken, which are refused, and what becomes of what they ask for.

use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_ML_DSA_44, PKCS_ML_DSA_65,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::peers::{dns, uri};
use super::{NOW, fleet};
use crate::csr::{CheckedCsr, CsrError, MAX_CSR_LEN, request};
use crate::issue::LEAF_LIFETIME;
use crate::key::{PUBLIC_KEY_LEN, SIGNATURE_LEN, SigningKey};

/// A request of ours.
static REQUEST: LazyLock<Vec<u8>> = LazyLock::new(|| request(&key()).expect("a request"));

fn key() -> SigningKey {
    SigningKey::generate().expect("a key")
}

#[test]
fn a_request_of_ours_is_taken_and_is_of_its_key() {
    let key = key();
    let der = request(&key).expect("a request");
    let checked = CheckedCsr::check(&der).expect("sound");
    assert_eq!(checked.fingerprint(), key.fingerprint());
    assert!(der.len() < MAX_CSR_LEN / 2, "{} bytes", der.len());
}

#[test]
fn a_request_that_is_cut_anywhere_is_refused() {
    let der: &Vec<u8> = &REQUEST;
    for end in 0..der.len() {
        assert_eq!(CheckedCsr::check(&der[..end]), Err(CsrError::Malformed), "cut at {end}");
    }
}

#[test]
fn a_request_with_bytes_behind_it_or_over_the_length_is_refused() {
    let mut der = REQUEST.clone();
    der.push(0);
    assert_eq!(CheckedCsr::check(&der), Err(CsrError::Malformed));
    der.resize(MAX_CSR_LEN, 0);
    assert_eq!(CheckedCsr::check(&der), Err(CsrError::Malformed));
    der.push(0);
    assert_eq!(CheckedCsr::check(&der), Err(CsrError::TooLong));
}

#[test]
fn a_request_of_another_kind_of_key_is_refused() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519, &PKCS_ML_DSA_44, &PKCS_ML_DSA_65] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let der = CertificateParams::default().serialize_request(&key).expect("a request");
        assert_eq!(CheckedCsr::check(der.der()), Err(CsrError::Algorithm), "{algorithm:?}");
    }
}

#[test]
fn a_request_signed_by_another_key_is_refused() {
    let other = request(&key()).expect("a request");
    let mut der = REQUEST.clone();
    let at = der.len() - SIGNATURE_LEN;
    der[at..].copy_from_slice(&other[at..]);
    assert_eq!(CheckedCsr::check(&der), Err(CsrError::Signature));

    // The other's key under the first one's signature.
    let find = |der: &[u8], key: &[u8]| der.windows(key.len()).position(|window| window == key);
    let (ours, theirs) = (key(), key());
    let mut mixed = request(&ours).expect("a request");
    let at = find(&mixed, ours.public_key()).expect("its key");
    mixed[at..at + PUBLIC_KEY_LEN].copy_from_slice(theirs.public_key());
    assert_eq!(CheckedCsr::check(&mixed), Err(CsrError::Signature));
}

/// Each bit of what is not key and signature, where a lenient parser would look away.
#[test]
fn a_request_with_any_bit_of_its_frame_altered_is_refused() {
    let der: &Vec<u8> = &REQUEST;
    let key_at = der.len() - SIGNATURE_LEN - 24 - PUBLIC_KEY_LEN;
    let frame = (0..key_at + 16).chain(key_at + PUBLIC_KEY_LEN - 16..der.len() - SIGNATURE_LEN + 16);
    for at in frame {
        for bit in 0..8 {
            let mut altered = der.clone();
            altered[at] ^= 1 << bit;
            assert!(CheckedCsr::check(&altered).is_err(), "bit {bit} of byte {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_request_with_any_byte_altered_is_refused(at in any::<proptest::sample::Index>(), flip in 1..=255u8) {
        let mut der = REQUEST.clone();
        let at = at.index(der.len());
        der[at] ^= flip;
        prop_assert!(CheckedCsr::check(&der).is_err(), "byte {} with {:02x}", at, flip);
    }

    #[test]
    fn no_request_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0..60usize) {
        prop_assert!(CheckedCsr::check(&bytes).is_err());
        let mut der = REQUEST.clone();
        let end = (at + bytes.len()).min(der.len());
        der.splice(at..end, bytes);
        let _ = CheckedCsr::check(&der);
    }
}

/// What every leaf of an agent says, whatever was asked for.
#[test]
fn nothing_that_a_request_asks_for_comes_into_the_leaf() {
    let fleet = fleet();
    let greedy = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = key();
        let der = params.serialize_request(&key).expect("a request");
        let checked = CheckedCsr::check(der.der()).expect("the key counts and nothing else");
        fleet.issuer.issuer.issue_agent("h1", &checked, NOW, LEAF_LIFETIME).expect("a leaf")
    };
    let asked: [fn(&mut CertificateParams); 5] = [
        |_| {},
        |params| {
            params.subject_alt_names = vec![
                uri("spiffe://fleet.example/aggregator/evil"),
                uri("spiffe://fleet.example/agent/evil"),
                dns("aggregator.fleet.example"),
            ];
        },
        |params| {
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
        },
        |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        |params| {
            params.distinguished_name.push(DnType::CommonName, "evil");
            params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&[1, 2, 3], b"evil".to_vec())];
        },
    ];
    let plain = facts(&greedy(asked[0]));
    assert!(plain.contains("spiffe://fleet.example/agent/h1"), "{plain}");
    for change in asked {
        let leaf = greedy(change);
        assert_eq!(facts(&leaf), plain);
        assert!(!leaf.windows(4).any(|window| window == b"evil"));
    }
}

/// All that a leaf says apart from key, serial number and signature.
fn facts(leaf: &CertificateDer<'_>) -> String {
    let (_, parsed) = X509Certificate::from_der(leaf).expect("X.509");
    assert!(!parsed.is_ca());
    let known = parsed.extensions().iter().map(|extension| format!("{:?}", extension.parsed_extension()));
    // The identifier of the subject's key is its own in each.
    let known: Vec<_> = known.filter(|text| !text.starts_with("SubjectKeyIdentifier")).collect();
    format!("{} {} {:?} {known:?}", parsed.subject(), parsed.issuer(), parsed.validity())
}
