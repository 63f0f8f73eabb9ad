//! Join tokens as a person pastes them.

use super::{Target, choose};
use crate::memory;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dsmil_authority::Fingerprint;
use dsmil_crypto::join_token::JoinToken;
use sha2::{Digest, Sha384};

pub(super) const TARGET: Target = Target {
    name: "join_tokens",
    what: "join tokens as they are pasted",
    run,
    seeds,
    dictionary: &[PREFIX.as_bytes(), b"h:1", b"\x30", b"\x10", b"\xff\xff\xff\xff\x0f"],
    max_len: 4096,
};

const PREFIX: &str = "dsmil-join-1.";
/// How often its own length a token may be in memory: an address of one byte is a text of 24, and lists grow by doubling.
const SWELL: usize = 64;

/// The first byte says whether the rest is the text itself or what a text encodes, its check made right.
fn run(input: &[u8]) {
    let (choice, rest) = choose(input, 2);
    let text = if choice == 0 { String::from_utf8_lossy(rest).into_owned() } else { text_of(rest) };
    let Ok(token) = memory::within(SWELL * text.len() + 2048, || text.parse::<JoinToken>()) else { return };
    let again = token.text();
    assert!(again.len() <= text.len(), "the form that is printed is the shortest");
    assert_eq!(again.parse().as_ref(), Ok(&token), "it reads what it prints");
    assert!(!token.addresses.is_empty());
    assert!(!format!("{token:?}").contains(&again[PREFIX.len()..]), "a log does not hold it");
    let cut = &again[..again.len() - 1];
    assert!(cut.parse::<JoinToken>().is_err(), "a character less");
}

fn text_of(body: &[u8]) -> String {
    let bytes = [body, &Sha384::digest(body)[..4]].concat();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn seeds() -> Vec<Vec<u8>> {
    let make = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| (*address).into()).collect();
        JoinToken::generate(addresses, "fleet.example".into(), Fingerprint([7; 48]), "h47".into(), 1_750_000_000)
    };
    let mut seeds = Vec::new();
    for token in [make(&["aggregator.example:8101"]), make(&["a:1", "[2001:db8::1]:8101"])] {
        let text = token.text();
        let bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).expect("what was encoded");
        seeds.push([&[0], text.as_bytes()].concat());
        seeds.push([&[1], &bytes[..bytes.len() - 4]].concat());
    }
    seeds
}
