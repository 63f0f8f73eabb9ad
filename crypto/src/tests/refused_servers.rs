//! Whom an agent refuses on the fleet link, and why, in the same words at both ends.

use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ML_DSA_44, PKCS_ML_DSA_65};

use super::peers::{
    NAME, connected, dns, impostor, ml_dsa_87, refused_by_server, refused_server, stubborn_server, uri,
};
use super::{BUNDLE_EXPIRES, DAY, NOW, at, fleet, link};
use crate::policy::FLEET_ALPN;
use crate::refusal::Refusal;

#[tokio::test]
async fn an_agent_refuses_whoever_is_no_aggregator_of_its_trust_domain() {
    let fleet = fleet();
    let cases = [
        // The right DNS name is not enough: the role counts.
        (vec![uri("spiffe://fleet.example/agent/h2"), dns(NAME)], Refusal::WrongRole),
        (vec![uri("spiffe://fleet.example/operator/kim"), dns(NAME)], Refusal::WrongRole),
        (vec![uri("spiffe://other.example/aggregator/main"), dns(NAME)], Refusal::WrongTrustDomain),
        (vec![dns(NAME)], Refusal::WrongName),
        // Nor is the right role.
        (vec![uri("spiffe://fleet.example/aggregator/main"), dns("aggregator.other.example")], Refusal::WrongName),
    ];
    for (names, why) in cases {
        let key = ml_dsa_87();
        let leaf = fleet.issuer.issuer.forge(&key, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names.clone_from(&names);
        });
        let server = impostor(vec![leaf], &key, FLEET_ALPN);
        assert_eq!(refused_server(server, fleet.client()).await, why, "{names:?}");
    }
}

#[tokio::test]
async fn an_agent_cannot_pose_as_an_aggregator() {
    let fleet = fleet();
    let key = ml_dsa_87();
    let leaf = fleet.issuer.issuer.forge(&key, |params| params.subject_alt_names.push(dns(NAME)));
    let server = impostor(vec![leaf], &key, FLEET_ALPN);
    assert_eq!(refused_server(server, fleet.client()).await, Refusal::WrongPurpose);
}

#[tokio::test]
async fn an_agent_refuses_an_aggregator_of_another_root() {
    let fleet = fleet();
    assert_eq!(refused_server(super::fleet().server(), fleet.client()).await, Refusal::UnknownRoot);
}

#[tokio::test]
async fn an_aggregator_with_another_kind_of_key_is_refused_even_if_our_issuer_signed_it() {
    let fleet = fleet();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ML_DSA_44, &PKCS_ML_DSA_65] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let leaf = fleet.issuer.issuer.forge(&key, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = vec![uri("spiffe://fleet.example/aggregator/main"), dns(NAME)];
        });
        // One that heeds what the agent asks for finds that it has nothing to sign with.
        let polite = impostor(vec![leaf.clone()], &key, FLEET_ALPN);
        assert_eq!(refused_by_server(polite, fleet.client()).await, Refusal::SignatureScheme, "{algorithm:?}");
        let insists = stubborn_server(vec![leaf], &key);
        assert_eq!(refused_server(insists, fleet.client()).await, Refusal::SignatureScheme, "{algorithm:?}");
    }
}

#[tokio::test]
async fn an_agent_refuses_an_aggregator_whose_leaf_has_expired() {
    let fleet = fleet();
    let mut late = fleet.agent_link();
    late.time = at(fleet.aggregator.validity().not_after + 1);
    assert_eq!(refused_server(fleet.server(), late.client().expect("a client")).await, Refusal::Expired);
}

#[tokio::test]
async fn an_agent_refuses_an_aggregator_whose_issuer_has_expired() {
    let fleet = fleet();
    let end = fleet.issuer.issuer.validity().not_after;
    let trust = fleet.next_bundle(|bundle| bundle.expires_s = end + 10 * DAY);
    let key = ml_dsa_87();
    let leaf = fleet.issuer.issuer.forge(&key, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![uri("spiffe://fleet.example/aggregator/main"), dns(NAME)];
        params.not_after += Duration::from_secs(4 * 365 * 24 * 3600);
    });
    let mut late = link(&fleet.agent, &trust);
    late.time = at(end + 1);
    let server = impostor(vec![leaf], &key, FLEET_ALPN);
    assert_eq!(refused_server(server, late.client().expect("a client")).await, Refusal::Expired);
}

#[tokio::test]
async fn an_agent_refuses_an_aggregator_of_a_retired_issuer() {
    let fleet = fleet();
    let client = link(&fleet.agent, &fleet.bundle_without_our_issuer()).client().expect("a client");
    assert_eq!(refused_server(fleet.server(), client).await, Refusal::RetiredIssuer);
}

#[tokio::test]
async fn an_agent_refuses_an_aggregator_whose_key_or_issuer_is_revoked() {
    let fleet = fleet();
    let issuer = fleet.issuer.request.fingerprint();
    let bundles =
        [fleet.bundle_that_revokes(&fleet.aggregator), fleet.next_bundle(|bundle| bundle.revoked = vec![issuer])];
    for bundle in bundles {
        let client = link(&fleet.agent, &bundle).client().expect("a client");
        assert_eq!(refused_server(fleet.server(), client).await, Refusal::Revoked);
    }
}

#[tokio::test]
async fn an_agent_whose_bundle_has_expired_trusts_nobody() {
    let fleet = fleet();
    let mut agent = fleet.agent_link();
    agent.time = at(BUNDLE_EXPIRES);
    let mut aggregator = link(&fleet.issuer.aggregator("main", BUNDLE_EXPIRES), &fleet.trust);
    aggregator.time = at(NOW);
    connected(super::server(&aggregator), agent.client().expect("a client")).await;
    agent.time = at(BUNDLE_EXPIRES + 1);
    let client = agent.client().expect("a client");
    assert_eq!(refused_server(super::server(&aggregator), client).await, Refusal::TrustExpired);
}
