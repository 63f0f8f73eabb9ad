//! What is signed here is good there, and the other way round.

use super::peer::OpenSsl;
use crate::fleet::{Fleet, Pem, base64, certificate_pem, now_s, unbase64};
use dsmil_authority::{BundleError, SignedBundle};
use dsmil_crypto::csr::CheckedCsr;
use dsmil_crypto::identity::Identity;
use dsmil_crypto::issue::LEAF_LIFETIME;
use dsmil_crypto::key::{SigningKey, verify};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn it_is_openssl_3_5_or_newer() {
    let said = OpenSsl::once(json!({ "verb": "version" })).await;
    let version: Vec<u32> = text(&said["openssl"]).split('.').filter_map(|part| part.parse().ok()).collect();
    assert!(version >= vec![3, 5], "{said}: older ones have no ML-KEM and no ML-DSA");
}

#[tokio::test]
async fn openssl_follows_our_chain_from_leaf_to_root() {
    let fleet = Fleet::new();
    for identity in [&fleet.agent, &fleet.aggregator] {
        let chain = json!({
            "verb": "chain",
            "leaf": Pem::of(identity).certificate,
            "issuer": fleet.issuer_pem(),
            "root": fleet.root_pem(),
        });
        let said = OpenSsl::once(chain).await;
        assert_eq!(
            (&said["leaf"], &said["issuer"], &said["root"]),
            (&json!(true), &json!(true), &json!(true)),
            "{said}"
        );
        assert_eq!(said["crossed"], json!(false), "nobody else's key fits");
        assert_eq!(said["authorities"], json!([false, true, true]));
        assert_eq!(said["keys"], json!(["ml-dsa-87", "ml-dsa-87", "ml-dsa-87"]));
        assert!(text(&said["names"][0]).contains(&format!("URI:{}", identity.id())), "{said}");
    }
}

#[tokio::test]
async fn openssl_vouches_for_our_trust_bundle_and_sees_when_it_is_altered() {
    let fleet = Fleet::new();
    let mut altered = fleet.trust.bytes().to_vec();
    // Well inside the body, where the root's certificate is.
    altered[1000] ^= 1;
    for (bytes, verdict) in [(fleet.trust.bytes(), Ok(())), (&altered, Err(BundleError::Altered))] {
        let signed = SignedBundle::decode(bytes).expect("a bundle");
        let roots = [(fleet.root.fingerprint(), fleet.root_pem())];
        // What is to be verified is written down first: the closure cannot wait for a process.
        let question = std::cell::RefCell::new(Value::Null);
        let ask = |root: &String, statement: &[u8], signature: &[u8]| {
            *question.borrow_mut() = json!({
                "verb": "verify",
                "certificate": root,
                "statement": base64(statement),
                "signature": base64(signature),
            });
            true
        };
        signed.verify(&roots, ask).expect("the root has signed");
        let said = OpenSsl::once(question.into_inner()).await;
        assert_eq!(signed.verify(&roots, |_, _, _| said["good"] == json!(true)), verdict);
    }
}

#[tokio::test]
async fn a_key_of_openssl_signs_and_joins() {
    let fleet = Fleet::new();
    let statement = b"signed by somebody else";
    let said = OpenSsl::once(json!({ "verb": "key", "statement": base64(statement) })).await;
    let (public, signature) = (unbase64(&said["public"]), unbase64(&said["signature"]));
    assert!(verify(&public, statement, &signature));
    assert!(!verify(&public, b"something else", &signature));

    let request = CheckedCsr::check(&unbase64(&said["request"])).expect("a request of OpenSSL's making");
    let leaf = fleet.issuer.issue_agent("h2", &request, now_s(), LEAF_LIFETIME).expect("a leaf");
    let key = load(text(&said["key"]));
    assert_eq!(key.public_key(), public);
    let identity = Identity::of_key(leaf.to_vec(), &key).expect("a leaf of that key");

    // And back: what the key has signed here is good there.
    let signature = identity.key().expect("a key").sign(statement).expect("signed");
    let said = OpenSsl::once(json!({
        "verb": "verify",
        "certificate": certificate_pem(&leaf),
        "statement": base64(statement),
        "signature": base64(&signature),
    }));
    assert_eq!(said.await["good"], json!(true));
}

/// Reads a key as an operator would hand it in.
fn load(pem: &str) -> SigningKey {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("openssl.key");
    std::fs::write(&path, pem).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("ours");
    SigningKey::load(&path).expect("a key of OpenSSL's making")
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}
