//! Signatures beside files, as they come with a download.

use super::{Target, choose};
use crate::memory;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dsmil_crypto::key::SIGNATURE_LEN;
use dsmil_crypto::release::{MAX_SIGNATURE_FILE, PublicKey, Refused, ReleaseKey};
use std::sync::OnceLock;

pub(super) const TARGET: Target = Target {
    name: "signatures",
    what: "signatures beside files of a release",
    run,
    seeds,
    dictionary: &[b"dsmil signature 1\n", b"dsmil signature 2\n", b"key ", b"ml-dsa-87 ", b"AAAA", b"==\n"],
    max_len: 8192,
};

const FILE: &[u8] = b"a package";
/// What checking holds at most, the file's size regardless: a piece of the file, and the signature's file a few times.
const WARRANTED: usize = 192 << 10;

/// Nobody here has the private half: whatever comes in, it is no signature.
fn key() -> &'static PublicKey {
    static KEY: OnceLock<PublicKey> = OnceLock::new();
    KEY.get_or_init(|| ReleaseKey::generate().expect("a key").public())
}

/// The first byte says whether the rest is the text itself or what a well-formed text carries.
fn run(input: &[u8]) {
    let (choice, rest) = choose(input, 2);
    let key = key();
    if choice == 0 {
        let verdict = memory::within(WARRANTED, || key.verify(rest, FILE));
        let refused = verdict.expect_err("nobody has signed it");
        assert!(!matches!(refused, Refused::Read(_)), "memory can be read");
        let too_large = rest.len() as u64 > MAX_SIGNATURE_FILE;
        assert!(!too_large || matches!(refused, Refused::Malformed));
        // The key in it is random: without it nothing can be said of the signature.
        assert!(!matches!(refused, Refused::Changed));
    } else {
        let signature: Vec<u8> = rest.iter().copied().chain(std::iter::repeat(0)).take(SIGNATURE_LEN).collect();
        let text = text(&key.fingerprint().to_string(), &signature);
        let verdict = memory::within(WARRANTED, || key.verify(text.as_bytes(), FILE));
        assert!(matches!(verdict, Err(Refused::Changed)), "{verdict:?}");
    }
}

fn text(key: &str, signature: &[u8]) -> String {
    format!("dsmil signature 1\nkey {key}\nml-dsa-87 {}\n", STANDARD.encode(signature))
}

fn seeds() -> Vec<Vec<u8>> {
    let whole = text(&"0".repeat(96), &[0; SIGNATURE_LEN]);
    let newer = whole.replacen('1', "2", 1);
    let short = text(&"f".repeat(96), &[7; 30]);
    let mut seeds: Vec<_> = [whole, newer, short].iter().map(|text| [&[0], text.as_bytes()].concat()).collect();
    seeds.push([&[1][..], &[5; SIGNATURE_LEN]].concat());
    seeds
}
