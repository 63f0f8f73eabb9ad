//! What our dependencies do unless told otherwise. A release that changes it must be looked at before it is taken.

use rustls::crypto::aws_lc_rs::{ALL_KX_GROUPS, default_provider};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};

use crate::policy::{KeyExchange, provider};

fn groups(list: &[&dyn SupportedKxGroup]) -> Vec<String> {
    let mut names: Vec<String> = list.iter().map(|group| format!("{:?}", group.name())).collect();
    names.sort_unstable();
    names
}

fn suites(provider: &CryptoProvider) -> Vec<String> {
    provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect()
}

#[test]
fn rustls_offers_classical_groups_by_default_and_not_ours() {
    let offered = groups(&default_provider().kx_groups);
    assert_eq!(offered, ["X25519", "X25519MLKEM768", "secp256r1", "secp384r1"]);
}

#[test]
fn rustls_has_these_groups() {
    let all = ["MLKEM1024", "MLKEM768", "X25519", "X25519MLKEM768", "secp256r1", "secp256r1MLKEM768", "secp384r1"];
    assert_eq!(groups(ALL_KX_GROUPS), all);
}

#[test]
fn rustls_offers_more_suites_and_schemes_by_default_than_we_do() {
    let provider = default_provider();
    assert!(suites(&provider).contains(&"TLS13_AES_128_GCM_SHA256".to_owned()));
    assert!(suites(&provider).contains(&"TLS13_CHACHA20_POLY1305_SHA256".to_owned()));
    assert!(provider.signature_verification_algorithms.supported_schemes().len() > 10);
}

#[test]
fn the_fleet_link_has_one_of_each() {
    for (key_exchange, group) in [(KeyExchange::Pure, "MLKEM1024"), (KeyExchange::Hybrid, "NamedGroup(0x11ed)")] {
        let provider = provider(key_exchange);
        assert_eq!(groups(&provider.kx_groups), [group]);
        assert_eq!(suites(&provider), ["TLS13_AES_256_GCM_SHA384"]);
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        assert_eq!(schemes, [rustls::SignatureScheme::ML_DSA_87]);
        assert_eq!(provider.signature_verification_algorithms.all.len(), 1);
    }
}

#[cfg(not(feature = "oqs"))]
#[test]
fn the_provider_version_is_the_one_in_the_lock_file() {
    let lock = include_str!("../../../Cargo.lock");
    let (name, version) = crate::aws_lc::VERSION.split_once(' ').expect("name and version");
    let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
    assert!(lock.contains(&entry), "Cargo.lock has another version than {:?}", crate::aws_lc::VERSION);
}
