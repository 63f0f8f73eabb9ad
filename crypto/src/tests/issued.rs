//! What stands in the certificates that we issue, and how they are kept on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{NOW, domain, fleet};
use crate::identity::{Credential, FileError, Identity, IdentityError, Trust};
use crate::issue::{FleetRoot, HttpsRoot, INIT_LEAF_LIFETIME, IssueError, ROOT_LIFETIME};

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

const ML_DSA_87: &str = "2.16.840.1.101.3.4.3.19";
const DAY: i64 = 24 * 3600;

#[test]
fn the_root_may_sign_leaves_and_nothing_else() {
    let fleet = fleet();
    let root = parse(fleet.root.trust().root());
    let constraints = root.basic_constraints().expect("readable").expect("present");
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = root.key_usage().expect("readable").expect("present");
    assert!(
        usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign() && !usage.value.digital_signature()
    );
    assert_eq!(root.signature_algorithm.algorithm.to_id_string(), ML_DSA_87);
    assert_eq!(root.public_key().algorithm.algorithm.to_id_string(), ML_DSA_87);
    assert!(root.signature_algorithm.parameters.is_none(), "RFC 9881: parameters are absent");
    assert_eq!(names(&root), ["URI spiffe://fleet.example"]);
    assert_eq!(root.validity().not_before.timestamp(), NOW - DAY);
    let lifetime = root.validity().not_after.timestamp() - root.validity().not_before.timestamp();
    assert_eq!(lifetime, i64::try_from(ROOT_LIFETIME.as_secs()).expect("ten years"));
    assert_eq!(root.issuer(), root.subject());
}

#[test]
fn leaves_say_who_and_for_what() {
    let fleet = fleet();
    let root = parse(fleet.root.trust().root());
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
        assert_eq!(leaf.issuer(), root.subject());
        assert_eq!(leaf.validity().not_before, root.validity().not_before, "checkable by an early clock");
        assert_eq!(leaf.validity().not_after.timestamp(), NOW + 365 * DAY);
        assert_eq!(leaf.public_key().algorithm.algorithm.to_id_string(), ML_DSA_87);
        assert_eq!(identity.id().to_string(), expected[0].trim_start_matches("URI "));
    }
}

#[test]
fn serial_numbers_are_random_positive_and_short_enough() {
    let fleet = fleet();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..8 {
        let agent = fleet.root.issue_agent("h1", NOW, INIT_LEAF_LIFETIME).expect("a leaf");
        let serial = parse(agent.credential().leaf()).raw_serial().to_vec();
        assert_eq!(serial.len(), 16, "RFC 5280: at most 20 bytes");
        assert!(serial[0] & 0x80 == 0, "positive");
        assert!(seen.insert(serial), "twice the same");
    }
}

#[test]
fn a_leaf_never_outlives_its_root() {
    let fleet = fleet();
    let last = fleet.root.trust().validity().not_after;
    let agent = fleet.root.issue_agent("h1", last - 5, INIT_LEAF_LIFETIME).expect("a leaf");
    assert_eq!(agent.validity().not_after, last);
    let late = fleet.root.issue_agent("h1", last + 1, INIT_LEAF_LIFETIME);
    assert!(matches!(late, Err(IssueError::RootExpired)));
    let never = FleetRoot::create(&domain("a"), i64::MAX);
    assert!(matches!(never, Err(IssueError::Time(_))), "a clock beyond the calendar");
}

#[test]
fn names_that_cannot_stand_in_a_certificate_are_refused() {
    let fleet = fleet();
    for bad in ["", "H1", "a/b", "..", "h1\n", &"x".repeat(64)] {
        let error = fleet.root.issue_agent(bad, NOW, INIT_LEAF_LIFETIME).expect_err("refused");
        assert!(matches!(error, IssueError::Name(_)), "{bad:?}: {error}");
    }
    let https = HttpsRoot::create(NOW).expect("a root");
    assert!(matches!(https.issue(&[], NOW, INIT_LEAF_LIFETIME), Err(IssueError::NoName)));
    for bad in ["", "a b", "https://a", "300.1.1.1:8", "é"] {
        let error = https.issue(&["localhost", bad], NOW, INIT_LEAF_LIFETIME).expect_err("refused");
        assert!(matches!(error, IssueError::HttpsName(ref name) if name == bad), "{bad:?}: {error}");
    }
}

#[test]
fn https_leaves_are_ecdsa_with_the_names_given() {
    let root = HttpsRoot::create(NOW).expect("a root");
    let leaf = root.issue(&["aggregator.example", "127.0.0.1"], NOW, INIT_LEAF_LIFETIME).expect("a leaf");
    let leaf = parse(leaf.leaf());
    assert_eq!(names(&leaf), ["DNS aggregator.example", "IP [127, 0, 0, 1]"]);
    assert_eq!(leaf.signature_algorithm.algorithm.to_id_string(), "1.2.840.10045.4.3.2", "ecdsa-with-SHA256");
    assert!(leaf.extended_key_usage().expect("readable").expect("present").value.server_auth);
}

#[test]
fn what_is_saved_can_be_loaded_and_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let fleet = fleet();
    fleet.root.save(&path("root.pem"), &path("root.key")).expect("saved");
    fleet.agent.save(&path("agent.pem"), &path("agent.key")).expect("saved");

    let trust = Trust::load(&path("root.pem")).expect("a root");
    assert_eq!(trust.trust_domain(), &domain("fleet.example"));
    let agent = Identity::load(&path("agent.pem"), &path("agent.key")).expect("an identity");
    assert_eq!(agent.id(), fleet.agent.id());
    crate::policy::fleet_client(&agent, &trust, super::at(NOW)).expect("usable");

    let root = FleetRoot::load(&path("root.pem"), &path("root.key")).expect("a root with its key");
    let aggregator = root.issue_aggregator("main", NOW, INIT_LEAF_LIFETIME).expect("a leaf");
    let keys = crate::transport::EndpointKeys::random();
    crate::policy::fleet_server(&aggregator, &trust, super::at(NOW), &keys).expect("usable");
    let swapped = FleetRoot::load(&path("root.pem"), &path("agent.key"));
    assert!(matches!(swapped, Err(IssueError::KeyMismatch)));

    let https = HttpsRoot::create(NOW).expect("a root");
    https.save(&path("https.pem"), &path("https.key")).expect("saved");
    let https = HttpsRoot::load(&path("https.pem"), &path("https.key")).expect("loaded");
    let leaf = https.issue(&["localhost"], NOW, INIT_LEAF_LIFETIME).expect("a leaf");
    leaf.save(&path("leaf.pem"), &path("leaf.key")).expect("saved");
    let leaf = Credential::load(&path("leaf.pem"), &path("leaf.key")).expect("loaded");
    crate::https::HttpsServer::new(&leaf, super::at(NOW)).expect("usable");
}

#[test]
fn keys_are_readable_by_their_owner_only_and_refused_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("agent.pem"), folder.path().join("agent.key"));
    let fleet = fleet();
    // Saving twice replaces; nothing else is left behind.
    fleet.agent.save(&certificate, &key).expect("saved");
    fleet.agent.save(&certificate, &key).expect("saved again");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 2);
    let mode = |path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(&certificate) & 0o600, 0o600);

    for exposed in [0o640, 0o604, 0o660, 0o777] {
        fs::set_permissions(&key, fs::Permissions::from_mode(exposed)).expect("set");
        let error = Identity::load(&certificate, &key).expect_err("exposed");
        assert!(matches!(error, IdentityError::File(FileError::KeyExposed { mode, .. }) if mode == exposed));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).expect("set");
    Identity::load(&certificate, &key).expect("stricter is fine");
}

#[test]
fn files_that_are_none_of_ours_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let fleet = fleet();
    fleet.agent.save(&path("a.pem"), &path("a.key")).expect("saved");

    let missing = Trust::load(&path("none.pem")).expect_err("missing").to_string();
    assert!(missing.contains("none.pem"), "{missing}");

    fs::write(path("huge.pem"), vec![b'x'; 100_000]).expect("written");
    assert!(matches!(Trust::load(&path("huge.pem")), Err(IdentityError::File(FileError::TooLarge { .. }))));

    for bad in ["", "hello", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"] {
        fs::write(path("bad.pem"), bad).expect("written");
        assert!(matches!(Trust::load(&path("bad.pem")), Err(IdentityError::File(FileError::Pem { .. }))), "{bad:?}");
    }

    let leaf = fs::read_to_string(path("a.pem")).expect("readable");
    fs::write(path("many.pem"), leaf.repeat(2)).expect("written");
    assert!(matches!(Trust::load(&path("many.pem")), Err(IdentityError::NotOneRoot)));
    fs::write(path("many.pem"), leaf.repeat(5)).expect("written");
    assert!(matches!(Trust::load(&path("many.pem")), Err(IdentityError::File(FileError::LongChain { .. }))));

    // A leaf is no root, and a certificate without a name is nobody's.
    assert!(matches!(Trust::load(&path("a.pem")), Err(IdentityError::Certificate(_))));
    let https = HttpsRoot::create(NOW).expect("a root").issue(&["localhost"], NOW, INIT_LEAF_LIFETIME);
    https.expect("a leaf").save(&path("h.pem"), &path("h.key")).expect("saved");
    assert!(matches!(Identity::load(&path("h.pem"), &path("h.key")), Err(IdentityError::Certificate(_))));
}
