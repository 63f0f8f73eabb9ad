//! The join port: whom a host believes that has a token only, or an old bundle.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::peers::{
    NAME, connected, dns, impostor, impostor_with, meet, ml_dsa_87, refused_by_server, refused_server, uri,
};
use super::{Certified, DAY, Fleet, NOW, at, bundle, fleet, link, server, trust};
use crate::identity::Identity;
use crate::issue::FleetRoot;
use crate::key::sha384;
use crate::policy::{JOIN_ALPN, exporter, join_client, join_server};
use crate::refusal::Refusal;
use crate::transport::EndpointKeys;
use crate::trust::{JoinTrust, Trust, sign};

fn serve(identity: &Identity, trust: &Trust) -> quinn::ServerConfig {
    join_server(identity, trust, at(NOW), &EndpointKeys::random()).expect("a server")
}

fn pinned_root(root: &FleetRoot) -> JoinTrust {
    JoinTrust::Pinned { root: root.fingerprint(), trust_domain: root.trust_domain().clone() }
}

fn ask(trust: JoinTrust) -> quinn::ClientConfig {
    join_client(trust, at(NOW), 0).expect("a client")
}

impl Fleet {
    fn join_server(&self) -> quinn::ServerConfig {
        serve(&self.aggregator, &self.trust)
    }

    /// An aggregator's leaf that our issuer has not signed, or should not have, and a server that shows it.
    fn forged(&self, change: impl FnOnce(&mut CertificateParams), behind: &[&[u8]]) -> quinn::ServerConfig {
        let key = ml_dsa_87();
        let leaf = self.issuer.issuer.forge(&key, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = vec![uri("spiffe://fleet.example/aggregator/main"), dns(NAME)];
            change(params);
        });
        let chain = std::iter::once(leaf).chain(behind.iter().map(|der| CertificateDer::from(der.to_vec())));
        impostor(chain.collect(), &key, JOIN_ALPN)
    }

    /// What a sound aggregator shows behind its leaf.
    fn path(&self) -> [&[u8]; 2] {
        [&self.issuer.listed.certificates[0], self.root.certificate()]
    }
}

#[tokio::test]
async fn a_host_with_the_right_pin_is_served_and_shows_nothing() {
    let fleet = fleet();
    let (seen, client, _met) = connected(fleet.join_server(), ask(pinned_root(&fleet.root))).await;
    assert!(seen.peer_identity().is_none(), "it has no certificate yet");
    assert!(client.peer_identity().is_some());
}

#[tokio::test]
async fn a_host_with_another_pin_refuses() {
    let fleet = fleet();
    let other = FleetRoot::create(fleet.root.trust_domain(), NOW).expect("a root");
    let met = meet(fleet.join_server(), ask(pinned_root(&other))).await;
    let why = met.client.expect_err("refused").to_string();
    assert!(why.contains("unknown_root: the root that the token names is not among those shown"), "{why}");
    assert_eq!(refused_server(fleet.join_server(), ask(pinned_root(&other))).await, Refusal::UnknownRoot);
}

#[tokio::test]
async fn a_host_refuses_another_fleet_under_the_root_it_knows() {
    let fleet = fleet();
    // The token's trust domain decides, not the root's word.
    let elsewhere = JoinTrust::Pinned { root: fleet.root.fingerprint(), trust_domain: super::domain("other.example") };
    assert_eq!(refused_server(fleet.join_server(), ask(elsewhere)).await, Refusal::WrongTrustDomain);
}

#[tokio::test]
async fn to_show_our_root_is_not_to_be_certified_by_it() {
    let (fleet, foreign) = (fleet(), fleet());
    let path = [foreign.path()[0], foreign.path()[1], fleet.path()[0], fleet.path()[1]];
    for trust in [pinned_root(&fleet.root), JoinTrust::Held(fleet.trust.clone())] {
        let server = foreign.forged(|_| {}, &path);
        assert_eq!(refused_server(server, ask(trust)).await, Refusal::UnknownRoot);
    }
}

#[tokio::test]
async fn a_host_refuses_whoever_is_no_aggregator() {
    let fleet = fleet();
    let cases = [
        (vec![uri("spiffe://fleet.example/agent/h2"), dns(NAME)], true, Refusal::WrongRole),
        (vec![uri("spiffe://fleet.example/agent/h2"), dns(NAME)], false, Refusal::WrongPurpose),
        (vec![uri("spiffe://other.example/aggregator/main"), dns(NAME)], true, Refusal::WrongTrustDomain),
        (
            vec![uri("spiffe://fleet.example/aggregator/main"), dns("aggregator.other.example")],
            true,
            Refusal::WrongName,
        ),
    ];
    for (names, serves, why) in cases {
        for trust in [pinned_root(&fleet.root), JoinTrust::Held(fleet.trust.clone())] {
            let server = fleet.forged(
                |params| {
                    params.subject_alt_names.clone_from(&names);
                    if !serves {
                        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                    }
                },
                &fleet.path(),
            );
            assert_eq!(refused_server(server, ask(trust)).await, why, "{names:?}");
        }
    }
}

#[tokio::test]
async fn an_agent_cannot_serve_others_with_its_own_leaf() {
    let fleet = fleet();
    let credential = fleet.agent.credential();
    let chain = [credential.leaf().to_vec()].into_iter().chain(fleet.path().map(<[u8]>::to_vec));
    let server = impostor_with(chain.map(CertificateDer::from).collect(), &credential.key, JOIN_ALPN);
    assert_eq!(refused_server(server, ask(pinned_root(&fleet.root))).await, Refusal::WrongPurpose);
}

#[tokio::test]
async fn an_issuer_cannot_make_issuers() {
    let fleet = fleet();
    let middle_key = ml_dsa_87();
    let middle = fleet.issuer.issuer.forge(&middle_key, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages.clear();
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let key = ml_dsa_87();
    let issuer = rcgen::Issuer::from_ca_cert_der(&middle, middle_key).expect("an issuer");
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![uri("spiffe://fleet.example/aggregator/main"), dns(NAME)];
    let leaf = params.signed_by(&key, &issuer).expect("signed").der().clone();
    let behind = fleet.path().map(|der| CertificateDer::from(der.to_vec()));
    let chain: Vec<_> = [leaf, middle].into_iter().chain(behind).collect();
    for trust in [pinned_root(&fleet.root), JoinTrust::Held(fleet.trust.clone())] {
        let server = impostor(chain.clone(), &key, JOIN_ALPN);
        assert_eq!(refused_server(server, ask(trust)).await, Refusal::BadCertificate);
    }
}

#[tokio::test]
async fn the_key_exchange_and_the_protocol_are_as_strict_as_on_the_fleet_link() {
    let fleet = fleet();
    let mut fleet_link = fleet.agent_link();
    let other_port = refused_by_server(fleet.join_server(), fleet_link.client().expect("a client")).await;
    assert_eq!(other_port, Refusal::ApplicationProtocol);
    fleet_link.key_exchange = crate::policy::KeyExchange::Hybrid;
    let other_group = refused_by_server(fleet.join_server(), fleet_link.client().expect("a client")).await;
    assert_eq!(other_group, Refusal::KeyExchange);
    // And who has not joined yet is not let in on the fleet link.
    let early = refused_by_server(fleet.server(), ask(pinned_root(&fleet.root))).await;
    assert_eq!(early, Refusal::ApplicationProtocol);
}

#[tokio::test]
async fn a_host_in_1970_joins_by_the_time_of_its_token() {
    let fleet = fleet();
    let early = |floor| join_client(pinned_root(&fleet.root), at(0), floor).expect("a client");
    connected(fleet.join_server(), early(NOW)).await;
    assert_eq!(refused_server(fleet.join_server(), early(0)).await, Refusal::NotYetValid);
}

#[tokio::test]
async fn an_expired_bundle_is_good_for_asking_for_a_newer_one() {
    let fleet = fleet();
    let late = super::BUNDLE_EXPIRES + 1;
    let aggregator = fleet.issuer.aggregator("main", late);
    let client = join_client(JoinTrust::Held(fleet.trust.clone()), at(late), 0).expect("a client");
    connected(serve(&aggregator, &fleet.trust), client).await;
}

#[tokio::test]
async fn a_host_that_was_here_before_refuses_a_retired_issuer_and_revoked_keys() {
    let fleet = fleet();
    let issuer = fleet.issuer.request.fingerprint();
    let cases = [
        (fleet.bundle_without_our_issuer(), Refusal::RetiredIssuer),
        (fleet.bundle_that_revokes(&fleet.aggregator), Refusal::Revoked),
        (fleet.next_bundle(|bundle| bundle.revoked = vec![issuer]), Refusal::Revoked),
    ];
    for (held, why) in cases {
        assert_eq!(refused_server(fleet.join_server(), ask(JoinTrust::Held(held))).await, why);
    }
    // An issuer whose key is revoked, and that the bundle does not list any more.
    let new = Certified::by(&[&fleet.root], NOW);
    let mut gone = bundle(2, &[&fleet.root], &[&new]);
    gone.revoked = vec![issuer];
    let held = JoinTrust::Held(trust(&gone, &[&fleet.root]));
    assert_eq!(refused_server(fleet.join_server(), ask(held)).await, Refusal::UnknownRoot);
}

#[tokio::test]
async fn a_host_refuses_an_aggregator_whose_issuer_or_root_has_expired() {
    let fleet = fleet();
    let end = fleet.issuer.issuer.validity().not_after;
    let forever = |params: &mut CertificateParams| params.not_after += std::time::Duration::from_secs(9 << 25);
    for (now, refused) in [(end, false), (end + 1, true)] {
        let server = fleet.forged(forever, &fleet.path());
        let client = join_client(pinned_root(&fleet.root), at(now), 0).expect("a client");
        if refused {
            assert_eq!(refused_server(server, client).await, Refusal::Expired);
        } else {
            connected(server, client).await;
        }
    }
}

/// Chains end at a root, and rustls asks no root for its time.
#[tokio::test]
async fn a_root_whose_time_is_over_vouches_for_nobody() {
    let params = |until: i64| {
        let mut params = CertificateParams::default();
        params.not_before = OffsetDateTime::from_unix_timestamp(NOW - DAY).expect("a time");
        params.not_after = OffsetDateTime::from_unix_timestamp(until).expect("a time");
        params
    };
    let (root_key, key) = (ml_dsa_87(), ml_dsa_87());
    let mut root = params(NOW + DAY);
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = root.self_signed(&root_key).expect("signed").der().clone();
    let issuer = rcgen::Issuer::from_ca_cert_der(&root, root_key).expect("an issuer");
    let mut leaf = params(NOW + 9 * DAY);
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.subject_alt_names = vec![uri("spiffe://fleet.example/aggregator/main"), dns(NAME)];
    let leaf = leaf.signed_by(&key, &issuer).expect("signed").der().clone();
    let pinned = JoinTrust::Pinned { root: sha384(&root), trust_domain: super::domain("fleet.example") };
    for (now, refused) in [(NOW + DAY, false), (NOW + DAY + 1, true)] {
        let server = impostor(vec![leaf.clone(), root.clone()], &key, JOIN_ALPN);
        let client = join_client(pinned.clone(), at(now), 0).expect("a client");
        if refused {
            assert_eq!(refused_server(server, client).await, Refusal::Expired);
        } else {
            connected(server, client).await;
        }
    }
}

#[tokio::test]
async fn a_host_follows_from_root_to_root() {
    let fleet = fleet();
    let (r1, r2) = (&fleet.root, &FleetRoot::create(fleet.root.trust_domain(), NOW).expect("the next root"));
    let i2 = Certified::by(&[r1, r2], NOW);
    let both = sign(&bundle(2, &[r1, r2], &[&fleet.issuer, &i2]), &[r1, r2]).expect("signed");
    let mut after = bundle(3, &[r2], &[&i2]);
    // The first root's certificate goes with it.
    after.issuers[0].certificates.remove(0);
    let after = sign(&after, &[r2]).expect("signed");
    let aggregator = i2.aggregator("two", NOW);
    let (v1, v2, v3) = (&fleet.trust, Trust::own(&both).expect("ours"), Trust::own(&after).expect("ours"));

    // A host that slept through it does not know the new issuer on the fleet link, but its root on the join port.
    let agent = link(&fleet.agent, v1);
    let awake = |trust: &Trust| server(&link(&aggregator, trust));
    let refused = refused_server(awake(&v2), agent.client().expect("a client")).await;
    assert_eq!(refused, Refusal::UnknownRoot);
    connected(serve(&aggregator, &v2), ask(JoinTrust::Held(v1.clone()))).await;
    let held = v1.accept(&both, NOW).expect("signed by the first root");
    connected(awake(&v2), link(&fleet.agent, &held).client().expect("a client")).await;

    // From both roots to the second alone: for whoever holds both, and for nobody else.
    connected(serve(&aggregator, &v3), ask(JoinTrust::Held(held.clone()))).await;
    let held = held.accept(&after, NOW).expect("signed by the second root");
    assert_eq!(held.version(), 3);
    let agent = link(&i2.agent("h1", NOW), &held);
    connected(awake(&v3), agent.client().expect("a client")).await;
    assert_eq!(v1.accept(&after, NOW).expect_err("slept too long").name(), "bundle_other_root");
    let asleep = ask(JoinTrust::Held(v1.clone()));
    assert_eq!(refused_server(serve(&aggregator, &v3), asleep).await, Refusal::UnknownRoot);

    // New hosts, by a token of either root while there are both.
    for (root, shown, good) in [(r1, &v2, true), (r2, &v2, true), (r2, &v3, true), (r1, &v3, false)] {
        let taken = Trust::pinned(shown.bytes(), &root.fingerprint(), root.trust_domain(), NOW);
        assert_eq!(taken.is_ok(), good);
        if good {
            connected(serve(&aggregator, shown), ask(pinned_root(root))).await;
        } else {
            assert_eq!(refused_server(serve(&aggregator, shown), ask(pinned_root(root))).await, Refusal::UnknownRoot);
        }
    }
}

#[tokio::test]
async fn the_exporter_is_the_same_at_both_ends_and_on_no_other_connection_or_label() {
    let fleet = fleet();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..2 {
        let (server, client, _met) = connected(fleet.join_server(), ask(pinned_root(&fleet.root))).await;
        for label in [&b"EXPORTER-dsmil-renew"[..], b"EXPORTER-dsmil-else"] {
            let ours = exporter(&server, label).expect("exported");
            assert_eq!(ours, exporter(&client, label).expect("exported"));
            assert!(seen.insert(ours), "twice the same");
        }
    }
}
