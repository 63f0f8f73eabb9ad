//! What stands in the certificates that we issue.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Certified, DAY, NOW, domain, fleet};
use crate::csr::{CheckedCsr, request};
use crate::issue::{FleetIssuer, FleetRoot, HTTPS_LEAF_LIFETIME, HttpsRoot, ISSUER_LIFETIME, IssueError, IssuerKey};
use crate::issue::{LEAF_LIFETIME, ROOT_LIFETIME};
use crate::key::SigningKey;

fn parse<'a>(der: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    let (rest, certificate) = X509Certificate::from_der(der).expect("X.509");
    assert!(rest.is_empty());
    certificate
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Some(names) = certificate.subject_alternative_name().expect("readable") else { return vec![] };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => format!("URI {uri}"),
        GeneralName::DNSName(dns) => format!("DNS {dns}"),
        GeneralName::IPAddress(bytes) => format!("IP {bytes:?}"),
        other => format!("{other:?}"),
    };
    names.value.general_names.iter().map(text).collect()
}

fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).expect("some years")
}

fn any_request() -> CheckedCsr {
    let key = SigningKey::generate().expect("a key");
    CheckedCsr::check(&request(&key).expect("a request")).expect("sound")
}

const ML_DSA_87: &str = "2.16.840.1.101.3.4.3.19";

#[test]
fn root_and_issuer_may_sign_what_is_below_them_and_nothing_else() {
    let fleet = fleet();
    let issuer = CertificateDer::from(fleet.issuer.listed.certificates[0].clone());
    let (root, issuer) = (parse(fleet.root.certificate()), parse(&issuer));
    for (certificate, depth) in [(&root, 1), (&issuer, 0)] {
        let constraints = certificate.basic_constraints().expect("readable").expect("present");
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(depth));
        let usage = certificate.key_usage().expect("readable").expect("present");
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
        assert!(!usage.value.digital_signature());
        assert_eq!(certificate.signature_algorithm.algorithm.to_id_string(), ML_DSA_87);
        assert_eq!(certificate.public_key().algorithm.algorithm.to_id_string(), ML_DSA_87);
        assert!(certificate.signature_algorithm.parameters.is_none(), "RFC 9881: parameters are absent");
        assert_eq!(certificate.validity().not_before.timestamp(), NOW - DAY);
        assert_eq!(certificate.issuer(), root.subject());
    }
    assert_eq!(names(&root), ["URI spiffe://fleet.example"]);
    assert!(names(&issuer).is_empty(), "an issuer is nobody's identity");
    let lifetime = root.validity().not_after.timestamp() - root.validity().not_before.timestamp();
    assert_eq!(lifetime, seconds(ROOT_LIFETIME));
    assert_eq!(issuer.validity().not_after.timestamp(), NOW + seconds(ISSUER_LIFETIME));
}

#[test]
fn leaves_say_who_and_for_what() {
    let fleet = fleet();
    let issuer = CertificateDer::from(fleet.issuer.listed.certificates[0].clone());
    let issuer = parse(&issuer);
    let cases = [
        (&fleet.agent, vec!["URI spiffe://fleet.example/agent/h1"], (false, true)),
        (
            &fleet.aggregator,
            vec!["URI spiffe://fleet.example/aggregator/main", "DNS aggregator.fleet.example"],
            (true, false),
        ),
    ];
    for (identity, expected, server_and_client) in cases {
        let leaf = parse(identity.credential().leaf());
        assert_eq!(names(&leaf), expected);
        let purpose = leaf.extended_key_usage().expect("readable").expect("present").value;
        assert_eq!((purpose.server_auth, purpose.client_auth), server_and_client);
        assert!(!purpose.any && purpose.other.is_empty() && !purpose.code_signing);
        let usage = leaf.key_usage().expect("readable").expect("present");
        assert!(usage.critical && usage.value.digital_signature() && !usage.value.key_cert_sign());
        assert!(!leaf.is_ca());
        assert_eq!(leaf.issuer(), issuer.subject());
        assert_eq!(leaf.validity().not_before, issuer.validity().not_before, "checkable by an early clock");
        assert_eq!(leaf.validity().not_after.timestamp(), NOW + DAY);
        assert_eq!(leaf.public_key().algorithm.algorithm.to_id_string(), ML_DSA_87);
        assert_eq!(identity.id().to_string(), expected[0].trim_start_matches("URI "));
    }
}

#[test]
fn leaves_made_later_are_valid_from_the_issuers_first_second_or_from_a_day_ago() {
    let fleet = fleet();
    let later = NOW + 100 * DAY;
    assert_eq!(fleet.issuer.aggregator("main", later).validity().not_before, fleet.issuer.issuer.validity().not_before);
    let agent = fleet.issuer.agent("h1", later).validity();
    assert_eq!((agent.not_before, agent.not_after), (later - DAY, later + DAY));
}

#[test]
fn serial_numbers_are_random_positive_and_short_enough() {
    let fleet = fleet();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..8 {
        let agent = fleet.issuer.agent("h1", NOW);
        let serial = parse(agent.credential().leaf()).raw_serial().to_vec();
        assert_eq!(serial.len(), 16, "RFC 5280: at most 20 bytes");
        assert!(serial[0] & 0x80 == 0, "positive");
        assert!(seen.insert(serial), "twice the same");
    }
}

#[test]
fn a_leaf_never_outlives_its_issuer_nor_an_issuer_its_root() {
    let fleet = fleet();
    let last = fleet.issuer.issuer.validity().not_after;
    let issue = |now| fleet.issuer.issuer.issue_agent("h1", &any_request(), now, LEAF_LIFETIME);
    assert_eq!(parse(&issue(last - 5).expect("a leaf")).validity().not_after.timestamp(), last);
    assert!(matches!(issue(last + 1), Err(IssueError::SignerExpired)));
    let late = fleet.issuer.issuer.issue_aggregator("main", last + 1, LEAF_LIFETIME);
    assert!(matches!(late, Err(IssueError::SignerExpired)));

    let last = fleet.root.validity().not_after;
    let late = Certified::by(&[&fleet.root], last - 5);
    assert_eq!(late.issuer.validity().not_after, last);
    let never = fleet.root.certify_issuer("main", &fleet.issuer.request, last + 1);
    assert!(matches!(never, Err(IssueError::SignerExpired)));
    let never = FleetRoot::create(&domain("a"), i64::MAX);
    assert!(matches!(never, Err(IssueError::Time(_))), "a clock beyond the calendar");
}

#[test]
fn an_issuer_that_two_roots_have_certified_has_one_subject_and_one_key() {
    let fleet = fleet();
    let second = FleetRoot::create(fleet.root.trust_domain(), NOW).expect("a root");
    let issuer = Certified::by(&[&fleet.root, &second], NOW);
    let [first, again] = [0, 1].map(|at| CertificateDer::from(issuer.listed.certificates[at].clone()));
    let (first, again) = (parse(&first), parse(&again));
    assert_eq!(first.subject().as_raw(), again.subject().as_raw());
    assert_eq!(first.public_key().raw, again.public_key().raw);
    assert_ne!(first.issuer(), again.issuer());
}

#[test]
fn an_issuer_is_made_of_certificates_of_its_own_key_only() {
    let fleet = fleet();
    let other = IssuerKey::generate().expect("a key");
    let ours = &fleet.issuer.listed.certificates;
    assert!(!other.fits(&ours[0]) && !other.fits(b"none"));
    let refused = FleetIssuer::new(ours, domain("fleet.example"), other).map(drop);
    assert!(matches!(refused, Err(IssueError::KeyMismatch)));
    let none = FleetIssuer::new(&[], domain("fleet.example"), IssuerKey::generate().expect("a key")).map(drop);
    assert!(matches!(none, Err(IssueError::KeyMismatch)));
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_refused() {
    let fleet = fleet();
    for bad in ["", "H1", "a/b", "..", "h1\n", &"x".repeat(64)] {
        let error = fleet.issuer.issuer.issue_agent(bad, &any_request(), NOW, LEAF_LIFETIME).expect_err("refused");
        assert!(matches!(error, IssueError::Name(_)), "{bad:?}: {error}");
        let error = fleet.issuer.issuer.issue_aggregator(bad, NOW, LEAF_LIFETIME).expect_err("refused");
        assert!(matches!(error, IssueError::Name(_)), "{bad:?}: {error}");
    }
    let https = HttpsRoot::create(NOW).expect("a root");
    assert!(matches!(https.issue(&[], NOW, HTTPS_LEAF_LIFETIME), Err(IssueError::NoName)));
    for bad in ["", "a b", "https://a", "300.1.1.1:8", "é"] {
        let error = https.issue(&["localhost", bad], NOW, HTTPS_LEAF_LIFETIME).expect_err("refused");
        assert!(matches!(error, IssueError::HttpsName(ref name) if name == bad), "{bad:?}: {error}");
    }
}

#[test]
fn https_leaves_are_ecdsa_with_the_names_given() {
    let root = HttpsRoot::create(NOW).expect("a root");
    let leaf = root.issue(&["aggregator.example", "127.0.0.1"], NOW, HTTPS_LEAF_LIFETIME).expect("a leaf");
    let leaf = parse(leaf.leaf());
    assert_eq!(names(&leaf), ["DNS aggregator.example", "IP [127, 0, 0, 1]"]);
    assert_eq!(leaf.signature_algorithm.algorithm.to_id_string(), "1.2.840.10045.4.3.2", "ecdsa-with-SHA256");
    assert!(leaf.extended_key_usage().expect("readable").expect("present").value.server_auth);
}
