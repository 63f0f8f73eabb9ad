//! Rotations as a fleet goes through them, with real keys: a host that follows every step, and one that slept.

use super::{Change, TrustDraft, difference, publishable};
use dsmil_authority::{Issuer, TrustBundle};
use dsmil_crypto::csr::CheckedCsr;
use dsmil_crypto::identity::{Facts, is_signed_by};
use dsmil_crypto::issue::{FleetRoot, IssuerKey};
use dsmil_crypto::key::{SigningKey, sha384};
use dsmil_crypto::spiffe::TrustDomain;
use dsmil_crypto::trust::{Trust, sign};
use std::time::Duration;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn root() -> FleetRoot {
    FleetRoot::create(&TrustDomain::new("fleet.test").expect("a domain"), NOW).expect("a root")
}

fn request() -> Vec<u8> {
    IssuerKey::generate().expect("a key").request().expect("a request")
}

/// What `init` publishes.
fn first(root: &FleetRoot) -> Trust {
    let request = CheckedCsr::check(&request()).expect("sound");
    let certificate = root.certify_issuer("a1-1", &request, NOW).expect("certified");
    let bundle = TrustBundle {
        version: 1,
        trust_domain: "fleet.test".into(),
        issued_s: NOW,
        expires_s: NOW + 365 * DAY,
        roots: vec![root.certificate().to_vec()],
        issuers: vec![Issuer { name: "a1-1".into(), certificates: vec![certificate.to_vec()] }],
        order_keys: Vec::new(),
        revoked: Vec::new(),
        retired: Vec::new(),
    };
    Trust::own(&sign(&bundle, &[root]).expect("signed")).expect("our own")
}

/// Drafts, signs, and has a host that holds `held` follow.
fn step(held: &Trust, roots: &[FleetRoot], change: impl FnOnce(&mut TrustDraft)) -> Trust {
    let mut draft = TrustDraft::new(held);
    change(&mut draft);
    let carried = TrustDraft::parse(draft.text().as_bytes()).expect("it reads what it wrote");
    assert_eq!(carried, draft);
    let signed = carried.sign(roots, NOW, YEAR).expect("signed");
    held.accept(signed.bytes(), NOW).expect("a host follows")
}

fn names(trust: &Trust) -> Vec<&str> {
    trust.bundle().issuers.iter().map(|issuer| issuer.name.as_str()).collect()
}

#[test]
fn an_issuer_follows_another_and_a_host_that_slept_is_not_lost() {
    let roots = [root()];
    let v1 = first(&roots[0]);
    let v2 = step(&v1, &roots, |draft| draft.add_issuer("a1-2", request()).expect("added"));
    assert_eq!(names(&v2), ["a1-1", "a1-2"], "the newest comes last");
    let v3 = step(&v2, &roots, |draft| assert!(draft.retire("a1-1").is_ok()));
    assert_eq!(names(&v3), ["a1-2"]);
    let old = Facts::read(&v1.bundle().issuers[0].certificates[0]).expect("a certificate").subject;
    assert_eq!(v3.bundle().retired, [old], "its leaves are refused as those of a retired issuer");
    assert_eq!(v1.accept(v3.bytes(), NOW).expect("it slept through v2").version(), 3);
    assert_eq!(v3.accept(v2.bytes(), NOW).expect_err("older").name(), "bundle_older");
}

#[test]
fn a_root_follows_another_and_a_host_that_slept_is_not_lost() {
    let both = [root(), root()];
    let (old, new) = (both[0].certificate().to_vec(), both[1].certificate().to_vec());
    let v1 = first(&both[0]);
    let v2 = step(&v1, &both, |draft| draft.add_root(new.clone()).expect("added"));
    assert_eq!(v2.bundle().roots, [old.clone(), new.clone()]);
    assert_certified(&v2, &[&old, &new]);
    let v3 = step(&v2, &both, |draft| draft.add_issuer("a1-2", request()).expect("added"));
    assert_certified(&v3, &[&old, &new]);
    let v4 = step(&v3, &both, |draft| {
        let fingerprint = sha384(&old).to_string();
        assert!(matches!(draft.retire(&fingerprint[..12]), Ok(Change::RetireRoot { .. })));
    });
    assert_eq!(v4.bundle().roots, std::slice::from_ref(&new));
    // Whoever slept shows the join port's certificates to the root that he knows.
    assert_certified(&v4, &[&old, &new]);
    for slept in [&v1, &v2, &v3] {
        assert_eq!(slept.accept(v4.bytes(), NOW).expect("it follows").version(), 4);
    }
    let v5 = step(&v4, &both[1..], |draft| draft.revoke_key(sha384(b"a key")).expect("revoked"));
    assert_eq!(v3.accept(v5.bytes(), NOW).expect("it knows the new root").version(), 5);
    assert_eq!(v1.accept(v5.bytes(), NOW).expect_err("slept too long").name(), "bundle_other_root");
    let v6 = step(&v5, &both, |_| {});
    assert_eq!(v1.accept(v6.bytes(), NOW).expect("the old root has signed once more").version(), 6);
    assert_eq!(Trust::own(v6.bytes()).expect("opened again after a restart").version(), 6);
}

fn assert_certified(trust: &Trust, roots: &[&Vec<u8>]) {
    for issuer in &trust.bundle().issuers {
        for root in roots {
            assert!(issuer.certificates.iter().any(|der| is_signed_by(der, root)), "{}", issuer.name);
        }
        assert_eq!(issuer.certificates.len(), roots.len(), "and of nobody else");
    }
}

#[test]
fn a_bundle_is_signed_anew_after_its_time_is_over() {
    let roots = [root()];
    let v1 = first(&roots[0]);
    let late = NOW + 400 * DAY;
    assert!(v1.is_expired(late));
    let v2 = TrustDraft::new(&v1).sign(&roots, late, YEAR).expect("signed");
    assert_eq!((v2.version(), v2.bundle().expires_s), (2, late + 365 * DAY));
    assert!(difference(v1.bundle(), v2.bundle()).is_empty());
}

#[test]
fn a_draft_is_not_signed_by_a_root_of_elsewhere_nor_by_half_of_the_roots() {
    let (ours, other) = (root(), root());
    let v1 = first(&ours);
    let mut draft = TrustDraft::new(&v1);
    let refused = |draft: &TrustDraft, roots: &[FleetRoot]| draft.sign(roots, NOW, YEAR).expect_err("refused").name();
    assert_eq!(refused(&draft, &[other]), "draft_other_root");
    let next = root();
    draft.add_root(next.certificate().to_vec()).expect("added");
    let ours = [ours];
    assert_eq!(refused(&draft, &ours), "draft_root_missing", "the next root shows that its key is there");
    assert_eq!(refused(&draft, &[next]), "draft_other_root", "which nobody knows yet");
    assert_eq!(draft.sign(&ours, NOW - 2 * DAY, YEAR).expect_err("a clock of the past").name(), "draft_clock");
}

#[test]
fn an_altered_draft_is_not_signed() {
    let roots = [root()];
    let v1 = first(&roots[0]);
    let refused = |text: &str| {
        let draft = TrustDraft::parse(text.as_bytes());
        draft.and_then(|draft| draft.sign(&roots, NOW, YEAR)).expect_err("refused").name()
    };
    // A byte of the root's certificate, which is in the signed body.
    let root = &v1.bundle().roots[0];
    let mut bytes = v1.bytes().to_vec();
    let at = bytes.windows(root.len()).position(|window| window == root).expect("the root is in it");
    bytes[at + root.len() / 2] ^= 1;
    let draft = TrustDraft::new(&v1).text();
    let swapped = draft.replace(&base64(v1.bytes()), &base64(&bytes));
    assert_eq!(refused(&swapped), "bundle_other_root", "another root, which has signed nothing");
    let mut bytes = v1.bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(refused(&draft.replace(&base64(v1.bytes()), &base64(&bytes))), "bundle_altered");

    let mut draft = TrustDraft::new(&v1);
    let request = request();
    draft.add_issuer("a1-2", request.clone()).expect("added");
    let mut other = request.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    assert_eq!(refused(&draft.text().replace(&base64(&request), &base64(&other))), "draft_altered");
    assert_eq!(refused(&draft.text().replace("\"format\": 1", "\"format\": 2")), "draft_format");
    assert_eq!(refused("{}"), "draft_malformed");
    assert_eq!(refused(&draft.text().replace("add-issuer", "add-friend")), "draft_malformed");
}

#[test]
fn a_draft_that_another_has_overtaken_is_named_stale() {
    let roots = [root()];
    let v1 = first(&roots[0]);
    let draft = TrustDraft::new(&v1);
    assert!(draft.check_base(&v1).is_ok());
    let v2 = step(&v1, &roots, |draft| draft.add_issuer("a1-2", request()).expect("added"));
    assert_eq!(draft.check_base(&v2).expect_err("overtaken").name(), "draft_stale");
    let late = draft.sign(&roots, NOW, YEAR).expect("the root cannot know");
    assert_eq!(v2.accept(late.bytes(), NOW).expect_err("the centre does").name(), "bundle_older");
}

#[test]
fn a_bundle_that_was_signed_in_the_future_is_not_published() {
    let roots = [root()];
    let v1 = first(&roots[0]);
    let tomorrow = TrustDraft::new(&v1).sign(&roots, NOW + DAY, YEAR).expect("signed");
    assert_eq!(publishable(&v1, tomorrow.bytes(), NOW).expect("clocks differ").version(), 2);
    let refused = publishable(&v1, tomorrow.bytes(), NOW - 1).expect_err("more than a day");
    assert_eq!(refused.name(), "bundle_future");
    let late = publishable(&v1, tomorrow.bytes(), NOW + 400 * DAY).expect_err("its time is over");
    assert_eq!(late.name(), "bundle_expired");
}

#[test]
fn what_cannot_be_is_refused_before_the_root_is_fetched() {
    let roots = [root()];
    let v1 = first(&roots[0]);
    let mut draft = TrustDraft::new(&v1);
    let key = Facts::read(&v1.bundle().issuers[0].certificates[0]).expect("a certificate").key;
    let root_name = Facts::read(roots[0].certificate()).expect("a certificate").name;
    let request = request();
    assert_eq!(draft.retire("a1-1").expect_err("the last").name(), "draft_last_issuer");
    assert_eq!(draft.retire(&key.to_string()).expect_err("the last").name(), "draft_last_issuer");
    assert_eq!(draft.retire(&root_name).expect_err("the last").name(), "draft_last_root");
    assert_eq!(draft.retire("a1-9").expect_err("nobody").name(), "draft_unknown");
    assert_eq!(draft.retire(&key.to_string()[..7]).expect_err("a guess").name(), "draft_unknown");
    assert_eq!(draft.add_issuer("a1-1", request.clone()).expect_err("taken").name(), "draft_twice");
    assert_eq!(draft.add_issuer("../a1", request.clone()).expect_err("no name").name(), "draft_name");
    assert_eq!(draft.add_root(v1.bundle().roots[0].clone()).expect_err("there").name(), "draft_twice");
    draft.revoke_key(key).expect("once");
    assert_eq!(draft.revoke_key(key).expect_err("twice").name(), "draft_twice");
    draft.add_issuer("a1-2", request.clone()).expect("added");
    assert_eq!(draft.add_issuer("a1-3", request).expect_err("the same key").name(), "draft_twice");
    assert_eq!(draft.changes().len(), 2, "what was refused is not in it");
    assert_eq!(draft.issuer_names().expect("a plan"), ["a1-1", "a1-2"]);
    for number in 3..9 {
        draft.add_issuer(&format!("a1-{number}"), self::request()).expect("eight fit");
    }
    assert_eq!(draft.add_issuer("a1-9", self::request()).expect_err("nine do not").name(), "draft_limits");
}

#[test]
fn an_order_key_comes_and_goes_with_a_bundle() {
    let roots = [root()];
    let v1 = first(&roots[0]);
    let key = SigningKey::generate().expect("a key");
    let v2 = step(&v1, &roots, |draft| {
        draft.add_order_key("orders-2", key.public_key().to_vec()).expect("added");
        let again = draft.add_order_key("orders-3", key.public_key().to_vec()).expect_err("the same key");
        let named = draft.add_order_key("orders-2", vec![7; key.public_key().len()]).expect_err("the same name");
        let none = draft.add_order_key("orders-3", vec![7; 10]).expect_err("no key");
        assert_eq!([again, named, none].map(|error| error.name()), ["draft_twice", "draft_twice", "draft_order_key"]);
    });
    assert_eq!(v2.bundle().order_keys[0].public_key, key.public_key());
    assert_eq!(difference(v1.bundle(), v2.bundle()).len(), 1);
    let v3 = step(&v2, &roots, |draft| assert!(matches!(draft.retire("orders-2"), Ok(Change::RetireOrderKey { .. }))));
    assert!(v3.bundle().order_keys.is_empty());
}

#[test]
fn what_changes_is_said_in_words() {
    let both = [root(), root()];
    let v1 = first(&both[0]);
    let v2 = step(&v1, &both, |draft| {
        draft.add_root(both[1].certificate().to_vec()).expect("added");
        draft.add_issuer("a1-2", request()).expect("added");
        draft.revoke_key(sha384(b"a key")).expect("revoked");
    });
    let said = difference(v1.bundle(), v2.bundle()).join("\n");
    for words in ["adds root DSMIL fleet root", "adds issuer a1-2", "issuer a1-1 has a certificate of", "shuts out key"]
    {
        assert!(said.contains(words), "{words:?} is missing:\n{said}");
    }
    let back = difference(v2.bundle(), v1.bundle()).join("\n");
    for words in ["retires root", "retires issuer a1-2", "lets in again key"] {
        assert!(back.contains(words), "{words:?} is missing:\n{back}");
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
