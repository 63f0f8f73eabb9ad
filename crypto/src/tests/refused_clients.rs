//! Whom an aggregator refuses, and why, in the same words at both ends.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_ML_DSA_44,
    PKCS_ML_DSA_65,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group, sign};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::peers::{Gullible, connected, dns, fleet_crypto, ml_dsa_87, pkcs8, refused_by_server, refused_client, uri};
use super::{BUNDLE_EXPIRES, DAY, NOW, at, fleet, link, server};
use crate::identity::Credential;
use crate::issue::ISSUER_LIFETIME;
use crate::policy::{FLEET_ALPN, quic_client};
use crate::refusal::Refusal;

#[tokio::test]
async fn a_client_without_ml_kem_1024_is_refused() {
    let fleet = fleet();
    let groups = [
        kx_group::X25519,
        kx_group::SECP256R1,
        kx_group::SECP384R1,
        kx_group::X25519MLKEM768,
        kx_group::SECP256R1MLKEM768,
        kx_group::MLKEM768,
    ];
    for group in groups {
        let provider = CryptoProvider { kx_groups: vec![group], ..fleet_crypto() };
        let client = fleet.odd_client(provider, Some(fleet.own_certificate()), FLEET_ALPN);
        assert_eq!(refused_client(&fleet, client).await, Refusal::KeyExchange, "{group:?}");
    }
}

#[tokio::test]
async fn a_client_without_aes_256_is_refused() {
    let fleet = fleet();
    for suite in [cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256] {
        let provider = CryptoProvider { cipher_suites: vec![suite], ..fleet_crypto() };
        let client = fleet.odd_client(provider, Some(fleet.own_certificate()), FLEET_ALPN);
        assert_eq!(refused_client(&fleet, client).await, Refusal::CipherSuite, "{suite:?}");
    }
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused() {
    let fleet = fleet();
    for alpn in [&b"h3"[..], b"dsmil-dbe/2", b"dsmil-join/1"] {
        let client = fleet.odd_client(fleet_crypto(), Some(fleet.own_certificate()), alpn);
        assert_eq!(refused_client(&fleet, client).await, Refusal::ApplicationProtocol);
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let fleet = fleet();
    let client = fleet.odd_client(fleet_crypto(), None, FLEET_ALPN);
    assert_eq!(refused_client(&fleet, client).await, Refusal::NoCertificate);
}

#[tokio::test]
async fn a_client_that_takes_only_classical_signatures_is_refused() {
    let fleet = fleet();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(fleet_crypto()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible))
        .with_no_client_auth();
    tls.alpn_protocols = vec![FLEET_ALPN.to_vec()];
    assert_eq!(refused_client(&fleet, quic_client(tls)).await, Refusal::SignatureScheme);
}

#[tokio::test]
async fn a_client_with_another_kind_of_key_is_refused_even_if_our_issuer_signed_it() {
    let fleet = fleet();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519, &PKCS_ML_DSA_44, &PKCS_ML_DSA_65] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let leaf = fleet.issuer.issuer.forge(&key, |_| {});
        let insists = fleet.client_showing(vec![leaf.clone()], &pkcs8(&key));
        assert_eq!(refused_client(&fleet, insists).await, Refusal::SignatureScheme, "{algorithm:?}");

        // A client that heeds what the server asks for has nothing to show.
        let polite = sign::any_supported_type(&pkcs8(&key)).expect("a key");
        let polite = fleet.odd_client(fleet_crypto(), Some(CertifiedKey::new(vec![leaf], polite)), FLEET_ALPN);
        assert_eq!(refused_client(&fleet, polite).await, Refusal::NoCertificate, "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_client_of_another_root_is_refused() {
    let fleet = fleet();
    let foreign = super::fleet();
    let Credential { chain, key } = foreign.agent.credential().clone();
    assert_eq!(refused_client(&fleet, fleet.client_showing(chain, &key)).await, Refusal::UnknownRoot);
}

#[tokio::test]
async fn a_client_that_has_signed_its_leaf_itself_is_refused() {
    let fleet = fleet();
    let ours = fleet.issuer.listed.certificates[0].clone();
    for names_our_issuer in [false, true] {
        let key = ml_dsa_87();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri("spiffe://fleet.example/agent/h1")];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = OffsetDateTime::from_unix_timestamp(NOW - DAY).expect("a time");
        params.not_after = OffsetDateTime::from_unix_timestamp(NOW + DAY).expect("a time");
        let (leaf, why) = if names_our_issuer {
            // Issued under our issuer's name, by the leaf's own key.
            let issuer = rcgen::Issuer::from_ca_cert_der(&ours.clone().into(), &key).expect("an issuer");
            (params.signed_by(&key, &issuer).expect("signed"), Refusal::BadCertificate)
        } else {
            (params.self_signed(&key).expect("signed"), Refusal::UnknownRoot)
        };
        let client = fleet.client_showing(vec![leaf.der().clone(), ours.clone().into()], &pkcs8(&key));
        assert_eq!(refused_client(&fleet, client).await, why);
    }
}

#[tokio::test]
async fn a_client_whose_certificate_is_not_its_own_is_refused() {
    let fleet = fleet();
    let other = fleet.issuer.agent("h2", NOW);
    let chain = fleet.agent.credential().chain.clone();
    let client = fleet.client_showing(chain, &other.credential().key);
    assert_eq!(refused_client(&fleet, client).await, Refusal::BadCertificate);
}

#[tokio::test]
async fn nobody_below_an_issuer_can_issue_leaves() {
    let fleet = fleet();
    // An agent, and one whom the issuer has made an issuer.
    for authority in [false, true] {
        let signer_key = ml_dsa_87();
        let signer = fleet.issuer.issuer.forge(&signer_key, |params| {
            if authority {
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
                params.extended_key_usages.clear();
            }
        });
        let key = ml_dsa_87();
        let issuer = rcgen::Issuer::from_ca_cert_der(&signer, signer_key).expect("an issuer");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri("spiffe://fleet.example/agent/h9")];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &issuer).expect("signed").der().clone();
        let client = fleet.client_showing(vec![leaf, signer], &pkcs8(&key));
        assert_eq!(refused_client(&fleet, client).await, Refusal::UnknownRoot, "{authority}");
    }
}

#[tokio::test]
async fn an_issuer_is_no_agent_itself() {
    let fleet = fleet();
    // With a name as agents have it, and the key of an authority.
    let client = fleet.client_with_forged(|params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    });
    assert_eq!(refused_client(&fleet, client).await, Refusal::BadCertificate);
}

#[tokio::test]
async fn a_client_is_refused_after_its_leaf_has_expired_and_before_it_is_valid() {
    let fleet = fleet();
    let mut late = fleet.aggregator_link();
    late.time = at(fleet.agent.validity().not_after + 1);
    assert_eq!(refused_by_server(server(&late), fleet.client()).await, Refusal::Expired);
    late.time = at(fleet.agent.validity().not_after);
    connected(server(&late), fleet.client()).await;

    let future = fleet.client_with_forged(|params| {
        params.not_before += Duration::from_secs(3 * 24 * 3600);
        params.not_after += Duration::from_secs(3 * 24 * 3600);
    });
    assert_eq!(refused_client(&fleet, future).await, Refusal::NotYetValid);
}

#[tokio::test]
async fn a_client_is_refused_after_its_issuer_has_expired_however_long_its_leaf_says_it_lives() {
    let fleet = fleet();
    let end = fleet.issuer.issuer.validity().not_after;
    assert_eq!(end, NOW + i64::try_from(ISSUER_LIFETIME.as_secs()).expect("three years"));
    let trust = fleet.next_bundle(|bundle| bundle.expires_s = end + 10 * DAY);
    let mut ours = link(&fleet.aggregator, &trust);
    for (now, refused) in [(end, false), (end + 1, true)] {
        ours.time = at(now);
        let client = fleet.client_with_forged(|params| params.not_after += Duration::from_secs(4 * 365 * 24 * 3600));
        if refused {
            assert_eq!(refused_by_server(server(&ours), client).await, Refusal::Expired);
        } else {
            connected(server(&ours), client).await;
        }
    }
}

#[tokio::test]
async fn a_client_of_a_retired_issuer_is_told_so() {
    let fleet = fleet();
    let ours = link(&fleet.aggregator, &fleet.bundle_without_our_issuer());
    assert_eq!(refused_by_server(server(&ours), fleet.client()).await, Refusal::RetiredIssuer);

    // Of an issuer that a bundle lists and retires at once, it is retired.
    let fingerprint = crate::x509::subject_hash(&fleet.issuer.listed.certificates[0]).expect("a subject");
    let both = fleet.next_bundle(|bundle| bundle.retired = vec![fingerprint]);
    assert_eq!(
        refused_by_server(server(&link(&fleet.aggregator, &both)), fleet.client()).await,
        Refusal::RetiredIssuer
    );
}

#[tokio::test]
async fn a_client_whose_key_is_revoked_is_refused_and_so_is_one_of_a_revoked_issuer() {
    let fleet = fleet();
    let ours = link(&fleet.aggregator, &fleet.bundle_that_revokes(&fleet.agent));
    assert_eq!(refused_by_server(server(&ours), fleet.client()).await, Refusal::Revoked);
    // Another agent is not.
    let other = link(&fleet.issuer.agent("h2", NOW), &fleet.trust);
    connected(server(&ours), other.client().expect("a client")).await;

    let issuer = fleet.issuer.request.fingerprint();
    let ours = link(&fleet.aggregator, &fleet.next_bundle(|bundle| bundle.revoked = vec![issuer]));
    assert_eq!(refused_by_server(server(&ours), fleet.client()).await, Refusal::Revoked);
}

#[tokio::test]
async fn an_aggregator_whose_bundle_has_expired_takes_nobody() {
    let fleet = fleet();
    let mut ours = fleet.aggregator_link();
    let agent = link(&fleet.issuer.agent("h1", BUNDLE_EXPIRES), &fleet.trust);
    // The aggregator's leaf must look alive to the agent, whose own clock is right.
    ours.identity = fleet.issuer.aggregator("main", BUNDLE_EXPIRES);
    ours.time = at(BUNDLE_EXPIRES);
    connected(server(&ours), agent.client().expect("a client")).await;
    ours.time = at(BUNDLE_EXPIRES + 1);
    assert_eq!(refused_by_server(server(&ours), agent.client().expect("a client")).await, Refusal::TrustExpired);
}

#[tokio::test]
async fn a_client_must_name_an_agent_of_our_trust_domain_and_nothing_else() {
    let fleet = fleet();
    let cases = [
        (vec![uri("spiffe://other.example/agent/h1")], Refusal::WrongTrustDomain),
        (vec![uri("spiffe://fleet.example.other/agent/h1")], Refusal::WrongTrustDomain),
        (vec![uri("spiffe://fleet.example/aggregator/main")], Refusal::WrongRole),
        (vec![uri("spiffe://fleet.example/operator/kim")], Refusal::WrongRole),
        (vec![uri("spiffe://fleet.example/agent/H1")], Refusal::WrongName),
        (vec![uri("https://fleet.example/agent/h1")], Refusal::WrongName),
        (vec![uri("spiffe://fleet.example/agent/h1"), uri("spiffe://fleet.example/agent/h2")], Refusal::WrongName),
        (vec![dns("h1")], Refusal::WrongName),
        (vec![], Refusal::WrongName),
        // Words of a certificate are not words of ours.
        (vec![uri("spiffe://expired: wrong_role: x/agent/h1")], Refusal::WrongName),
    ];
    for (names, why) in cases {
        let client = fleet.client_with_forged(|params| params.subject_alt_names.clone_from(&names));
        assert_eq!(refused_client(&fleet, client).await, why, "{names:?}");
    }
}

#[tokio::test]
async fn an_aggregator_cannot_pose_as_an_agent() {
    let fleet = fleet();
    let Credential { chain, key } = fleet.aggregator.credential().clone();
    assert_eq!(refused_client(&fleet, fleet.client_showing(chain, &key)).await, Refusal::WrongPurpose);
}
