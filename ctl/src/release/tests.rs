//! Every verdict on files that are really there.

use super::signature_of;
use super::verify::{Verdict, check};
use dsmil_crypto::release::ReleaseKey;
use std::fs;

#[test]
fn each_state_of_a_file_has_its_verdict_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x_1.deb");
    let signature = signature_of(&file);
    assert!(signature.ends_with("x_1.deb.sig"));
    let (key, other) = (ReleaseKey::generate().expect("a key"), ReleaseKey::generate().expect("a key"));
    let expect = |verdict, words: &str| {
        let public = key.public();
        let checked = check(&public, &file);
        assert_eq!(checked.verdict, verdict, "{}", checked.says);
        assert!(checked.says.contains(words), "{}", checked.says);
    };

    expect(Verdict::Unreadable, "x_1.deb");
    fs::write(&file, "package").expect("written");
    expect(Verdict::NoSignature, "x_1.deb.sig");
    let good = key.sign(&b"package"[..]).expect("signed");
    fs::write(&signature, &good).expect("written");
    expect(Verdict::Good, &key.public().fingerprint().short());
    fs::write(&file, "Package").expect("written");
    expect(Verdict::Changed, "changed");
    fs::write(&file, "package").expect("written");
    fs::write(&signature, other.sign(&b"package"[..]).expect("signed")).expect("written");
    expect(Verdict::OtherKey, &other.public().fingerprint().to_string());
    fs::write(&signature, good.replacen('1', "9", 1)).expect("written");
    expect(Verdict::UnknownVersion, "version 9");
    fs::write(&signature, &good[..good.len() / 2]).expect("written");
    expect(Verdict::BadSignature, "damaged");
    fs::write(&signature, "x".repeat(1 << 20)).expect("written");
    expect(Verdict::BadSignature, "damaged");
    fs::remove_file(&signature).expect("removed");
    fs::create_dir(&signature).expect("made");
    expect(Verdict::Unreadable, "cannot be read");
}
