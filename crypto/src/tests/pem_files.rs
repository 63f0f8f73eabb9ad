//! Certificates and keys on disk: what is written can be read, by its owner only, and other files are refused by name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Certified, NOW, at, fleet, link};
use crate::csr::CheckedCsr;
use crate::identity::{CertificateError, Credential, FileError, Identity, IdentityError};
use crate::issue::{FleetIssuer, FleetRoot, HTTPS_LEAF_LIFETIME, HttpsRoot, IssueError, IssuerKey, LEAF_LIFETIME};
use crate::key::SigningKey;

#[test]
fn what_is_saved_can_be_loaded_and_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let fleet = fleet();
    fleet.root.save(&path("root.pem"), &path("root.key")).expect("saved");
    fleet.agent.save(&path("agent.pem")).expect("saved");

    let agent = Identity::load(&path("agent.pem")).expect("an identity");
    assert_eq!(agent.id(), fleet.agent.id());
    assert_eq!(agent.key().expect("its key").fingerprint(), fleet.agent.key_fingerprint().expect("a key"));
    link(&agent, &fleet.trust).client().expect("usable");

    // A root that was put away certifies the next issuer.
    let root = FleetRoot::load(&path("root.pem"), &path("root.key")).expect("a root with its key");
    assert_eq!(root.fingerprint(), fleet.root.fingerprint());
    let key = IssuerKey::generate().expect("a key");
    key.save(&path("issuer.key")).expect("saved");
    let request = CheckedCsr::check(&key.request().expect("a request")).expect("sound");
    let certificate = root.certify_issuer("main", &request, NOW).expect("certified").to_vec();
    let key = IssuerKey::load(&path("issuer.key")).expect("loaded");
    let issuer = FleetIssuer::new(&[certificate], root.trust_domain().clone(), key).expect("its own key");
    issuer.issue_aggregator("main", NOW, LEAF_LIFETIME).expect("a leaf");

    let https = HttpsRoot::create(NOW).expect("a root");
    https.save(&path("https.pem"), &path("https.key")).expect("saved");
    let https = HttpsRoot::load(&path("https.pem"), &path("https.key")).expect("loaded");
    let leaf = https.issue(&["localhost"], NOW, HTTPS_LEAF_LIFETIME).expect("a leaf");
    leaf.save(&path("leaf.pem"), &path("leaf.key")).expect("saved");
    let leaf = Credential::load(&path("leaf.pem"), &path("leaf.key")).expect("loaded");
    crate::https::HttpsServer::new(&leaf, at(NOW)).expect("usable");
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let (fleet, other) = (fleet(), fleet());
    fleet.root.save(&path("root.pem"), &path("root.key")).expect("saved");
    other.root.save(&path("other.pem"), &path("other.key")).expect("saved");
    let swapped = FleetRoot::load(&path("root.pem"), &path("other.key")).map(drop);
    assert!(matches!(swapped, Err(IssueError::KeyMismatch)));

    let leaf = fleet.agent.credential().leaf().to_vec();
    let stranger = Identity::of_key(leaf, &SigningKey::generate().expect("a key"));
    assert!(matches!(stranger, Err(IdentityError::Certificate(CertificateError::OtherKey))));
}

#[test]
fn keys_are_readable_by_their_owner_only_and_refused_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agent.pem");
    let fleet = fleet();
    // Saving twice replaces; nothing else is left behind.
    fleet.agent.save(&path).expect("saved");
    fleet.agent.save(&path).expect("saved again");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    let mode = |path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);

    for exposed in [0o640, 0o604, 0o660, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).expect("set");
        let error = Identity::load(&path).expect_err("exposed");
        assert!(matches!(error, IdentityError::File(FileError::KeyExposed { mode, .. }) if mode == exposed));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("set");
    Identity::load(&path).expect("stricter is fine");
}

#[test]
fn a_passed_key_may_show_the_mask_of_an_access_list_and_nothing_for_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    fleet().agent.credential().save(&chain, &key).expect("saved");
    let load = |mode, load: fn(&Path, &Path) -> Result<Credential, FileError>| {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("set");
        load(&chain, &key).map(drop)
    };
    for mode in [0o400, 0o440] {
        load(mode, Credential::load_passed).expect("as systemd passes it");
    }
    for mode in [0o444, 0o460, 0o450] {
        assert!(matches!(load(mode, Credential::load_passed), Err(FileError::KeyExposed { .. })), "{mode:o}");
    }
    assert!(matches!(load(0o440, Credential::load), Err(FileError::KeyExposed { .. })), "a file of one's own");
}

#[test]
fn roots_issuers_and_https_keep_their_keys_in_files_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let fleet = fleet();
    fleet.root.save(&path("root.pem"), &path("root.key")).expect("saved");
    IssuerKey::generate().expect("a key").save(&path("issuer.key")).expect("saved");
    HttpsRoot::create(NOW).expect("a root").save(&path("https.pem"), &path("https.key")).expect("saved");
    let mode = |name: &str| fs::metadata(path(name)).expect("there").permissions().mode() & 0o777;
    for name in ["root.key", "issuer.key", "https.key"] {
        assert_eq!(mode(name), 0o600, "{name}");
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o644)).expect("set");
    }
    for name in ["root.pem", "https.pem"] {
        assert_eq!(mode(name) & 0o600, 0o600, "{name}");
        assert!(!fs::read_to_string(path(name)).expect("text").contains("PRIVATE"), "{name}");
    }
    let errors = [
        FleetRoot::load(&path("root.pem"), &path("root.key")).map(drop),
        IssuerKey::load(&path("issuer.key")).map(drop),
        HttpsRoot::load(&path("https.pem"), &path("https.key")).map(drop),
    ];
    for error in errors {
        let error = error.expect_err("exposed").to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}

#[test]
fn files_that_are_none_of_ours_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let fleet = fleet();
    fleet.agent.save(&path("a.pem")).expect("saved");
    fleet.root.save(&path("root.pem"), &path("root.key")).expect("saved");
    let load = |name: &str| Identity::load(&path(name)).expect_err("refused");
    let write = |name: &str, text: &[u8]| crate::files::write_private(&path(name), text).expect("written");

    let missing = load("none.pem").to_string();
    assert!(missing.contains("none.pem"), "{missing}");

    write("huge.pem", &[b'x'; 100_000]);
    assert!(matches!(load("huge.pem"), IdentityError::File(FileError::TooLarge { .. })));

    for bad in ["", "hello", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"] {
        write("bad.pem", bad.as_bytes());
        assert!(matches!(load("bad.pem"), IdentityError::File(FileError::Pem { .. })), "{bad:?}");
    }

    let root = fs::read_to_string(path("root.pem")).expect("readable");
    write("many.pem", root.repeat(2).as_bytes());
    let two = FleetRoot::load(&path("many.pem"), &path("root.key")).map(drop);
    assert!(matches!(two, Err(IssueError::Identity(IdentityError::File(FileError::NotOne { .. })))));
    write("many.pem", root.repeat(5).as_bytes());
    assert!(matches!(load("many.pem"), IdentityError::File(FileError::LongChain { .. })));

    // A certificate without its key, and a key of another kind.
    write("root.pem", root.as_bytes());
    assert!(matches!(load("root.pem"), IdentityError::File(FileError::Pem { label: "PRIVATE KEY", .. })));
    HttpsRoot::create(NOW).expect("a root").save(&path("h.pem"), &path("h.key")).expect("saved");
    assert!(matches!(IssuerKey::load(&path("h.key")).map(drop), Err(IssueError::Key(_))));

    // A leaf is no root, and a certificate without a name is nobody's.
    let leaf = fleet.agent.credential();
    leaf.save(&path("l.pem"), &path("l.key")).expect("saved");
    let no_root = FleetRoot::load(&path("l.pem"), &path("l.key")).map(drop);
    assert!(matches!(no_root, Err(IssueError::Identity(IdentityError::Certificate(_)))));
    let https = HttpsRoot::create(NOW).expect("a root").issue(&["localhost"], NOW, HTTPS_LEAF_LIFETIME);
    assert!(matches!(Identity::new(https.expect("a leaf")), Err(IdentityError::Certificate(_))));
    let issuer = Certified::by(&[&fleet.root], NOW).listed.certificates.remove(0);
    let nameless = Identity::new(Credential { chain: vec![issuer.into()], key: leaf.key.clone_key() });
    assert!(matches!(nameless, Err(IdentityError::Certificate(_))));
}
